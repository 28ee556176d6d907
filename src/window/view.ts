import type { CounterId, GaugeId, HistogramId } from '../instruments.ts'
import type { Labels } from '../reading.ts'
import type { HistogramDelta } from './histogram.ts'
import type { Entry } from './timeline.ts'
import type { Tracks } from './tracks.ts'

/**
 * One stretch of a target's past: what was gained between two good readings. It holds until the target's
 * next attempt is recorded, which may lay the vectors out anew.
 */
export class WindowView {
  readonly #tracks: Tracks
  readonly #from: Entry
  readonly #to: Entry
  readonly #entries: readonly Entry[]

  constructor(parts: {
    readonly tracks: Tracks
    readonly from: Entry
    readonly to: Entry
    /** Entries among which those of the stretch are found, in the order of their times. */
    readonly entries: readonly Entry[]
  }) {
    this.#tracks = parts.tracks
    this.#from = parts.from
    this.#to = parts.to
    this.#entries = parts.entries
  }

  /** Milliseconds between the two readings: what rates are divided by. */
  get coveredMs(): number {
    return this.#to.atMs - this.#from.atMs
  }

  /**
   * What a histogram gained.
   *
   * - no such histogram was ever read: `undefined`
   * - nothing was observed: all counts are zero
   */
  histogram(id: HistogramId, labels: Labels): HistogramDelta | undefined {
    const place = this.#tracks.find(id, labels)
    const bounds = place?.what.bounds
    if (place === undefined || bounds === undefined) return undefined
    const counts = new Float64Array(bounds.length + 1)
    let below = 0
    for (let bucket = 0; bucket <= bounds.length; bucket += 1) {
      const cumulative = this.#gained(place.offset + bucket)
      counts[bucket] = cumulative - below
      below = cumulative
    }
    return { bounds, counts, count: below, sum: this.#gained(place.offset + bounds.length + 1) }
  }

  /** What a counter gained; `undefined` when no such counter was ever read. */
  increase(id: CounterId, labels: Labels): number | undefined {
    const place = this.#tracks.find(id, labels)
    return place === undefined ? undefined : this.#gained(place.offset)
  }

  /**
   * What counters that differ only in the instrument's own labels gained, each with its labels; none when
   * no such counter was ever read. `model_name` left out of `labels` takes those of every model.
   */
  increases(
    id: CounterId,
    labels: Labels,
  ): readonly { readonly labels: Labels; readonly value: number }[] {
    const found: { readonly labels: Labels; readonly value: number }[] = []
    for (const { what, offset } of this.#tracks.of(id, labels['model_name'])) {
      const matches = Object.entries(labels).every(([name, value]) => what.labels[name] === value)
      if (matches) found.push({ labels: what.labels, value: this.#gained(offset) })
    }
    return found
  }

  /** The highest value that a gauge of a model had at a good reading of the stretch. */
  high(id: GaugeId, labels: Labels): number | undefined {
    const place = this.#tracks.findHigh(id, labels)
    if (place === undefined) return undefined
    let high = Number.NEGATIVE_INFINITY
    for (let index = this.#entries.length - 1; index >= 0; index -= 1) {
      const entry = this.#entries[index]
      if (entry === undefined || entry.atMs <= this.#from.atMs) break
      high = Math.max(high, entry.highs[place.offset] ?? Number.NEGATIVE_INFINITY)
    }
    return high === Number.NEGATIVE_INFINITY ? undefined : high
  }

  #gained(offset: number): number {
    return (this.#to.totals[offset] ?? 0) - (this.#from.totals[offset] ?? 0)
  }
}
