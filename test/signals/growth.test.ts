import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Random } from '../../src/demo/random.ts'
import { type Growth, growthOf } from '../../src/signals/growth.ts'
import { Histories } from '../../src/window/history.ts'

const mib = 2 ** 20
const minuteMs = 60_000
const hours = 60

/** The memory of a process in MiB at each minute of its life. */
type Memory = (minute: number, random: Random) => number

interface Run {
  readonly memory: Memory
  readonly minutes: number
  readonly seed?: number
  readonly leastMib?: number
  readonly everySeconds?: number
  /** The first minute that is judged. */
  readonly judgedFrom?: number
}

/** Judged so often. */
const everyMinutes = 3

/** What is found in a process's life, read each 10 s, judged from its 10th minute on. */
function follow(
  run: Run,
): readonly { readonly minute: number; readonly growth: Growth | undefined }[] {
  const { memory, minutes, seed = 1, leastMib = 256, everySeconds = 10, judgedFrom = 0 } = run
  const random = new Random(seed)
  const histories = new Histories()
  const series = { key: 'p', instrument: 'gpu_process_memory_used', labels: {} } as const
  histories.list([series], { atMs: 0, fromStart: false })
  const found: { minute: number; growth: Growth | undefined }[] = []
  for (let atMs = 0; atMs <= minutes * minuteMs; atMs += 1000 * everySeconds) {
    const minute = atMs / minuteMs
    histories.push('p', Math.round(memory(minute, random) * mib), atMs)
    const history = histories.find('p')
    if (history === undefined || minute % everyMinutes !== 0 || minute < judgedFrom) continue
    const growth = growthOf(history, { fromMs: 10 * minuteMs, least: leastMib * mib })
    found.push({ minute, growth })
  }
  return found
}

/** The first minute at which growth has been certain for a quarter of an hour. */
function alarm(run: Run): number | undefined {
  let since: number | undefined
  for (const { minute, growth } of follow(run)) {
    if (growth?.course !== 'growing') since = undefined
    else since ??= minute
    if (since !== undefined && minute - since >= 15) return minute
  }
  return undefined
}

/** A walk in steps of up to `step` that stays within `bound` of nothing. */
function wander(bound: number, step: number): Memory {
  let level = 0
  return (_, random) => {
    level = Math.max(-bound, Math.min(bound, level + random.between(-step, step)))
    return level
  }
}

/** 70 GiB from the third minute on. */
const plateau: Memory = (minute) => Math.min(70_000, (70_000 * minute) / 3)
const and =
  (...parts: readonly Memory[]): Memory =>
  (minute, random) =>
    parts.reduce((sum, part) => sum + part(minute, random), 0)
const step =
  (at: number, height: number): Memory =>
  (minute) =>
    minute >= at ? height : 0
const leak =
  (perHour: number, from = 0): Memory =>
  (minute) =>
    (perHour * Math.max(0, minute - from)) / 60
const stairs =
  (height: number, everyMinutes: number): Memory =>
  (minute) =>
    height * Math.floor(minute / everyMinutes)
const seeds = [1, 2, 17]
/** For what draws nothing. */
const none = new Random(0)

describe('growth is not certain for a quarter of an hour', () => {
  const rows: readonly (readonly [string, () => Memory])[] = [
    ['for a plateau', () => plateau],
    ['for a wandering within 40 MiB', () => and(plateau, wander(40, 15))],
    ['for a wandering within 100 MiB', () => and(plateau, wander(100, 8))],
    ['for a wandering within 600 MiB in strides', () => and(plateau, wander(600, 200))],
    ['for noise of 300 MiB', () => and(plateau, (_, random) => random.between(-300, 300))],
    ['for a capture of 1.5 GiB of graphs after 12 minutes', () => and(plateau, step(12, 1500))],
    ['for one step of 300 MiB', () => and(plateau, step(100, 300), wander(40, 15))],
    ['for one step of 3 GiB', () => and(plateau, step(100, 3000), wander(40, 15))],
    ['for two steps far apart', () => and(plateau, step(60, 300), step(150, 300), wander(40, 15))],
    [
      'for a sleep and the waking after it',
      () => (minute, random) =>
        minute > 60 && minute < 100
          ? 1500
          : minute >= 100 && minute < 104
            ? 70_000 - 17_000 * (104 - minute)
            : 70_000 + random.between(-40, 40),
    ],
    [
      'for what grows by 600 MiB and settles within an hour',
      () => (minute) => plateau(minute, none) + 600 * (1 - Math.exp(-Math.max(0, minute - 5) / 12)),
    ],
    [
      'for a saw of 300 MiB that is back at its level each half hour',
      () => (minute) => plateau(minute, none) + 10 * (minute % 30),
    ],
    [
      'for a saw of 400 MiB that is back at its level each two hours, from the second tooth on',
      () => (minute) => plateau(minute, none) + (minute < 120 ? 400 : (400 * (minute % 120)) / 120),
    ],
    ['for memory that is given back', () => (minute) => plateau(minute, none) - minute],
    ['for a leak of 30 MiB an hour within four hours', () => and(plateau, leak(30))],
  ]
  for (const [name, make] of rows) {
    it(name, () => {
      for (const seed of seeds) {
        assert.equal(alarm({ memory: make(), minutes: 5 * hours, seed }), undefined, `seed ${seed}`)
      }
    })
  }
})

