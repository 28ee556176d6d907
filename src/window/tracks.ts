import {
  type CounterId,
  type GaugeId,
  type HistogramId,
  type InstrumentId,
  instruments,
} from '../instruments.ts'
import type { Channel, Labels } from '../reading.ts'
import { sameBounds } from './histogram.ts'
import { type Place, Places } from './places.ts'

/** A merged series: everything a target has of one counter or histogram for one set of kept labels. */
export interface Track {
  readonly instrument: CounterId | HistogramId
  readonly labels: Labels
  /** The finite edges that all merged histograms share; absent for a counter. */
  readonly bounds: readonly number[] | undefined
}

/** How the channels of one shape go into tracks and gauges. */
export interface Routing {
  /** Increments at `sums[2i]` of a reading are added to the totals at `sums[2i + 1]`. */
  readonly sums: Int32Array
  readonly gauges: readonly GaugeRoute[]
  /** The places written to, for their age. */
  readonly places: readonly Place<unknown>[]
  /** Channels that found no room. */
  readonly refused: number
  /** Histograms that began anew because their edges changed. */
  readonly rebound: readonly Track[]
}

/** A gauge and the places of a reading that merge into it. */
export interface GaugeRoute {
  readonly key: string
  readonly instrument: GaugeId
  readonly labels: Labels
  readonly merge: 'sum' | 'max'
  readonly from: readonly number[]
  /** Where the vector of highs holds it; absent for a gauge whose highest value nobody asks for. */
  readonly high: Place<GaugeId> | undefined
}

/**
 * The merged series of one target and where its vectors hold them. A histogram's place has the cumulative
 * counts at the track's edges, then the count and the sum.
 */
export class Tracks {
  readonly totals: Places<Track>
  readonly highs: Places<GaugeId>
  readonly #crowdedFrom: number
  /** The places of each instrument, of all models under `undefined`; made again when places change. */
  #index = new Map<InstrumentId, Map<string | undefined, Place<Track>[]>>()
  #indexVersion = -1

  constructor(limits: { readonly maxTracks: number }) {
    this.#crowdedFrom = limits.maxTracks / 2
    this.totals = new Places({ max: limits.maxTracks, empty: 0 })
    this.highs = new Places({ max: limits.maxTracks, empty: Number.NEGATIVE_INFINITY })
  }

  find(id: CounterId | HistogramId, labels: Labels): Place<Track> | undefined {
    return this.totals.find(trackKey(id, labels))
  }

