import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { findProgram, repositoryRoot } from '../repository.ts'

const folder = join(repositoryRoot, 'systemd')
const units = readdirSync(folder).filter((name) => /\.(service|timer)$/.test(name))
const valuesOf = (unit: string, key: string) =>
  readFileSync(join(folder, unit), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith(`${key}=`))
    .map((line) => line.slice(key.length + 1))

describe('the units around vLLM', () => {
  const skip = findProgram('systemd-analyze') === undefined ? 'needs systemd-analyze' : false

  it('have no word that systemd does not know', { skip }, () => {
    const paths = units.map((name) => join(folder, name))
    const { stdout, stderr } = spawnSync('systemd-analyze', ['verify', ...paths], {
      encoding: 'utf8',
      timeout: 30_000,
    })
    const about = (stdout + stderr)
      .split('\n')
      .filter((line) => units.some((name) => line.includes(name)))
    // The programs are not installed on a machine that only tests.
    assert.deepEqual(
      about.filter((line) => !line.includes('is not executable')),
      [],
    )
  })

  it('let vLLM load for as long as it takes', () => {
    assert.deepEqual(valuesOf('vllm.service', 'Type'), ['exec'])
    for (const key of ['TimeoutStartSec', 'WatchdogSec', 'ExecStartPost', 'RuntimeMaxSec']) {
      assert.deepEqual(valuesOf('vllm.service', key), [], key)
    }
  })

  it('leave no process of vLLM behind, and stop a loop of crashes', () => {
    assert.deepEqual(valuesOf('vllm.service', 'KillMode'), ['mixed'])
    assert.deepEqual(valuesOf('vllm.service', 'OOMPolicy'), ['kill'])
    assert.deepEqual(valuesOf('vllm.service', 'Restart'), ['always'])
    assert.deepEqual(valuesOf('vllm.service', 'StartLimitIntervalSec'), ['4h'])
    assert.deepEqual(valuesOf('vllm.service', 'StartLimitBurst'), ['5'])
    assert.deepEqual(valuesOf('vllm-restart.service', 'StartLimitIntervalSec'), ['2h'])
    assert.deepEqual(valuesOf('vllm-restart.service', 'StartLimitBurst'), ['3'])
  })

  it('have a timer for each look, and each look a service', () => {
    const timers = units.filter((name) => name.endsWith('.timer'))
    assert.deepEqual(timers, ['vllm-planned-restart.timer', 'vllm-restart-when-hung.timer'])
    for (const timer of timers) assert.ok(units.includes(timer.replace('.timer', '.service')))
  })
})
