import type { Placement } from '../signals/placement.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import type { AlertName, Severity, Thresholds } from './settings.ts'
import type { Assessment } from './state.ts'

/** What an alert speaks of; labels that do not apply are absent. */
export interface Subject {
  readonly target?: string
  readonly model_name?: string
  readonly uuid?: string
}

/** One target or the GPU source at one instant, as rules see it. */
export interface Watched extends Pick<Assessment, 'state' | 'stall' | 'loading'> {
  readonly target: TargetWindows
  /** Its base URL; empty of the GPU source. */
  readonly url: string
  /** Which GPUs it runs on. */
  readonly placement: Placement
  /** The last good reading is recent enough for windows to speak of now. */
  readonly fresh: boolean
}

/** Everything a rule may look at. */
export interface JudgeContext {
  readonly atMs: number
  readonly targets: readonly Watched[]
  /** The GPU source; absent where it is off. */
  readonly gpu: Watched | undefined
  /** The configuration says that there are GPUs. */
  readonly gpuExpected: boolean
  readonly thresholds: Thresholds
  /** The window the rule was given, milliseconds. */
  readonly windowMs: number
}

/**
 * A rule's verdict on one subject now.
 *
 * - `pass`, `fail`: the condition does not hold, or holds
 * - `suspected`: it seems to hold and nothing decides; an alert comes to pending and no further
 * - `unknown`: neither good nor bad news, so that an alert stays what it was for a while. With a summary, it
 *   says what was found and why that is not enough.
 */
export type Finding =
  | { readonly outcome: 'pass'; readonly subject: Subject }
  | { readonly outcome: 'unknown'; readonly subject: Subject; readonly summary?: string }
  | Trouble

/** A finding that the condition of a rule holds, or seems to. */
export interface Trouble {
  readonly outcome: 'fail' | 'suspected'
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
