/** A rule of Prometheus that rings. */
export interface AlertingRule {
  readonly alert: string
  readonly expr: string
  readonly for: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

/** A rule of Prometheus that stores what an expression gives, under a name with colons. */
export interface RecordingRule {
  readonly record: string
  readonly expr: string
  readonly labels?: Readonly<Record<string, string>>
}

/** Rules that are evaluated one after the other, at one interval. */
export interface RuleGroup {
  readonly name: string
  readonly interval: string
  readonly rules: readonly (AlertingRule | RecordingRule)[]
}

/** The span of every recorded rate. */
export const rateSpan = '5m'

/** Failures that are certain each second, by who says so: one request may be in both counts. */
export const failedRate = `rate(vllm_vitals_requests_failed_certain_total[${rateSpan}])`

/** Requests that ended each second, of servers whose failures can be told: those of others are no successes. */
export const endedRate = `rate(vllm_vitals_requests_ended_total[${rateSpan}]) and on (instance, job, target) vllm_vitals_requests_failed_certain_total`

/** The job under which the daemons are scraped: by itself, or as a monitor of Kubernetes names it. */
export const jobMatcher = 'job=~".*vllm-vitals.*"'
