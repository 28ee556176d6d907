import {
  bucketOfRank,
  type HistogramDelta,
  lowerEdge,
  mean,
  observations,
  rankOf,
  upperEdge,
} from './histogram.ts'
import { type Spread, spreadOf, valueAt } from './spread.ts'
import { tiltToMean } from './tilt.ts'

/** One quantile of a histogram, in its unit. */
export interface QuantileEstimate {
  readonly q: number
  /** The best estimate, from `lower` to `upper`. */
  readonly value: number
  /** The edges of the bucket that holds the quantile: true for every distribution. */
  readonly lower: number
  readonly upper: number
  /** The quantile lies in the last bucket: `value` is its lower edge, and the quantile at least that. */
  readonly atLeast: boolean
}

/**
 * Estimates quantiles of the observations in `delta`, in the order asked for. They rise with `q`.
 *
 * The observations of each bucket are spread by a monotone cubic over the logarithm of the value, then
 * shifted inside their buckets until their mean is the exact one, and read at ⌈q·n⌉ − ½: the middle of the
 * observation of rank ⌈q·n⌉, which is the one that is meant.
 *
 * - no observations: an empty list
 * - rank ⌈q·n⌉ in the last bucket: its lower edge, with `atLeast`
 * - a mean that the buckets rule out: is not used
 * - first edge not positive: a straight line inside the bucket; the first bucket's edge for those in it
 * - no finite edge: at least 0
 * - `q` outside [0, 1] or not a number: throws `RangeError`
 */
export function estimateQuantiles(
  delta: HistogramDelta,
  quantiles: readonly number[],
): readonly QuantileEstimate[] {
  const n = observations(delta)
  if (n === 0) return []
  const exactMean = mean(delta)
  const base = spreadOf(delta)
  const spread = base !== undefined && exactMean !== undefined ? tiltToMean(base, exactMean) : base
  return quantiles.map((q) => readQuantile(delta, spread, q, n))
}

/** Reads one quantile of `n` observations off a spread, or off straight lines where there is none. */
export function readQuantile(
  delta: HistogramDelta,
  spread: Spread | undefined,
  q: number,
  n: number,
): QuantileEstimate {
  const { bounds, counts } = delta
  const rank = rankOf(q, n)
  const bucket = bucketOfRank(counts, rank)
  const lower = lowerEdge(bounds, bucket)
  const upper = upperEdge(bounds, bucket)
  if (bucket === bounds.length) return { q, value: lower, lower, upper, atLeast: true }
  let below = 0
  for (let i = 0; i < bucket; i++) below += counts[i] ?? 0
  // The observation of rank k is the middle of what lies between k − 1 and k observations.
  const middle = rank - 0.5
  const value =
    spread === undefined
      ? onStraightLine(lower, upper, (middle - below) / (counts[bucket] ?? 1))
      : valueAt(spread, bucket, below, middle)
  return { q, value: Math.min(Math.max(value, lower), upper), lower, upper, atLeast: false }
}

function onStraightLine(lower: number, upper: number, share: number): number {
  if (lower === Number.NEGATIVE_INFINITY) return upper
  return lower + (upper - lower) * Math.min(Math.max(share, 0), 1)
}
