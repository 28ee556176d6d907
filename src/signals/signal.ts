import type { Labels } from '../reading.ts'

/** A signal's value, or the reason there is none. `count` is how many observations stand behind it. */
export type Measurement =
  | {
      readonly kind: 'value'
      readonly value: number
      readonly count: number
      /** The value is a lower bound: the quantile lies in the histogram's last bucket. */
      readonly atLeast: boolean
    }
  | { readonly kind: 'absent'; readonly why: AbsentWhy; readonly detail?: string }

/**
 * - `no-data`: the producer exposes nothing to derive it from, or nothing was read yet
 * - `no-traffic`: nothing happened in the window that it could speak of
 * - `stale`: the last good reading is too old to speak for now
 */
export type AbsentWhy = 'no-data' | 'no-traffic' | 'stale'

export type MetricType = 'gauge' | 'counter' | 'summary' | 'histogram'

/** A published family; `name` is without the prefix. */
export interface Family {
  readonly name: string
  readonly type: MetricType
  readonly help: string
  /** Shown by the API alone: no sample of `/metrics`. */
  readonly apiOnly?: true
}

/** One published number, or the reason for its absence. */
export interface Measured {
  readonly family: Family
  /** What the sample's name adds to the family's. */
  readonly suffix: '' | '_bucket' | '_sum' | '_count'
  readonly labels: Labels
  readonly measurement: Measurement
}

/** A measurement that holds `value`, resting on `count` observations. */
export function measured(value: number, count = 1, atLeast = false): Measurement {
  return { kind: 'value', value, count, atLeast }
}

/** A measurement that has no value, and why. */
export function absent(why: AbsentWhy, detail?: string): Measurement {
  return detail === undefined ? { kind: 'absent', why } : { kind: 'absent', why, detail }
}
