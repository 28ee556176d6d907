import type { CollectErrorCode, LimitName } from '../errors.ts'
import { type GaugeId, instruments } from '../instruments.ts'
import type { Attempt, Channel, HealthProbe, Labels, ProbeResult, Reading } from '../reading.ts'
import { type GaugeHistory, Histories } from './history.ts'
import { ProgressBook, type TargetProgress } from './progress.ts'
import { SeriesBook } from './series-book.ts'
import { Timeline } from './timeline.ts'
import { type GaugeRoute, type Routing, Tracks, trackKey } from './tracks.ts'
import { WindowView } from './view.ts'

/** What recording an attempt brought to light. */
export interface Recorded {
  /** The producer's process is another one than before. */
  readonly newLife: boolean
  /** Histograms whose edges changed, so that their windows and totals began anew. */
  readonly rebound: readonly string[]
}

/** A gauge of the last good reading, merged over what its labels leave out. */
export interface GaugeValue {
  readonly instrument: GaugeId
  readonly labels: Labels
  readonly value: number
}

/** The present life of a producer's process. */
export interface Life {
  /** Monotonic time before which it cannot have begun, as far as known. */
  readonly sinceMs: number | undefined
  /** Its first good reading. */
  readonly readMs: number
}

/** What was counted about the watching of a target since the daemon began to watch it. */
export interface Tally {
  readonly attempts: number
  readonly failures: ReadonlyMap<CollectErrorCode, number>
  readonly resets: number
  readonly malformedLines: number
  readonly limitHits: ReadonlyMap<LimitName, number>
  readonly probes: ReadonlyMap<ProbeResult['kind'], number>
}

/** Bounds on what one target may occupy, whatever its page says. */
const limits = { maxSeries: 40_000, maxTracks: 2_000 } as const

/** What is remembered of one target. `record` and `recordProbe` alone change it. */
export class TargetWindows {
  readonly name: string
  #keepMs: number
  readonly #book = new SeriesBook(limits)
  readonly #tracks = new Tracks(limits)
  readonly #timeline: Timeline
  readonly #progress = new ProgressBook()
  readonly #histories = new Histories()
  readonly #failures = new Map<CollectErrorCode, number>()
  readonly #limitHits = new Map<LimitName, number>()
  readonly #probes = new Map<ProbeResult['kind'], number>()
  #routing: { readonly channels: readonly Channel[]; readonly routing: Routing } | undefined
  #gauges: readonly GaugeValue[] = []
  #life: Life | undefined
  #reading: Reading | undefined
  #probe: ProbeResult | undefined
  #last: Attempt | undefined
  #lastRead: (Attempt & { kind: 'read' }) | undefined
  #missedInARow = 0
  #sickInARow = 0
  #attempts = 0
  #resets = 0
  #malformedLines = 0
  #version = 0

  constructor(name: string, options: { readonly keepMs: number }) {
    this.name = name
    this.#keepMs = options.keepMs
    this.#timeline = new Timeline(options)
  }

  /** Grows with everything recorded: what was derived at the same version still holds. */
  get version(): number {
    return this.#version
  }

  get last(): Attempt | undefined {
    return this.#last
  }

  get lastRead(): (Attempt & { kind: 'read' }) | undefined {
    return this.#lastRead
  }

  /** The last good reading, whether or not a failed attempt came after it. */
  get reading(): Reading | undefined {
    return this.#reading
  }

  get missedInARow(): number {
    return this.#missedInARow
  }

  /** How many times in a row the producer's own health endpoint answered 5xx. */
  get sickInARow(): number {
    return this.#sickInARow
  }

  get health(): HealthProbe | undefined {
    return this.#last?.health
  }

  get tally(): Tally {
    return {
      attempts: this.#attempts,
      failures: this.#failures,
      resets: this.#resets,
      malformedLines: this.#malformedLines,
      limitHits: this.#limitHits,
      probes: this.#probes,
    }
  }

