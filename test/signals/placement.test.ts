import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type Placement, placementOf, targetsOnLost } from '../../src/signals/placement.ts'
import { TargetWindows } from '../../src/window/target-windows.ts'
import { counter, gauge, type MadeSeries, missed, read, wallAtZeroMs } from '../fakes/readings.ts'

const minuteMs = 60_000
const gib = 2 ** 30

/** A process on a GPU, there from a minute on until the other. */
interface Process {
  readonly gpu: number
  readonly pid: string
  readonly from?: number
  readonly until?: number
  readonly name?: string
}

/** The GPU source, read each minute up to `minute`; from `lost` on the first GPU is lost. */
function gpusOf(
  processes: readonly Process[],
  { minute, lost = Number.POSITIVE_INFINITY }: { readonly minute: number; readonly lost?: number },
): TargetWindows {
  const gpu = new TargetWindows('gpu', { keepMs: 3_600_000 })
  for (let now = 0; now <= minute; now += 1) {
    const cards = [0, 1].flatMap((position): readonly MadeSeries[] => {
      const labels = labelsOf(position)
      if (position === 0 && now >= lost) return [gauge('gpu_lost', 1, labels)]
      return [gauge('gpu_lost', 0, labels), gauge('gpu_memory_used', 60 * gib, labels)]
    })
    const there = processes.filter(
      ({ gpu: position, from = 0, until = Number.POSITIVE_INFINITY }) =>
        from <= now && now < until && !(position === 0 && now >= lost),
    )
    const listed = there.map(({ gpu: position, pid, name = 'VLLM::EngineCore' }) =>
      gauge('gpu_process_memory_used', gib, { ...labelsOf(position), pid, process: name }),
    )
    gpu.record(read(now * minuteMs, [...cards, ...listed], { target: 'gpu' }))
  }
  return gpu
}

function labelsOf(position: number) {
  return { gpu: String(position), uuid: `GPU-${position}` }
}

/** A server that answers with so many tokens at these minutes; fewer than before are another process. */
function server(
  name: string,
  ...answers: readonly (readonly [minute: number, tokens: number | 'refused', started?: number])[]
): TargetWindows {
  const target = new TargetWindows(name, { keepMs: 3_600_000 })
  for (const [minute, tokens, started] of answers) {
    const atMs = minute * minuteMs
    if (tokens === 'refused') {
      target.record(missed(atMs, 'refused', { target: name }))
      continue
    }
    const made = read(atMs, [counter('generation_tokens', tokens)], { target: name })
    const processStartSeconds =
      started === undefined ? undefined : (wallAtZeroMs + started * minuteMs) / 1_000
    if (made.kind === 'read')
      target.record({ ...made, reading: { ...made.reading, processStartSeconds } })
  }
  return target
}

function told(placement: Placement): readonly string[] | string {
  return placement.kind === 'known' ? [...placement.gpus] : placement.why
}

describe('the GPUs of the only target', () => {
  const only = server('vllm', [1, 5], [9, 6])
  const placed = (gpu: TargetWindows | undefined) => told(placementOf(only, [only], gpu))

  it('are those with a process of vLLM', () => {
    const trainer = { gpu: 0, pid: '7', name: 'trainer' }
    assert.deepEqual(placed(gpusOf([trainer, { gpu: 1, pid: '8' }], { minute: 9 })), ['1'])
    assert.deepEqual(placed(gpusOf([trainer], { minute: 9 })), [])
  })

  it('are all that can be read where the driver lists no process', () => {
    assert.deepEqual(placed(gpusOf([], { minute: 9 })), ['0', '1'])
    assert.deepEqual(placed(gpusOf([], { minute: 9, lost: 5 })), ['1'])
  })

  it('are not known where none is read', () => {
    assert.equal(placed(undefined), 'no GPU is read')
  })
})

