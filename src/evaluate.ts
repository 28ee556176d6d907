import { absenceCodes } from './errors.ts'
import type { HealthProbe } from './reading.ts'
import { type Alert, alertKey, step } from './rules/alert.ts'
import {
  gpuSourceStatus,
  type HealthStatus,
  type TargetState,
  targetStatus,
  worst,
} from './rules/health.ts'
import { activity, engineStates, healthOf } from './rules/published.ts'
import type { JudgeContext, Rule, Watched } from './rules/rule.ts'
import type { Thresholds } from './rules/settings.ts'
import { sourceStateOf, stateOf } from './rules/state.ts'
import { engineSignals, gpuSourceSignals } from './signals/catalog.ts'
import type { Signal, SignalSettings } from './signals/context.ts'
import { blindSpotsOf } from './signals/errors.ts'
import { plannedMemory, runsEngine } from './signals/gpu.ts'
import type { Measured } from './signals/signal.ts'
import { thresholdNotes } from './signals/thresholds.ts'
import type { TargetWindows } from './window/target-windows.ts'
import type { Windows } from './window/windows.ts'

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
  /** Whether vLLM runs on it, as far as the names of its processes tell. */
  readonly runsEngine: boolean | undefined
}

/** What was derived of one target, and from what, so that it need not be derived again. */
interface Derived {
  readonly target: TargetWindows
  readonly version: number
  readonly fresh: boolean
  readonly settings: SignalSettings
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
  /** Every alert that is pending or firing. */
  readonly alerts: readonly Alert[]
  /** Every published number, those of targets, GPUs and of the watching itself, families together. */
  readonly measured: readonly Measured[]
  /** Work that the next evaluation may take over. */
  readonly derived: ReadonlyMap<string, Derived>
}

/** One thing to be judged: its name, and the age at which its last good reading no longer speaks for now. */
export interface Subscription {
  readonly name: string
  readonly staleAfterMs: number
}

/** What an evaluation works on. */
export interface EvaluateInput {
  readonly windows: Windows
  readonly targets: readonly Subscription[]
  /** The GPU source; `quiet` says that a host without a driver is none of anybody's business. */
  readonly gpu: (Subscription & { readonly quiet: boolean }) | undefined
  readonly settings: SignalSettings
  readonly thresholds: Thresholds
  /** The catalogue as the configuration wants it. */
  readonly rules: readonly Rule[]
  readonly atMs: number
  readonly wallMs: number
}

/** Derives and judges everything anew: the windows and the snapshot before in, the snapshot of now out. */
export function evaluate(previous: Snapshot | undefined, input: EvaluateInput): Snapshot {
  const { atMs, wallMs, windows } = input
  const names = [...input.targets, ...(input.gpu === undefined ? [] : [input.gpu])].map(
    ({ name }) => name,
  )
  const watched = input.targets.map((one) => {
    const target = windows.target(one.name)
    const fresh = isFresh(target, one, atMs)
    return { target, fresh, state: stateOf(target, fresh) }
  })
  const gpu = watchGpu(input)
  const alerts = judge(previous, input, { watched, gpu })
  const derived = new Map<string, Derived>()
  const deriveOnce = (one: Watched, signals: readonly Signal[]): Derived => {
    const found = derive(one, signals, previous, input)
    derived.set(one.target.name, found)
    return found
  }
  const targets = watched.map((one) =>
    describe(one, targetStatus, alerts, deriveOnce(one, engineSignals)),
  )
  const gpus = gpu === undefined ? [] : describeGpus(gpu.target, alerts)
  const gpuSource =
    gpu === undefined
      ? undefined
      : describe(gpu, gpuSourceStatus, alerts, deriveOnce(gpu, gpuSourceSignals))
  const statuses = [...targets, ...gpus].map(({ status }) => status)
  // A GPU source that cannot be read keeps nobody from serving.
  if (gpuSource !== undefined && gpuSource.reasons.length > 0) statuses.push('degraded')
  const ownMeasured = [
    ...targets.flatMap(engineStates),
    ...[...targets, ...(gpuSource === undefined ? [] : [gpuSource])].flatMap(healthOf),
    ...alerts.map(activity),
    ...plannedMemory(
      gpu?.target,
      watched.map(({ target }) => target),
    ),
  ]
  return {
    sequence: (previous?.sequence ?? 0) + 1,
    atMs,
    wallMs,
    ready: names.every((name) => windows.target(name).last !== undefined),
    status: worst(statuses, 'unknown'),
    targets,
    gpus,
    gpuSource,
    alerts,
    measured: together([...derived.values()].flatMap((one) => one.measured).concat(ownMeasured)),
    derived,
  }
}

function isFresh({ lastRead }: TargetWindows, { staleAfterMs }: Subscription, atMs: number) {
  return lastRead !== undefined && atMs - lastRead.atMs <= staleAfterMs
}

