import type { Config } from '../../config/schema.ts'
import { seconds, spanText } from '../../rules/words.ts'
import { formatDuration } from '../../units.ts'
import { type Board, type Row, restartAnnotations, ruleAnnotation } from './board.ts'
import { runbookLink } from './host.ts'
import { lines, type Panel, stat, table } from './panel.ts'
import {
  increase,
  largestOver,
  lasting,
  peak,
  recordedOver,
  type Scope,
  select,
  shownAtMost,
} from './query.ts'

/** The windows of the recording rules, and how many times too fast a budget burns when an alert rings. */
const windows = ['5m', '30m', '1h', '2h', '6h', '1d', '3d'] as const
const burns = [
  { from: 1, color: 'yellow' },
  { from: 3, color: 'orange' },
  { from: 6, color: 'red' },
  { from: 14.4, color: 'dark-red' },
] as const

const alerts = 'Vllm(Latency|Error)BudgetBurn'

/** One promise to users: whose budget it is, and how its series are called. */
interface Promised {
  readonly stem: 'latency' | 'errors'
  readonly name: string
  readonly scope: Scope
  readonly legend: string
  readonly ratio: number
  /** What must be true of how many requests. */
  readonly words: string
}

/** What was promised, how much of the budget is left, and how fast it burns. */
export function sloBoard(config: Config): Board {
  const { slo, thresholds } = config
  const limit = seconds(thresholds.e2eLatencyP99Seconds)
  const latency: Promised = {
    stem: 'latency',
    name: 'Latency',
    scope: 'jobModel',
    legend: '{{model_name}}',
    ratio: slo.latencyRatio,
    words: `${share(slo.latencyRatio)} of the requests end within ${limit}`,
  }
  const errors: Promised = {
    stem: 'errors',
    name: 'Errors',
    scope: 'jobTarget',
    legend: '{{target}}',
    ratio: slo.successRatio,
    words: `${share(slo.successRatio)} of the requests succeed`,
  }
  const period = spanText(slo.periodMs)
  return {
    name: 'slo',
    title: 'vllm-vitals / SLO',
    description: `What was promised over ${period}: ${latency.words}; ${errors.words}. From the recording rules.`,
    variables: ['job', 'instance', 'target', 'model', 'window'],
    single: false,
    from: `now-${formatDuration(slo.periodMs)}`,
    refresh: '5m',
    annotations: [ruleAnnotation(alerts), ...restartAnnotations('job')],
    rows: [
      {
        title: `The budgets over ${period}`,
        panels: [left(latency), left(errors), ringing(config)],
      },
      promiseRow(latency, period),
      promiseRow(errors, period),
      volumeRow(),
    ],
  }
}

/** Every figure of an objective matters: `99.95 %`. */
function share(ratio: number): string {
  return `${Number((100 * ratio).toPrecision(10))} %`
}

function remaining({ stem, scope }: Promised): string {
  return select(`slo:vllm_vitals_${stem}_budget_remaining:ratio`, scope)
}

function left(promised: Promised): Panel {
  return stat({
    title: `${promised.name} budget left`,
    description: `Promised: ${promised.words}. 100 %: nothing of what may go wrong has gone wrong; 0 %: the promise is just kept; below: broken. The 20 lowest.`,
    unit: 'percentunit',
    width: 6,
    decimals: 1,
    queries: [{ expr: `bottomk(${shownAtMost}, ${remaining(promised)})`, legend: promised.legend }],
    steps: [
      { from: Number.NEGATIVE_INFINITY, color: 'red' },
      { from: 0, color: 'orange' },
      { from: 0.25, color: 'green' },
    ],
  })
}

function ringing(config: Config): Panel {
  return table({
    title: 'Budget alerts',
    description:
      'Budgets that burn so fast that somebody is to act now (critical) or soon (warning). Only Prometheus can ring these. Empty is good.',
    unit: 'short',
    width: 12,
    queries: [
      {
        expr: `topk(${shownAtMost}, max by (alertname, severity, alertstate, job, model_name, target, long_window) (${select('ALERTS', 'job', `alertname=~"${alerts}"`)}))`,
      },
    ],
    columns: ['alertname', 'severity', 'alertstate', 'model_name', 'target', 'long_window', 'job'],
    sortBy: 'severity',
    ascending: true,
    ...(config.links.runbooks === '' ? {} : { links: { alertname: runbookLink(config) } }),
    words: {
      severity: { critical: 'red', warning: 'orange' },
      alertstate: { firing: 'red', pending: 'yellow' },
    },
  })
}

