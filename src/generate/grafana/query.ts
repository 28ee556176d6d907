/** How the series of a query are narrowed to what the variables of the dashboard choose. */
const scopes = {
  daemon: 'job=~"$job",instance=~"$instance"',
  target: 'job=~"$job",instance=~"$instance",target=~"$target"',
  model: 'job=~"$job",instance=~"$instance",target=~"$target",model_name=~"$model"',
  gpu: 'job=~"$job",instance=~"$instance",gpu=~"$gpu"',
  /** A target, or the GPUs of the host, which are watched under a name of their own. */
  source: 'job=~"$job",instance=~"$instance",target=~"gpu|$target"',
  /** An empty word lets through what carries no such label, as alerts of a GPU do. */
  alert: 'job=~"$job",instance=~"$instance",target=~"|gpu|$target",model_name=~"|$model"',
  /** What the recording rules make of all daemons of a job. */
  job: 'job=~"$job"',
  jobModel: 'job=~"$job",model_name=~"$model"',
  jobTarget: 'job=~"$job",target=~"$target"',
} as const

export type Scope = keyof typeof scopes

/** As many series as a panel shows at most, however many targets there are. */
export const shownAtMost = 20

/** Returns the series called `name` that the variables select; `own` are further matchers. */
export function select(name: string, scope: Scope, own = ''): string {
  return `${name}{${own === '' ? '' : `${own},`}${scopes[scope]}}`
}

/** The same, of the window that the dashboard shows. */
export function inWindow(name: string, scope: Scope, own = ''): string {
  return select(name, scope, `${own === '' ? '' : `${own},`}window="$window"`)
}

/** Returns the largest value for each combination of `labels`, those with the largest values alone. */
export function largest(labels: string, expression: string, count = shownAtMost): string {
  return `topk(${count}, max by (${labels}) (${expression}))`
}

/**
 * Returns `shown` for as many combinations of labels as a panel shows, the same ones at every moment of the range
 * that is looked at: those for which `ranked`, which speaks of the whole range, is largest. A mere `topk` chooses
 * anew at every moment, and draws a line for everyone who ever was among the first.
 */
export function lasting(shown: string, ranked: string, count = shownAtMost): string {
  return `${shown} and topk(${count}, ${ranked})`
}

/** The highest value of a series within the range that is looked at. */
export function peak(series: string): string {
  return `max_over_time(${series}[$__range] @ end())`
}

/** The lines over time of those of `labels` that had the largest values. */
export function largestOver(labels: string, series: string): string {
  const by = (inner: string) => `max by (${labels}) (${inner})`
  return lasting(by(series), by(peak(series)))
}

/** The lines over time of the recorded series that had the largest values. */
export function recordedOver(series: string, count: number): string {
  return lasting(series, peak(series), count)
}

/**
 * What every process publishes, such as `process_cpu_seconds_total`, of the daemons alone: others may be scraped in the
 * same job.
 */
export function ofDaemons(expression: string): string {
  return `${expression} and on (job, instance) ${select('vllm_vitals_build_info', 'daemon')}`
}

/** The same of those that were daemons at any time of the range that is looked at. */
export function ofDaemonsOver(expression: string): string {
  const seen = `last_over_time(${select('vllm_vitals_build_info', 'daemon')}[$__range] @ end())`
  return `${expression} and on (job, instance) ${seen}`
}

/** How much a counter grows each second, as fine as the panel can show it. */
export function rate(counter: string): string {
  return `rate(${counter}[$__rate_interval])`
}

export function increase(counter: string): string {
  return `increase(${counter}[$__rate_interval])`
}

/** What a family with one series for each `label` says, in the order from well to bad: what it is coded as. */
export interface Coded {
  readonly family: string
  readonly label: string
  readonly values: readonly { readonly value: string; readonly color: string }[]
}

export const health: Coded = {
  family: 'vllm_vitals_health_status',
  label: 'status',
  values: [
    { value: 'healthy', color: 'green' },
    { value: 'degraded', color: 'orange' },
    { value: 'unknown', color: 'purple' },
    { value: 'unhealthy', color: 'red' },
  ],
}

export const state: Coded = {
  family: 'vllm_vitals_engine_state',
  label: 'state',
  values: [
    { value: 'serving', color: 'green' },
    { value: 'idle', color: 'blue' },
    { value: 'sleeping', color: 'purple' },
    { value: 'loading', color: 'yellow' },
    { value: 'unknown', color: 'orange' },
    { value: 'stalled', color: 'red' },
    { value: 'down', color: 'dark-red' },
  ],
}

/** Returns for each target the place of what holds among the values of `coded`, those furthest from well alone. */
export function codeOf(coded: Coded, scope: Scope): string {
  return `topk(${shownAtMost}, ${codes(coded, scope, '')})`
}

/** The same over time, of those that are furthest from well at its end. */
export function codeOver(coded: Coded, scope: Scope): string {
  return lasting(codes(coded, scope, ''), codes(coded, scope, ' @ end()'))
}

function codes({ family, label, values }: Coded, scope: Scope, at: string): string {
  const parts = values.map(
    ({ value }, place) => `${place} * ${select(family, scope, `${label}="${value}"`)}${at}`,
  )
  return `max by (instance, target) (${parts.join(' or ')})`
}
