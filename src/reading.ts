import type { CollectErrorCode, LimitHits, LimitName } from './errors.ts'
import type { InstrumentId } from './instruments.ts'

/** Names and values of labels, in our words. */
export type Labels = Readonly<Record<string, string>>

/**
 * Where one measured thing stands in a reading.
 *
 * - counter, gauge: one number at `offset`
 * - histogram: at `offset` the cumulative counts of the finite buckets in the order of `bounds`, then
 *   the count of all observations, then their sum: `bounds.length + 2` numbers
 */
export interface Channel {
  readonly instrument: InstrumentId
  /** Tells the series it was read from, uniquely in its target: increments are taken by it. */
  readonly key: string
  /** The labels that our words keep for the instrument; what merges away (`engine`) is left out. */
  readonly labels: Labels
  /** Series of one group are reset together: an engine's rank, or the server in front. */
  readonly group: string
  /** The data-parallel rank of the engine that the series speaks of, where the producer names one. */
  readonly rank?: string
  readonly offset: number
  /** Finite upper edges of a histogram's buckets, ascending; absent for counters and gauges. */
  readonly bounds?: readonly number[]
  /** Where `values` holds the Unix time in seconds at which the series began; 0 there is unknown. */
  readonly startOffset?: number
}

/** What one collection found, in our words and in base units, cumulative since the producer started. */
export interface Reading {
  /** The same array object for as long as the producer's page keeps its shape. */
  readonly channels: readonly Channel[]
  /** All numbers, finite; `channels` tells what each one is. Owned by the reading. */
  readonly values: Float64Array
  /** Unix seconds at which the producer's process started, where it says so. */
  readonly processStartSeconds: number | undefined
  /** The producer's version as it spells it, once known. */
  readonly version: string | undefined
  /** What this producer, in the version at hand, can tell beyond its numbers; see the dialect. */
  readonly capabilities: ReadonlySet<string>
  /**
   * Instruments whose family the page declares, whether or not it has samples: one that has none has
   * counted nothing yet. Absent where a producer declares nothing beforehand.
   */
  readonly declared?: ReadonlySet<InstrumentId>
  /** What nobody can see of this producer in the version at hand, one sentence each. */
  readonly blindSpots?: readonly string[]
  /** Lines or values that could not be used and were left out. */
  readonly malformedLines: number
  readonly limitHits: LimitHits
  /**
   * Keys of series that the page had and that could not be used this time. One that the first page of a
   * target had is not new when it is read at last: what it had counted by then is not ours.
   */
  readonly leftOut?: readonly string[]
  /** What a person should know of this reading: warnings the producer printed, parts that are missing. */
  readonly notes: readonly string[]
}

/** How the producer's own health endpoint answered, asked beside the collection. */
export type HealthProbe =
  | { readonly kind: 'answered'; readonly status: number; readonly tookMs: number }
  | { readonly kind: 'unanswered'; readonly code: CollectErrorCode; readonly tookMs: number }

/**
 * What a completion of one token, asked because the evidence did not decide, said of an engine.
 *
 * - `answered`: a completion came, so the engine works
 * - `failed`: the server answered with an error of its own, 5xx
 * - `unanswered`: no whole answer came in time, or the connection was refused or reset
 * - `inconclusive`: nothing is proven, as when the server refuses the request (4xx) or knows no model
 */
export type ProbeOutcome =
  | { readonly kind: 'answered' }
  | { readonly kind: 'failed'; readonly status: number }
  | { readonly kind: 'unanswered'; readonly code: CollectErrorCode }
  | { readonly kind: 'inconclusive'; readonly reason: string }

/** What became of a probe, and when. Times are monotonic; `atMs` is its end. */
export type ProbeResult = ProbeOutcome & {
  readonly target: string
  readonly startMs: number
  readonly atMs: number
  readonly tookMs: number
}

/** What one collection yielded, or why it yielded nothing. `atMs` is monotonic, taken when it ended. */
export type Attempt = {
  readonly target: string
  readonly atMs: number
  /** The same instant on the wall clock, Unix milliseconds. */
  readonly wallMs: number
  readonly tookMs: number
  readonly health?: HealthProbe | undefined
} & (
  | { readonly kind: 'read'; readonly reading: Reading }
  | {
      readonly kind: 'missed'
      readonly code: CollectErrorCode
      readonly message: string
      /** For code `status`: the HTTP status that was answered. */
      readonly status?: number | undefined
      /** For code `limit`: which of our limits the page was beyond. */
      readonly limit?: LimitName | undefined
    }
)
