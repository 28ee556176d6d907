import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { findLoading } from '../../src/rules/loading.ts'
import { TargetWindows } from '../../src/window/target-windows.ts'
import { counter, gauge, type MadeSeries, missed, read } from '../fakes/readings.ts'

const gib = 2 ** 30

/** A process on the first GPU from a second on; `gib` at each reading, the last of them from then on. */
interface Process {
  readonly pid: string
  readonly from: number
  readonly until?: number
  readonly gib: readonly number[]
  readonly name?: string
}

interface Gpus {
  readonly processes?: readonly Process[]
  /** Memory of the whole card, reading by reading, in GiB. */
  readonly card?: readonly number[]
  readonly utilization?: (second: number) => number
  readonly everySeconds?: number
}

const untilSecond = 600

/** The GPU source, read each 10 s for ten minutes unless told otherwise. */
function gpusOf(
  { processes = [], card = [], utilization = () => 0, everySeconds = 10 }: Gpus,
  lastSecond = untilSecond,
): TargetWindows {
  const gpu = new TargetWindows('gpu', { keepMs: 3_600_000 })
  for (let second = 0, index = 0; second <= lastSecond; second += everySeconds, index += 1) {
    const listed = processes.flatMap((one): readonly MadeSeries[] => {
      const { pid, from, until = Number.POSITIVE_INFINITY, name = 'VLLM::EngineCore' } = one
      if (second < from || second >= until) return []
      const held = at(one.gib, Math.floor((second - from) / everySeconds))
      return [gauge('gpu_process_memory_used', held * gib, { pid, process: name })]
    })
    const page = [
      gauge('gpu_lost', 0),
      gauge('gpu_memory_used', at(card, index) * gib),
      gauge('gpu_utilization', utilization(second)),
      ...listed,
    ]
    gpu.record(read(1_000 * second, page, { target: 'gpu' }))
  }
  return gpu
}

function at(values: readonly number[], index: number): number {
  return values[Math.min(index, values.length - 1)] ?? 0
}

/** A server that answers, or fails, at these seconds. */
function server(
  ...attempts: readonly (readonly [second: number, 'answers' | 'refused' | 'timeout'])[]
): TargetWindows {
  const target = new TargetWindows('vllm', { keepMs: 3_600_000 })
  for (const [second, what] of attempts) {
    const page = [counter('generation_tokens', 5 + second)]
    target.record(what === 'answers' ? read(1_000 * second, page) : missed(1_000 * second, what))
  }
  return target
}

const neverThere = server([5, 'refused'], [600, 'refused'])
const loads = { pid: '10', from: 560, gib: [1, 12, 25, 30] }

function loadingOf(
  gpus: Gpus,
  { target = neverThere, others = [], second = untilSecond }: Beside = {},
) {
  return findLoading(target, others, gpusOf(gpus, second), 1_000 * second)
}

interface Beside {
  readonly target?: TargetWindows
  readonly others?: readonly TargetWindows[]
  readonly second?: number
}

