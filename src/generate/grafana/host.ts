import type { Config } from '../../config/schema.ts'
import { runbookUrl } from '../../rules/links.ts'
import {
  alertAnnotation,
  type Board,
  restartAnnotations,
  rowInstance,
  type VariableName,
} from './board.ts'
import { gpuRow } from './host-gpus.ts'
import { latencyRow } from './host-latency.ts'
import { errorRow, kvCacheRow, trafficRow } from './host-load.ts'
import { type Panel, type Step, stat, table, timeline, type ValueLink } from './panel.ts'
import { codeOf, codeOver, health, largest, select, state } from './query.ts'
import { watchingRow } from './watching.ts'

/** One host: how it is and why first, and then what that is told from. */
export function hostBoard(config: Config): Board {
  return {
    name: 'host',
    description:
      'One daemon with its targets and GPUs: how they are and why, then what that is told from. With several targets or models chosen, a latency or a ratio is that of the worst of them.',
    variables: ['job', 'instance', 'target', 'model', ...gpuVariable(config), 'window'],
    single: true,
    from: 'now-1h',
    refresh: '30s',
    annotations: [alertAnnotation(), ...restartAnnotations('each')],
    rows: [
      { title: 'How it is, and why', panels: lightPanels(config) },
      latencyRow(config),
      trafficRow(config),
      errorRow(config),
      kvCacheRow(),
      ...(config.gpu.enabled === false ? [] : [gpuRow(config)]),
      watchingRow(),
    ],
  }
}

function lightPanels(config: Config): readonly Panel[] {
  return [
    stat({
      title: 'Health',
      description:
        'Whether traffic should go to each target, and how its GPUs are. The daemon decides; unhealthy means not serving.',
      unit: 'short',
      width: 6,
      height: 6,
      queries: [{ expr: codeOf(health, 'source'), legend: '{{instance}} {{target}}' }],
      coded: health,
      steps: [
        { from: 1, color: 'orange' },
        { from: 3, color: 'red' },
      ],
    }),
    stat({
      title: 'State',
      description:
        'What each engine does. Stalled: work is pending for certain and nothing moves. Unknown: it cannot be read, or not yet.',
      unit: 'short',
      width: 6,
      height: 6,
      queries: [{ expr: codeOf(state, 'target'), legend: '{{instance}} {{target}}' }],
      coded: state,
    }),
    ...readingPanels(config),
    alertTable(config, 12, 8),
    timeline({
      title: 'Health over time',
      description:
        'The status of each target and of the GPUs as the daemon gave it, of the 20 that are worst now. A gap: Prometheus had no daemon to ask.',
      unit: 'short',
      width: 12,
      height: 8,
      queries: [{ expr: codeOver(health, 'source'), legend: '{{instance}} {{target}}' }],
      coded: health,
    }),
  ]
}

/** The alerts of the daemon itself; those that Prometheus alone rings are on the other dashboards. */
export function alertTable(config: Config, width: number, height: number): Panel {
  const active = select('vllm_vitals_alert_active', 'alert')
  return table({
    title: 'Reasons: alerts pending and firing',
    description:
      'What the daemon complains of now; the name leads to the runbook. Empty is good, as long as the daemon is scraped. Pending: the condition holds, but not for long enough yet.',
    unit: 'short',
    width,
    height,
    queries: [
      {
        expr: largest(
          'alertname, severity, state, instance, target, model_name, uuid',
          `${active} == 1`,
        ),
      },
    ],
    columns: ['alertname', 'severity', 'state', 'target', 'model_name', 'uuid', 'instance'],
    sortBy: 'severity',
    ascending: true,
    links: { alertname: runbookLink(config) },
    words: {
      severity: { critical: 'red', warning: 'orange' },
      state: { firing: 'red', pending: 'yellow' },
    },
  })
}

/** The runbook of the alert in a row of a table with the columns `alertname` and `instance`. */
export function runbookLink({ links }: Config): ValueLink {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana fills it in.
  const url = runbookUrl(links, '${__data.fields.alertname}', rowInstance)
  return { title: 'Open the runbook', url }
}

function readingPanels(config: Config): readonly Panel[] {
  return [
    stat({
      title: 'Daemon',
      description: 'Whether Prometheus reaches the daemon. While it does not, all else is old.',
      unit: 'short',
      width: 4,
      height: 6,
      queries: [{ expr: largest('instance', select('up', 'daemon')), legend: '{{instance}}' }],
      coded: upOrDown,
      steps: upSteps,
    }),
    stat({
      title: 'Sources read',
      description: 'Whether the last reading of each target and of the GPUs succeeded.',
      unit: 'short',
      width: 4,
      height: 6,
      queries: [
        {
          expr: largest('instance, target', select('vllm_vitals_up', 'source')),
          legend: '{{target}}',
        },
      ],
      coded: upOrDown,
      steps: upSteps,
    }),
    stat({
      title: 'Age of the data',
      description:
        'How long ago each source was last read, by the clock of Prometheus. Red: older than three intervals of the slowest source, so that what it said is withdrawn.',
      unit: 's',
      width: 4,
      height: 6,
      decimals: 0,
      queries: [
        {
          expr: largest(
            'instance, target',
            `time() - ${select('vllm_vitals_last_success_timestamp_seconds', 'source')}`,
          ),
          legend: '{{target}}',
        },
      ],
      steps: [{ from: staleSeconds(config), color: 'red' }],
    }),
  ]
}

export const upOrDown = {
  family: 'up',
  label: '',
  values: [
    { value: 'down', color: 'red' },
    { value: 'up', color: 'green' },
  ],
}

/** Where no GPU is watched, nothing of them is shown. */
export function gpuVariable({ gpu }: Config): readonly VariableName[] {
  return gpu.enabled === false ? [] : ['gpu']
}

const upSteps: readonly Step[] = [
  { from: Number.NEGATIVE_INFINITY, color: 'red' },
  { from: 1, color: 'green' },
]

/** Scraped and GPU data are withdrawn after three intervals or 15 s, whichever is longer. */
function staleSeconds({ scrape, gpu }: Config): number {
  const longestMs =
    gpu.enabled === false ? scrape.intervalMs : Math.max(scrape.intervalMs, gpu.intervalMs)
  return Math.max(3 * longestMs, 15_000) / 1_000
}
