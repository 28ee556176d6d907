import { stringify } from 'yaml'
import type { Config } from '../../config/schema.ts'
import type { GeneratedFile } from '../files.ts'
import { component, manifestFile } from './manifest.ts'
import { serverName } from './server.ts'

const replicas = { min: 1, max: 4 } as const
const kvCacheTarget = 0.8
const metricNames = {
  queueWait: 'vllm_vitals_queue_wait_p95_seconds',
  kvCache: 'vllm_vitals_kv_cache_usage_mean_ratio',
} as const

/** Half of what VllmQueueWaitHigh allows, so that replicas come before it rings. */
function queueWaitTarget({ thresholds }: Config): number {
  return thresholds.queueTimeP95Seconds / 2
}

/**
 * Returns the wait before the first scheduling that 95 % of the requests of the last five minutes stayed below, in
 * seconds, over all replicas that `matchers` choose. It is 0 without requests, and absent without a replica that is up.
 */
export function queueWaitQuery(matchers: string): string {
  const buckets = `rate(vllm_vitals_queue_time_merged_seconds_bucket{${matchers}}[5m])`
  const up = `vllm_vitals_up{${matchers},target!="gpu"} == 1`
  return `(histogram_quantile(0.95, sum by (le) (${buckets})) >= 0) or (0 * count(${up}))`
}

/**
 * Returns the mean use of the KV cache over five minutes and over the replicas that are not stalled, 0 to 1. It is
 * absent where every replica is stalled or down.
 */
export function kvCacheQuery(matchers: string): string {
  const usage = `avg_over_time(vllm_vitals_kv_cache_usage_ratio{${matchers}}[5m])`
  const stalled = `vllm_vitals_engine_state{${matchers},state="stalled"} == 1`
  return `avg(${usage} unless on (job, instance, target) ${stalled})`
}

/** Examples of scaling on queue wait and KV cache. */
export function scalingFiles(config: Config): readonly GeneratedFile[] {
  return [...hpaFiles(config), ...kedaFiles(config)]
}

/** Leaves the number of replicas to the scaler: a number in the Deployment would be set again at each apply. */
const replicasPatch = {
  target: { kind: 'Deployment', name: serverName },
  patch: stringify({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: serverName },
    spec: { replicas: null },
  }),
}

/** Replicas come one at a time and go one at a time. */
const behavior = {
  scaleUp: {
    stabilizationWindowSeconds: 60,
    policies: [{ type: 'Pods', value: 1, periodSeconds: 600 }],
  },
  scaleDown: {
    stabilizationWindowSeconds: 1_800,
    policies: [{ type: 'Pods', value: 1, periodSeconds: 900 }],
  },
} as const

const behaviorRemarks = (place: string) => ({
  [`${place}/scaleUp`]: `One replica in ten minutes: a model takes minutes to load, and until then the queue grows no shorter. Without this
every interval of the wait would ask for one more.`,
  [`${place}/scaleDown`]: `Half an hour of quiet before a replica goes, and a quarter of an hour between two: each costs a load to have back.
What it still streams has terminationGracePeriodSeconds to end.`,
})

const reasons = `Why queue wait and KV cache, and not the utilization of the GPU:
- utilization is the share of time in which any kernel ran. It stands near 100 % with a single long request, so that it
  tells nothing of what is left; and it stands at 100 % when a kernel spins in a hung engine, so that it would add replicas
  to an outage.
- the KV cache is what a replica runs out of: its use rises with the tokens in flight. Near 1 it evicts requests.
- queue wait is what users feel when it has run out, or the places in the batch have.

A hung replica must not count: its gauges stand still above zero for as long as it hangs. The wait is taken from
the histogram of requests that were scheduled, to which a hung engine adds nothing, and the cache leaves stalled engines
out. Where nothing can be read there is no value, and without a value nothing is scaled.`

