import type { Config } from '../../config/schema.ts'
import { fullKvCacheRatio } from '../../rules/requests.ts'
import {
  type Board,
  type Row,
  restartAnnotations,
  rowInstance,
  ruleAnnotation,
  toHost,
} from './board.ts'
import { fleetGpuRow } from './fleet-gpus.ts'
import { modelLatencyRow, modelTrafficRow } from './fleet-models.ts'
import { alertTable, gpuVariable } from './host.ts'
import { nameOf } from './host-latency.ts'
import { type Panel, stat, type Table, table } from './panel.ts'
import { codeOf, health, inWindow, largest, select } from './query.ts'

/** All hosts: how many are well, which are the worst, and what the models as a whole do. */
export function fleetBoard(config: Config): Board {
  return {
    name: 'fleet',
    description:
      'All daemons of a job: how many targets are well, the worst of them, and what each model does as a whole. No panel draws more than 20 targets. Quantiles of a model come from merged histograms by way of the recording rules, never from averages.',
    variables: ['job', 'instance', 'target', 'model', ...gpuVariable(config), 'window'],
    single: false,
    from: 'now-3h',
    refresh: '1m',
    annotations: [ruleAnnotation('Vllm.*'), ...restartAnnotations('job')],
    rows: [
      { title: 'How they are', panels: [...overview(), ...reasons(config)] },
      { title: 'The worst of them', panels: [...worst(config), ...fullest(config)] },
      modelLatencyRow(config),
      modelTrafficRow(config),
      ...(config.gpu.enabled === false ? [] : [fleetGpuRow()]),
      versions(),
    ],
  }
}

function overview(): readonly Panel[] {
  const status = select('vllm_vitals_health_status', 'target')
  const firing = select('vllm_vitals_alert_active', 'alert', 'state="firing"')
  const watched = select('vllm_vitals_up', 'source')
  return [
    stat({
      title: 'Targets by status',
      description:
        'How many targets are healthy, degraded, unknown and unhealthy, by their own daemons. Targets of a daemon that cannot be scraped are not among them.',
      unit: 'short',
      width: 12,
      height: 5,
      queries: [{ expr: `sum by (status) (${status})`, legend: '{{status}}' }],
      colors: Object.fromEntries(health.values.map(({ value, color }) => [value, color])),
    }),
    stat({
      title: 'Daemons not scraped',
      description: 'Daemons that Prometheus knows of and cannot read now.',
      unit: 'short',
      width: 4,
      height: 5,
      queries: [{ expr: `sum(${select('up', 'daemon')} == bool 0)`, legend: 'daemons' }],
      steps: [{ from: 1, color: 'red' }],
      text: 'value',
    }),
    stat({
      title: 'Alerts firing',
      description: 'Alerts that fire at the daemons; those that wait for their time are left out.',
      unit: 'short',
      width: 4,
      height: 5,
      // A daemon that is read and has no alert is a count of none.
      queries: [{ expr: `sum(${firing}) or 0 * sum(${watched})`, legend: 'alerts' }],
      steps: [{ from: 1, color: 'red' }],
      text: 'value',
    }),
    stat({
      title: 'Targets not read',
      description: 'Targets, and GPUs of hosts, whose last reading by their daemon failed.',
      unit: 'short',
      width: 4,
      height: 5,
      queries: [{ expr: `sum(${watched} == bool 0)`, legend: 'sources' }],
      steps: [{ from: 1, color: 'orange' }],
      text: 'value',
    }),
  ]
}

function reasons(config: Config): readonly Panel[] {
  return [
    alertTable(config, 16, 9),
    table({
      ...toTheHost,
      title: 'Daemons not scraped, by name',
      description: 'Of what they watch nothing is known but what is old. Empty is good.',
      unit: 'short',
      width: 8,
      height: 9,
      queries: [{ expr: largest('instance, job', `${select('up', 'daemon')} == 0`) }],
      columns: ['instance', 'job'],
      sortBy: 'instance',
      ascending: true,
    }),
  ]
}

const toTheHost = { links: { instance: toHost(rowInstance) } }

function worst({ thresholds, quantiles }: Config): readonly Panel[] {
  const highest = Math.max(...quantiles)
  const byTarget = 'instance, target'
  const limits = (from: number) => [{ from, color: 'red' }]
  return [
    list({
      title: 'Least healthy',
      description: 'The 20 targets furthest from healthy. The name leads to the host.',
      unit: 'short',
      queries: [{ expr: codeOf(health, 'target') }],
      columns: ['instance', 'target'],
      value: 'status',
      coded: health,
    }),
    list({
      title: `Slowest, ${nameOf(highest)} end to end ($window)`,
      description: 'The 20 slowest targets and models, by the best estimate of each.',
      unit: 's',
      queries: [
        {
          expr: largest(
            `${byTarget}, model_name`,
            inWindow('vllm_vitals_e2e_latency_seconds', 'model', `quantile="${highest}"`),
          ),
        },
      ],
      columns: ['instance', 'target', 'model_name'],
      value: nameOf(highest),
      steps: limits(thresholds.e2eLatencyP99Seconds),
    }),
    list({
      title: 'Largest share of errors ($window)',
      description: 'The 20 targets with the largest share of failures that are certain.',
      unit: 'percentunit',
      queries: [{ expr: largest(byTarget, inWindow('vllm_vitals_error_ratio', 'target')) }],
      columns: ['instance', 'target'],
      value: 'failed',
      steps: limits(thresholds.errorRatio),
    }),
  ]
}

function fullest({ thresholds }: Config): readonly Panel[] {
  const byTarget = 'instance, target'
  const limits = (from: number) => [{ from, color: 'red' }]
  const queue = select('vllm_vitals_requests_waiting', 'model')
  return [
    list({
      title: 'Longest queues',
      description: 'The 20 targets with the most requests waiting now.',
      unit: 'short',
      queries: [{ expr: `topk(20, sum by (${byTarget}) (${queue}))` }],
      columns: ['instance', 'target'],
      value: 'waiting',
    }),
    list({
      title: 'Oldest waits',
      description: 'The 20 targets where some request that still waits has waited longest.',
      unit: 's',
      queries: [
        {
          expr: largest(byTarget, select('vllm_vitals_oldest_wait_lower_bound_seconds', 'model')),
        },
      ],
      columns: ['instance', 'target'],
      value: 'waits since',
      steps: limits(thresholds.queueTimeP95Seconds),
    }),
    list({
      title: 'Fullest KV caches ($window)',
      description: 'The 20 targets with the highest use of the KV cache within the window.',
      unit: 'percentunit',
      queries: [
        { expr: largest(byTarget, inWindow('vllm_vitals_kv_cache_usage_ratio_max', 'model')) },
      ],
      columns: ['instance', 'target'],
      value: 'highest use',
      steps: limits(fullKvCacheRatio),
    }),
  ]
}

/** A table of the twenty worst, whose rows lead to their hosts. */
function list(spec: Omit<Table, 'width' | 'links'>): Panel {
  return table({ ...spec, ...toTheHost, width: 8 })
}

function versions(): Row {
  const build = select('vllm_vitals_build_info', 'daemon')
  return {
    title: 'Versions',
    panels: [
      table({
        title: 'Versions of the daemon',
        unit: 'short',
        width: 24,
        value: 'count',
        description: 'How many daemons run which version: more than one is a rollout under way.',
        queries: [{ expr: `topk(20, count by (version, revision, nodeversion) (${build}))` }],
        columns: ['version', 'revision', 'nodeversion'],
      }),
    ],
  }
}
