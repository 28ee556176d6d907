import type { Labels } from '../reading.ts'

export type Severity = 'critical' | 'warning'

/** What an alert speaks of; labels that do not apply are absent. */
export interface Subject {
  readonly target?: string
  readonly model_name?: string
  readonly uuid?: string
}

/** An alert that is pending or firing about one subject. */
export interface Alert {
  readonly alert: string
  readonly severity: Severity
  readonly subject: Subject
  readonly state: 'pending' | 'firing'
  /** Monotonic time since which the condition holds. */
  readonly sinceMs: number
  /** Monotonic time at which the condition last held. */
  readonly lastFailMs: number
  readonly summary: string
  readonly evidence: Readonly<Record<string, number | string>>
  readonly runbook: string
}

/** The key by which an alert is the same alert at the next evaluation. */
export function alertKey(alert: string, subject: Labels | Subject): string {
  const { target = '', model_name = '', uuid = '' } = subject as Subject
  return JSON.stringify([alert, target, model_name, uuid])
}