describe('a model that is being loaded', () => {
  it('is told with its process, its memory and how long it takes so far', () => {
    // It came at 560 s and has the fourth of its values, 30 GiB, since 590 s.
    assert.deepEqual(loadingOf({ processes: [loads] }), {
      summary:
        'the model is being loaded, for 40 s so far: VLLM::EngineCore (pid 10) holds 30.0 GiB of GPU 0',
      evidence: { pid: '10', loading_seconds: 40, memory_bytes: 30 * gib, gpus: '0' },
    })
  })

  const growing = { ...loads, from: 100, gib: Array.from({ length: 51 }, (_, index) => index / 2) }
  const flat = { ...loads, from: 100, gib: [30] }
  const after = server([5, 'answers'], [50, 'answers'], [90, 'refused'], [600, 'refused'])
  const rows: readonly (readonly [string, Gpus, Beside, boolean])[] = [
    ['is seen while its memory changes', { processes: [growing] }, {}, true],
    [
      'is seen while its memory stands still and the GPU works, as it does to compile',
      { processes: [flat], utilization: (second) => (second === 300 ? 0.4 : 0) },
      {},
      true,
    ],
    ['is none that holds its memory and does nothing with it', { processes: [flat] }, {}, false],
    [
      'is none for a change of less than 64 MiB',
      { processes: [{ ...flat, gib: [30, 30.05] }] },
      {},
      false,
    ],
    [
      'is seen in the first minute, whatever it does',
      { processes: [{ ...flat, from: 550 }] },
      {},
      true,
    ],
    [
      'is seen after the end of the server before it',
      { processes: [growing] },
      { target: after },
      true,
    ],
    [
      'is none of a process that served before: that has died, or is left over',
      { processes: [{ ...growing, from: 30 }] },
      { target: after },
      false,
    ],
    ['is one that began before the watch did', { processes: [{ ...growing, from: 0 }] }, {}, true],
    [
      'is none while nothing is on the GPU: that server is down',
      { processes: [{ ...growing, name: 'Xorg' }] },
      {},
      false,
    ],
    [
      'is none once a start has come to nothing: what follows is a crash loop',
      {
        processes: [
          { ...growing, pid: '9', until: 200 },
          { ...loads, from: 570 },
        ],
      },
      {},
      false,
    ],
    [
      'is seen though a helper of it came and went within 15 s',
      { processes: [{ ...growing, pid: '9', until: 120 }, loads] },
      {},
      true,
    ],
    [
      'is none once three starts have failed at once, each of them leaving nobody',
      {
        processes: [
          { ...growing, pid: '7', from: 110, until: 120 },
          { ...growing, pid: '8', from: 140, until: 150 },
          { ...growing, pid: '9', from: 170, until: 180 },
          { ...loads, from: 590 },
        ],
      },
      {},
      false,
    ],
    [
      'is seen though three helpers came and went beside it',
      {
        processes: [
          { ...loads, from: 560 },
          { ...growing, pid: '7', from: 570, until: 580 },
          { ...growing, pid: '8', from: 570, until: 580 },
          { ...growing, pid: '9', from: 580, until: 590 },
        ],
      },
      {},
      true,
    ],
    [
      'is seen after the end of the process that served before, which is no failed start',
      { processes: [{ ...growing, pid: '9', from: 0, until: 90 }, loads] },
      { target: after },
      true,
    ],
    [
      'is none of a server that answers',
      { processes: [growing] },
      { target: server([5, 'answers'], [600, 'answers']) },
      false,
    ],
    [
      'is none of a server that is late: its port is open',
      { processes: [growing] },
      { target: server([5, 'refused'], [600, 'timeout']) },
      false,
    ],
    [
      'is none of the process that answered a moment ago',
      { processes: [{ ...growing, from: 30 }] },
      { target: server([5, 'refused'], [590, 'answers'], [600, 'refused']) },
      false,
    ],
    ['is none before the first attempt', { processes: [growing] }, { target: server() }, false],
  ]
  for (const [claim, gpus, beside, expected] of rows) {
    it(claim, () => assert.equal(loadingOf(gpus, beside) !== undefined, expected))
  }

  it('has hung when it shows nothing for half an hour', () => {
    const started = { ...flat, gib: [5, 30] }
    const seen = { everySeconds: 60, processes: [started] }
    // It came with the reading of 120 s and has changed with that of 180 s.
    assert.notEqual(loadingOf(seen, { second: 1_900 }), undefined)
    assert.equal(loadingOf(seen, { second: 2_100 }), undefined)
  })

  it('is not told while the GPUs cannot be read', () => {
    const gpu = gpusOf({ processes: [growing] })
    gpu.record(missed(610_000, 'timeout', { target: 'gpu' }))
    assert.equal(findLoading(neverThere, [], gpu, 610_000), undefined)
    assert.equal(findLoading(neverThere, [], undefined, 610_000), undefined)
  })
})

describe('a model that is being loaded beside a server that serves', () => {
  const beside = { others: [server([300, 'answers'], [600, 'answers'])] }
  const moves = Array.from({ length: 60 }, (_, index) => index / 2)

  it('is none of the processes of that server', () => {
    assert.equal(
      loadingOf({ processes: [{ pid: '10', from: 100, gib: moves }] }, beside),
      undefined,
    )
    assert.equal(loadingOf({ processes: [{ pid: '10', from: 0, gib: moves }] }, beside), undefined)
  })

  it('is one that came after it', () => {
    const own = { pid: '10', from: 100, gib: moves }
    const found = loadingOf({ processes: [own, { ...loads, pid: '11' }] }, beside)
    assert.equal(found?.evidence['pid'], '11')
  })

  it('may be any newcomer where that server is away as well', () => {
    const away = { others: [server([300, 'answers'], [600, 'refused'])] }
    assert.notEqual(
      loadingOf({ processes: [{ pid: '10', from: 100, gib: moves }] }, away),
      undefined,
    )
  })
})

describe('a model that is being loaded where the driver lists no process', () => {
  it('is seen by the memory of a card that rises', () => {
    // From 2 GiB at the first reading to 14 at the last.
    const card = Array.from({ length: 61 }, (_, index) => 2 + index / 5)
    assert.deepEqual(loadingOf({ card }), {
      summary: 'a model seems to be loaded: the memory of GPU 0 has risen by 12.0 GiB to 14.0 GiB',
      evidence: { gpus: '0', memory_bytes: 14 * gib },
    })
  })

  it('is none for memory that stands still, or falls', () => {
    assert.equal(loadingOf({ card: [14] }), undefined)
    assert.equal(loadingOf({ card: [14, 2] }), undefined)
    // Less than half a GiB is none either.
    assert.equal(loadingOf({ card: [2, 2.4] }), undefined)
  })

  it('is none for what rose before the server went', () => {
    const card = [2, 8, 14]
    const gone = server([5, 'answers'], [300, 'answers'], [600, 'refused'])
    assert.equal(loadingOf({ card }, { target: gone }), undefined)
  })

  it('is none of a process that was there before the watch and works: that may be anybody’s', () => {
    const busy = () => 0.37
    const there = { pid: '10', from: 0, gib: [0.2] }
    const found = (from: number) =>
      loadingOf({ processes: [{ ...there, from }], utilization: busy })
    assert.equal(found(0), undefined)
    // One that came meanwhile works on something that it has just begun.
    assert.notEqual(found(300), undefined)
  })
})
