import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { after, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { CollectError, type CollectErrorCode } from '../../src/errors.ts'
import type { Reading } from '../../src/reading.ts'
import { createNvidiaSmi, type NvidiaSmiOptions, treeOf } from '../../src/sources/nvidia-smi.ts'
import {
  type FakeSmi,
  fakeNvidiaSmi,
  isAlive,
  type SmiCase,
  smiFixture,
} from '../fakes/fake-nvidia-smi.ts'

const require = createRequire(import.meta.url)
const childProcess: { readonly exec: unknown } = require('node:child_process')
const twoGpus = smiFixture('two-gpus.xml')
const never = new AbortController().signal
const fakes: FakeSmi[] = []
const pids: number[] = []

after(() => {
  for (const fake of fakes.splice(0)) fake.remove()
  for (const pid of pids.splice(0)) if (isAlive(pid)) process.kill(pid, 'SIGKILL')
})

function fakeOf(smi: SmiCase): FakeSmi {
  const fake = fakeNvidiaSmi(smi)
  fakes.push(fake)
  return fake
}

function sourceOf(fake: FakeSmi, options: Partial<NvidiaSmiOptions> = {}) {
  return createNvidiaSmi({ command: fake.command, timeoutMs: 8_000, processes: true, ...options })
}

async function failure(work: Promise<unknown>): Promise<CollectError> {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof CollectError, `expected a CollectError, found ${String(error)}`)
  return error
}

function numbersOf(reading: Reading, instrument: string): readonly (number | undefined)[] {
  return reading.channels
    .filter((channel) => channel.instrument === instrument)
    .map((channel) => reading.values[channel.offset])
}

async function gone(pid: number): Promise<boolean> {
  for (let tries = 0; isAlive(pid) && tries < 100; tries += 1) await sleep(20)
  return !isAlive(pid)
}

// The first test of the file: the package is loaded at the first document and then kept.
describe('the package node-nvidia-smi', () => {
  it('is loaded with our function in the place of exec, which is back afterwards', async () => {
    const before = childProcess.exec
    // Somebody else has loaded it before, with the real one.
    const theirs: unknown = require('node-nvidia-smi')
    const tree = await treeOf('<nvidia_smi_log><gpu><uuid>GPU-1</uuid></gpu></nvidia_smi_log>')
    assert.deepEqual(tree, { nvidia_smi_log: { gpu: { uuid: 'GPU-1' } } })
    assert.equal(childProcess.exec, before)
    assert.notEqual(require('node-nvidia-smi'), theirs)
  })

  it('gives each of several calls at once its own document', async () => {
    const names = ['a', 'b', 'c', 'd']
    const trees = await Promise.all(names.map((name) => treeOf(`<log>${name}</log>`)))
    assert.deepEqual(
      trees,
      names.map((log) => ({ log })),
    )
  })

  const broken = ['', '<', '<a>', '<a></b>', '<a>&b;</a>', '<a b=c/>', '\u0000', 'text']
  for (const xml of broken) {
    it(`refuses ${JSON.stringify(xml)} or finds nothing in it, and goes on`, async () => {
      const outcome = await treeOf(xml).catch((error: unknown) => error)
      const isRefusal = outcome instanceof CollectError && outcome.code === 'malformed'
      assert.ok(isRefusal || outcome === null, String(outcome))
      assert.deepEqual(await treeOf('<a>1</a>'), { a: '1' })
    })
  }
})

