/**
 * What one histogram gained over a span. `counts[i]` is the number of observations in bucket i:
 * `bounds.length` finite buckets, then the +Inf bucket. Not cumulative.
 */
export interface HistogramDelta {
  /** Finite upper edges, strictly ascending, in the histogram's unit. An edge belongs to its bucket. */
  readonly bounds: readonly number[]
  /** `bounds.length + 1` whole numbers, none negative. */
  readonly counts: ArrayLike<number>
  readonly count: number
  readonly sum: number
}

/** How many observations exceeded `edge`, of how many. */
export interface OverThreshold {
  /** `over / count`, from 0 to 1. */
  readonly ratio: number
  readonly over: number
  readonly count: number
  /** Whether the threshold asked for is itself an edge. */
  readonly exact: boolean
  /** The edge that was compared with: the threshold, or the nearest edge below it. */
  readonly edge: number
}

/** Returns the number of observations in the buckets, which is what ranks are taken of. */
export function observations(delta: HistogramDelta): number {
  const { counts } = delta
  let total = 0
  for (let bucket = 0; bucket < counts.length; bucket++) total += counts[bucket] ?? 0
  return total
}

/**
 * Returns ⌈q·n⌉ as a person would work it out, from 1 to `n`: the rank of the observation that is the
 * q-quantile of `n` observations.
 *
 * - `q` outside [0, 1] or not a number: throws `RangeError`
 */
export function rankOf(q: number, n: number): number {
  if (!(q >= 0 && q <= 1)) throw new RangeError(`expected a quantile from 0 to 1, found ${q}`)
  // 0.07 × 100 is 7.000000000000001 in doubles. The rounding of q and of the product is taken off.
  return Math.min(Math.max(Math.ceil(q * n * (1 - 2 ** -51)), 1), n)
}

/** Returns the lower edge of a bucket: 0 below a positive first edge, `-Infinity` below any other. */
export function lowerEdge(bounds: readonly number[], bucket: number): number {
  const below = bounds[bucket - 1]
  if (below !== undefined) return below
  return (bounds[0] ?? Number.POSITIVE_INFINITY) > 0 ? 0 : Number.NEGATIVE_INFINITY
}

/** Returns the upper edge of a bucket, `+Infinity` for the last. */
export function upperEdge(bounds: readonly number[], bucket: number): number {
  return bounds[bucket] ?? Number.POSITIVE_INFINITY
}

/** Returns the index of the bucket that holds the observation of `rank`, counted from 1. */
export function bucketOfRank(counts: ArrayLike<number>, rank: number): number {
  let upTo = 0
  for (let bucket = 0; bucket < counts.length; bucket++) {
    upTo += counts[bucket] ?? 0
    if (upTo >= rank) return bucket
  }
  return counts.length - 1
}

/**
 * Returns how many observations were above `threshold`. Exact where it is an edge; between two edges
 * the one below is compared with, so that too many are counted rather than too few.
 *
 * - no observations, or none could be told apart: `undefined`
 * - `threshold` below the first or above the last finite edge, or not a number: `undefined`
 */
export function overThreshold(delta: HistogramDelta, threshold: number): OverThreshold | undefined {
  const { bounds } = delta
  const below = edgeBelow(bounds, threshold)
  const over = observationsOver(delta, threshold)
  const edge = below === undefined ? undefined : bounds[below]
  if (over === undefined || edge === undefined) return undefined
  const count = observations(delta)
  if (count === 0) return undefined
  return { ratio: over / count, over, count, exact: edge === threshold, edge }
}

/**
 * Returns how many observations lie above `threshold`, or above the edge below it where it is none.
 *
 * - the threshold lies below the first or above the last finite edge: `undefined`
 */
export function observationsOver(delta: HistogramDelta, threshold: number): number | undefined {
  const { bounds, counts } = delta
  const below = edgeBelow(bounds, threshold)
  if (below === undefined) return undefined
  let over = 0
  for (let bucket = below + 1; bucket < counts.length; bucket++) over += counts[bucket] ?? 0
  return over
}

/** The position of the greatest edge that is not above `threshold`; none where the edges do not enclose it. */
function edgeBelow(bounds: readonly number[], threshold: number): number | undefined {
  const last = bounds.at(-1)
  if (last === undefined || !(threshold <= last)) return undefined
  let below = -1
  for (const bound of bounds) {
    if (bound > threshold) break
    below++
  }
  return below < 0 ? undefined : below
}

/** Tells whether two histograms have the same edges, so that they may be merged. */
export function sameBounds(a: readonly number[], b: readonly number[]): boolean {
  if (a === b) return true
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

/**
 * Returns what two histograms gained together. Commutative, and associative but for the rounding of `sum`.
 *
 * - different edges: throws `RangeError`, because changed edges begin a new series
 */
export function merge(a: HistogramDelta, b: HistogramDelta): HistogramDelta {
  if (!sameBounds(a.bounds, b.bounds)) {
    throw new RangeError(
      `expected histograms of the same edges, found ${a.bounds.length} and ${b.bounds.length} edges that differ`,
    )
  }
  const counts = new Float64Array(a.bounds.length + 1)
  for (let bucket = 0; bucket < counts.length; bucket++) {
    counts[bucket] = (a.counts[bucket] ?? 0) + (b.counts[bucket] ?? 0)
  }
  return { bounds: a.bounds, counts, count: a.count + b.count, sum: a.sum + b.sum }
}

/**
 * Returns the mean of the observations, in the histogram's unit: exact where the producer's sum is right.
 *
 * - no observations, or a sum that is not finite: `undefined`
 * - a mean that the buckets rule out: `undefined`. vLLM can observe times of the size of the host's
 *   uptime, or negative ones (vllm-project/vllm#49135), and then its sum says nothing of the requests.
 */
export function mean(delta: HistogramDelta): number | undefined {
  const { bounds, counts, count, sum } = delta
  if (!(count > 0) || !Number.isFinite(sum)) return undefined
  let held = 0
  let least = 0
  let most = 0
  let size = 0
  for (let bucket = 0; bucket < counts.length; bucket++) {
    const here = counts[bucket] ?? 0
    if (here === 0) continue
    held += here
    least += here * lowerEdge(bounds, bucket)
    most += here * upperEdge(bounds, bucket)
    size += here * Math.abs(bounds[Math.min(bucket, bounds.length - 1)] ?? 0)
  }
  if (held === 0) return undefined
  // The sum is a difference of larger ones, whose rounding may carry it just over an edge.
  const slack = 1e-9 * size
  const found = (sum / count) * held
  if (found < least - slack || found > most + slack) return undefined
  return sum / count
}
