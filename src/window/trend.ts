/** Values in the order of their times, in whatever units. */
export interface Course {
  readonly times: readonly number[]
  readonly values: readonly number[]
}

/** A slope, and the interval in which the true one lies with a confidence of about 95 %. */
export interface Slope {
  readonly slope: number
  readonly low: number
  readonly high: number
}

/** The quantile of the normal distribution that makes a two-sided interval of 95 %. */
const z95 = 1.96

/**
 * Estimates how fast values rise: the median of the slopes of all pairs (Theil, Sen), which a quarter of
 * wild values cannot move far, with Sen's interval from Kendall's variance, ties counted. The interval is
 * right for errors that are independent of each other; for those that wander it is too narrow.
 *
 * - fewer than two different times: `undefined`
 * - so few values that the interval would reach beyond the pairs: it ends at the extreme slopes
 *
 * The work grows with the square of the number of values: 96 of them are 4560 pairs.
 */
export function theilSen(course: Course): Slope | undefined {
  const slopes = pairSlopes(course)
  const last = slopes.length - 1
  if (last < 0) return undefined
  const reach = z95 * Math.sqrt(kendallVariance(course.values))
  const low = Math.floor((slopes.length - reach) / 2) - 1
  const high = Math.ceil((slopes.length + reach) / 2)
  return {
    slope: middle(slopes),
    low: slopes[Math.max(low, 0)] ?? Number.NaN,
    high: slopes[Math.min(high, last)] ?? Number.NaN,
  }
}

/**
 * Returns where the last stretch without a step begins: 0 when nothing is to be cut off.
 *
 * A step of at least `minStep` is where two lines, one on either side, leave at most half of the distance to
 * the values that one line leaves. So one step is cut off, a steady rise is not, and neither is a staircase of
 * some steps, which is a rise as well. Three values on either side are needed to tell a step from a wild value.
 */
export function lastStep(course: Course, minStep: number): number {
  let start = 0
  for (;;) {
    const rest = slice(course, start)
    const at = sharpestChange(rest.values, minStep)
    if (at === undefined) return start
    const [before, after] = [slice(rest, 0, at), slice(rest, at)]
    const [left, right] = [lineThrough(before), lineThrough(after)]
    const between = ((rest.times[at - 1] ?? 0) + (rest.times[at] ?? 0)) / 2
    const step = Math.abs(valueAt(right, between) - valueAt(left, between))
    const apart = distance(before, left) + distance(after, right)
    if (step < minStep || apart > distance(rest, lineThrough(rest)) / 2) return start
    start += at
  }
}

/**
 * Returns the median of the values in each of `count` equally long parts of the time covered; nothing for
 * a part with fewer than two values.
 */
export function levels({ times, values }: Course, count: number): readonly (number | undefined)[] {
  const first = times[0] ?? 0
  const width = ((times.at(-1) ?? 0) - first) / count
  const parts = Array.from({ length: count }, (): number[] => [])
  for (const [index, time] of times.entries()) {
    const part = width > 0 ? Math.min(Math.floor((time - first) / width), count - 1) : 0
    parts[part]?.push(values[index] ?? Number.NaN)
  }
  return parts.map((part) => (part.length < 2 ? undefined : median(part)))
}

/** The mean distance of the values from the line of slope `slope` that halves them. */
export function meanDistance(course: Course, slope: number): number {
  return distance(course, { slope, intercept: interceptOf(course, slope) }) / course.times.length
}

/** The part of a course from one index on, up to and without another. */
export function slice({ times, values }: Course, from: number, to?: number): Course {
  return { times: times.slice(from, to), values: values.slice(from, to) }
}

/** The middle value; of an even number of values the mean of the two in the middle, of none `NaN`. */
export function median(values: readonly number[]): number {
  return middle(Float64Array.from(values).sort())
}

interface Line {
  readonly slope: number
  readonly intercept: number
}

function pairSlopes({ times, values }: Course): Float64Array {
  const slopes = new Float64Array((times.length * (times.length - 1)) / 2)
  let count = 0
  for (let i = 0; i < times.length; i += 1) {
    const time = times[i] ?? 0
    const value = values[i] ?? 0
    for (let j = i + 1; j < times.length; j += 1) {
      const run = (times[j] ?? 0) - time
      if (run === 0) continue
      slopes[count] = ((values[j] ?? 0) - value) / run
      count += 1
    }
  }
  return slopes.subarray(0, count).sort()
}

/** The variance of Kendall's S for values without a trend, smaller by what ties take away. */
function kendallVariance(values: readonly number[]): number {
  const term = (n: number) => n * (n - 1) * (2 * n + 5)
  let sum = term(values.length)
  const sorted = Float64Array.from(values).sort()
  for (let from = 0; from < sorted.length; ) {
    let to = from + 1
    while (to < sorted.length && sorted[to] === sorted[from]) to += 1
    sum -= term(to - from)
    from = to
  }
  return sum / 18
}

/** Where the medians of three values before and after differ most; nothing where that is less than `least`. */
function sharpestChange(values: readonly number[], least: number): number | undefined {
  let sharpest: number | undefined
  let most = least
  for (let at = 3; at + 3 <= values.length; at += 1) {
    const change = Math.abs(median(values.slice(at, at + 3)) - median(values.slice(at - 3, at)))
    if (change < most || (sharpest !== undefined && change === most)) continue
    sharpest = at
    most = change
  }
  if (sharpest === undefined) return undefined
  // A median of three sees a step one value too early or too late: the largest leap there is it.
  let at = sharpest
  for (const near of [sharpest - 1, sharpest + 1])
    if (leap(values, near) > leap(values, at)) at = near
  return at >= 3 && at + 3 <= values.length ? at : undefined
}

function leap(values: readonly number[], at: number): number {
  return Math.abs((values[at] ?? Number.NaN) - (values[at - 1] ?? Number.NaN))
}

function lineThrough(course: Course): Line {
  const slopes = pairSlopes(course)
  const slope = slopes.length === 0 ? 0 : middle(slopes)
  return { slope, intercept: interceptOf(course, slope) }
}

function interceptOf({ times, values }: Course, slope: number): number {
  return median(values.map((value, index) => value - slope * (times[index] ?? 0)))
}

function valueAt({ slope, intercept }: Line, time: number): number {
  return intercept + slope * time
}

/** How far the values lie from a line, added up. */
function distance({ times, values }: Course, line: Line): number {
  let sum = 0
  for (const [index, value] of values.entries()) {
    sum += Math.abs(value - valueAt(line, times[index] ?? 0))
  }
  return sum
}

function middle(sorted: Float64Array): number {
  const half = sorted.length >> 1
  const upper = sorted[half] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? Number.NaN) + upper) / 2
}