describe('a run of nvidia-smi', { concurrency: 4 }, () => {
  it('becomes a reading', async () => {
    const fake = fakeOf({ stdout: twoGpus })
    const source = sourceOf(fake)
    const reading = await source.collect(never)
    assert.equal(source.kind, 'gpu')
    assert.deepEqual(numbersOf(reading, 'gpu_utilization'), [0, 0.87])
    assert.equal(numbersOf(reading, 'gpu_process_memory_used').length, 2)
    assert.deepEqual([reading.notes, reading.version], [[], '580.10.01'])
    assert.equal(fake.starts(), 1)
  })

  it('leaves processes out when they are not wanted', async () => {
    const reading = await sourceOf(fakeOf({ stdout: twoGpus }), { processes: false }).collect(never)
    assert.deepEqual(numbersOf(reading, 'gpu_process_memory_used'), [])
    assert.deepEqual(numbersOf(reading, 'gpu_utilization'), [0, 0.87])
  })

  it('is found on PATH by its name', async () => {
    const fake = fakeOf({ stdout: twoGpus })
    const PATH = fake.command.replace(/\/[^/]*$/, '')
    const source = sourceOf(fake, { command: 'nvidia-smi', env: { PATH } })
    assert.equal((await source.collect(never)).version, '580.10.01')
  })

  it('keeps its data when the program complains, fails or has to be killed after it', async () => {
    const rows: readonly (readonly [smi: SmiCase, note: RegExp])[] = [
      [{ stderr: 'WARNING: x\n' }, /^WARNING: x$/],
      [{ exit_code: 14 }, /status 14 after a complete document/],
      [{ signal: 'SIGTERM' }, /ended by SIGTERM after a complete document/],
      [{ hang: true }, /did not end in time and was killed/],
    ]
    for (const [smi, note] of rows) {
      const timeoutMs = smi.hang === true ? 1_500 : 8_000
      const source = sourceOf(fakeOf({ stdout: twoGpus, ...smi }), { timeoutMs })
      const reading = await source.collect(never)
      assert.deepEqual(numbersOf(reading, 'gpu_utilization'), [0, 0.87])
      assert.match(reading.notes.join('\n'), note)
    }
  })
})

describe('a run of nvidia-smi that yields no document', { concurrency: 4 }, () => {
  const rows: readonly (readonly [title: string, smi: SmiCase, code: CollectErrorCode])[] = [
    ['says why', { stdout: 'No devices were found\n', exit_code: 6 }, 'no_gpu'],
    ['says nothing', {}, 'malformed'],
    ['is cut off', { stdout: twoGpus.slice(0, 2_000) }, 'malformed'],
    ['is not well-formed', { stdout: '<nvidia_smi_log><a></b></nvidia_smi_log>' }, 'malformed'],
    ['has an empty root', { stdout: '<nvidia_smi_log></nvidia_smi_log>' }, 'malformed'],
    ['lists no GPU', { stdout: '<nvidia_smi_log><a>1</a></nvidia_smi_log>' }, 'no_gpu'],
    ['crashes', { stdout: twoGpus.slice(0, 2_000), signal: 'SIGSEGV' }, 'exit'],
    ['is not there', { spawn_error: 'ENOENT' }, 'not_found'],
    ['is no program', { spawn_error: 'EACCES' }, 'not_found'],
    [
      'writes 20 MiB',
      { stdout: twoGpus, flood: { stream: 'stdout', bytes: 2 ** 24 + 2 ** 22 } },
      'too_large',
    ],
    [
      'complains for 20 MiB',
      { stdout: twoGpus, flood: { stream: 'stderr', bytes: 2 ** 24 + 2 ** 22 } },
      'too_large',
    ],
  ]
  for (const [title, smi, code] of rows) {
    it(`is ${code} when it ${title}`, async () => {
      const source = sourceOf(fakeOf(smi))
      assert.equal((await failure(source.collect(never))).code, code)
    })
  }

  it('may write up to 16 MiB', async () => {
    const flood = { stream: 'stderr', bytes: 2 ** 24 - 2 ** 20 } as const
    const reading = await sourceOf(fakeOf({ stdout: twoGpus, flood })).collect(never)
    assert.deepEqual(numbersOf(reading, 'gpu_utilization'), [0, 0.87])
    assert.equal(reading.notes.length, 16)
  })

  it('leaves what is known of the GPUs as it was', async () => {
    const fake = fakeOf({ stdout: twoGpus })
    const source = sourceOf(fake)
    const first = await source.collect(never)
    fake.replay({ stdout: 'Failed to initialize NVML: Unknown Error\n', exit_code: 255 })
    assert.equal((await failure(source.collect(never))).code, 'driver_unavailable')
    fake.replay({ stdout: twoGpus })
    assert.equal((await source.collect(never)).channels, first.channels)
  })
})

