import type { Config } from '../config/schema.ts'
import type { RecordingRule, RuleGroup } from './rule-group.ts'

/** The latencies whose merged histograms the daemons publish. */
const stems = ['e2e_latency', 'ttft', 'itl', 'queue_time'] as const

const span = '5m'

/**
 * What many hosts are together, for each model: quantiles of the histograms that were added up, never of
 * quantiles, and sums of counters. NaN, as of no requests at all, is left out.
 */
export function fleetGroup({ quantiles }: Config): RuleGroup {
  return {
    name: 'vllm-vitals-fleet',
    interval: '30s',
    rules: [...stems.flatMap((stem) => quantileRules(stem, quantiles)), ...sums, ...ratios],
  }
}

function quantileRules(stem: string, quantiles: readonly number[]): readonly RecordingRule[] {
  const buckets = `model_le:vllm_vitals_${stem}_merged_seconds_bucket:rate${span}`
  return [
    {
      record: buckets,
      expr: `sum by (job, model_name, le) (rate(vllm_vitals_${stem}_merged_seconds_bucket[${span}]))`,
    },
    ...quantiles.map((quantile) => ({
      record: `model:vllm_vitals_${stem}_seconds:quantile_rate${span}`,
      expr: `histogram_quantile(${quantile}, ${buckets}) >= 0`,
      labels: { quantile: String(quantile) },
    })),
  ]
}

const sums: readonly RecordingRule[] = [
  ['requests', 'requests_finished_total'],
  ['generation_tokens', 'generation_tokens_total'],
  ['prompt_tokens', 'prompt_tokens_total'],
].map(([what, counter]) => ({
  record: `model:vllm_vitals_${what}:rate${span}`,
  expr: `sum by (job, model_name) (rate(vllm_vitals_${counter}[${span}]))`,
}))

const failed = `max without (reason) (rate(vllm_vitals_requests_failed_certain_total[${span}]))`
const ended = `rate(vllm_vitals_requests_ended_total[${span}])`
const told = 'and on (instance, job, target) vllm_vitals_requests_failed_certain_total'

const ratios: readonly RecordingRule[] = [
  {
    record: `job:vllm_vitals_error:ratio_rate${span}`,
    expr: `sum by (job) (${failed}) / (sum by (job) (${ended} ${told}) > 0)`,
  },
]