function hpaFiles(config: Config): readonly GeneratedFile[] {
  const metric = (name: string, value: string) => ({
    type: 'External',
    external: { metric: { name }, target: { type: 'Value', value } },
  })
  const hpa = {
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: { name: serverName },
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: serverName },
      minReplicas: replicas.min,
      maxReplicas: replicas.max,
      metrics: [
        metric(metricNames.queueWait, quantity(queueWaitTarget(config))),
        metric(metricNames.kvCache, quantity(kvCacheTarget)),
      ],
      behavior,
    },
  }
  return [
    component(
      'components/scaling-hpa',
      { resources: ['hpa.yaml'], patches: [replicasPatch] },
      { '': hpaIntroduction, 'patches/0': replicasRemark },
    ),
    manifestFile('components/scaling-hpa/hpa.yaml', hpa, {
      '': reasons,
      'spec/maxReplicas': 'As many as there are GPUs for.',
      'spec/metrics/0':
        'Seconds; half of thresholds.queue_time_p95, so that replicas come before VllmQueueWaitHigh rings.',
      'spec/metrics/1': `type: Value, since both are levels of the whole: wanted = ready replicas × value ÷ target, and the larger of both
counts. Where max_num_seqs runs out before the cache does, add a metric of running requests ÷ max_num_seqs, or a quiet
cache takes away replicas that are full.`,
      ...behaviorRemarks('spec/behavior'),
    }),
    adapterValues(),
  ]
}

const replicasRemark =
  'The number of replicas belongs to the scaler: one in the Deployment would be set again at each apply.'

const hpaIntroduction = `The metrics come from the Prometheus adapter:
  helm upgrade --install prometheus-adapter prometheus-community/prometheus-adapter -n monitoring \\
    --reuse-values -f config/kubernetes/components/scaling-hpa/prometheus-adapter-values.yaml`

/** Values of the adapter's chart. The adapter writes the namespace of the HPA in place of LabelMatchers. */
function adapterValues(): GeneratedFile {
  const matchers = '<<.LabelMatchers>>'
  const rule = (series: string, as: string, metricsQuery: string) => ({
    seriesQuery: `${series}{namespace!=""}`,
    resources: { overrides: { namespace: { resource: 'namespace' } } },
    name: { as },
    metricsQuery,
  })
  const external = [
    rule(
      'vllm_vitals_queue_time_merged_seconds_bucket',
      metricNames.queueWait,
      queueWaitQuery(matchers),
    ),
    rule('vllm_vitals_kv_cache_usage_ratio', metricNames.kvCache, kvCacheQuery(matchers)),
  ]
  const text = stringify({ rules: { external } }, { lineWidth: 0 })
  const head = `# Values of the chart prometheus-adapter. All vLLM of the namespace count together; where a namespace serves several
# models, give the metrics of the HPA a selector by the label target, which all series below have.
`
  return { path: 'components/scaling-hpa/prometheus-adapter-values.yaml', text: head + text }
}

function kedaFiles(config: Config): readonly GeneratedFile[] {
  const trigger = (query: string, threshold: number) => ({
    type: 'prometheus',
    metricType: 'Value',
    metadata: {
      serverAddress: 'http://prometheus-operated.monitoring.svc:9090',
      query,
      threshold: String(threshold),
      ignoreNullValues: 'false',
    },
  })
  const matchers = 'namespace="vllm"'
  const scaledObject = {
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'ScaledObject',
    metadata: { name: serverName },
    spec: {
      scaleTargetRef: { name: serverName },
      pollingInterval: 30,
      minReplicaCount: replicas.min,
      maxReplicaCount: replicas.max,
      advanced: { horizontalPodAutoscalerConfig: { behavior } },
      triggers: [
        trigger(queueWaitQuery(matchers), queueWaitTarget(config)),
        trigger(kvCacheQuery(matchers), kvCacheTarget),
      ],
    },
  }
  return [
    component(
      'components/scaling-keda',
      { resources: ['scaledobject.yaml'], patches: [replicasPatch] },
      {
        '': 'KEDA asks Prometheus itself and makes the HPA; never use it beside scaling-hpa.',
        'patches/0': replicasRemark,
      },
    ),
    manifestFile('components/scaling-keda/scaledobject.yaml', scaledObject, {
      '': reasons,
      'spec/minReplicaCount':
        'Not 0: the first request would wait for a whole load, and nobody would be there to see it wait.',
      'spec/maxReplicaCount': 'As many as there are GPUs for.',
      'spec/triggers/0/metadata/query':
        'The namespace of vLLM; add target="…" where it serves several models.',
      'spec/triggers/0/metadata/threshold':
        'Seconds; half of thresholds.queue_time_p95, so that replicas come before VllmQueueWaitHigh rings.',
      'spec/triggers/0/metadata/ignoreNullValues':
        'Without a value KEDA would read 0 and take replicas away in an outage.',
      ...behaviorRemarks('spec/advanced/horizontalPodAutoscalerConfig/behavior'),
    }),
  ]
}

/** A number as a quantity of Kubernetes, to a thousandth. */
function quantity(value: number): string {
  const milli = Math.round(value * 1_000)
  return milli % 1_000 === 0 ? String(milli / 1_000) : `${milli}m`
}
