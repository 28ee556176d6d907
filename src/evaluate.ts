import type { HealthProbe } from './reading.ts'
import type { Alert } from './rules/alert.ts'
import type { HealthStatus, TargetState } from './rules/health.ts'
import type { Measured } from './signals/signal.ts'

/** What is known of one target at the instant of a snapshot. */
export interface TargetSnapshot {
  readonly name: string
  readonly status: HealthStatus
  readonly state: TargetState
  /** Whether the last collection succeeded; absent before the first. */
  readonly up: boolean | undefined
  readonly models: readonly string[]
  readonly version: string | undefined
  /** Monotonic time of the last good collection; absent before it. */
  readonly lastSuccessMs: number | undefined
  /** Why the last collection failed; absent when it did not. */
  readonly lastFailure: { readonly code: string; readonly message: string } | undefined
  /** How the target's own health endpoint last answered. */
  readonly health: HealthProbe | undefined
  /** The firing alerts that speak of this target. */
  readonly reasons: readonly Alert[]
  /** What a person should know of the last reading: warnings, parts left out, things that cannot be known. */
  readonly notes: readonly string[]
}

/** What is known of one GPU at the instant of a snapshot. */
export interface GpuSnapshot {
  readonly uuid: string
  readonly index: number
  readonly name: string
  readonly status: HealthStatus
  readonly reasons: readonly Alert[]
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
  /** Every alert that is pending or firing. */
  readonly alerts: readonly Alert[]
  /** Every published number, those of targets, GPUs and of the watching itself. Sorted by family. */
  readonly measured: readonly Measured[]
}
