import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Reading } from '../../src/reading.ts'
import { HostMemoryReader } from '../../src/sources/host-memory.ts'
import { createNvidiaSmi } from '../../src/sources/nvidia-smi.ts'
import { fakeNvidiaSmi, smiFixture } from '../fakes/fake-nvidia-smi.ts'

const folders: string[] = []
const never = new AbortController().signal
const meminfo = 'MemTotal: 1000 kB\nMemFree: 5 kB\nMemAvailable: 600 kB\n'
const kibibyte = 1_024

after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true })
})

/** A folder that stands for `/proc`, with files by their path below it. */
function procOf(files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), 'vllm-vitals-proc-'))
  folders.push(root)
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), content)
  }
  return root
}

function processOf(pid: number, cmdline: string, kibibytes: number) {
  const status = `Name:\tx\nVmRSS:\t${kibibytes} kB\n`
  return { [`${pid}/cmdline`]: cmdline, [`${pid}/status`]: status }
}

const engine = { pid: 4711, name: 'VLLM::EngineCore' }
const worker = { pid: 4712, name: '/usr/bin/python3 -c x' }

describe('the memory of the host', () => {
  it('is read with that of the processes listed', async () => {
    const root = procOf({
      meminfo,
      ...processOf(4711, 'VLLM::EngineCore\0\0', 30),
      ...processOf(4712, '/opt/venv/bin/python3\0-c\0y\0', 40),
    })
    assert.deepEqual(await new HostMemoryReader(root).read([engine, worker], never), {
      totalBytes: 1_000 * kibibyte,
      availableBytes: 600 * kibibyte,
      processes: [
        { pid: 4711, process: 'VLLM::EngineCore', residentBytes: 30 * kibibyte },
        { pid: 4712, process: 'python3', residentBytes: 40 * kibibyte },
      ],
      note: undefined,
    })
  })

  it('comes with the starts of each process and of its ancestors, the root of all left out', async () => {
    const birth = (parent: number, ticks: number) =>
      `1 (x) S ${parent} ${'0 '.repeat(17)}${ticks} 0\n`
    const root = procOf({
      meminfo,
      stat: 'cpu 1\nbtime 1000\n',
      ...processOf(4711, 'VLLM::EngineCore\0', 30),
      '4711/stat': birth(4700, 5_000),
      '4700/stat': birth(1, 4_000),
    })
    const found = await new HostMemoryReader(root).read([engine], never)
    // 50 s and 40 s after the boot at 1000.
    assert.deepEqual(found.processes[0]?.startsSeconds, [1_050, 1_040])
  })

  it('leaves out a pid that another program has here, and says nothing while one can be read', async () => {
    const root = procOf({
      meminfo,
      ...processOf(4711, '/usr/sbin/sshd\0', 30),
      ...processOf(4712, 'python3\0', 40),
    })
    const found = await new HostMemoryReader(root).read([engine, worker], never)
    assert.deepEqual(
      found.processes.map(({ pid }) => pid),
      [4712],
    )
    assert.equal(found.note, undefined)
  })

  it('leaves out a process without a status, or with one that tells no memory', async () => {
    const root = procOf({ '4711/cmdline': 'VLLM::EngineCore\0', ...processOf(4712, 'python3', 1) })
    writeFileSync(join(root, '4712', 'status'), 'State:\tZ (zombie)\n')
    const found = await new HostMemoryReader(root).read([engine, worker], never)
    assert.deepEqual(found.processes, [])
  })

  it('notes once that none of the processes can be read', async () => {
    const reader = new HostMemoryReader(procOf({ meminfo }))
    const found = await reader.read([engine, worker], never)
    assert.match(found.note ?? '', /none of the 2 processes/)
    assert.equal(found.totalBytes, 1_000 * kibibyte)
    assert.equal((await reader.read([], never)).note, undefined)
  })

  it('is unknown without /proc, as it is on another system', async () => {
    const reader = new HostMemoryReader(join(procOf({}), 'missing'))
    const found = await reader.read([], never)
    assert.deepEqual(found, {
      totalBytes: undefined,
      availableBytes: undefined,
      processes: [],
      note: undefined,
    })
  })

  it('takes no more than the first 4 KiB of a file', async () => {
    const root = procOf({
      meminfo,
      ...processOf(4711, `VLLM::EngineCore\0${'x'.repeat(1_000_000)}`, 30),
      // What tells the memory comes too late.
      '4712/cmdline': 'python3\0',
      '4712/status': `${'x\n'.repeat(2_048)}VmRSS:\t40 kB\n`,
    })
    const found = await new HostMemoryReader(root).read([engine, worker], never)
    assert.deepEqual(
      found.processes.map(({ pid }) => pid),
      [4711],
    )
  })

  it('is not read beside a reading that hangs, nor beyond an abort', async () => {
    const reader = new HostMemoryReader(procOf({ meminfo, ...processOf(4711, engine.name, 30) }))
    const stop = new AbortController()
    const first = reader.read([engine], stop.signal)
    const beside = await reader.read([engine], never)
    assert.deepEqual([beside.processes, beside.totalBytes], [[], undefined])
    assert.match(beside.note ?? '', /0 of 1 processes could be read in time/)
    stop.abort()
    assert.deepEqual((await first).processes, [])
    // What was under way ends by itself, and the next one is whole again.
    let again = await reader.read([engine], never)
    for (let tries = 0; again.processes.length === 0 && tries < 100; tries += 1) {
      await sleep(5)
      again = await reader.read([engine], never)
    }
    assert.equal(again.processes.length, 1)
  })

  const skip = process.platform === 'linux' ? false : 'needs /proc'

  it('is that of this process in the real /proc', { skip }, async () => {
    const self = { pid: process.pid, name: process.argv0 }
    const { processes, totalBytes, availableBytes } = await new HostMemoryReader('/proc').read(
      [self],
      never,
    )
    const [found] = processes
    const { rss } = process.memoryUsage()
    assert.ok(found !== undefined && Math.abs(found.residentBytes - rss) < rss / 2, `${rss}`)
    assert.ok((availableBytes ?? 0) > 0 && (availableBytes ?? 0) <= (totalBytes ?? 0))
  })
})

describe('a reading of the GPUs', () => {
  const readWith = async (procRoot: string | undefined, processes = true): Promise<Reading> => {
    const fake = fakeNvidiaSmi({ stdout: smiFixture('two-gpus.xml') })
    try {
      const { command } = fake
      return await createNvidiaSmi({ command, timeoutMs: 8_000, processes, procRoot }).collect(
        never,
      )
    } finally {
      fake.remove()
    }
  }
  const hostOf = ({ channels, values }: Reading) =>
    channels
      .filter(({ instrument }) => instrument.startsWith('host_'))
      .map(({ instrument, labels, offset }) => [instrument, labels['pid'], values[offset]])

  it('holds the host memory of the processes that it lists', async () => {
    const root = procOf({ meminfo, ...processOf(4711, 'VLLM::EngineCore\0', 30) })
    assert.deepEqual(hostOf(await readWith(root)), [
      ['host_memory_total', undefined, 1_000 * kibibyte],
      ['host_memory_available', undefined, 600 * kibibyte],
      ['host_process_memory', '4711', 30 * kibibyte],
    ])
    assert.deepEqual(hostOf(await readWith(root, false)), [
      ['host_memory_total', undefined, 1_000 * kibibyte],
      ['host_memory_available', undefined, 600 * kibibyte],
    ])
  })

  it('holds none where nobody says where it is read, and says nothing of it', async () => {
    const reading = await readWith(undefined)
    assert.deepEqual([hostOf(reading), reading.notes], [[], []])
  })
})