describe('the GPUs of one of several targets', () => {
  const first = server('a', [5, 1], [30, 9])
  const second = server('b', [20, 1], [30, 9])
  const placed = (target: TargetWindows, gpu: TargetWindows) =>
    told(placementOf(target, [first, second], gpu))
  const nobody = 'several targets share this host, and nothing tells whose is which'

  it('are those of the processes after which it alone began to answer', () => {
    const gpu = gpusOf([{ gpu: 1, pid: '8', from: 15 }], { minute: 30 })
    assert.deepEqual(placed(second, gpu), ['1'])
    assert.equal(placed(first, gpu), nobody)
  })

  it('are not known of a process after which both began to answer', () => {
    const gpu = gpusOf([{ gpu: 0, pid: '7', from: 3 }], { minute: 30 })
    assert.deepEqual([placed(first, gpu), placed(second, gpu)], [nobody, nobody])
  })

  it('are not known of a process that was there before the watch', () => {
    const gpu = gpusOf([{ gpu: 0, pid: '7' }], { minute: 30 })
    assert.equal(placed(second, gpu), nobody)
  })

  it('are not known where a process came after all had begun to answer', () => {
    const gpu = gpusOf([{ gpu: 0, pid: '7', from: 25 }], { minute: 30 })
    assert.equal(placed(second, gpu), nobody)
  })

  it('are not known where the driver lists no process', () => {
    assert.equal(placed(first, gpusOf([], { minute: 30 })), 'the driver lists no processes')
  })
})

describe('the targets on a GPU that was lost', () => {
  const lost = { minute: 20, lost: 10 }
  const on = (targets: readonly TargetWindows[], gpu: TargetWindows | undefined) => [
    ...targetsOnLost('GPU-0', targets, gpu),
  ]
  const one = { gpu: 0, pid: '7' }

  it('are those that ran there when it was lost', () => {
    const target = server('vllm', [1, 5], [20, 5])
    assert.deepEqual(on([target], gpusOf([one], lost)), ['vllm'])
    assert.deepEqual(on([target], gpusOf([{ ...one, gpu: 1 }], lost)), [])
    assert.deepEqual(on([target], gpusOf([{ ...one, name: 'trainer' }], lost)), [])
  })

  it('are those alone whose process it was, of several', () => {
    const targets = [server('a', [1, 5], [20, 6]), server('b', [6, 5], [20, 6])]
    assert.deepEqual(on(targets, gpusOf([{ ...one, from: 4 }], lost)), ['b'])
    // After the process of minute 0.5 and later both began to answer.
    assert.deepEqual(on(targets, gpusOf([{ ...one, from: 1 }], lost)), [])
  })

  it('are none once they have been started again without it', () => {
    const again = server('vllm', [1, 50], [9, 60], [11, 'refused'], [15, 1, 12], [20, 2, 12])
    assert.deepEqual(on([again], gpusOf([one], lost)), [])
  })

  it('are none once they answer anew, where no start is told', () => {
    // It was last read before the GPU was lost, and a model that is loaded anew is not on a lost GPU.
    const again = server('vllm', [1, 50], [9, 60], [11, 'refused'], [15, 1], [20, 2])
    assert.deepEqual(on([again], gpusOf([one], lost)), [])
  })

  it('are still those that have not come back', () => {
    const away = server('vllm', [1, 50], [9, 60], [11, 'refused'], [15, 'refused'])
    assert.deepEqual(on([away], gpusOf([one], lost)), ['vllm'])
  })

  it('are none whose process had ended before', () => {
    const target = server('vllm', [1, 5], [20, 5])
    assert.deepEqual(on([target], gpusOf([{ ...one, until: 8 }], lost)), [])
  })

  it('are not known where it was lost before the watch, or is not lost, or nobody reads it', () => {
    const target = server('vllm', [1, 5], [20, 5])
    assert.deepEqual(on([target], gpusOf([one], { minute: 20, lost: 0 })), [])
    assert.deepEqual(on([target], gpusOf([one], { minute: 20 })), [])
    assert.deepEqual(on([target], undefined), [])
  })
})
