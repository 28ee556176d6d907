import type { Config } from '../config/schema.ts'
import type { SloConfig } from '../rules/objectives.ts'
import { percent, seconds } from '../rules/words.ts'
import { formatDuration } from '../units.ts'
import { annotations } from './annotations.ts'
import {
  type AlertingRule,
  endedRate,
  failedRate,
  type RecordingRule,
  type RuleGroup,
  rateSpan,
} from './rule-group.ts'

/** Alerts that only Prometheus can ring, since no daemon remembers for so long. */
export const budgetAlertNames = ['VllmLatencyBudgetBurn', 'VllmErrorBudgetBurn'] as const

type BudgetAlertName = (typeof budgetAlertNames)[number]

/** A pair of windows over which the budget must burn too fast, the short one so that the alert ends soon. */
export interface BurnWindow {
  /** Durations as Prometheus writes them. */
  readonly long: string
  readonly short: string
  readonly longSeconds: number
  /** How many times faster than at an even pace the budget burns. */
  readonly factor: number
  readonly severity: 'critical' | 'warning'
}

/**
 * The windows of the SRE workbook (chapter 5, "Alerting on SLOs", multiwindow and multi-burn-rate) as shares of
 * the period: 2 % of the budget gone in 1 h of 30 d, 5 % in 6 h, 10 % in 1 d, 10 % in 3 d.
 */
const burns = [
  { budgetRatio: 0.02, periodRatio: 1 / 720, severity: 'critical' },
  { budgetRatio: 0.05, periodRatio: 1 / 120, severity: 'critical' },
  { budgetRatio: 0.1, periodRatio: 1 / 30, severity: 'warning' },
  { budgetRatio: 0.1, periodRatio: 1 / 10, severity: 'warning' },
] as const

/** The short window is a twelfth of the long one, but holds several scrapes. */
const shortShare = 12
const minuteMs = 60_000
const leastShortMs = 2 * minuteMs

/** With fewer bad requests than this in the long window, a high ratio is an accident of low traffic. */
const leastBad = 10

/** A long window is judged once so much of it has been recorded: a fresh Prometheus has seen minutes of six hours. */
const leastCovered = 1 / 4

/** An objective with a large budget would never ring in a total outage without this. */
export const highestRatio = 0.95

/** Rates over five minutes are recorded, and everything longer is taken from them. */
const recordEverySeconds = 30

const slowRequests = 'vllm_vitals_e2e_latency_over_threshold_requests_total'

/** The windows over which the budget is watched, for a period such as 30 d: 1 h with 5 m, and so on. */
export function burnWindows({ periodMs }: SloConfig): readonly BurnWindow[] {
  return burns.map(({ budgetRatio, periodRatio, severity }) => {
    const longMs = roundToMinutes(periodMs * periodRatio)
    const shortMs = Math.max(roundToMinutes(longMs / shortShare), leastShortMs)
    return {
      long: formatDuration(longMs),
      short: formatDuration(shortMs),
      longSeconds: longMs / 1_000,
      factor: budgetRatio / periodRatio,
      severity,
    }
  })
}

/** Every span that a ratio of bad requests is recorded over, the shortest first. */
export function ratioSpans(slo: SloConfig): readonly string[] {
  const windows = burnWindows(slo)
  return [...new Set([...windows.map(({ short }) => short), ...windows.map(({ long }) => long)])]
}

/** What is promised of requests, and how the bad among them are counted. */
interface Objective {
  readonly name: 'latency' | 'errors'
  readonly alert: BudgetAlertName
  readonly objective: number
  /** What tells apart the services that the promise is kept for. */
  readonly by: readonly string[]
  readonly bad: string
  /** The label of counts that may hold the same request. */
  readonly largestOf?: string
  readonly all: string
  /** How it is counted, where that is to be said. */
  readonly note?: string
  /** What is bad, behind a share of requests. */
  readonly what: string
  readonly who: string
}

/** Recording and alerting rules of the error budgets. */
export function sloGroups(config: Config): readonly RuleGroup[] {
  const objectives = objectivesOf(config)
  const period = formatDuration(config.slo.periodMs)
  return [
    {
      name: 'vllm-vitals-slo',
      interval: `${recordEverySeconds}s`,
      rules: objectives.flatMap((one) => [
        ...recordings(one, ratioSpans(config.slo)),
        ...(config.slo.alerts
          ? burnWindows(config.slo).map((window) => burnAlert(one, window, config))
          : []),
      ]),
    },
    {
      // A month of samples is no work for every half minute.
      name: 'vllm-vitals-slo-budget',
      interval: '2m',
      rules: objectives.map((one) => budgetLeft(one, period)),
    },
  ]
}