describe('growth is certain for a quarter of an hour', () => {
  // 256 MiB at 300 MiB an hour take 52 minutes, 64 as medians of fifths; the warm-up before takes 10 minutes.
  const rows: readonly (readonly [string, () => Memory, number, number])[] = [
    ['for a leak of 300 MiB an hour', () => and(plateau, leak(300)), 89, 95],
    ['for it in noise', () => and(plateau, leak(300), (_, r) => r.between(-40, 40)), 80, 120],
    ['for it while it wanders', () => and(plateau, leak(300), wander(40, 15)), 75, 200],
    ['for stairs of 50 MiB', () => and(plateau, stairs(50, 10), wander(20, 5)), 80, 180],
    ['for stairs of 400 MiB', () => and(plateau, stairs(400, 40)), 120, 5 * hours],
    ['for a leak after a step', () => and(plateau, step(60, 1500), leak(300, 60)), 148, 155],
    ['for a leak after two hours at rest', () => and(plateau, leak(300, 120)), 190, 250],
  ]
  for (const [name, make, from, to] of rows) {
    it(name, () => {
      for (const seed of seeds) {
        const at = alarm({ memory: make(), minutes: 6 * hours, seed })
        assert.ok(at !== undefined && at >= from && at <= to, `minute ${at}, seed ${seed}`)
      }
    })
  }

  it('within two hours and a half for a leak of 300 MiB an hour that begins after a week', () => {
    const week = 7 * 24 * hours
    const memory = and(plateau, leak(300, week), wander(40, 15))
    const run = { memory, minutes: week + 4 * hours, everySeconds: 60, judgedFrom: week }
    const at = alarm(run)
    assert.ok(at !== undefined && at >= week + 60 && at <= week + 150, `minute ${at}`)
  })

  it('and stays so while it lasts, with the truth inside the interval', () => {
    const found = follow({ memory: and(plateau, leak(300), wander(20, 5)), minutes: 12 * hours })
    const first = found.findIndex(({ growth }) => growth?.course === 'growing')
    const certain = found.filter(({ growth }) => growth?.course === 'growing').length
    assert.ok(certain >= 0.97 * (found.length - first), `${certain} of ${found.length - first}`)
    const { growth } = found.at(-1) ?? {}
    assert.ok(growth !== undefined)
    // 300 MiB in 3600 s.
    const truth = (300 / 3600) * mib
    assert.ok(Math.abs(growth.slope - truth) < 0.03 * truth, `${growth.slope} for ${truth}`)
    assert.ok(growth.low > 0 && growth.low <= growth.slope && growth.slope <= growth.high)
    assert.equal(growth.sinceMs + growth.coveredMs, 12 * hours * minuteMs)
    // In 11 h 50 min it grew by 3550 MiB; between the medians of the first and the last fifth by four fifths.
    assert.ok(Math.abs(growth.grown - 2840 * mib) < 150 * mib, `${growth.grown / mib}`)
  })
})

describe('growth', () => {
  const since = (memory: Memory, minutes: number) =>
    follow({ memory, minutes }).map(({ minute, growth }) => [
      minute,
      (growth?.sinceMs ?? 0) / minuteMs,
    ])

  it('is not told before half an hour after the warm-up', () => {
    const told = since(plateau, 60).filter(([, from]) => from !== 0)
    assert.equal(told[0]?.[0], 42)
    for (const [, from = 0] of told) assert.ok(from >= 10 && from < 12, `${from}`)
  })

  it('is told anew forty minutes after a step', () => {
    const told = since(and(plateau, step(60, 3000)), 120)
    const before = told.filter(([minute = 0]) => minute >= 42 && minute < 60)
    const after = told.filter(([minute = 0]) => minute > 60)
    assert.ok(before.every(([, from = 0]) => from > 0 && from < 12))
    const anew = after.filter(([, from]) => from !== 0)
    assert.equal(anew[0]?.[0], 102)
    for (const [, from = 0] of anew) assert.ok(from >= 70 && from < 73, `${from}`)
  })

  it('is steady, small or uneven where it is not certain', () => {
    const course = (memory: Memory, minutes: number) =>
      follow({ memory, minutes }).at(-1)?.growth?.course
    assert.equal(course(plateau, 60), 'steady')
    assert.equal(course(and(plateau, leak(100)), 99), 'small')
    const settling: Memory = (minute) => plateau(minute, none) + 3000 * (1 - Math.exp(-minute / 30))
    assert.equal(course(settling, 201), 'uneven')
    // From the tenth minute on, the medians of fifths are 0, 300, 600, 900 and 900 MiB: the rise is over.
    assert.equal(course(and(plateau, step(35, 300), step(60, 300), step(85, 300)), 135), 'uneven')
    // Noise has a slope, and 0 in its interval.
    const noise: Memory = (minute, random) => plateau(minute, random) + random.between(-300, 300)
    const { growth } = follow({ memory: noise, minutes: 99, seed: 4 }).at(-1) ?? {}
    assert.ok(growth !== undefined && growth.slope > 0 && growth.low < 0)
    assert.equal(growth.course, 'steady')
  })

  it('of a card of 80 GiB counts from a hundredth of it on', () => {
    const at = alarm({ memory: and(plateau, leak(300)), minutes: 5 * hours, leastMib: 819 })
    // 819 MiB take 164 minutes, 205 as medians of fifths.
    assert.ok(at !== undefined && at >= 10 + 205 + 15 && at <= 240, `minute ${at}`)
  })
})
