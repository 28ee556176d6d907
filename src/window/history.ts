import type { GaugeId } from '../instruments.ts'
import type { Labels } from '../reading.ts'
import { median } from './trend.ts'

/**
 * The kept past of one gauge series, from when it was first read to when it was no longer. One that comes
 * back begins anew: its program is another one. It holds until the target's next attempt is recorded.
 */
export interface GaugeHistory {
  readonly instrument: GaugeId
  readonly labels: Labels
  readonly firstMs: number
  /** The target's first good reading had it: how long it had been there by then, nobody knows. */
  readonly fromStart: boolean
  /** The last reading that had it. */
  readonly lastMs: number
  /** The first good reading that no longer had it; absent while it is there. */
  readonly goneMs: number | undefined
  /** When kept values were read, ascending, and what they were. The newest is always among them. */
  readonly times: readonly number[]
  readonly values: readonly number[]
  /** The level it settled at: the highest that it held in its first two hours; absent before 20 minutes. */
  readonly settled: number | undefined
}

/** How many values of a series are kept, however long it has been there. */
const maxPoints = 96

/** Values younger than this need not lie closer to each other the younger they are. */
const evenMs = 300_000

/** Of what a target had, so many series are followed, and so many of those that are gone remembered. */
const limits = { listed: 512, gone: 64, goneMs: 3_600_000 } as const

/** A level is what a series held for `holdMs`, at an age between the other two. */
const settling = { fromMs: 1_200_000, toMs: 7_200_000, holdMs: 600_000 } as const

interface Kept extends GaugeHistory {
  lastMs: number
  goneMs: number | undefined
  readonly times: number[]
  readonly values: number[]
  settled: number | undefined
}

/** A series to be followed: what tells it from all others, and what it is. */
export interface Followed {
  readonly key: string
  readonly instrument: GaugeId
  readonly labels: Labels
}

/** The kept past of a target's gauges, as far as their instruments ask for it. */
export class Histories {
  readonly #listed = new Map<string, Kept>()
  #gone: Kept[] = []

  /** Every followed series of an instrument, those that are gone behind the others. */
  of(instrument: GaugeId): readonly GaugeHistory[] {
    return [...this.#listed.values(), ...this.#gone].filter((one) => one.instrument === instrument)
  }

  find(key: string): GaugeHistory | undefined {
    return this.#listed.get(key)
  }

  /**
   * Says which series a reading of a new shape has: those that it has not are gone. Returns how many found
   * no room.
   */
  list(
    series: readonly Followed[],
    { atMs, fromStart }: { readonly atMs: number; readonly fromStart: boolean },
  ): number {
    const here = new Set(series.map(({ key }) => key))
    for (const [key, kept] of this.#listed) {
      if (here.has(key)) continue
      this.#listed.delete(key)
      this.#gone.push(kept)
      kept.goneMs = atMs
    }
    this.#gone = this.#gone
      .filter(({ goneMs }) => goneMs !== undefined && atMs - goneMs < limits.goneMs)
      .slice(-limits.gone)
    let refused = 0
    for (const { key, instrument, labels } of series) {
      if (this.#listed.has(key)) continue
      if (this.#listed.size >= limits.listed) refused += 1
      else this.#listed.set(key, begun(instrument, labels, { atMs, fromStart }))
    }
    return refused
  }

  /** Appends the value that a listed series had at `atMs`. */
  push(key: string, value: number, atMs: number): void {
    const kept = this.#listed.get(key)
    if (kept === undefined) return
    const { times, values } = kept
    if (atMs <= kept.lastMs && times.length > 0) {
      values[values.length - 1] = value
      return
    }
    kept.lastMs = atMs
    times.push(atMs)
    values.push(value)
    if (times.length > maxPoints) letGo(kept)
    settle(kept)
  }
}

function begun(
  instrument: GaugeId,
  labels: Labels,
  { atMs, fromStart }: { readonly atMs: number; readonly fromStart: boolean },
): Kept {
  return {
    instrument,
    labels,
    firstMs: atMs,
    fromStart,
    lastMs: atMs,
    goneMs: undefined,
    times: [],
    values: [],
    settled: undefined,
  }
}

/**
 * Takes out the value whose neighbours lie closest to each other for their age. So the gaps grow with the
 * age, to a tenth of it after a week, and any last stretch of time, short or long, keeps some dozens of values.
 */
function letGo({ times, values, lastMs }: Kept): void {
  let out = 1
  let least = Number.POSITIVE_INFINITY
  for (let index = 1; index < times.length - 1; index += 1) {
    const next = times[index + 1] ?? 0
    const gap = (next - (times[index - 1] ?? 0)) / (lastMs - next + evenMs)
    if (gap >= least) continue
    least = gap
    out = index
  }
  times.splice(out, 1)
  values.splice(out, 1)
}

function settle(kept: Kept): void {
  const { times, values, lastMs, firstMs, settled } = kept
  const ageMs = lastMs - firstMs
  if (ageMs < settling.fromMs || (settled !== undefined && ageMs > settling.toMs)) return
  const held = median(values.filter((_, index) => lastMs - (times[index] ?? 0) < settling.holdMs))
  kept.settled = Math.max(held, settled ?? held)
}
