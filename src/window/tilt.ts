import type { Spread } from './spread.ts'

/**
 * How little the cubic is trusted on the mean of the first bucket, which is wide on the scale of the
 * logarithm and may hide a spike near zero, and of a bucket beside an empty one, where the values may
 * begin or end anywhere. The variance of such a mean is this share of the bucket's width squared, beside
 * that of drawing its observations. Measured with the accuracy benchmark.
 */
const FIRST_DOUBT = 1
const MARGIN_DOUBT = 0.03
/** The strongest tilt, in units of one over a bucket's width: all of the bucket lies in one cell. */
const STRONGEST_TILT = 1e5
const MOST_STEPS = 60
/** The mean is met to this share of itself. */
const TOLERANCE = 1e-10

/** A bucket that holds something, and how readily it gives way. */
interface Part {
  readonly first: number
  readonly end: number
  readonly count: number
  readonly width: number
  readonly evenCells: boolean
  readonly pliancy: number
}

/** The sum of the observations, and how fast it grows with the tilt. */
interface Balance {
  sum: number
  growth: number
}

/**
 * Shifts observations inside their buckets until their mean is `mean`, and returns the new spread.
 *
 * Each cell's mass is multiplied by exp(λ·p·(x − lower end)) and normalised within its bucket: of all
 * spreads with these counts and this mean, the nearest to the given one by relative entropy. There is one
 * λ; `p` is 1 plus the bucket's doubt (above), so that a discrepancy goes where the cubic knows least.
 *
 * - observations in the last bucket may lie anywhere above its edge and take the discrepancy first
 * - a mean at the very edge of what the buckets allow is met as nearly as the cells can
 * - `mean` must be one that the buckets allow (`mean` in histogram.ts)
 */
export function tiltToMean(spread: Spread, mean: number): Spread {
  const { grid, counts, masses } = spread
  const last = counts.length - 1
  const { parts, held, base } = partsOf(spread)
  const unbounded = counts[last] ?? 0
  let target = mean * (held + unbounded)
  if (unbounded > 0) {
    target -= unbounded * (grid.edges[grid.firstCell[last] ?? 0] ?? 0)
    if (target >= base.sum) return spread
  }
  const tolerance = Math.abs(target) * TOLERANCE
  const sign = target > base.sum ? 1 : -1
  if (!(Math.abs(target - base.sum) > tolerance) || !(base.growth > 0)) return spread

  const tilted = masses.slice()
  let strongest = 0
  for (const part of parts) {
    strongest = Math.max(strongest, STRONGEST_TILT / (part.width * part.pliancy))
  }
  let low = 0
  let high = strongest
  let lambda = Math.min((sign * (target - base.sum)) / base.growth, high)
  for (let step = 0; step < MOST_STEPS; step++) {
    const balance: Balance = { sum: 0, growth: 0 }
    for (const part of parts) lean(spread, part, sign * lambda, tilted, balance)
    const missing = sign * (target - balance.sum)
    if (Math.abs(missing) <= tolerance) break
    if (missing > 0) low = lambda
    else high = lambda
    if (low >= strongest) break
    // Newton's step, unless it leaves what is known to hold λ; then the middle on the scale of sizes.
    const next = lambda + missing / balance.growth
    if (next > low && next < high) lambda = next
    else if (next >= high && high === strongest) lambda = Math.min(lambda * 64, strongest)
    else lambda = low > 0 ? Math.sqrt(low * high) : high / 8
  }
  for (const { first, end, count } of parts) normalise(tilted, first, end, count)
  return { grid, counts, masses: tilted }
}

/** The finite buckets that hold something, how many observations they hold, and their balance as given. */
function partsOf(spread: Spread): { parts: readonly Part[]; held: number; base: Balance } {
  const { grid, counts } = spread
  const parts: Part[] = []
  const base: Balance = { sum: 0, growth: 0 }
  let held = 0
  for (let bucket = 0; bucket < counts.length - 1; bucket++) {
    const count = counts[bucket] ?? 0
    if (count === 0) continue
    held += count
    const first = grid.firstCell[bucket] ?? 0
    const end = grid.firstCell[bucket + 1] ?? 0
    const lower = grid.edges[first] ?? 0
    const width = (grid.edges[end] ?? 0) - lower
    const isMargin =
      (bucket > 0 && counts[bucket - 1] === 0) ||
      (bucket + 2 < counts.length && counts[bucket + 1] === 0)
    const doubt = bucket === 0 ? FIRST_DOUBT : isMargin ? MARGIN_DOUBT : 0
    let sum = 0
    let squares = 0
    for (let cell = first; cell < end; cell++) {
      const mass = spread.masses[cell] ?? 0
      const x = (grid.middles[cell] ?? 0) - lower
      sum += mass * x
      squares += mass * x * x
    }
    const variance = squares / count - (sum / count) ** 2
    const pliancy = 1 + (doubt * count * width * width) / variance
    parts.push({ first, end, count, width, evenCells: bucket > 0, pliancy })
    base.sum += sum + count * lower
    base.growth += count * pliancy * variance
  }
  return { parts, held, base }
}

/**
 * Writes the cells of one bucket, tilted but not yet normalised, and adds to `balance` what they hold once
 * they are.
 */
function lean(
  spread: Spread,
  part: Part,
  lambda: number,
  tilted: Float64Array,
  balance: Balance,
): void {
  const { masses } = spread
  const { middles } = spread.grid
  const { first, end, count, evenCells, pliancy } = part
  const slope = lambda * pliancy
  // Counted from the end where the mass gathers, so that no power exceeds 1 and the first one is 1.
  const stride = slope > 0 ? -1 : 1
  const start = slope > 0 ? end - 1 : first
  const origin = middles[start] ?? 0
  const ratio = evenCells ? Math.exp((-Math.abs(slope) * part.width) / (end - first)) : 0
  let power = 1
  let mass = 0
  let sum = 0
  let squares = 0
  for (let i = 0, cell = start; i < end - first; i++, cell += stride) {
    const x = (middles[cell] ?? 0) - origin
    if (!evenCells) power = Math.exp(slope * x)
    const here = (masses[cell] ?? 0) * power
    tilted[cell] = here
    mass += here
    sum += here * x
    squares += here * x * x
    power *= ratio
  }
  const mean = sum / mass
  balance.sum += count * (origin + mean)
  balance.growth += count * pliancy * Math.max(squares / mass - mean * mean, 0)
}

function normalise(masses: Float64Array, first: number, end: number, count: number): void {
  let total = 0
  for (let cell = first; cell < end; cell++) total += masses[cell] ?? 0
  const scale = count / total
  for (let cell = first; cell < end; cell++) masses[cell] = (masses[cell] ?? 0) * scale
}