  /** What came of the last probe that was begun in this life of the producer's process. */
  get probe(): ProbeResult | undefined {
    return this.#probe
  }

  /** What the engines are doing, as of the last good reading; absent where none tells its queue. */
  get progress(): TargetProgress | undefined {
    return this.#progress.progress
  }

  /** The gauges of the instant: none when the last attempt failed. */
  get gauges(): readonly GaugeValue[] {
    return this.#last?.kind === 'read' ? this.#gauges : []
  }

  /** The gauges of the last good reading, however old: identities, not values of the instant. */
  get lastGauges(): readonly GaugeValue[] {
    return this.#gauges
  }

  /** The present life of its process; absent before the first good reading. */
  get life(): Life | undefined {
    return this.#life
  }

  /** The kept past of each series of a gauge whose instrument asks for it; those that are gone come last. */
  histories(id: GaugeId): readonly GaugeHistory[] {
    return this.#histories.of(id)
  }

  /** The kept past of one series that is still there, by the labels that the gauge has. */
  history(id: GaugeId, labels: Labels): GaugeHistory | undefined {
    return this.#histories.find(trackKey(id, labels))
  }

  /** The models it has measurements of, in the order in which they appeared. */
  get models(): readonly string[] {
    const names = new Set<string>()
    for (const { what } of this.#tracks.totals.all) {
      const name = what.labels['model_name']
      if (name !== undefined) names.add(name)
    }
    for (const { labels } of this.#gauges) {
      const name = labels['model_name']
      if (name !== undefined) names.add(name)
    }
    return [...names]
  }

  /** Changes how far back is remembered. */
  keep(keepMs: number): void {
    this.#keepMs = keepMs
    this.#timeline.keepMs = keepMs
  }

