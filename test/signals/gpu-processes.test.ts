import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Attempt, Labels } from '../../src/reading.ts'
import { gpuProcesses, runsEngine, workingSince } from '../../src/signals/gpu-processes.ts'
import type { TargetWindows } from '../../src/window/target-windows.ts'
import { counter, gauge, type MadeSeries, missed, read } from '../fakes/readings.ts'
import { remembered } from '../fakes/signals.ts'

const gib = 2 ** 30
const first = { gpu: '0', uuid: 'GPU-a' }
const second = { gpu: '1', uuid: 'GPU-b' }

function gpuRead(...all: readonly MadeSeries[]): Attempt {
  return read(0, all, { target: 'gpu' })
}

describe('whether vLLM runs on a GPU', () => {
  const process = (labels: Labels, name: string) =>
    gauge('gpu_process_memory_used', gib, { ...labels, pid: '1', process: name })
  const cards = [gauge('gpu_lost', 0, first), gauge('gpu_lost', 0, second)]
  const of = (...all: readonly MadeSeries[]) => {
    const gpu = remembered([gpuRead(...all)])
    return [runsEngine(gpu, '0'), runsEngine(gpu, '1')]
  }

  it('follows from the names of the processes there', () => {
    assert.deepEqual(of(...cards, process(second, 'VLLM::EngineCore')), [false, true])
    assert.deepEqual(of(...cards, process(first, 'Xorg')), [false, false])
  })

  it('is not known where no process is listed, nor of a GPU that is lost', () => {
    assert.deepEqual(of(...cards), [undefined, undefined])
    const [one] = cards
    const lost = gauge('gpu_lost', 1, second)
    assert.deepEqual(of(...(one ? [one] : []), lost, process(first, 'python3')), [true, undefined])
  })
})

const minuteMs = 60_000

/** The GPUs, read at these minutes with a process of vLLM from the first of them on. */
function gpus(from: number, to: number, ...others: readonly MadeSeries[]): TargetWindows {
  const all = [gauge('gpu_lost', 0), process('10', 'VLLM::EngineCore'), ...others]
  return remembered(
    [0, from, to].map((minute) =>
      read(minute * minuteMs, minute < from ? [gauge('gpu_lost', 0)] : all, { target: 'gpu' }),
    ),
  )
}

function process(pid: string, name: string): MadeSeries {
  return gauge('gpu_process_memory_used', gib, { pid, process: name })
}

/** A server with requests counted at minutes; a count that falls is another process. */
function server(
  ...scrapes: readonly (readonly [minute: number, made: number | 'refused' | 'timeout'])[]
) {
  return remembered(
    scrapes.map(([minute, made]) =>
      typeof made === 'number'
        ? read(minute * minuteMs, [counter('generation_tokens', made)])
        : missed(minute * minuteMs, made),
    ),
  )
}