function promiseRow(promised: Promised, period: string): Row {
  const { stem, name, scope, legend, ratio } = promised
  const bad = (window: string) => select(`slo:vllm_vitals_${stem}_bad:ratio_rate${window}`, scope)
  const allowed = Number((1 - ratio).toPrecision(10))
  const pairs = (spans: readonly string[]) =>
    spans.map((window) => ({
      expr: lasting(`${bad(window)} / ${allowed}`, peak(bad(window)), 5),
      legend: `${legend} ${window}`,
    }))
  return {
    title: `${name}: ${promised.words}`,
    panels: [
      lines({
        title: `${name} budget left over time`,
        description: `How much of the budget of ${period} was left at every moment. It comes back as bad times fall out of the period.`,
        unit: 'percentunit',
        width: 8,
        openBelow: true,
        max: 1,
        queries: [
          {
            // Those with least left at the end.
            expr: lasting(remaining(promised), `-1 * ${remaining(promised)} @ end()`),
            legend,
          },
        ],
      }),
      lines({
        title: `${name} burn rate, fast`,
        description: `How many times faster than allowed the budget is spent; at 1 it lasts exactly ${period}. Prometheus rings when a long and its short window are both above a dashed line: 1h and 5m above 14.4, 6h and 30m above 6. The 5 fastest for each window.`,
        unit: 'suffix: x',
        width: 8,
        queries: pairs(['5m', '30m', '1h', '6h']),
        thresholds: burns.slice(2),
      }),
      lines({
        title: `${name} burn rate, slow`,
        description:
          'The same over longer windows: 1d and 2h above 3, 3d and 6h above 1 are a ticket. The 5 fastest for each window.',
        unit: 'suffix: x',
        width: 8,
        queries: pairs(['2h', '6h', '1d', '3d']),
        thresholds: burns.slice(0, 2),
      }),
      lines({
        title: `${name}: share of bad requests`,
        description: `What the burn rates are made of: the share of requests that break the promise, by window. Dashed: the ${share(allowed)} that is allowed. The largest of the chosen.`,
        unit: 'percentunit',
        width: 24,
        queries: windows.map((window) => ({ expr: `max(${bad(window)})`, legend: window })),
        thresholds: [{ from: allowed, color: 'red' }],
      }),
    ],
  }
}

function volumeRow(): Row {
  const over = select('vllm_vitals_e2e_latency_over_threshold_ratio', 'model', 'window="$window"')
  const ended = select('vllm_vitals_requests_ended_total', 'target')
  return {
    title: 'What was counted',
    panels: [
      lines({
        title: 'Requests per second (5m)',
        description:
          'Requests that ended, by model: a budget of few requests is spent by one of them.',
        unit: 'reqps',
        width: 8,
        queries: [
          {
            expr: recordedOver(
              select('model:vllm_vitals_requests:rate5m', 'jobModel'),
              shownAtMost,
            ),
            legend: '{{model_name}}',
          },
        ],
      }),
      lines({
        title: 'Requests that ended',
        description:
          'How many ended between two points, of the 20 busiest targets: the denominator of errors.',
        unit: 'short',
        width: 8,
        queries: [
          {
            expr: lasting(
              `sum by (target) (${increase(ended)})`,
              `sum by (target) (increase(${ended}[$__range] @ end()))`,
            ),
            legend: '{{target}}',
          },
        ],
      }),
      lines({
        title: 'Share over the latency threshold ($window)',
        description:
          'As the daemons see it, of the 20 worst targets and models: who spends the budget of latency.',
        unit: 'percentunit',
        width: 8,
        queries: [
          {
            expr: largestOver('instance, target, model_name', over),
            legend: '{{instance}} {{target}}',
          },
        ],
      }),
    ],
  }
}