  /** Every track of an instrument, or those of one model. */
  of(id: CounterId | HistogramId, model: string | undefined): readonly Place<Track>[] {
    if (this.#indexVersion !== this.totals.version) this.#makeIndex()
    return this.#index.get(id)?.get(model) ?? []
  }

  findHigh(id: GaugeId, labels: Labels): Place<GaugeId> | undefined {
    return this.highs.find(trackKey(id, labels))
  }

  /** Works out where the channels of a shape go, making the tracks that are missing. */
  route(channels: readonly Channel[], atMs: number): Routing {
    const sums: number[] = []
    const gauges: GaugeRoute[] = []
    const places: Place<unknown>[] = []
    const rebound: Track[] = []
    let refused = 0
    for (const [key, group] of groupByTrack(channels)) {
      const [first] = group
      if (first === undefined) continue
      const { instrument, labels } = first
      if (isGauge(instrument)) {
        const route = { key, instrument, labels, merge: instruments[instrument].merge } as const
        const high = this.#highFor(key, instrument, atMs)
        gauges.push({ ...route, from: group.map(({ offset }) => offset), high })
        if (high !== undefined) places.push(high)
        continue
      }
      const bounds = commonBounds(group)
      const before = this.totals.find(key)
      const changed = before !== undefined && !sameEdges(before.what.bounds, bounds)
      if (changed) rebound.push(before.what)
      const width = bounds === undefined ? 1 : bounds.length + 2
      const place =
        before === undefined || changed
          ? this.totals.claim(key, { instrument, labels, bounds }, { width, atMs })
          : before
      if (place === undefined) refused += group.length
      else {
        places.push(place)
        for (const channel of group) routeChannel(channel, place, sums)
      }
    }
    return { sums: Int32Array.from(sums), gauges, places, refused, rebound }
  }

  /**
   * Takes back what was last read before `sinceMs`, and tells whether there was any: models that are gone
   * and, once half of the room is used, whatever was not read at `atMs`. A label of a model or target that is
   * still there keeps its total till then, for sums over labels are published as counters, which must not fall.
   */
  forget({ sinceMs, atMs }: { readonly sinceMs: number; readonly atMs: number }): boolean {
    const crowded = this.totals.size > this.#crowdedFrom || this.highs.size > this.#crowdedFrom
    if (crowded) {
      const forgotTotals = this.totals.forget(atMs, () => true)
      return this.highs.forget(atMs, () => true) || forgotTotals
    }
    const here = new Set<string | undefined>([undefined])
    for (const { what, seenMs } of this.totals.all) {
      if (seenMs >= sinceMs) here.add(what.labels['model_name'])
    }
    const forgotTotals = this.totals.forget(
      sinceMs,
      ({ labels }) => !here.has(labels['model_name']),
    )
    return this.highs.forget(sinceMs, () => true) || forgotTotals
  }

  #makeIndex(): void {
    this.#index = new Map()
    for (const place of this.totals.all) {
      const { instrument, labels } = place.what
      const ofAll = this.#index.get(instrument) ?? new Map<string | undefined, Place<Track>[]>()
      this.#index.set(instrument, ofAll)
      for (const model of new Set([undefined, labels['model_name']])) {
        const places = ofAll.get(model)
        if (places === undefined) ofAll.set(model, [place])
        else places.push(place)
      }
    }
    this.#indexVersion = this.totals.version
  }

  #highFor(key: string, instrument: GaugeId, atMs: number): Place<GaugeId> | undefined {
    // Only gauges of a model are asked for their highest value, and there are few of them.
    if (instruments[instrument].of !== 'model') return undefined
    return this.highs.find(key) ?? this.highs.claim(key, instrument, { width: 1, atMs })
  }
}

function groupByTrack(channels: readonly Channel[]): ReadonlyMap<string, readonly Channel[]> {
  const groups = new Map<string, Channel[]>()
  for (const channel of channels) {
    const key = trackKey(channel.instrument, channel.labels)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [channel])
    else group.push(channel)
  }
  return groups
}

/** Tells the series of one set of kept labels from all others of a target. */
export function trackKey(id: InstrumentId, labels: Labels): string {
  const { of, by } = instruments[id]
  const subject = of === 'model' ? labels['model_name'] : of === 'gpu' ? labels['gpu'] : ''
  return JSON.stringify([id, subject, labels['uuid'], ...by.map((name) => labels[name])])
}

function isGauge(id: InstrumentId): id is GaugeId {
  return instruments[id].kind === 'gauge'
}

/** The edges that every one of `group` has: cumulative counts at them can be added exactly. */
function commonBounds(group: readonly Channel[]): readonly number[] | undefined {
  const [first, ...others] = group
  if (first?.bounds === undefined) return undefined
  const different = others.filter(({ bounds }) => !sameEdges(bounds, first.bounds))
  if (different.length === 0) return first.bounds
  return first.bounds.filter((edge) => different.every(({ bounds }) => bounds?.includes(edge)))
}

function sameEdges(a: readonly number[] | undefined, b: readonly number[] | undefined): boolean {
  return a === undefined || b === undefined ? a === b : sameBounds(a, b)
}

function routeChannel({ offset, bounds }: Channel, place: Place<Track>, sums: number[]): void {
  const merged = place.what.bounds
  if (bounds === undefined || merged === undefined) {
    sums.push(offset, place.offset)
    return
  }
  for (const [position, edge] of merged.entries()) {
    sums.push(offset + bounds.indexOf(edge), place.offset + position)
  }
  // The count of all observations and their sum stand behind the finite edges.
  sums.push(offset + bounds.length, place.offset + merged.length)
  sums.push(offset + bounds.length + 1, place.offset + merged.length + 1)
}