describe('the owner of a process', () => {
  const owners = (gpu: TargetWindows, targets: readonly TargetWindows[], minute: number) =>
    gpuProcesses(gpu, targets, minute * minuteMs).map(({ pid, owner }) => [
      pid,
      owner.kind,
      ...(owner.kind === 'orphan' ? [owner.sinceMs / minuteMs] : []),
    ])
  const rows: readonly (readonly [
    claim: string,
    seen: TargetWindows,
    servers: readonly TargetWindows[],
    minute: number,
    owner: readonly unknown[],
  ])[] = [
    ['is the engine while it serves', gpus(1, 9), [server([0, 5], [9, 6])], 9, ['engine']],
    ['is the engine of a server that was never reached', gpus(0, 9), [server()], 9, ['engine']],
    [
      'is the engine of a server that hangs',
      gpus(0, 9),
      [server([1, 5], [9, 'timeout'])],
      9,
      ['engine'],
    ],
    [
      'is the engine of a server that is refused just now',
      gpus(0, 9),
      [server([8.5, 5], [9, 'refused'])],
      9,
      ['engine'],
    ],
    // It served last in minute 3.
    [
      'is nobody after its server has ended',
      gpus(0, 9),
      [server([1, 5], [3, 6], [9, 'refused'])],
      9,
      ['orphan', 3],
    ],
    [
      'is the engine that is being loaded after the end of the one before',
      gpus(4, 9),
      [server([3, 6], [9, 'refused'])],
      9,
      ['engine'],
    ],
    [
      'is nobody where its server was replaced by another process',
      gpus(0, 9),
      [server([1, 50], [3, 60], [7, 1], [9, 2])],
      9,
      ['orphan', 3],
    ],
    [
      'is the engine of the process that replaced another',
      gpus(4, 9),
      [server([1, 50], [3, 60], [7, 1], [9, 2])],
      9,
      ['engine'],
    ],
    [
      'is the engine while any server may own it',
      gpus(0, 9),
      [server([3, 6], [9, 'refused']), server([0, 5], [9, 6])],
      9,
      ['engine'],
    ],
    [
      'is nobody since the last of the servers that may have owned it ended',
      gpus(0, 9),
      [server([3, 6], [9, 'refused']), server([5, 6], [9, 'refused'])],
      9,
      ['orphan', 5],
    ],
  ]
  for (const [claim, seen, servers, minute, owner] of rows) {
    it(claim, () => {
      assert.deepEqual(owners(seen, servers, minute), [['10', ...owner]])
    })
  }

  it('is nobody of vLLM by the name of its program', () => {
    const programs = [
      'Xorg',
      'trainer',
      'vllm',
      'python3.12',
      'VLLM::Worker_TP0',
      'ray::RayWorkerWrapper',
    ]
    const found = gpus(0, 9, ...programs.map((name, index) => process(`2${index}`, name)))
    assert.deepEqual(
      owners(found, [server([0, 1])], 9).map(([, kind]) => kind),
      ['engine', 'foreign', 'foreign', 'engine', 'engine', 'engine', 'engine'],
    )
  })

  it('comes with the GPU, the memory, and when the process was first seen', () => {
    const [found] = gpuProcesses(gpus(1, 9), [], 9 * minuteMs)
    assert.ok(found !== undefined)
    const { history, owner, ...rest } = found
    assert.deepEqual(rest, {
      gpu: '0',
      uuid: 'GPU-a',
      pid: '10',
      process: 'VLLM::EngineCore',
      usedBytes: gib,
      firstMs: minuteMs,
      fromStart: false,
    })
    assert.deepEqual(history.values, [gib, gib])
  })

  it('is not told while the GPUs cannot be read', () => {
    const lost = gpus(0, 9)
    lost.record(missed(10 * minuteMs, 'timeout', { target: 'gpu' }))
    assert.deepEqual(gpuProcesses(lost, [], 10 * minuteMs), [])
  })
})

describe('the time since when an engine works', () => {
  const seen = (minute: number) => {
    const [found] = gpuProcesses(gpus(minute, minute + 1), [], (minute + 1) * minuteMs)
    return found?.history ?? assert.fail()
  }
  const rows: readonly (readonly [
    string,
    'process' | 'card',
    number,
    TargetWindows,
    number,
    number | undefined,
  ])[] = [
    [
      'is when it was first seen beside a server that answers',
      'process',
      5,
      server([0, 1], [9, 2]),
      9,
      5,
    ],
    ['is when its server first answered', 'process', 5, server([4, 'refused'], [20, 1]), 21, 20],
    [
      'has not come while it is being loaded',
      'process',
      5,
      server([3, 7], [30, 'refused']),
      30,
      undefined,
    ],
    [
      'comes in any case after the hour that loading takes at most',
      'process',
      5,
      server([70, 'refused']),
      66,
      5,
    ],
    [
      'stays for a process that grew old beside a server that begins anew',
      'process',
      5,
      server([6, 9], [90, 1]),
      91,
      5,
    ],
    ['of a card is when the last server began', 'card', 5, server([6, 9], [90, 1]), 91, 90],
    [
      'of a card has not come while a server is away',
      'card',
      5,
      server([6, 9], [90, 'refused']),
      90,
      undefined,
    ],
  ]
  for (const [claim, of, first, found, minute, since] of rows) {
    it(claim, () => {
      const sinceMs = workingSince(seen(first), [found], { of, atMs: minute * minuteMs })
      assert.equal(sinceMs === undefined ? undefined : sinceMs / minuteMs, since)
    })
  }
})
