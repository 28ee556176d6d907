/** The normal quantile that leaves 2.5 % on either side. */
const z = 1.959963984540054

/**
 * Returns the 95 % interval of Wilson for a probability of which `count` trials showed `hits`, from 0 to 1.
 * Unlike a plain ratio it knows how little a few trials tell, and it never leaves [0, 1].
 *
 * - no trials: the whole of [0, 1]
 *
 * E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
 */
export function wilsonInterval(
  hits: number,
  count: number,
): { readonly low: number; readonly high: number } {
  if (count <= 0) return { low: 0, high: 1 }
  const ratio = hits / count
  const scale = 1 + z ** 2 / count
  const middle = (ratio + z ** 2 / (2 * count)) / scale
  const half = (z * Math.sqrt((ratio * (1 - ratio)) / count + z ** 2 / (4 * count ** 2))) / scale
  // At the ends the difference of the two is 0 or 1 but for rounding.
  return {
    low: hits <= 0 ? 0 : Math.max(0, middle - half),
    high: hits >= count ? 1 : Math.min(1, middle + half),
  }
}
