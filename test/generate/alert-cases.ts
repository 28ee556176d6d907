/** What an alert needs around it to be told with its numbers, and how it is told then. */
export interface AlertCase {
  readonly alert: string
  readonly severity: 'critical' | 'warning'
  /** The subject: labels of the alert beside `instance` and `job`. */
  readonly labels: Readonly<Record<string, string>>
  /** Series beside the verdict, without `instance` and `job`: name with labels, and values of promtool. */
  readonly series: readonly (readonly [string, string])[]
  readonly summary: string
  /** The summary where none of those series is there. */
  readonly bare: string
}

const target = { target: 'vllm' }
const model = { ...target, model_name: 'llama' }
const card = { uuid: 'GPU-7' }

const shares = (stem: string, ratio: string, count: string) =>
  [
    [
      `vllm_vitals_${stem}_over_threshold_ratio{target="vllm",model_name="llama",window="5m"}`,
      ratio,
    ],
    [
      `vllm_vitals_${stem}_window_observations{target="vllm",model_name="llama",window="5m"}`,
      count,
    ],
  ].map(([name = '', value = '']) => [name, `${value}+0x120`] as const)

/** One for each alert of the daemon, in the order of the contract. */
export const alertCases: readonly AlertCase[] = [
  {
    alert: 'VllmDown',
    severity: 'critical',
    labels: target,
    // Ten failures a minute, all refused.
    series: [
      ['vllm_vitals_collect_failures_total{target="vllm",code="refused"}', '0+5x120'],
      ['vllm_vitals_collect_failures_total{target="vllm",code="timeout"}', '7+0x120'],
    ],
    summary: 'vLLM vllm on gpu-1:19400 does not answer (refused)',
    bare: 'vLLM vllm on gpu-1:19400 does not answer (?)',
  },
  {
    alert: 'VllmEngineStalled',
    severity: 'critical',
    labels: target,
    // Two models of one server: 3 + 1 and 20 + 5.
    series: [
      ['vllm_vitals_requests_running{target="vllm",model_name="llama"}', '3+0x120'],
      ['vllm_vitals_requests_running{target="vllm",model_name="qwen"}', '1+0x120'],
      ['vllm_vitals_requests_waiting{target="vllm",model_name="llama"}', '20+0x120'],
      ['vllm_vitals_requests_waiting{target="vllm",model_name="qwen"}', '5+0x120'],
      ['vllm_vitals_requests_waiting{target="other",model_name="llama"}', '70+0x120'],
    ],
    summary:
      'vLLM vllm on gpu-1:19400 hangs: 4 requests running and 25 waiting, and nothing progresses',
    bare: 'vLLM vllm on gpu-1:19400 hangs: ? requests running and ? waiting, and nothing progresses',
  },
  {
    alert: 'VllmLatencyP99High',
    severity: 'critical',
    labels: model,
    series: shares('e2e_latency', '0.029', '412'),
    summary:
      '2.9% of 412 requests took longer than 10 s in 5 m on llama (vllm on gpu-1:19400), allowed are 1 %',
    bare: '? of ? requests took longer than 10 s in 5 m on llama (vllm on gpu-1:19400), allowed are 1 %',
  },
  {
    alert: 'VllmTtftP99High',
    severity: 'warning',
    labels: model,
    series: shares('ttft', '0.5', '40'),
    summary:
      '50% of 40 requests waited longer than 2 s for their first token in 5 m on llama (vllm on gpu-1:19400), allowed are 1 %',
    bare: '? of ? requests waited longer than 2 s for their first token in 5 m on llama (vllm on gpu-1:19400), allowed are 1 %',
  },
  {
    alert: 'VllmQueueWaitHigh',
    severity: 'warning',
    labels: model,
    series: [
      ...shares('queue_time', '0.25', '80'),
      ['vllm_vitals_requests_waiting{target="vllm",model_name="llama"}', '33+0x120'],
    ],
    summary:
      '25% of 80 requests waited longer than 5 s in 5 m on llama (vllm on gpu-1:19400), allowed are 5 %; 33 wait now',
    bare: '? of ? requests waited longer than 5 s in 5 m on llama (vllm on gpu-1:19400), allowed are 5 %; ? wait now',
  },
  {
    alert: 'VllmErrorRatioHigh',
    severity: 'critical',
    labels: target,
    series: [['vllm_vitals_error_ratio{target="vllm",window="5m"}', '0.034+0x120']],
    summary: '3.4% of the requests to vLLM vllm on gpu-1:19400 failed in 5 m, allowed are 1 %',
    bare: '? of the requests to vLLM vllm on gpu-1:19400 failed in 5 m, allowed are 1 %',
  },
  {
    alert: 'VllmThroughputLow',
    severity: 'warning',
    labels: target,
    series: [
      [
        'vllm_vitals_generation_tokens_per_second{target="vllm",model_name="llama",window="1m"}',
        '31.6+0x120',
      ],
    ],
    summary:
      'vLLM vllm on gpu-1:19400 generates 32 tokens/s while work is pending, expected are 200 at least',
    bare: 'vLLM vllm on gpu-1:19400 generates ? tokens/s while work is pending, expected are 200 at least',
  },
  {
    alert: 'VllmKvCachePressure',
    severity: 'warning',
    labels: model,
    series: [
      ['vllm_vitals_kv_cache_usage_ratio{target="vllm",model_name="llama"}', '0.98+0x120'],
      [
        'vllm_vitals_preemptions_per_second{target="vllm",model_name="llama",window="1m"}',
        '1.25+0x120',
      ],
    ],
    summary: 'the KV cache of llama (vllm on gpu-1:19400) is 98% full and evicts 1.25 requests/s',
    bare: 'the KV cache of llama (vllm on gpu-1:19400) is ? full and evicts ? requests/s',
  },
  {
    alert: 'VllmGpuUtilizationHigh',
    severity: 'warning',
    labels: card,
    series: [],
    summary: 'GPU GPU-7 on gpu-1:19400 is above 95 % all the time while requests wait',
    bare: 'GPU GPU-7 on gpu-1:19400 is above 95 % all the time while requests wait',
  },
  {
    alert: 'VllmGpuMemoryHigh',
    severity: 'warning',
    labels: card,
    // 78, 80 and 72 times 2³⁰.
    series: [
      ['vllm_vitals_gpu_memory_used_bytes{gpu="0",uuid="GPU-7"}', '83751862272+0x120'],
      ['vllm_vitals_gpu_memory_total_bytes{gpu="0",uuid="GPU-7"}', '85899345920+0x120'],
      ['vllm_vitals_gpu_memory_planned_bytes{gpu="0",uuid="GPU-7"}', '77309411328+0x120'],
    ],
    summary: '78GiB of 80GiB are used on GPU GPU-7 on gpu-1:19400, vLLM planned to take 72GiB',
    bare: '?B of ?B are used on GPU GPU-7 on gpu-1:19400, vLLM planned to take ?B',
  },
  {
    alert: 'VllmGpuMemoryLeak',
    severity: 'warning',
    labels: card,
    // 2³⁰ ÷ 3600 bytes a second; 7,200 s are two hours.
    series: [
      [
        'vllm_vitals_gpu_memory_growth_bytes_per_second{gpu="0",uuid="GPU-7",pid="71",process="python3"}',
        '298261.6177777778+0x120',
      ],
      ['vllm_vitals_gpu_memory_seconds_to_full{gpu="0",uuid="GPU-7"}', '7200+0x120'],
    ],
    summary: 'memory grows by 1GiB an hour on GPU GPU-7 on gpu-1:19400, which is full in 2h 0m 0s',
    bare: 'memory grows by ?B an hour on GPU GPU-7 on gpu-1:19400, which is full in ?',
  },
  {
    alert: 'VllmGpuLost',
    severity: 'critical',
    labels: card,
    series: [],
    summary: 'GPU GPU-7 on gpu-1:19400 is gone, lost or needs a reset',
    bare: 'GPU GPU-7 on gpu-1:19400 is gone, lost or needs a reset',
  },
  {
    // When the whole of nvidia-smi fails, nobody can say which.
    alert: 'VllmGpuLost',
    severity: 'critical',
    labels: { target: 'gpu' },
    series: [],
    summary: 'a GPU on gpu-1:19400 is gone, lost or needs a reset',
    bare: 'a GPU on gpu-1:19400 is gone, lost or needs a reset',
  },
  {
    alert: 'VllmGpuThrottled',
    severity: 'warning',
    labels: card,
    series: [
      ['vllm_vitals_gpu_throttle_active{gpu="0",uuid="GPU-7",reason="hw_slowdown"}', '1+0x120'],
      [
        'vllm_vitals_gpu_throttle_active{gpu="0",uuid="GPU-7",reason="hw_thermal_slowdown"}',
        '1+0x120',
      ],
      ['vllm_vitals_gpu_throttle_active{gpu="0",uuid="GPU-7",reason="gpu_idle"}', '1+0x120'],
      [
        'vllm_vitals_gpu_throttle_active{gpu="0",uuid="GPU-7",reason="sw_thermal_slowdown"}',
        '0+0x120',
      ],
      ['vllm_vitals_gpu_temperature_celsius{gpu="0",uuid="GPU-7"}', '91+0x120'],
    ],
    summary: 'GPU GPU-7 on gpu-1:19400 is throttled (hw_slowdown, hw_thermal_slowdown) at 91 °C',
    bare: 'GPU GPU-7 on gpu-1:19400 is throttled (?) at ? °C',
  },
  {
    alert: 'VllmNoGpu',
    severity: 'critical',
    labels: { target: 'gpu' },
    series: [],
    summary: 'no GPU can be seen on gpu-1:19400, where one is expected',
    bare: 'no GPU can be seen on gpu-1:19400, where one is expected',
  },
  {
    alert: 'VllmVitalsBlind',
    severity: 'warning',
    labels: { target: 'gpu' },
    series: [['vllm_vitals_collect_failures_total{target="gpu",code="timeout"}', '0+2x120']],
    summary: 'the daemon on gpu-1:19400 cannot read gpu (timeout)',
    bare: 'the daemon on gpu-1:19400 cannot read gpu (?)',
  },
]
