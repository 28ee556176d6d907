import type { Config } from '../../config/schema.ts'
import { seconds, spanText } from '../../rules/words.ts'
import { formatDuration } from '../../units.ts'
import {
  type BurnWindow,
  budgetAlertNames,
  burnWindows,
  highestRatio,
  ratioSpans,
} from '../slo-rules.ts'
import { type Board, type Row, restartAnnotations, ruleAnnotation } from './board.ts'
import { runbookLink } from './host.ts'
import { lines, type Panel, stat, table } from './panel.ts'
import {
  increase,
  inWindow,
  largestOver,
  lasting,
  peak,
  recordedOver,
  type Scope,
  select,
  shownAtMost,
} from './query.ts'

const alerts = budgetAlertNames.join('|')

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
      promiseRow(latency, config),
      promiseRow(errors, config),
      volumeRow(),
    ],
  }
}

/** Every figure of an objective matters: `99.95 %`. */
function share(ratio: number): string {
  return `${exact(100 * ratio)} %`
}

/** It is recorded as seldom as a value counts as present at all, so the last one of a longer time is taken. */
function remaining({ stem, scope }: Promised, at = ''): string {
  const recorded = select(`slo:vllm_vitals_${stem}_budget_remaining:ratio`, scope)
  return `last_over_time(${recorded}[15m]${at})`
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

function promiseRow(promised: Promised, { slo }: Config): Row {
  const { name, ratio, words } = promised
  const windows = burnWindows(slo)
  const period = spanText(slo.periodMs)
  const allowed = exact(1 - ratio)
  return {
    title: `${name}: ${words}`,
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
            expr: lasting(remaining(promised), `-1 * ${remaining(promised, ' @ end()')}`),
            legend: promised.legend,
          },
        ],
      }),
      burnPanel(
        promised,
        windows.filter(({ severity }) => severity === 'critical'),
        {
          title: `${name} burn rate, for a page`,
          description: `How many times faster than allowed the budget is spent; at 1 it lasts exactly ${period}. Somebody is paged`,
        },
      ),
      burnPanel(
        promised,
        windows.filter(({ severity }) => severity === 'warning'),
        {
          title: `${name} burn rate, for a ticket`,
          description: 'The same over longer windows. A ticket is due',
        },
      ),
      lines({
        title: `${name}: share of bad requests`,
        description: `What the burn rates are made of: the share of requests that break the promise, by window. Dashed: the ${share(allowed)} that is allowed. The largest of the chosen.`,
        unit: 'percentunit',
        width: 24,
        queries: ratioSpans(slo).map((window) => ({
          expr: `max(${bad(promised, window)})`,
          legend: window,
        })),
        thresholds: [{ from: allowed, color: 'red' }],
      }),
    ],
  }
}

/** How fast the budget burns over pairs of windows, beside the pace at which an alert rings. */
function burnPanel(
  promised: Promised,
  windows: readonly BurnWindow[],
  { title, description }: { readonly title: string; readonly description: string },
): Panel {
  const budget = exact(1 - promised.ratio)
  // No share of bad requests is above all of them, so a large budget rings at a lower pace.
  const pace = ({ factor }: BurnWindow) => exact(Math.min(factor, highestRatio / budget))
  const pairs = windows.map((one) => `${one.long} and ${one.short} are above ${pace(one)}`)
  const paces = [...new Set(windows.map(pace))].sort((a, b) => a - b)
  return lines({
    title,
    description: `${description} when both ${pairs.join(', or ')} (dashed), with enough bad requests to be sure. The 5 fastest for each window.`,
    unit: 'suffix: x',
    width: 8,
    queries: windows
      .flatMap(({ short, long }) => [short, long])
      .map((window) => ({
        expr: lasting(`${bad(promised, window)} / ${budget}`, peak(bad(promised, window)), 5),
        legend: `${promised.legend} ${window}`,
      })),
    thresholds: paces.map((from, index) => ({ from, color: index === 0 ? 'orange' : 'red' })),
  })
}

function bad({ stem, scope }: Promised, window: string): string {
  return select(`slo:vllm_vitals_${stem}_bad:ratio_rate${window}`, scope)
}

/** Takes out what arithmetic left behind the tenth figure. */
function exact(value: number): number {
  return Number(value.toPrecision(10))
}

function volumeRow(): Row {
  const ended = select('vllm_vitals_requests_ended_total', 'target')
  return {
    title: 'What was counted',
    panels: [
      lines({
        title: 'Requests per second (5m)',
        description:
          'Requests that ended, by model: a budget of few requests is spent by one of them.',
        unit: 'reqps',
        width: 6,
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
        width: 6,
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
      ...spenders(),
    ],
  }
}

/** What the budgets were spent on, and by whom. */
function spenders(): readonly Panel[] {
  const over = inWindow('vllm_vitals_e2e_latency_over_threshold_ratio', 'model')
  const slow = select('vllm_vitals_e2e_latency_over_threshold_requests_total', 'model')
  const failed = select('vllm_vitals_requests_failed_certain_total', 'target')
  return [
    lines({
      title: 'Bad requests',
      description:
        'How many took too long, and how many failed for certain, between two points: what the budgets were spent on.',
      unit: 'short',
      width: 6,
      queries: [
        { expr: `sum(${increase(slow)})`, legend: 'too slow' },
        { expr: `sum(max without (reason) (${increase(failed)}))`, legend: 'failed' },
      ],
    }),
    lines({
      title: 'Share over the latency threshold ($window)',
      description:
        'As the daemons see it, of the 20 worst targets and models: who spends the budget of latency.',
      unit: 'percentunit',
      width: 6,
      queries: [
        {
          expr: largestOver('instance, target, model_name', over),
          legend: '{{instance}} {{target}}',
        },
      ],
    }),
  ]
}