function objectivesOf({ slo, thresholds }: Config): readonly Objective[] {
  return [
    {
      name: 'latency',
      alert: 'VllmLatencyBudgetBurn',
      objective: slo.latencyRatio,
      by: ['job', 'model_name'],
      bad: `rate(${slowRequests}[${rateSpan}])`,
      // Where the edges do not enclose the threshold nobody can tell who was slow: such requests are not good ones.
      all: `rate(vllm_vitals_e2e_latency_merged_seconds_count[${rateSpan}]) and on (instance, job, target, model_name) ${slowRequests}`,
      what: `took longer than ${seconds(thresholds.e2eLatencyP99Seconds)}`,
      note: ' Counted at the bucket edge of vLLM that is the threshold or comes before it.',
      who: '{{ $labels.model_name }}',
    },
    {
      name: 'errors',
      alert: 'VllmErrorBudgetBurn',
      objective: slo.successRatio,
      by: ['job', 'target'],
      bad: failedRate,
      largestOf: 'reason',
      all: endedRate,
      what: 'failed',
      who: 'vLLM {{ $labels.target }}',
    },
  ]
}

function recordings(one: Objective, spans: readonly string[]): readonly RecordingRule[] {
  const by = one.by.join(', ')
  const kinds = one.largestOf === undefined ? by : `${by}, ${one.largestOf}`
  return [
    { record: rateOf(one, 'bad'), expr: `sum by (${kinds}) (${one.bad})` },
    { record: rateOf(one, 'all'), expr: `sum by (${by}) (${one.all})` },
    ...spans.map((span) => ({ record: ratioOver(one, span), expr: ratioExpression(one, span) })),
  ]
}

/** Without requests there is no ratio: 0 divided by 0 is left out, and not written as NaN. */
function ratioExpression(one: Objective, span: string): string {
  const all =
    span === rateSpan ? rateOf(one, 'all') : `sum_over_time(${rateOf(one, 'all')}[${span}])`
  return `${badOver(one, span)} / (${all} > 0)`
}

/** Of two counts that may hold the same request the larger one, taken over the whole span. */
function badOver(one: Objective, span: string): string {
  const bad =
    span === rateSpan ? rateOf(one, 'bad') : `sum_over_time(${rateOf(one, 'bad')}[${span}])`
  return one.largestOf === undefined ? bad : `max without (${one.largestOf}) (${bad})`
}

function burnAlert(one: Objective, window: BurnWindow, config: Config): AlertingRule {
  const { long, short, longSeconds, factor, severity } = window
  const budget = rounded(1 - one.objective)
  const limit = rounded(Math.min(factor * budget, highestRatio))
  // Each recorded rate stands for the requests of one interval; what was not recorded adds nothing.
  const count = `${badOver(one, long)} * ${recordEverySeconds}`
  const covered = `count_over_time(${rateOf(one, 'all')}[${long}]) * ${recordEverySeconds}`
  return {
    alert: one.alert,
    expr: [
      `${ratioOver(one, long)} > ${limit}`,
      `${ratioOver(one, short)} > ${limit}`,
      `${count} >= ${leastBad}`,
      `${covered} >= ${longSeconds * leastCovered}`,
    ].join(' and '),
    for: severity === 'critical' ? '2m' : '15m',
    labels: { severity, long_window: long },
    annotations: annotations(one.alert, config, {
      dashboard: 'slo',
      summary: `{{ $value | humanizePercentage }} of the requests to ${one.who} ${one.what} in ${long}, allowed are ${percent(budget)}`,
      description: `The error budget of ${formatDuration(config.slo.periodMs)} burns at more than ${rounded(limit / budget)} times its even pace, over ${long} and over ${short} alike, with ${leastBad} bad requests at least.${one.note ?? ''}`,
    }),
  }
}

function budgetLeft(one: Objective, period: string): RecordingRule {
  return {
    record: `slo:vllm_vitals_${one.name}_budget_remaining:ratio`,
    expr: `1 - ${ratioExpression(one, period)} / ${rounded(1 - one.objective)}`,
  }
}

function rateOf({ name }: Objective, what: 'bad' | 'all'): string {
  return `slo:vllm_vitals_${name}_${what}:rate${rateSpan}`
}

function ratioOver({ name }: Objective, span: string): string {
  return `slo:vllm_vitals_${name}_bad:ratio_rate${span}`
}

function roundToMinutes(ms: number): number {
  return Math.round(ms / minuteMs) * minuteMs
}

/** Takes out what a subtraction from 1 left behind the ninth figure. */
function rounded(value: number): number {
  return Number(value.toPrecision(9))
}
