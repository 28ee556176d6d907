/** What was known after one good reading. Vectors only grow; an entry shorter than today's has zeros there. */
export interface Entry {
  readonly atMs: number
  /** Running totals of everything counted, reset-free, since the watch began. */
  readonly totals: Float64Array
  /** The highest value of each watched gauge since the entry before this one; -Infinity where none. */
  readonly highs: Float64Array
}

/** How far apart two kept entries may lie, as a share of their age. */
const spacingRatio = 0.02

/**
 * The kept past of one target: running totals at the times of good readings, every one of them for the
 * recent past and ever fewer for the older, so that memory grows with the logarithm of the span.
 *
 * Because totals are kept and not increments, leaving an entry out changes no difference between others;
 * thinning merges by forgetting. The gap that it leaves at age `a` is at most 0.02·a wide, and the entry
 * nearest to a window's edge is at most half of that away.
 */
export class Timeline {
  /** How far back entries are kept, milliseconds. */
  keepMs: number
  #entries: Entry[] = []

  constructor(options: { readonly keepMs: number }) {
    this.keepMs = options.keepMs
  }

  get entries(): readonly Entry[] {
    return this.#entries
  }

  get first(): Entry | undefined {
    return this.#entries[0]
  }

  get last(): Entry | undefined {
    return this.#entries.at(-1)
  }

  /**
   * Appends `entry` and thins what has become old. One that is not later than the last takes its place:
   * between two entries lies time, or rates would be divided by none.
   */
  push(entry: Entry): void {
    const { last } = this
    if (last !== undefined && entry.atMs <= last.atMs) {
      const highs = higher(last.highs, entry.highs)
      this.#entries[this.#entries.length - 1] = { atMs: last.atMs, totals: entry.totals, highs }
      return
    }
    this.#entries.push(entry)
    this.#thin(entry.atMs)
  }

  /** Puts `change(entry)` in the place of every entry: for when the vectors are laid out anew. */
  rewrite(change: (entry: Entry) => Entry): void {
    this.#entries = this.#entries.map(change)
  }

  /** The entry before the last one that lies nearest to `atMs`; absent while there is only one. */
  nearestBeforeLast(atMs: number): Entry | undefined {
    let nearest: Entry | undefined
    for (let index = this.#entries.length - 2; index >= 0; index -= 1) {
      const entry = this.#entries[index]
      if (entry === undefined) break
      if (nearest !== undefined && Math.abs(entry.atMs - atMs) > Math.abs(nearest.atMs - atMs))
        break
      nearest = entry
    }
    return nearest
  }

  #thin(nowMs: number): void {
    const entries = this.#entries
    const kept: Entry[] = []
    for (let index = 0; index < entries.length; index += 1) {
      const entry = entries[index]
      if (entry === undefined) continue
      const next = entries[index + 1]
      // One entry beyond the longest span stays, so that the span's start has something to be near to.
      if (next !== undefined && kept.length === 0 && nowMs - next.atMs >= this.keepMs) continue
      const before = kept.at(-1)
      if (before !== undefined && next !== undefined) {
        const spacing = next.atMs - before.atMs
        if (spacing <= spacingRatio * (nowMs - next.atMs)) {
          entries[index + 1] = { ...next, highs: higher(entry.highs, next.highs) }
          continue
        }
      }
      kept.push(entry)
    }
    this.#entries = kept
  }
}

/** For each place the higher of two values; the result is as long as the longer vector. */
function higher(a: Float64Array, b: Float64Array): Float64Array {
  const [long, short] = a.length > b.length ? [a, b] : [b, a]
  const out = Float64Array.from(long)
  for (let index = 0; index < short.length; index += 1) {
    out[index] = Math.max(out[index] ?? 0, short[index] ?? 0)
  }
  return out
}
