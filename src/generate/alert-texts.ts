import type { Config } from '../config/schema.ts'
import type { AlertName } from '../rules/settings.ts'
import { percent, seconds, spanText } from '../rules/words.ts'
import { formatDuration } from '../units.ts'

/** How a number of a query is written: a function of Prometheus' templates, or a format of `printf`. */
type Style = 'humanize' | 'humanize1024' | 'humanizePercentage' | 'humanizeDuration' | `%${string}`

/** Who an alert speaks of: the labels of the series that tell more about it. */
type Scope = readonly string[]

const ofTarget: Scope = ['instance', 'job', 'target']
const ofModel: Scope = [...ofTarget, 'model_name']
const ofGpu: Scope = ['instance', 'job', 'uuid']

/**
 * Returns the summary of `alert` as a template of Prometheus, with the numbers of the moment at which it rings.
 * A number that cannot be had, as after a failed scrape, is written as `?`.
 */
export function summaryOf(alert: AlertName, windowMs: number, config: Config): string {
  const span = spanShown(windowMs, config)
  return summaries[alert]({ config, span, spanWords: spanText(spanMs(windowMs, config)) })
}

interface About {
  readonly config: Config
  /** The label of the published window whose numbers are shown. */
  readonly span: string
  readonly spanWords: string
}

const target = 'vLLM {{ $labels.target }} on {{ $labels.instance }}'
const model = '{{ $labels.model_name }} ({{ $labels.target }} on {{ $labels.instance }})'
const gpu = '{{ with $labels.uuid }}GPU {{ . }}{{ else }}a GPU{{ end }} on {{ $labels.instance }}'

const summaries: Readonly<Record<AlertName, (about: About) => string>> = {
  VllmDown: () => `${target} does not answer${lastFailure}`,
  VllmEngineStalled: () => {
    const running = number('sum(vllm_vitals_requests_running{})', ofTarget, '%.0f')
    const waiting = number('sum(vllm_vitals_requests_waiting{})', ofTarget, '%.0f')
    return `${target} hangs: ${running} requests running and ${waiting} waiting, and nothing progresses`
  },
  VllmLatencyP99High: ({ config, span, spanWords }) => {
    const over = share('e2e_latency', span)
    const limit = seconds(config.thresholds.e2eLatencyP99Seconds)
    return `${over} took longer than ${limit} in ${spanWords} on ${model}, allowed are 1 %`
  },
  VllmTtftP99High: ({ config, span, spanWords }) => {
    const over = share('ttft', span)
    const limit = seconds(config.thresholds.ttftP99Seconds)
    return `${over} waited longer than ${limit} for their first token in ${spanWords} on ${model}, allowed are 1 %`
  },
  VllmQueueWaitHigh: ({ config, span, spanWords }) => {
    const over = share('queue_time', span)
    const limit = seconds(config.thresholds.queueTimeP95Seconds)
    const waiting = number('vllm_vitals_requests_waiting{}', ofModel, '%.0f')
    return `${over} waited longer than ${limit} in ${spanWords} on ${model}, allowed are 5 %; ${waiting} wait now`
  },
  VllmErrorRatioHigh: ({ config, span, spanWords }) => {
    const ratio = number(
      `vllm_vitals_error_ratio{window="${span}"}`,
      ofTarget,
      'humanizePercentage',
    )
    const allowed = percent(config.thresholds.errorRatio)
    return `${ratio} of the requests to ${target} failed in ${spanWords}, allowed are ${allowed}`
  },
  VllmThroughputLow: ({ config, span }) => {
    const family = `sum(vllm_vitals_generation_tokens_per_second{window="${span}"})`
    const rate = number(family, ofTarget, '%.0f')
    const floor = config.thresholds.generationTokensPerSecondMin
    return `${target} generates ${rate} tokens/s while work is pending, expected are ${floor} at least`
  },
  VllmKvCachePressure: ({ span }) => {
    const usage = number('vllm_vitals_kv_cache_usage_ratio{}', ofModel, 'humanizePercentage')
    const family = `vllm_vitals_preemptions_per_second{window="${span}"}`
    const evicted = number(family, ofModel, '%.2f')
    return `the KV cache of ${model} is ${usage} full and evicts ${evicted} requests/s`
  },
  VllmGpuUtilizationHigh: ({ config }) => {
    const limit = percent(config.thresholds.gpuUtilizationRatio)
    return `${gpu} is above ${limit} all the time while requests wait`
  },
  VllmGpuMemoryHigh: () => {
    const used = number('vllm_vitals_gpu_memory_used_bytes{}', ofGpu, 'humanize1024')
    const total = number('vllm_vitals_gpu_memory_total_bytes{}', ofGpu, 'humanize1024')
    const planned = number('vllm_vitals_gpu_memory_planned_bytes{}', ofGpu, 'humanize1024')
    return `${used}B of ${total}B are used on ${gpu}, vLLM planned to take ${planned}B`
  },
  VllmGpuMemoryLeak: () => {
    const growth = number(
      '3600 * max(vllm_vitals_gpu_memory_growth_bytes_per_second{})',
      ofGpu,
      'humanize1024',
    )
    const left = number('vllm_vitals_gpu_memory_seconds_to_full{}', ofGpu, 'humanizeDuration')
    return `memory grows by ${growth}B an hour on ${gpu}, which is full in ${left}`
  },
  VllmGpuLost: () => `${gpu} is gone, lost or needs a reset`,
  VllmGpuThrottled: () => {
    const reasons = labelOf(
      'vllm_vitals_gpu_throttle_active{reason=~"hw_.*|sw_thermal_slowdown"} == 1',
      ofGpu,
      'reason',
    )
    const heat = number('vllm_vitals_gpu_temperature_celsius{}', ofGpu, '%.0f')
    return `${gpu} is throttled (${reasons}) at ${heat} °C`
  },
  VllmNoGpu: () => 'no GPU can be seen on {{ $labels.instance }}, where one is expected',
  VllmVitalsBlind: () =>
    `the daemon on {{ $labels.instance }} cannot read {{ $labels.target }}${lastFailure}`,
}