  /** Takes in what a collection yielded. Attempts come in the order of their times. */
  record(attempt: Attempt): Recorded {
    this.#version += 1
    this.#attempts += 1
    this.#last = attempt
    // An endpoint that gave no answer in time says nothing: under load it is late though all is well.
    if (attempt.health?.kind === 'answered') {
      this.#sickInARow = attempt.health.status >= 500 ? this.#sickInARow + 1 : 0
    }
    if (attempt.kind === 'missed') {
      this.#missedInARow += 1
      this.#failures.set(attempt.code, (this.#failures.get(attempt.code) ?? 0) + 1)
      if (attempt.limit !== undefined) this.#hit(attempt.limit, 1)
      return { newLife: false, rebound: [] }
    }
    this.#missedInARow = 0
    const { reading, atMs } = attempt
    const before = this.#lastRead
    const baseline = before === undefined
    this.#lastRead = attempt
    this.#reading = reading
    this.#malformedLines += reading.malformedLines
    for (const [limit, hits] of Object.entries(reading.limitHits)) {
      this.#hit(limit as LimitName, hits)
    }
    const growth = this.#book.advance(reading, { atMs, baseline })
    if (growth.reset) this.#resets += 1
    // What one process answered says nothing of the next.
    if (growth.newLife) this.#probe = undefined
    if (baseline || growth.newLife) {
      this.#life = { sinceMs: startOf(attempt) ?? before?.atMs, readMs: atMs }
    }
    const { routing, rebound } = this.#route(reading.channels, atMs)
    this.#push(routing, { reading, increments: growth.increments, atMs })
    this.#progress.record(reading, {
      increments: growth.increments,
      atMs,
      begins: baseline || growth.newLife,
      resetGroups: growth.resetGroups,
    })
    this.#takeBackMemory(atMs)
    return { newLife: growth.newLife, rebound }
  }

  /** Takes in what came of a probe; one that was begun in another life of the process is counted alone. */
  recordProbe(result: ProbeResult): void {
    this.#version += 1
    this.#probes.set(result.kind, (this.#probes.get(result.kind) ?? 0) + 1)
    if (result.startMs >= (this.#life?.readMs ?? 0)) this.#probe = result
  }

  /** The window of length `spanMs` that ends at the last good reading; absent before there is an increment. */
  view(spanMs: number): WindowView | undefined {
    const to = this.#timeline.last
    if (to === undefined) return undefined
    const from = this.#timeline.nearestBeforeLast(to.atMs - spanMs)
    if (from === undefined) return undefined
    return new WindowView({ tracks: this.#tracks, from, to, entries: this.#timeline.entries })
  }

  /** Everything counted since the watch began; absent before the first good reading. */
  sinceStart(): WindowView | undefined {
    const to = this.#timeline.last
    if (to === undefined) return undefined
    const nothing = new Float64Array(0)
    const from = { atMs: to.atMs, totals: nothing, highs: nothing }
    return new WindowView({ tracks: this.#tracks, from, to, entries: [] })
  }

  #route(
    channels: readonly Channel[],
    atMs: number,
  ): { readonly routing: Routing; readonly rebound: readonly string[] } {
    if (this.#routing?.channels === channels) {
      for (const place of this.#routing.routing.places) place.seenMs = atMs
      return { routing: this.#routing.routing, rebound: [] }
    }
    const routing = this.#tracks.route(channels, atMs)
    for (const place of routing.places) place.seenMs = atMs
    const followed = routing.gauges.filter(({ instrument }) => instruments[instrument].history)
    const fromStart = this.#timeline.last === undefined
    const refused = routing.refused + this.#histories.list(followed, { atMs, fromStart })
    if (refused > 0) this.#hit('series', refused)
    this.#routing = { channels, routing }
    return { routing, rebound: routing.rebound.map(({ instrument }) => instrument) }
  }

  #push(
    { sums, gauges }: Routing,
    now: { readonly reading: Reading; readonly increments: Float64Array; readonly atMs: number },
  ): void {
    const totals = this.#tracks.totals.extend(this.#timeline.last?.totals)
    for (let index = 0; index < sums.length; index += 2) {
      const to = sums[index + 1] ?? 0
      totals[to] = (totals[to] ?? 0) + (now.increments[sums[index] ?? 0] ?? 0)
    }
    const highs = this.#tracks.highs.extend(undefined)
    this.#gauges = gauges.map((route) => {
      const value = mergeGauge(route, now.reading.values)
      if (route.high !== undefined) highs[route.high.offset] = value
      if (instruments[route.instrument].history) this.#histories.push(route.key, value, now.atMs)
      return { instrument: route.instrument, labels: route.labels, value }
    })
    this.#timeline.push({ atMs: now.atMs, totals, highs })
  }

  #hit(limit: LimitName, hits: number): void {
    if (hits > 0) this.#limitHits.set(limit, (this.#limitHits.get(limit) ?? 0) + hits)
  }

  /** Lets go of models and labels that were not seen for longer than any window reaches. */
  #takeBackMemory(atMs: number): void {
    if (this.#tracks.forget({ sinceMs: atMs - this.#keepMs, atMs })) this.#routing = undefined
    const moveTotals = this.#tracks.totals.compact()
    const moveHighs = this.#tracks.highs.compact()
    if (moveTotals === undefined && moveHighs === undefined) return
    this.#routing = undefined
    this.#timeline.rewrite(({ atMs: entryMs, totals, highs }) => ({
      atMs: entryMs,
      totals: moveTotals?.(totals) ?? totals,
      highs: moveHighs?.(highs) ?? highs,
    }))
  }
}

/** When the producer says that its process began, on the clock of its readings. */
function startOf({ atMs, wallMs, reading }: Attempt & { kind: 'read' }): number | undefined {
  const { processStartSeconds } = reading
  if (processStartSeconds === undefined) return undefined
  return atMs - Math.max(0, wallMs - 1_000 * processStartSeconds)
}

function mergeGauge({ merge, from }: GaugeRoute, values: Float64Array): number {
  let merged = merge === 'sum' ? 0 : Number.NEGATIVE_INFINITY
  for (const place of from) {
    const value = values[place] ?? 0
    merged = merge === 'sum' ? merged + value : Math.max(merged, value)
  }
  return merged
}
