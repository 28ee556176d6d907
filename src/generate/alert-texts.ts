import type { Config } from '../config/schema.ts'
import type { AlertName } from '../rules/settings.ts'
import { percent, seconds, spanText } from '../rules/words.ts'

/** How a number of a query is written: a function of Prometheus' templates, or a format of `printf`. */
type Style = 'humanize1024' | 'humanizePercentage' | 'humanizeDuration' | `%${string}`

/** Labels by which a series is found that tells more about an alert. */
type Scope = readonly string[]

const ofTarget: Scope = ['instance', 'job', 'target']
const ofGpu: Scope = ['instance', 'job', 'uuid']
const ofAlert: Scope = [...ofTarget, 'model_name', 'uuid']

/**
 * Returns the summary of `alert` as a template of Prometheus, with the numbers by which the daemon judged when it
 * rings. A number that cannot be had is written as `?`.
 */
export function summaryOf(alert: AlertName, windowMs: number, config: Config): string {
  return summaries[alert]({
    config,
    span: spanText(windowMs),
    evidence: (name, style) => first(evidenceQuery(alert, name), style),
    whereKnown: (name, then, otherwise = '') =>
      `{{ with ${evidenceQuery(alert, name)} }}${then}${otherwise === '' ? '' : `{{ else }}${otherwise}`}{{ end }}`,
  })
}

interface About {
  readonly config: Config
  /** The window of the rule, in words. */
  readonly span: string
  /** A number of the evidence. */
  readonly evidence: (name: string, style: Style) => string
  /** `then` where the evidence has a number of that name, in which `{{ . }}` is it, or else `otherwise`. */
  readonly whereKnown: (name: string, then: string, otherwise?: string) => string
}

const target = 'vLLM {{ $labels.target }} on {{ $labels.instance }}'
const model = '{{ $labels.model_name }} ({{ $labels.target }} on {{ $labels.instance }})'
const gpu = '{{ with $labels.uuid }}GPU {{ . }}{{ else }}a GPU{{ end }} on {{ $labels.instance }}'

const summaries: Readonly<Record<AlertName, (about: About) => string>> = {
  VllmDown: ({ whereKnown }) => {
    const dead = `${target} answers /health with ${shown('%.0f')}: its engine is dead`
    return whereKnown('health_status', dead, `${target} does not answer${lastFailure}`)
  },
  VllmEngineStalled: ({ evidence, whereKnown }) => {
    const still = evidence('seconds_without_progress', '%.0f')
    const waiting = evidence('requests_waiting', '%.0f')
    const inside = whereKnown(
      'requests_running',
      ` with ${shown('%.0f')} requests running and ${waiting} waiting`,
    )
    return `${target} hangs: no progress for ${still} s${inside}`
  },
  VllmLatencyP99High: (about) => {
    const limit = edge(about, about.config.thresholds.e2eLatencyP99Seconds)
    return `${share(about)} took longer than ${limit} in ${about.span} on ${model}, allowed are 1 %`
  },
  VllmTtftP99High: (about) => {
    const limit = edge(about, about.config.thresholds.ttftP99Seconds)
    return `${share(about)} waited longer than ${limit} for their first token in ${about.span} on ${model}, allowed are 1 %`
  },
  VllmQueueWaitHigh: (about) => {
    const limit = seconds(about.config.thresholds.queueTimeP95Seconds)
    const counted = edge(about, about.config.thresholds.queueTimeP95Seconds)
    const many = `${share(about)} waited longer than ${counted} in ${about.span} on ${model}, allowed are 5 %`
    const one = `a request to ${model} has waited for ${shown('%.0f')} s already, allowed are ${limit}`
    return about.whereKnown('oldest_wait_seconds', one, many)
  },
  VllmErrorRatioHigh: ({ config, span, evidence }) => {
    const ratio = evidence('error_ratio', 'humanizePercentage')
    const requests = evidence('requests', '%.0f')
    const allowed = percent(config.thresholds.errorRatio)
    return `${ratio} of ${requests} requests to ${target} failed in ${span}, allowed are ${allowed}`
  },
  VllmThroughputLow: ({ config, evidence }) => {
    const rate = evidence('generation_tokens_per_second', '%.0f')
    const pending = evidence('requests_pending', '%.0f')
    const floor = config.thresholds.generationTokensPerSecondMin
    return `${target} generates ${rate} tokens/s with ${pending} requests pending, expected are ${floor} at least`
  },
  VllmKvCachePressure: ({ evidence }) => {
    const usage = evidence('kv_cache_usage_ratio', 'humanizePercentage')
    const evicted = evidence('preemptions_per_second', '%.2f')
    return `the KV cache of ${model} is ${usage} full and evicts ${evicted} requests/s`
  },
  VllmGpuUtilizationHigh: ({ config, evidence }) => {
    const limit = percent(config.thresholds.gpuUtilizationRatio)
    const waiting = evidence('requests_waiting', '%.0f')
    return `${gpu} is above ${limit} all the time while ${waiting} requests wait`
  },
  VllmGpuMemoryHigh: ({ evidence }) => {
    const used = evidence('gpu_memory_used_bytes', 'humanize1024')
    const ratio = evidence('gpu_memory_used_ratio', 'humanizePercentage')
    const planned = queryOf('vllm_vitals_gpu_memory_planned_bytes{}', ofGpu)
    const plan = `{{ with ${planned} }}; vLLM planned to take ${shown('humanize1024')}B{{ end }}`
    return `${used}B are used on ${gpu}, ${ratio} of it${plan}`
  },
  VllmGpuMemoryLeak: ({ evidence }) => {
    const growth = evidence('growth_bytes_per_second', 'humanize1024')
    const left = evidence('seconds_to_full', 'humanizeDuration')
    return `memory grows by ${growth}B/s on ${gpu}, which is full in ${left}`
  },
  VllmGpuLost: () => `${gpu} is gone, lost or needs a reset`,
  VllmGpuThrottled: ({ whereKnown }) => {
    const reasons = labelOf(
      'vllm_vitals_gpu_throttle_active{reason=~"hw_.*slowdown|sw_thermal_slowdown"} == 1',
      ofGpu,
      'reason',
    )
    const heat = whereKnown('gpu_temperature_celsius', ` at ${shown('%.0f')} °C`)
    return `${gpu} is slowed down (${reasons})${heat}`
  },
  VllmNoGpu: () => 'no GPU can be seen on {{ $labels.instance }}, where one is expected',
  VllmVitalsBlind: () =>
    `the daemon on {{ $labels.instance }} cannot read {{ $labels.target }}${lastFailure}`,
}

