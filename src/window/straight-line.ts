import type { HistogramDelta } from './histogram.ts'

/**
 * Estimates the q-quantile of `delta` by a straight line inside the bucket, in the histogram's unit: the
 * reference that other estimates are compared with.
 *
 * Everything as `histogramQuantile`, but for what is not a number there: `undefined` here.
 */
export function straightLine(delta: HistogramDelta, q: number): number | undefined {
  const { bounds, counts } = delta
  const cumulative = new Float64Array(bounds.length + 1)
  let upTo = 0
  for (let bucket = 0; bucket < cumulative.length; bucket++) {
    upTo += counts[bucket] ?? 0
    cumulative[bucket] = upTo
  }
  const value = histogramQuantile(q, [...bounds, Number.POSITIVE_INFINITY], cumulative)
  return Number.isNaN(value) ? undefined : value
}

/**
 * Computes PromQL's `histogram_quantile` of a classic histogram as Prometheus 2.42 does.
 * `upperBounds` ascend; `cumulative[i]` counts the observations up to `upperBounds[i]`.
 *
 * - `q` below 0: `-Infinity`; above 1: `+Infinity`; not a number: `NaN`
 * - no bucket whose upper bound is `+Infinity`, or no other than that: `NaN`
 * - no observations: `NaN`
 * - rank in the `+Inf` bucket: the highest finite bound
 * - rank in the first bucket: interpolated from 0, or its bound itself when that is not positive
 * - `q` of 0 where the first bucket is empty: `NaN`, or the bound when that is not positive
 * - a count below the one before it: taken to be that one
 * - equal bounds: one bucket with the sum of their counts
 *
 * Source: `bucketQuantile` in Prometheus' promql/quantile.go. Later versions differ in that counts which
 * fall by less than 1e-12 of themselves count as equal.
 */
export function histogramQuantile(
  q: number,
  upperBounds: ArrayLike<number>,
  cumulative: ArrayLike<number>,
): number {
  if (Number.isNaN(q)) return Number.NaN
  if (q < 0) return Number.NEGATIVE_INFINITY
  if (q > 1) return Number.POSITIVE_INFINITY
  if (upperBounds[upperBounds.length - 1] !== Number.POSITIVE_INFINITY) return Number.NaN
  const { bounds, counts } = repaired(upperBounds, cumulative)
  const last = bounds.length - 1
  const observations = counts[last] ?? 0
  if (last < 1 || observations === 0) return Number.NaN

  let rank = q * observations
  let bucket = 0
  while (bucket < last && !((counts[bucket] ?? 0) >= rank)) bucket++
  if (bucket === last) return bounds[last - 1] ?? Number.NaN
  const end = bounds[bucket] ?? Number.NaN
  let held = counts[bucket] ?? 0
  if (bucket === 0) return end <= 0 ? end : end * (rank / held)
  const start = bounds[bucket - 1] ?? Number.NaN
  held -= counts[bucket - 1] ?? 0
  rank -= counts[bucket - 1] ?? 0
  return start + (end - start) * (rank / held)
}

/** Joins buckets of equal bounds, then lifts each count to the highest before it. */
function repaired(
  upperBounds: ArrayLike<number>,
  cumulative: ArrayLike<number>,
): { readonly bounds: readonly number[]; readonly counts: readonly number[] } {
  const bounds: number[] = []
  const counts: number[] = []
  for (let i = 0; i < upperBounds.length; i++) {
    const bound = upperBounds[i] ?? Number.NaN
    const count = cumulative[i] ?? 0
    if (bound === bounds.at(-1)) counts[counts.length - 1] = (counts.at(-1) ?? 0) + count
    else {
      bounds.push(bound)
      counts.push(count)
    }
  }
  for (let i = 1; i < counts.length; i++) {
    counts[i] = Math.max(counts[i] ?? 0, counts[i - 1] ?? 0)
  }
  return { bounds, counts }
}
