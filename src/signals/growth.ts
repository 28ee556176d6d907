import type { GaugeHistory } from '../window/history.ts'
import { type Course, lastStep, levels, meanDistance, slice, theilSen } from '../window/trend.ts'

/** How a series has grown since its last step, and whether it goes on growing for certain. */
export interface Growth {
  /** In units of the series a second, with the interval of 95 %. */
  readonly slope: number
  readonly low: number
  readonly high: number
  /** The stretch of time that it was taken from. */
  readonly sinceMs: number
  readonly coveredMs: number
  /** How far its level at the end lies above any that it held before or at the beginning. */
  readonly grown: number
  /**
   * - `growing`: for certain, and still
   * - `steady`: the interval holds 0, or lies below
   * - `small`: it grew by less than counts, or by little beside its swings
   * - `uneven`: one or two leaps were most of it, or it is levelling off
   */
  readonly course: 'growing' | 'steady' | 'small' | 'uneven'
}

/** What counts as growth of a series. */
export interface GrowthTest {
  /** From when on its values speak: what a start or warm-up needs is behind it then. */
  readonly fromMs: number
  /** Growth by less than this is none. */
  readonly least: number
}

/** After a step, whatever made it has so long to settle before values speak of a trend. */
export const settleMs = 600_000

/** A trend needs so much time, and so many values: what settles in a quarter of an hour looks like one before. */
const shortestMs = 1_800_000
const fewestValues = 8
/** So many values of a stretch, evenly spread, are enough for its slope. */
const mostValues = 32

/** Each of the equal parts of a stretch has a level; growth is judged by the rises between them. */
const parts = 5

/**
 * Returns how a series grows, from its last step on; `undefined` before there is half an hour of values to
 * tell it by.
 *
 * Growth that is certain is looked for in the whole time since that step, then in its last half, quarter and
 * so on, since it may have begun at any time; the longest stretch that shows it is the one described. It
 * takes an interval above 0, enough growth, and growth all along.
 */
export function growthOf(history: GaugeHistory, test: GrowthTest): Growth | undefined {
  const settled = since(history, test.fromMs)
  const cut = lastStep(settled, test.least / 4)
  const fromMs = cut === 0 ? test.fromMs : (settled.times[cut] ?? 0) + settleMs
  const firstMs = since(history, fromMs).times[0] ?? Number.POSITIVE_INFINITY
  let whole: Growth | undefined
  for (let spanMs = history.lastMs - firstMs; spanMs >= shortestMs; spanMs /= 2) {
    const sinceMs = history.lastMs - spanMs
    const stretch = evenly(since(history, sinceMs), spanMs / mostValues)
    if (stretch.times.length < fewestValues) break
    const found = judge(stretch, highest(settled, sinceMs), test.least)
    if (found?.course === 'growing') return found
    whole ??= found
  }
  return whole
}

function judge(stretch: Course, before: number, least: number): Growth | undefined {
  const found = theilSen(stretch)
  const held = levels(stretch, parts)
  const [first] = held
  const last = held.at(-1)
  if (found === undefined || first === undefined || last === undefined) return undefined
  const sinceMs = stretch.times[0] ?? 0
  const grown = last - Math.max(first, before)
  const swing = meanDistance(stretch, found.slope)
  return {
    slope: 1_000 * found.slope,
    low: 1_000 * found.low,
    high: 1_000 * found.high,
    sinceMs,
    coveredMs: (stretch.times.at(-1) ?? 0) - sinceMs,
    grown,
    course:
      found.low <= 0
        ? 'steady'
        : grown < Math.max(least, 4 * swing)
          ? 'small'
          : growsThroughout(held)
            ? 'growing'
            : 'uneven',
  }
}

/**
 * Whether a rise is spread over its time and goes on: all but one of the parts, the last among the others,
 * had half of an even share at least. One leap, two leaps and what settles do not.
 */
function growsThroughout(held: readonly (number | undefined)[]): boolean {
  const rises: number[] = []
  for (const [index, level] of held.entries()) {
    const before = held[index - 1]
    if (index > 0) rises.push(level === undefined || before === undefined ? 0 : level - before)
  }
  const total = (held.at(-1) ?? 0) - (held[0] ?? 0)
  const enough = total / rises.length / 2
  const shared = rises.filter((rise) => rise >= enough).length
  const goesOn = (rises.at(-1) ?? 0) >= enough
  return goesOn && shared >= rises.length - 1
}

function since({ times, values }: Course, fromMs: number): Course {
  const from = times.findIndex((time) => time >= fromMs)
  return from < 0 ? { times: [], values: [] } : slice({ times, values }, from)
}

/** The newest value of each `everyMs`, so that no part of a stretch has more weight than another. */
function evenly({ times, values }: Course, everyMs: number): Course {
  const lastMs = times.at(-1) ?? 0
  const kept = times.flatMap((time, index) => {
    const next = times[index + 1]
    const slot = (of: number) => Math.floor((lastMs - of) / everyMs)
    return next === undefined || slot(next) !== slot(time) ? [index] : []
  })
  return {
    times: kept.map((index) => times[index] ?? 0),
    values: kept.map((index) => values[index] ?? 0),
  }
}

/** The level that a series reached before `untilMs`: what nine in ten of its values were below. */
function highest({ times, values }: Course, untilMs: number): number {
  const before = values.filter((_, index) => (times[index] ?? 0) < untilMs)
  const sorted = Float64Array.from(before).sort()
  return sorted[Math.ceil(0.9 * sorted.length) - 1] ?? Number.NEGATIVE_INFINITY
}