/** The code that the last failures have. */
const lastFailure = ` (${labelOf(
  'topk(1, increase(vllm_vitals_collect_failures_total{}[5m]) > 0)',
  ofTarget,
  'code',
)})`

/** `2.9% of 412 requests`, and how many of them are still inside where some are. */
function share({ evidence, whereKnown }: About): string {
  const ratio = evidence('over_ratio', 'humanizePercentage')
  const inside = whereKnown('still_inside', `, ${shown('%.0f')} of them still inside,`)
  return `${ratio} of ${evidence('observations', '%.0f')} requests${inside}`
}

/** The bucket edge at which was counted, which is the threshold or the edge below it. */
function edge({ whereKnown }: About, threshold: number): string {
  return whereKnown('edge_seconds', `${shown('%g')} s`, seconds(threshold))
}

function evidenceQuery(alert: AlertName, name: string): string {
  const series = `vllm_vitals_alert_evidence{alertname="${alert}",evidence="${name}"}`
  return queryOf(series, ofAlert)
}

function first(query: string, style: Style): string {
  return `{{ with ${query} }}${shown(style)}{{ else }}?{{ end }}`
}

/** The first value of what a query has found. */
function shown(style: Style): string {
  const written = style.startsWith('%') ? `printf "${style}"` : style
  return `{{ . | first | value | ${written} }}`
}

/** The label `name` of each series that `expression` has for who the alert speaks of. */
function labelOf(expression: string, scope: Scope, name: string): string {
  const query = queryOf(expression, scope)
  return `{{ range $i, $s := ${query} | sortByLabel "${name}" }}{{ if $i }}, {{ end }}{{ $s.Labels.${name} }}{{ else }}?{{ end }}`
}

/** Every selector of `expression`, written with braces, is narrowed to who the alert speaks of. */
function queryOf(expression: string, scope: Scope): string {
  const matchers = scope.map((name) => `${name}=%q`).join(',')
  let values = ''
  const format = expression.replaceAll(/\{([^}]*)\}/g, (_, own: string) => {
    values += scope.map((name) => ` $labels.${name}`).join('')
    return `{${own === '' ? '' : `${own},`}${matchers}}`
  })
  return `printf \`${format}\`${values} | query`
}
