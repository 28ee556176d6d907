import type { Config } from '../config/schema.ts'
import {
  endedRate,
  failedRate,
  type RecordingRule,
  type RuleGroup,
  rateSpan,
} from './rule-group.ts'

/** The latencies whose merged histograms the daemons publish. */
const stems = ['e2e_latency', 'ttft', 'itl', 'queue_time'] as const

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

/**
 * Of buckets only the edges that every server of the model has: between two versions of vLLM they differ, and a sum of
 * some servers beside the sum of all would be no histogram.
 */
function quantileRules(stem: string, quantiles: readonly number[]): readonly RecordingRule[] {
  const buckets = `model_le:vllm_vitals_${stem}_merged_seconds_bucket:rate${rateSpan}`
  const series = `vllm_vitals_${stem}_merged_seconds_bucket`
  const having = `count by (job, model_name, le) (${series})`
  const servers = `count by (job, model_name) (${series}{le="+Inf"})`
  return [
    {
      record: buckets,
      expr: `sum by (job, model_name, le) (rate(${series}[${rateSpan}])) and ${having} == on (job, model_name) group_left () ${servers}`,
    },
    ...quantiles.map((quantile) => ({
      record: `model:vllm_vitals_${stem}_seconds:quantile_rate${rateSpan}`,
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
  record: `model:vllm_vitals_${what}:rate${rateSpan}`,
  expr: `sum by (job, model_name) (rate(vllm_vitals_${counter}[${rateSpan}]))`,
}))

const ratios: readonly RecordingRule[] = [
  {
    record: `job:vllm_vitals_error:ratio_rate${rateSpan}`,
    expr: `sum by (job) (max without (reason) (${failedRate})) / (sum by (job) (${endedRate}) > 0)`,
  },
]
