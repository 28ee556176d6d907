import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Attempt, Labels } from '../../src/reading.ts'
import { cardGrowths } from '../../src/signals/gpu-growth.ts'
import { gpuMemory, plannedShare } from '../../src/signals/gpu-memory.ts'
import type { TargetWindows } from '../../src/window/target-windows.ts'
import { gauge, type MadeSeries, missed, read } from '../fakes/readings.ts'
import { remembered, written } from '../fakes/signals.ts'

const gib = 2 ** 30
const first = { gpu: '0', uuid: 'GPU-a' }
const second = { gpu: '1', uuid: 'GPU-b' }
const firstLabels = 'gpu="0",uuid="GPU-a"'
const secondLabels = 'gpu="1",uuid="GPU-b"'

function gpuRead(...all: readonly MadeSeries[]): Attempt {
  return read(0, all, { target: 'gpu' })
}

describe('the planned memory', () => {
  const cards = [
    gauge('gpu_memory_total', 80 * gib, first),
    gauge('gpu_memory_total', 40 * gib, second),
  ]
  const planning = (share: number, name = 'vllm') =>
    remembered([read(0, [gauge('planned_gpu_memory_ratio', share)], { target: name })])
  const process = (labels: Labels, name: string) =>
    gauge('gpu_process_memory_used', gib, { ...labels, pid: '1', process: name })
  const of = (gpu: TargetWindows | undefined, targets: readonly TargetWindows[]) =>
    written(gpuMemory(gpu, targets, 0))

  it('is the share that the running vLLM was told, of each card', () => {
    assert.deepEqual(of(remembered([gpuRead(...cards)]), [planning(0.5)]), {
      [`gpu_memory_planned_bytes{${firstLabels}}`]: 40 * gib,
      [`gpu_memory_planned_bytes{${secondLabels}}`]: 20 * gib,
    })
  })

  it('speaks only of cards that run a process of vLLM, where processes are listed', () => {
    for (const name of ['VLLM::EngineCore', 'python3', 'vllm']) {
      const gpu = remembered([gpuRead(...cards, process(first, 'Xorg'), process(second, name))])
      assert.deepEqual(of(gpu, [planning(0.5)]), {
        [`gpu_memory_planned_bytes{${secondLabels}}`]: 20 * gib,
      })
    }
  })

  it('is absent where targets planned different shares, or may share a card', () => {
    const gpu = remembered([gpuRead(...cards)])
    assert.deepEqual(of(gpu, [planning(0.75, 'a'), planning(0.5, 'b')]), {})
    assert.deepEqual(of(gpu, [planning(0.5, 'a'), planning(0.5, 'b')]), {})
    // No card has room for two of these, so each is on cards of its own.
    assert.equal(Object.keys(of(gpu, [planning(0.75, 'a'), planning(0.75, 'b')])).length, 2)
  })

  it('of several targets together is at most the largest sum that a card has room for', () => {
    const together = (...shares: readonly number[]) =>
      plannedShare(shares.map((share, index) => planning(share, `t${index}`)))
    assert.equal(together(), undefined)
    assert.deepEqual(together(0.92), { share: 0.92, exact: true })
    assert.deepEqual(together(0.92, 0.92), { share: 0.92, exact: true })
    assert.deepEqual(together(0.45, 0.45), { share: 0.9, exact: false })
    // 0.6 + 0.3 = 0.9 and 0.6 + 0.25 = 0.85; all three are 1.15, too much.
    assert.deepEqual(together(0.6, 0.3, 0.25), { share: 0.9, exact: false })
  })

  it('is absent without a plan, without GPUs, and once vLLM cannot be read', () => {
    const gpu = remembered([gpuRead(...cards)])
    assert.deepEqual(of(gpu, []), {})
    assert.deepEqual(of(undefined, [planning(0.5)]), {})
    const gone = remembered([
      read(0, [gauge('planned_gpu_memory_ratio', 0.5)]),
      missed(5_000, 'refused'),
    ])
    assert.deepEqual(of(gpu, [gone]), {})
  })

  it('is not known of a target whose KV cache was given a size, which puts its share out of force', () => {
    const gpu = remembered([gpuRead(...cards)])
    const sized = (bytes: number) =>
      remembered([
        read(0, [gauge('planned_gpu_memory_ratio', 0.5), gauge('planned_kv_cache_memory', bytes)]),
      ])
    assert.equal(plannedShare([sized(8 * gib)]), undefined)
    assert.equal(plannedShare([planning(0.5, 'other'), sized(8 * gib)]), undefined)
    assert.deepEqual(of(gpu, [sized(8 * gib)]), {})
    // vLLM takes 0 for none.
    assert.deepEqual(plannedShare([sized(0)]), { share: 0.5, exact: true })
  })
})

