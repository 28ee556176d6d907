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

/** Evidence of `alert` about `who`, as the daemon publishes it. */
function evidence(
  alert: string,
  who: Readonly<Record<string, string>>,
  numbers: Readonly<Record<string, number>>,
): AlertCase['series'] {
  const own = Object.entries({ alertname: alert, ...who })
    .map(([name, value]) => `${name}="${value}",`)
    .join('')
  return Object.entries(numbers).map(([name, value]) => [
    `vllm_vitals_alert_evidence{${own}evidence="${name}"}`,
    `${value}+0x120`,
  ])
}

/** What other alerts, targets, models and GPUs rest on, which is never to be shown. */
export const others: AlertCase['series'] = [
  ...evidence('VllmOther', target, { seconds_without_progress: 77, over_ratio: 0.77 }),
  ...evidence('VllmEngineStalled', { target: 'other' }, { seconds_without_progress: 88 }),
  ...evidence('VllmLatencyP99High', { ...target, model_name: 'alpaca' }, { over_ratio: 0.99 }),
  ...evidence('VllmGpuUtilizationHigh', { uuid: 'GPU-3' }, { requests_waiting: 99 }),
  ['vllm_vitals_gpu_memory_planned_bytes{gpu="1",uuid="GPU-3"}', '3221225472+0x120'],
]

