import type { TargetWindows } from '../window/target-windows.ts'
import type { TargetState } from './health.ts'
import type { AlertName, Severity, Thresholds } from './settings.ts'

/** What an alert speaks of; labels that do not apply are absent. */
export interface Subject {
  readonly target?: string
  readonly model_name?: string
  readonly uuid?: string
}

/** One target or the GPU source at one instant, as rules see it. */
export interface Watched {
  readonly target: TargetWindows
  readonly state: TargetState
  /** The last good reading is recent enough for windows to speak of now. */
  readonly fresh: boolean
}

/** Everything a rule may look at. */
export interface JudgeContext {
  readonly atMs: number
  readonly targets: readonly Watched[]
  /** The GPU source; absent where it is off. */
  readonly gpu: Watched | undefined
  readonly thresholds: Thresholds
  /** The window the rule was given, milliseconds. */
  readonly windowMs: number
}

/**
 * A rule's verdict on one subject now. `unknown` is neither good nor bad news: an alert stays what it was
 * for a while.
 */
export type Finding =
  | { readonly outcome: 'pass' | 'unknown'; readonly subject: Subject }
  | {
      readonly outcome: 'fail'
      readonly subject: Subject
      /** What is the matter, with the numbers, for a person. */
      readonly summary: string
      readonly evidence: Readonly<Record<string, number | string>>
    }

/** An entry of the alert catalogue (CONTRACT, section 7). */
export interface Rule {
  readonly name: AlertName
  readonly severity: Severity
  /** How long the condition holds before the alert fires. */
  readonly forMs: number
  /** How long the alert goes on firing after the condition last held. */
  readonly keepFiringForMs: number
  /** The window that its condition is taken over. */
  readonly windowMs: number
  /** What it means when it fires, for documents and annotations. */
  readonly description: string
  /** A finding for each subject that the rule can speak of now. */
  readonly judge: (context: JudgeContext) => readonly Finding[]
}