const lastFailure = ` ({{ with printf ${quoted(
  'topk(1, increase(vllm_vitals_collect_failures_total{instance=%q,job=%q,target=%q}[5m]) > 0)',
)} $labels.instance $labels.job $labels.target | query }}{{ . | first | label "code" }}{{ else }}?{{ end }})`

/** `2.9% of 412 requests`. */
function share(stem: string, span: string): string {
  const ratio = `vllm_vitals_${stem}_over_threshold_ratio{window="${span}"}`
  const count = `vllm_vitals_${stem}_window_observations{window="${span}"}`
  return `${number(ratio, ofModel, 'humanizePercentage')} of ${number(count, ofModel, '%.0f')} requests`
}

/** The first value that `expression` has for who the alert speaks of. */
function number(expression: string, scope: Scope, style: Style): string {
  const written = style.startsWith('%') ? `printf "${style}"` : style
  return first(expression, scope, `value | ${written}`)
}

/** The label `name` of each series that `expression` has for who the alert speaks of. */
function labelOf(expression: string, scope: Scope, name: string): string {
  const query = queryOf(expression, scope)
  return `{{ range $i, $s := ${query} }}{{ if $i }}, {{ end }}{{ $s.Labels.${name} }}{{ else }}?{{ end }}`
}

function first(expression: string, scope: Scope, shown: string): string {
  return `{{ with ${queryOf(expression, scope)} }}{{ . | first | ${shown} }}{{ else }}?{{ end }}`
}

/** Every selector of `expression`, written with braces, is narrowed to who the alert speaks of. */
function queryOf(expression: string, scope: Scope): string {
  const matchers = scope.map((name) => `${name}=%q`).join(',')
  let values = ''
  const format = expression.replaceAll(/\{([^}]*)\}/g, (_, own: string) => {
    values += scope.map((name) => ` $labels.${name}`).join('')
    return `{${own === '' ? '' : `${own},`}${matchers}}`
  })
  return `printf ${quoted(format)}${values} | query`
}

/** A string of Go's templates. */
function quoted(text: string): string {
  return `\`${text}\``
}

/** The published window that comes nearest to the one that the rule looks at, so that the numbers agree with it. */
function spanMs(windowMs: number, { windowsMs }: Config): number {
  const distance = (ms: number) => Math.abs(Math.log(ms / windowMs))
  return windowsMs.reduce((best, ms) => (distance(ms) < distance(best) ? ms : best))
}

function spanShown(windowMs: number, config: Config): string {
  return formatDuration(spanMs(windowMs, config))
}
