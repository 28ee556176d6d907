import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Attempt } from '../../src/reading.ts'
import { type GpuWork, gpuWorkOf } from '../../src/signals/gpu-work.ts'
import { gauge, type MadeSeries, missed, read } from '../fakes/readings.ts'
import { remembered } from '../fakes/signals.ts'

/** Utilization and power of a GPU at a reading; no power where the driver has none. */
type Card = readonly [utilization: number, watts?: number]

function pageOf(cards: readonly Card[]): readonly MadeSeries[] {
  return cards.flatMap(([utilization, watts], position) => {
    const labels = { gpu: String(position), uuid: `GPU-${position}` }
    const power = watts === undefined ? [] : [gauge('gpu_power_draw', watts, labels)]
    return [gauge('gpu_utilization', utilization, labels), ...power]
  })
}

/** Readings of the GPUs, 10 s apart from 0 on. */
function readings(...pages: readonly (readonly Card[])[]): readonly Attempt[] {
  return pages.map((cards, index) => read(10_000 * index, pageOf(cards), { target: 'gpu' }))
}

function workOf(
  attempts: readonly Attempt[],
  sinceMs: number,
  positions: readonly string[] = ['0', '1'],
): GpuWork | undefined {
  return gpuWorkOf(remembered(attempts), new Set(positions), sinceMs)
}

const atWork: Card = [0.95, 400]

describe('what a GPU does', () => {
  const rows: readonly (readonly [
    claim: string,
    now: Card,
    kind: GpuWork['kind'],
    powerShare: number | undefined,
  ])[] = [
    // At work it drew 400 W; 0.7 of that are 280 W.
    ['is work at the power that it has at work', [1, 390], 'working', 0.975],
    ['is work at 70 % of that power', [1, 280], 'working', 0.7],
    ['is spinning below 70 % of it: kernels wait for each other', [1, 279], 'spinning', 0.6975],
    ['is nothing below 10 % of utilization', [0.09, 90], 'idle', 0.225],
    ['is unclear while it is busy now and then', [0.5, 200], 'unclear', 0.5],
    ['is unclear where no power is told', [1], 'unclear', undefined],
  ]
  for (const [claim, now, kind, powerShare] of rows) {
    it(claim, () => {
      const found = workOf(readings([atWork], [atWork], [now]), 10_000)
      assert.deepEqual([found?.kind, found?.powerShare], [kind, powerShare])
    })
  }

  it('is unclear for a card that was never seen at work before', () => {
    // What it draws since is no measure of itself.
    const found = workOf(readings([[0, 60]], [[1, 150]], [[1, 150]]), 0)
    assert.deepEqual([found?.kind, found?.powerShare], ['unclear', undefined])
  })

  it('is not told by a power that the driver tells no more, nor by that of before a gap', () => {
    const gap = readings([atWork], [[0.95]], [[0.95, 300]], [[1, 150]])
    // What it drew since the gap, at 20 s, is what it is compared with.
    assert.equal(workOf(gap, 20_000)?.powerShare, 0.5)
  })

  it('is compared with the power before the standstill alone', () => {
    // If the 150 W since 20 s counted, nine of eleven, they would be the measure of themselves.
    const spins: readonly Card[] = [[1, 150]]
    const found = workOf(readings([atWork], [atWork], ...Array(9).fill(spins)), 10_000)
    assert.deepEqual([found?.kind, found?.powerShare], ['spinning', 0.375])
  })

  it('is compared with the better moments of its work: with the ninth of ten', () => {
    const rising = Array.from({ length: 10 }, (_, index): readonly Card[] => [
      [0.9, 100 * (index + 1)],
    ])
    // 900 W; moments below half of the utilization count for nothing.
    const found = workOf(readings(...rising, [[0.4, 5_000]], [[1, 450]]), 105_000)
    assert.equal(found?.powerShare, 0.5)
  })

  it('has been so for as long as it is fully utilized without a break', () => {
    const pages: readonly (readonly Card[])[] = [[[1, 400]], [[0.8, 400]], [[0.9, 400]], [[1, 400]]]
    assert.equal(workOf(readings(...pages), 10_000)?.busyForMs, 10_000)
    assert.equal(workOf(readings(...pages, [[0.2, 90]]), 10_000)?.busyForMs, 0)
  })
})

describe('what several GPUs do', () => {
  const rows: readonly (readonly [string, Card, Card, GpuWork['kind'], number])[] = [
    ['is work where any of them works', [1, 400], [0, 60], 'working', 0.5],
    [
      'is spinning where one has died and its peer waits for it',
      [0, 60],
      [1, 150],
      'spinning',
      0.5,
    ],
    ['is nothing where all do nothing', [0, 60], [0.08, 60], 'idle', 0.04],
    ['is unclear where one is busy now and then', [0, 60], [0.5, 200], 'unclear', 0.25],
  ]
  for (const [claim, one, other, kind, utilizationRatio] of rows) {
    it(claim, () => {
      const found = workOf(readings([atWork, atWork], [one, other]), 5_000)
      assert.deepEqual([found?.kind, found?.utilizationRatio], [kind, utilizationRatio])
    })
  }

  it('leaves those out that the target does not run on, and those that are gone', () => {
    const two = readings(
      [atWork, atWork],
      [
        [1, 150],
        [1, 400],
      ],
    )
    assert.equal(workOf(two, 5_000, ['0'])?.kind, 'spinning')
    assert.equal(workOf(two, 5_000, ['1'])?.kind, 'working')
    assert.equal(workOf(readings([atWork, atWork], [[1, 150]]), 5_000)?.kind, 'spinning')
  })
})

describe('nothing is said of the work of GPUs', () => {
  const two = readings([atWork], [atWork])

  it('where none is read, or none of those in question', () => {
    assert.equal(gpuWorkOf(undefined, new Set(['0']), 0), undefined)
    assert.equal(workOf([], 0), undefined)
    assert.equal(workOf(two, 0, ['7']), undefined)
  })

  it('by a reading that began before the standstill, or within 2 s of it', () => {
    // The last one ended at 10 s and took 20 ms; the driver averages over what came before.
    assert.equal(workOf(two, 7_981), undefined)
    assert.equal(workOf(two, 7_980)?.kind, 'working')
  })

  it('while the driver cannot be read', () => {
    assert.equal(workOf([...two, missed(20_000, 'timeout', { target: 'gpu' })], 0), undefined)
  })

  it('with MIG, where the driver has no utilization', () => {
    const page = [gauge('gpu_power_draw', 300)]
    assert.equal(
      workOf(
        [0, 10_000].map((atMs) => read(atMs, page, { target: 'gpu' })),
        0,
      ),
      undefined,
    )
  })
})