/** One for each alert of the daemon, in the order of the contract. */
export const alertCases: readonly AlertCase[] = [
  {
    alert: 'VllmDown',
    severity: 'critical',
    labels: target,
    // Each half minute five failures are refusals, and one is a time-out.
    series: [
      ['vllm_vitals_collect_failures_total{target="vllm",code="refused"}', '0+5x120'],
      ['vllm_vitals_collect_failures_total{target="vllm",code="timeout"}', '7+1x120'],
    ],
    summary: 'vLLM vllm on gpu-1:19400 does not answer (refused)',
    bare: 'vLLM vllm on gpu-1:19400 does not answer (?)',
  },
  {
    // The server answers, and says that its engine is dead.
    alert: 'VllmDown',
    severity: 'critical',
    labels: target,
    series: evidence('VllmDown', target, { health_status: 503 }),
    summary: 'vLLM vllm on gpu-1:19400 answers /health with 503: its engine is dead',
    bare: 'vLLM vllm on gpu-1:19400 does not answer (?)',
  },
  {
    alert: 'VllmEngineStalled',
    severity: 'critical',
    labels: target,
    series: [
      ...evidence('VllmEngineStalled', target, {
        seconds_without_progress: 52.4,
        requests_running: 4,
        requests_waiting: 25,
      }),
    ],
    summary:
      'vLLM vllm on gpu-1:19400 hangs: no progress for 52 s with 4 requests running and 25 waiting',
    bare: 'vLLM vllm on gpu-1:19400 hangs: no progress for ? s',
  },
  {
    alert: 'VllmLatencyP99High',
    severity: 'critical',
    labels: model,
    series: evidence('VllmLatencyP99High', model, { over_ratio: 0.029, observations: 412 }),
    summary:
      '2.9% of 412 requests took longer than 10 s in 5 m on llama (vllm on gpu-1:19400), allowed are 1 %',
    bare: '? of ? requests took longer than 10 s in 5 m on llama (vllm on gpu-1:19400), allowed are 1 %',
  },
  {
    alert: 'VllmTtftP99High',
    severity: 'warning',
    labels: model,
    series: evidence('VllmTtftP99High', model, {
      over_ratio: 0.5,
      observations: 40,
      still_inside: 12,
      edge_seconds: 1.5,
    }),
    // The threshold of 2 s is no edge on this server.
    summary:
      '50% of 40 requests, 12 of them still inside, waited longer than 1.5 s for their first token in 5 m on llama (vllm on gpu-1:19400), allowed are 1 %',
    bare: '? of ? requests waited longer than 2 s for their first token in 5 m on llama (vllm on gpu-1:19400), allowed are 1 %',
  },
  {
    alert: 'VllmQueueWaitHigh',
    severity: 'warning',
    labels: model,
    series: evidence('VllmQueueWaitHigh', model, { over_ratio: 0.25, observations: 80 }),
    summary:
      '25% of 80 requests waited longer than 5 s in 5 m on llama (vllm on gpu-1:19400), allowed are 5 %',
    bare: '? of ? requests waited longer than 5 s in 5 m on llama (vllm on gpu-1:19400), allowed are 5 %',
  },
  {
    // Few have been served, and one that waits has waited for too long.
    alert: 'VllmQueueWaitHigh',
    severity: 'warning',
    labels: model,
    series: evidence('VllmQueueWaitHigh', model, { oldest_wait_seconds: 41.2 }),
    summary:
      'a request to llama (vllm on gpu-1:19400) has waited for 41 s already, allowed are 5 s',
    bare: '? of ? requests waited longer than 5 s in 5 m on llama (vllm on gpu-1:19400), allowed are 5 %',
  },
  {
    alert: 'VllmErrorRatioHigh',
    severity: 'critical',
    labels: target,
    series: evidence('VllmErrorRatioHigh', target, { error_ratio: 0.034, requests: 500 }),
    summary: '3.4% of 500 requests to vLLM vllm on gpu-1:19400 failed in 5 m, allowed are 1 %',
    bare: '? of ? requests to vLLM vllm on gpu-1:19400 failed in 5 m, allowed are 1 %',
  },
  {
    alert: 'VllmThroughputLow',
    severity: 'warning',
    labels: target,
    series: evidence('VllmThroughputLow', target, {
      generation_tokens_per_second: 31.6,
      requests_pending: 9,
    }),
    summary:
      'vLLM vllm on gpu-1:19400 generates 32 tokens/s with 9 requests pending, expected are 200 at least',
    bare: 'vLLM vllm on gpu-1:19400 generates ? tokens/s with ? requests pending, expected are 200 at least',
  },
  {
    alert: 'VllmKvCachePressure',
    severity: 'warning',
    labels: model,
    series: evidence('VllmKvCachePressure', model, {
      kv_cache_usage_ratio: 0.98,
      preemptions_per_second: 1.25,
    }),
    summary: 'the KV cache of llama (vllm on gpu-1:19400) is 98% full and evicts 1.25 requests/s',
    bare: 'the KV cache of llama (vllm on gpu-1:19400) is ? full and evicts ? requests/s',
  },
  {
    alert: 'VllmGpuUtilizationHigh',
    severity: 'warning',
    labels: card,
    series: evidence('VllmGpuUtilizationHigh', card, { requests_waiting: 14 }),
    summary: 'GPU GPU-7 on gpu-1:19400 is above 95 % all the time while 14 requests wait',
    bare: 'GPU GPU-7 on gpu-1:19400 is above 95 % all the time while ? requests wait',
  },
  {
    alert: 'VllmGpuMemoryHigh',
    severity: 'warning',
    labels: card,
    // 78 and 72 times 2³⁰; 78 of 80.
    series: [
      ...evidence('VllmGpuMemoryHigh', card, {
        gpu_memory_used_bytes: 83751862272,
        gpu_memory_used_ratio: 0.975,
      }),
      ['vllm_vitals_gpu_memory_planned_bytes{gpu="0",uuid="GPU-7"}', '77309411328+0x120'],
    ],
    summary: '78GiB are used on GPU GPU-7 on gpu-1:19400, 97.5% of it; vLLM planned to take 72GiB',
    bare: '?B are used on GPU GPU-7 on gpu-1:19400, ? of it',
  },
  {
    alert: 'VllmGpuMemoryLeak',
    severity: 'warning',
    labels: card,
    // 2¹⁸ bytes a second; 7,200 s are two hours.
    series: evidence('VllmGpuMemoryLeak', card, {
      growth_bytes_per_second: 262144,
      seconds_to_full: 7200,
    }),
    summary: 'memory grows by 256kiB/s on GPU GPU-7 on gpu-1:19400, which is full in 2h 0m 0s',
    bare: 'memory grows by ?B/s on GPU GPU-7 on gpu-1:19400, which is full in ?',
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
      ...evidence('VllmGpuThrottled', card, { gpu_temperature_celsius: 91 }),
    ],
    summary: 'GPU GPU-7 on gpu-1:19400 is slowed down (hw_slowdown, hw_thermal_slowdown) at 91 °C',
    bare: 'GPU GPU-7 on gpu-1:19400 is slowed down (?)',
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