describe('the growth of memory', () => {
  const minuteMs = 60_000
  const minutes = (to: number) => Array.from({ length: to + 1 }, (_, minute) => minute)
  const engine = (to: number) =>
    remembered(minutes(to).map((minute) => read(minute * minuteMs, [gauge('requests_running', 0)])))
  /** A card of 80 GiB of which the driver keeps 1, and two processes of which one may grow. */
  const cardAt = (grown: number) => [
    gauge('gpu_memory_total', 80 * gib),
    gauge('gpu_memory_reserved', gib),
    gauge('gpu_memory_used', 75 * gib + grown),
    gauge('gpu_process_memory_used', 70 * gib + grown, { pid: '10', process: 'python3' }),
    gauge('gpu_process_memory_used', 4 * gib, { pid: '11', process: 'python3' }),
  ]
  const cards = (to: number, grownAt: (minute: number) => number) =>
    remembered(
      minutes(to).map((minute) =>
        read(minute * minuteMs, cardAt(grownAt(minute)), { target: 'gpu' }),
      ),
    )
  const of = (gpu: TargetWindows, to: number) =>
    written(gpuMemory(gpu, [engine(to)], to * minuteMs))
  const growth = (pid: string) =>
    `gpu_memory_growth_bytes_per_second{gpu="0",pid="${pid}",process="python3",uuid="GPU-a"}`
  const toFull = `gpu_memory_seconds_to_full{${firstLabels}}`

  it('is told by process, and when the card is full once it is certain', () => {
    // 60 MiB a minute are 1 MiB a second; in three hours they are 10.5 GiB, more than a hundredth of the card.
    const found = of(
      cards(60, (minute) => minute * 60 * 2 ** 20),
      60,
    )
    assert.deepEqual(Object.keys(found).sort(), [growth('10'), growth('11'), toFull])
    assert.equal(found[growth('10')], 2 ** 20)
    assert.equal(found[growth('11')], 0)
    // 79 − 75 − 3.515625 GiB are free: 496 MiB, 496 s.
    assert.equal(found[toFull], 496)
  })

  it('does not say when a card is full that does not fill for certain', () => {
    const found = of(
      cards(60, () => 0),
      60,
    )
    assert.deepEqual(found, { [growth('10')]: 0, [growth('11')]: 0 })
  })

  it('says 0 of a card that is full', () => {
    assert.equal(
      of(
        cards(80, (minute) => minute * 60 * 2 ** 20),
        80,
      )[toFull],
      0,
    )
  })

  it('is not told before 40 minutes, nor while the GPUs cannot be read', () => {
    assert.deepEqual(
      of(
        cards(39, () => 0),
        39,
      ),
      {},
    )
    const gone = cards(60, () => 0)
    gone.record(missed(60 * minuteMs + 1, 'timeout', { target: 'gpu' }))
    assert.deepEqual(of(gone, 60), {})
  })

  it('is that of the card where no process is listed', () => {
    const bare = remembered(
      minutes(60).map((minute) =>
        read(minute * minuteMs, cardAt(minute * 60 * 2 ** 20).slice(0, 3), { target: 'gpu' }),
      ),
    )
    const whole = `gpu_memory_growth_bytes_per_second{gpu="0",pid="",process="",uuid="GPU-a"}`
    assert.deepEqual(of(bare, 60), { [whole]: 2 ** 20, [toFull]: 496 })
  })

  it('is worked out once for each reading', () => {
    const gpu = cards(60, () => 0)
    const target = engine(60)
    const growths = () => cardGrowths(gpu, [target], 60 * minuteMs)[0]?.all.map((one) => one.growth)
    const [first, again] = [growths(), growths()]
    assert.ok(first !== undefined && first.length === 2 && first[0] === again?.[0])
    gpu.record(read(61 * minuteMs, cardAt(0), { target: 'gpu' }))
    assert.notEqual(growths()?.[0], first[0])
  })
})