describe('GPUs over several runs', () => {
  it('keep their index when one is pulled out, and it is lost until it is back', async () => {
    const fake = fakeOf({ stdout: twoGpus })
    const source = sourceOf(fake)
    await source.collect(never)
    // The second in the document, the first on the bus.
    const from = twoGpus.indexOf('<gpu id="00000000:01:00.0">')
    const one = twoGpus.slice(0, from) + twoGpus.slice(twoGpus.lastIndexOf('</gpu>') + 6)
    const stderr = 'Unable to determine the device handle for GPU0: 0000:01:00.0: Unknown Error\n'
    fake.replay({ stdout: one, stderr })
    const without = await source.collect(never)
    assert.deepEqual(numbersOf(without, 'gpu_lost'), [1, 0])
    assert.deepEqual(numbersOf(without, 'gpu_utilization'), [0.87])
    assert.match(without.notes.join('\n'), /the driver counts 2|cannot be reached/)
    fake.replay({ stdout: twoGpus })
    const again = await source.collect(never)
    assert.deepEqual(numbersOf(again, 'gpu_lost'), [0, 0])
    assert.deepEqual(numbersOf(again, 'gpu_utilization'), [0, 0.87])
  })
})

describe('a program that hangs', { concurrency: 4 }, () => {
  it('is killed at the deadline with its children, and the next run is free', async () => {
    const fake = fakeOf({ hang: true, ignores_sigterm: true, grandchild: true })
    const source = sourceOf(fake, { timeoutMs: 2_000 })
    const startMs = performance.now()
    const error = await failure(source.collect(never))
    const tookMs = performance.now() - startMs
    assert.equal(error.code, 'timeout')
    assert.match(error.message, /to end within 2000 ms/)
    // 0.2 s each for the two signals, and what a busy machine adds.
    assert.ok(tookMs >= 1_990 && tookMs < 3_400, `${tookMs}`)
    pids.push(fake.pid(), fake.grandchildPid())
    assert.ok(await gone(fake.pid()))
    assert.ok(await gone(fake.grandchildPid()))
    fake.replay({ stdout: twoGpus })
    assert.equal((await sourceOf(fake).collect(never)).version, '580.10.01')
  })

  it('and cannot be killed lets no second one start, and is told from one that can', async () => {
    const fake = fakeOf({ hang: true })
    const source = sourceOf(fake, { timeoutMs: 1_500, kill: () => {} })
    const first = await failure(source.collect(never))
    pids.push(fake.pid())
    assert.match(first.message, /to end within 1500 ms/)
    const second = await failure(source.collect(never))
    assert.equal(second.code, 'timeout')
    assert.match(second.message, /has not ended, although it was killed; no second one is started/)
    assert.equal(fake.starts(), 1)
    process.kill(fake.pid(), 'SIGKILL')
    fake.replay({ stdout: twoGpus })
    // Our runner learns of the end a moment later; until then it starts nothing.
    const third = async () => await source.collect(never).catch(() => undefined)
    let reading = await third()
    for (let tries = 0; reading === undefined && tries < 100; tries += 1) {
      await sleep(20)
      reading = await third()
    }
    assert.equal(reading?.version, '580.10.01')
    assert.equal(fake.starts(), 2)
  })

  it('is ended by an abort', async () => {
    const fake = fakeOf({ hang: true })
    const abort = new AbortController()
    const running = failure(sourceOf(fake).collect(abort.signal))
    while (fake.starts() === 0) await sleep(20)
    abort.abort()
    const error = await running
    assert.equal(error.code, 'timeout')
    assert.match(error.message, /was stopped before/)
    assert.ok(await gone(fake.pid()))
  })
})