function watchGpu({ gpu, windows, atMs }: EvaluateInput): Watched | undefined {
  if (gpu === undefined) return undefined
  const target = windows.target(gpu.name)
  if (gpu.quiet && isAbsent(target)) return undefined
  const fresh = isFresh(target, gpu, atMs)
  return { target, fresh, state: sourceStateOf(target, fresh) }
}

/** Whether a host has no GPUs as far as is known; one where reading them fails has some. */
function isAbsent({ last, lastRead }: TargetWindows): boolean {
  if (lastRead !== undefined) return false
  return last === undefined || (last.kind === 'missed' && absenceCodes.has(last.code))
}

function judge(
  previous: Snapshot | undefined,
  input: EvaluateInput,
  { watched, gpu }: { readonly watched: readonly Watched[]; readonly gpu: Watched | undefined },
): readonly Alert[] {
  const before = new Map<string, Alert>()
  for (const alert of previous?.alerts ?? []) {
    if (isWatched(alert, input)) before.set(alertKey(alert.alert, alert.subject), alert)
  }
  const { atMs, thresholds } = input
  return input.rules.flatMap((rule) => {
    const context: JudgeContext = {
      atMs,
      targets: watched,
      gpu,
      thresholds,
      windowMs: rule.windowMs,
    }
    return step(rule, before, { findings: rule.judge(context), atMs })
  })
}

/** Whether what an alert speaks of is still of interest: a new configuration may have left it out. */
function isWatched({ subject }: Alert, { targets, gpu }: EvaluateInput): boolean {
  const { target, uuid } = subject
  if (uuid !== undefined) return gpu !== undefined
  return target === gpu?.name || targets.some(({ name }) => name === target)
}

function derive(
  { target, fresh }: Watched,
  signals: readonly Signal[],
  previous: Snapshot | undefined,
  { settings }: EvaluateInput,
): Derived {
  const { version } = target
  const before = previous?.derived.get(target.name)
  if (
    before?.target === target &&
    before.version === version &&
    before.fresh === fresh &&
    before.settings === settings
  ) {
    return before
  }
  const context = { target, settings, fresh }
  const ofThresholds = thresholdNotes(target, settings)
  return {
    target,
    version,
    fresh,
    settings,
    measured: signals.flatMap((signal) => signal.measure(context)),
    notes: [...(target.reading?.notes ?? []), ...ofThresholds, ...blindSpotsOf(target)],
    thresholdNotes: ofThresholds,
  }
}

function describe(
  { target, state }: Watched,
  statusOf: (state: TargetState, firing: number) => HealthStatus,
  alerts: readonly Alert[],
  { notes, thresholdNotes }: Derived,
): TargetSnapshot {
  const reasons = alerts.filter(
    ({ state: stage, subject }) => stage === 'firing' && subject.target === target.name,
  )
  const { last, lastRead } = target
  return {
    name: target.name,
    status: statusOf(state, reasons.length),
    state,
    up: last === undefined ? undefined : last.kind === 'read',
    models: target.models,
    version: target.reading?.version,
    lastSuccessMs: lastRead?.atMs,
    lastFailure: last?.kind === 'missed' ? { code: last.code, message: last.message } : undefined,
    health: target.health,
    reasons,
    notes,
    thresholdNotes,
  }
}

function describeGpus(target: TargetWindows, alerts: readonly Alert[]): readonly GpuSnapshot[] {
  const identities = target.lastGauges.filter(({ instrument }) => instrument === 'gpu_info')
  // Every GPU that was ever there says whether it is lost; one that is lost says nothing else.
  return target.lastGauges
    .filter(({ instrument }) => instrument === 'gpu_lost')
    .map(({ labels }) => {
      const identity = identities.find((one) => one.labels['gpu'] === labels['gpu'])
      const uuid = labels['uuid'] ?? ''
      const reasons = alerts.filter(
        ({ state, subject }) => state === 'firing' && subject.uuid === uuid,
      )
      return {
        uuid,
        index: Number(labels['gpu'] ?? 0),
        name: identity?.labels['name'] ?? '',
        // A GPU tells nothing of whether traffic should go there: that is for its targets to say.
        status: reasons.length > 0 ? 'degraded' : 'healthy',
        reasons,
        runsEngine: runsEngine(target, labels['gpu']),
      }
    })
}

/** Brings the samples of each family together, families in the order of their first sample. */
function together(all: readonly Measured[]): readonly Measured[] {
  const families = new Map<string, Measured[]>()
  for (const one of all) {
    const group = families.get(one.family.name)
    if (group === undefined) families.set(one.family.name, [one])
    else group.push(one)
  }
  return [...families.values()].flat()
}
