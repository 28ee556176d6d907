import type { LimitHits } from '../errors.ts'

/** The types that a `# TYPE` line can give. A family without one, or with an unknown word, is `unknown`. */
export type FamilyType =
  | 'counter'
  | 'gauge'
  | 'histogram'
  | 'gaugehistogram'
  | 'summary'
  | 'info'
  | 'stateset'
  | 'unknown'

/** One series of a page: a sample's name and labels, without its value. */
export interface Series {
  /** The sample's name as written: `x_bucket`, `x_total`. */
  readonly name: string
  /** Label names and values, unescaped, in the order written. */
  readonly labels: ReadonlyMap<string, string>
  /**
   * The family it belongs to. For a histogram or summary the name without `_bucket`, `_sum`, `_count`;
   * for a counter always the name with `_total`, also where OpenMetrics leaves it out of the TYPE line.
   */
  readonly family: string
  readonly type: FamilyType
}

/**
 * A parsed page: `values[i]` is the value of `series[i]`.
 *
 * `series` and `families` are the same objects as in the parser's previous result for as long as the
 * page has the same series in the same order, so that work which depends on them can be kept.
 */
export interface Exposition {
  readonly series: readonly Series[]
  readonly values: Float64Array
  /** Types by family name as given by `# TYPE`, families without samples included. */
  readonly families: ReadonlyMap<string, FamilyType>
  /** Lines that are not valid and were skipped. */
  readonly malformedLines: number
  readonly limitHits: LimitHits
}

/** The text formats: Prometheus 0.0.4 and 1.0.0, and OpenMetrics 1.0.0. */
export type ExpositionFormat = 'text' | 'openmetrics'

export interface ParseLimits {
  /** More samples than this on a page refuse the page. */
  readonly maxSamples: number
  /** A line with more labels is skipped and counted. */
  readonly maxLabels: number
  /** A line with a longer name, label name or label value, in bytes, is skipped and counted. */
  readonly maxLabelBytes: number
}
