import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { findProgram, repositoryRoot } from './repository.ts'

const unitFile = join(repositoryRoot, 'systemd', 'vllm-vitals.service')
const settings = readFileSync(unitFile, 'utf8')
  .split('\n')
  .filter((line) => /^[A-Z]/.test(line))
const values = (key: string) =>
  settings.filter((line) => line.startsWith(`${key}=`)).map((line) => line.slice(key.length + 1))

function analyze(...words: string[]): { status: number | null; said: string } {
  const run = spawnSync('systemd-analyze', words, { encoding: 'utf8', timeout: 30_000 })
  return { status: run.status, said: run.stdout + run.stderr }
}

describe('the service unit', () => {
  it('starts after the driver is loaded and is told ready by a child', () => {
    assert.deepEqual(values('Type'), ['notify'])
    assert.deepEqual(values('NotifyAccess'), ['all'])
    assert.deepEqual(values('WatchdogSec'), ['30s'])
    assert.deepEqual(values('After'), ['network-online.target nvidia-persistenced.service'])
  })

  it('comes back after every end but that of a bad configuration', () => {
    assert.deepEqual(values('Restart'), ['always'])
    assert.deepEqual(values('StartLimitIntervalSec'), ['0'])
    assert.deepEqual(values('RestartPreventExitStatus'), ['78'])
  })

  it('leaves out what would kill Node, hide the GPUs or keep Prometheus out', () => {
    const harmful = [
      'MemoryDenyWriteExecute',
      'PrivateDevices',
      'ProcSubset',
      'IPAddressDeny',
      'ProtectProc',
    ]
    for (const key of [...harmful, 'PrivateNetwork']) assert.deepEqual(values(key), [], key)
  })

  it('opens the NVIDIA device classes and no other device', () => {
    assert.deepEqual(values('DevicePolicy'), ['closed'])
    assert.deepEqual(values('DeviceAllow'), ['char-nvidia* rw'])
  })

  it('lets Node 20 make its calls and fails unknown ones softly', () => {
    assert.deepEqual(values('SystemCallFilter'), [
      '@system-service @pkey',
      '~@privileged @resources',
    ])
    assert.deepEqual(values('SystemCallErrorNumber'), ['EPERM'])
    assert.deepEqual(values('RestrictAddressFamilies'), ['AF_INET AF_INET6 AF_UNIX AF_NETLINK'])
  })

  const skip = findProgram('systemd-analyze') === undefined ? 'needs systemd-analyze' : false

  it('is exposed by 1.7 of 10 at most', { skip }, () => {
    // The threshold is written in tenths; an exposure above it makes the program fail.
    const { status, said } = analyze('security', '--offline=true', '--threshold=17', unitFile)
    assert.match(said, /Overall exposure level/)
    assert.equal(status, 0, said.split('\n').at(-2))
  })

  it('has no word that systemd does not know', { skip }, () => {
    const { said } = analyze('verify', unitFile)
    // Other units of the machine, and a Node that stands elsewhere here, are not this unit's business.
    const about = said.split('\n').filter((line) => line.includes('vllm-vitals.service'))
    assert.deepEqual(
      about.filter((line) => !line.includes('is not executable')),
      [],
    )
  })
})
