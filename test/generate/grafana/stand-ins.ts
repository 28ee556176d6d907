const spans = ['5m', '30m', '1h', '2h', '6h', '1d', '3d'] as const
const stems = ['e2e_latency', 'ttft', 'itl', 'queue_time'] as const
const rates = ['requests', 'generation_tokens', 'prompt_tokens'] as const

const slow = 'max by (job, model_name) (vllm_vitals_e2e_latency_over_threshold_ratio{window="5m"})'
const failed = 'max by (job, target) (vllm_vitals_error_ratio{window="5m"})'

/** Rules under the names that the dashboards ask for, each used only while the generated rules lack it. */
export const standIns = [
  ...stems.flatMap((stem) =>
    [0.5, 0.95, 0.99].map((quantile) => ({
      record: `model:vllm_vitals_${stem}_seconds:quantile_rate5m`,
      expr: `histogram_quantile(${quantile}, sum by (job, model_name, le) (rate(vllm_vitals_${stem}_merged_seconds_bucket[5m])))`,
      labels: { quantile: String(quantile) },
    })),
  ),
  ...rates.map((name) => ({
    record: `model:vllm_vitals_${name}:rate5m`,
    expr: `sum by (job, model_name) (vllm_vitals_${name}_per_second{window="5m"})`,
  })),
  {
    record: 'job:vllm_vitals_error:ratio_rate5m',
    expr: 'max by (job) (vllm_vitals_error_ratio{window="5m"})',
  },
  ...spans.flatMap((span) => [
    { record: `slo:vllm_vitals_latency_bad:ratio_rate${span}`, expr: slow },
    { record: `slo:vllm_vitals_errors_bad:ratio_rate${span}`, expr: failed },
  ]),
  { record: 'slo:vllm_vitals_latency_budget_remaining:ratio', expr: `1 - ${slow} / 0.01` },
  { record: 'slo:vllm_vitals_errors_budget_remaining:ratio', expr: `1 - ${failed} / 0.001` },
  {
    alert: 'VllmLatencyBudgetBurn',
    expr: 'slo:vllm_vitals_latency_bad:ratio_rate1h > 0.144',
    labels: { severity: 'critical', long_window: '1h' },
  },
]
