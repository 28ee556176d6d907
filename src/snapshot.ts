import type { Finding } from './finding.ts'
import type { HealthProbe, ProbeResult } from './reading.ts'
import type { Alert } from './rules/alert.ts'
import type { HealthStatus, TargetState } from './rules/health.ts'
import type { Cause } from './rules/hold-back.ts'
import type { Loading } from './rules/loading.ts'
import type { Subject } from './rules/rule.ts'
import type { Stall } from './rules/stall.ts'
import type { SignalSettings } from './signals/context.ts'
import type { TargetFacts } from './signals/facts.ts'
import type { Placement } from './signals/placement.ts'
import type { Measured } from './signals/signal.ts'
import type { TargetWindows } from './window/target-windows.ts'

/** What is known of one target at the instant of a snapshot. */
export interface TargetSnapshot {
  readonly name: string
  /** Its base URL, for commands to paste. */
  readonly url: string
  readonly status: HealthStatus
  readonly state: TargetState
  /** Work that is pending, or seems to be, while nothing progresses. */
  readonly stall: Stall | undefined
  readonly loading: Loading | undefined
  /** Which GPUs it runs on. */
  readonly placement: Placement
  /** What a diagnosis weighs; absent before the first good collection, and of the GPU source. */
  readonly facts: TargetFacts | undefined
  /** Whether the last collection succeeded; absent before the first. */
  readonly up: boolean | undefined
  readonly models: readonly string[]
  readonly version: string | undefined
  /** Monotonic time of the last good collection; absent before it. */
  readonly lastSuccessMs: number | undefined
  /** Why the last collection failed; absent when it did not. */
  readonly lastFailure:
    | {
        readonly code: string
        readonly message: string
        /** For code `status`: the HTTP status. */
        readonly status?: number | undefined
      }
    | undefined
  /** How the target's own health endpoint last answered. */
  readonly health: HealthProbe | undefined
  /** What came of the last probe; left out where engines are not probed. */
  readonly probe?: { readonly last: ProbeResult | undefined }
  /** The firing alerts that speak of this target. */
  readonly reasons: readonly Alert[]
  /** Alerts of it that are held back, because another one tells the cause. */
  readonly suppressed: readonly Alert[]
  /** What would be an alert if there were requests enough to be sure. */
  readonly undecided: readonly Undecided[]
  /** What a person should know of the last reading: warnings, parts left out, things that cannot be known. */
  readonly notes: readonly string[]
  /** Those of the notes that speak of thresholds which cannot be counted exactly. */
  readonly thresholdNotes: readonly string[]
}

/** What is known of one GPU at the instant of a snapshot. */
export interface GpuSnapshot {
  readonly uuid: string
  readonly index: number
  readonly name: string
  readonly status: HealthStatus
  readonly reasons: readonly Alert[]
  readonly suppressed: readonly Alert[]
  /** Whether vLLM runs on it, as far as the names of its processes tell. */
  readonly runsEngine: boolean | undefined
  /** The targets that run on it though it is lost. */
  readonly targetsOnLost: readonly string[]
}

/** A rule that cannot tell: what it found, and for whom. */
export interface Undecided {
  readonly alert: string
  readonly subject: Subject
  readonly summary: string
}

/** What was derived of one target, and from what, so that it need not be derived again. */
export interface Derived {
  readonly target: TargetWindows
  readonly version: number
  readonly fresh: boolean
  readonly settings: SignalSettings
  readonly facts: TargetFacts | undefined
  readonly measured: readonly Measured[]
  readonly notes: readonly string[]
  readonly thresholdNotes: readonly string[]
}

/** Everything the daemon knows at one instant. Immutable; replaced as a whole by the next evaluation. */
export interface Snapshot {
  /** Counts evaluations, from 1. */
  readonly sequence: number
  /** Monotonic and wall time of the evaluation, milliseconds. */
  readonly atMs: number
  readonly wallMs: number
  /** Whether every target has been tried. */
  readonly ready: boolean
  readonly status: HealthStatus
  readonly targets: readonly TargetSnapshot[]
  readonly gpus: readonly GpuSnapshot[]
  /** The condition of the GPU source itself; absent where it is off, or silent on a host without GPUs. */
  readonly gpuSource: TargetSnapshot | undefined
  /** Targets of which only a probe could tell whether they serve. */
  readonly probeWanted: readonly string[]
  /** Targets of which nothing is seen to progress, so that a probe under way still has something to say. */
  readonly probeKept: readonly string[]
  /** What is the matter, the gravest first. */
  readonly diagnosis: readonly Finding[]
  /** Every alert that is pending or firing, held back or not. */
  readonly alerts: readonly Alert[]
  /** What holds alerts back, or did of late. */
  readonly causes: readonly Cause[]
  /** Every published number, those of targets, GPUs and of the watching itself, families together. */
  readonly measured: readonly Measured[]
  /** Work that the next evaluation may take over. */
  readonly derived: ReadonlyMap<string, Derived>
}
