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

/** The job under which the daemons are scraped: by itself, or as a monitor of Kubernetes names it. */
export const jobMatcher = 'job=~".*vllm-vitals.*"'
