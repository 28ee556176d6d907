import { derive, describe, describeGpus, type Told } from './describe.ts'
import { diagnose } from './diagnosis/diagnose.ts'
import { absenceCodes } from './errors.ts'
import { type Alert, alertKey, step } from './rules/alert.ts'
import { gpuSourceStatus, type HealthStatus, targetStatus, worst } from './rules/health.ts'
import { holdBack } from './rules/hold-back.ts'
import { findLoading } from './rules/loading.ts'
import { activity, engineStates, evidenceOf, healthOf } from './rules/published.ts'
import type { JudgeContext, Rule, Watched } from './rules/rule.ts'
import type { Thresholds } from './rules/settings.ts'
import { assess, sourceStateOf } from './rules/state.ts'
import { engineSignals, gpuSourceSignals } from './signals/catalog.ts'
import type { Signal, SignalSettings } from './signals/context.ts'
import { gpuFactsOf, hostFactsOf } from './signals/gpu-facts.ts'
import { gpuMemory } from './signals/gpu-memory.ts'
import { gpuWorkOf } from './signals/gpu-work.ts'
import { placementOf, targetsOnLost } from './signals/placement.ts'
import type { Measured } from './signals/signal.ts'
import type { Derived, GpuSnapshot, Snapshot, TargetSnapshot, Undecided } from './snapshot.ts'
import type { TargetWindows } from './window/target-windows.ts'
import type { Windows } from './window/windows.ts'

/** One thing to be judged: its name, and the age at which its last good reading no longer speaks for now. */
export interface Subscription {
  readonly name: string
  /** The base URL of a target; a placeholder stands in where it is left out. */
  readonly url?: string
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
  /** Where the daemon itself can be asked; its default address where it is left out. */
  readonly ownUrl?: string
}

/** Derives and judges everything anew: the windows and the snapshot before in, the snapshot of now out. */
export function evaluate(previous: Snapshot | undefined, input: EvaluateInput): Snapshot {
  const { atMs, wallMs, windows } = input
  const names = [...input.targets, ...(input.gpu === undefined ? [] : [input.gpu])].map(
    ({ name }) => name,
  )
  const gpu = watchGpu(input)
  const watched = watchTargets(input, gpu?.target)
  const all = watched.map(({ target }) => target)
  const runsOn = (uuid: string) => targetsOnLost(uuid, all, gpu?.target)
  const told = judge(previous, input, { watched, gpu, runsOn })
  const { alerts, causes } = told
  const derived = new Map<string, Derived>()
  const deriveOnce = (one: Watched, signals: readonly Signal[]): Derived => {
    const found = derive(one, signals, previous, input.settings)
    derived.set(one.target.name, found)
    return found
  }
  const targets = watched.map((one) => ({
    ...describe(one, targetStatus, told, deriveOnce(one, engineSignals)),
    ...(input.settings.probing === true ? { probe: { last: one.target.probe } } : {}),
  }))
  const gpus = gpu === undefined ? [] : describeGpus(gpu.target, alerts, runsOn)
  const gpuSource =
    gpu === undefined
      ? undefined
      : describe(gpu, gpuSourceStatus, told, deriveOnce(gpu, gpuSourceSignals))
  return {
    sequence: (previous?.sequence ?? 0) + 1,
    atMs,
    wallMs,
    ready: names.every((name) => windows.target(name).last !== undefined),
    status: statusOf(targets, gpus, gpuSource),
    targets,
    gpus,
    gpuSource,
    probeWanted: watched.flatMap(({ target, stall }) =>
      stall?.wantsProbe === true ? [target.name] : [],
    ),
    probeKept: watched.flatMap(({ target, stall }) => (stall === undefined ? [] : [target.name])),
    diagnosis: diagnose({
      atMs,
      ownUrl: input.ownUrl ?? 'http://127.0.0.1:19400',
      targets,
      gpus: gpuFactsOf(gpu?.target, all, atMs),
      host: hostFactsOf(gpu?.target, all, atMs),
      gpusUnknown: whyNoGpus(gpu, input),
      targetsOnLost: runsOn,
    }),
    alerts,
    causes,
    measured: together([
      ...[...derived.values()].flatMap((one) => one.measured),
      ...judged({ targets, gpuSource, alerts }),
      ...gpuMemory(gpu?.target, all, atMs),
    ]),
    derived,
  }
}

/** The worst of all. A GPU source that cannot be read keeps nobody from serving, and degrades at worst. */
function statusOf(
  targets: readonly TargetSnapshot[],
  gpus: readonly GpuSnapshot[],
  gpuSource: TargetSnapshot | undefined,
): HealthStatus {
  const statuses = [...targets, ...gpus].map(({ status }) => status)
  if (gpuSource !== undefined && gpuSource.reasons.length > 0) statuses.push('degraded')
  return worst(statuses, 'unknown')
}

/** The verdicts as published numbers. */
function judged({
  targets,
  gpuSource,
  alerts,
}: Pick<Snapshot, 'targets' | 'gpuSource' | 'alerts'>): readonly Measured[] {
  // What is pending rings nobody, and is told whatever holds it back.
  const told = alerts.filter(({ state, heldBack }) => state === 'pending' || heldBack === undefined)
  return [
    ...targets.flatMap(engineStates),
    ...[...targets, ...(gpuSource === undefined ? [] : [gpuSource])].flatMap(healthOf),
    ...told.map(activity),
    ...told.flatMap(evidenceOf),
  ]
}

function isFresh({ lastRead }: TargetWindows, { staleAfterMs }: Subscription, atMs: number) {
  return lastRead !== undefined && atMs - lastRead.atMs <= staleAfterMs
}

function watchTargets(
  { targets, windows, atMs }: EvaluateInput,
  gpu: TargetWindows | undefined,
): readonly Watched[] {
  const all = targets.map(({ name }) => windows.target(name))
  return targets.map((one) => {
    const target = windows.target(one.name)
    const fresh = isFresh(target, one, atMs)
    const placement = placementOf(target, all, gpu)
    const quietSinceMs = target.progress?.workedMs ?? target.progress?.sinceMs ?? 0
    const work =
      placement.kind === 'known' ? gpuWorkOf(gpu, placement.gpus, quietSinceMs) : undefined
    const others = all.filter((other) => other !== target)
    const loading = findLoading(target, others, gpu, atMs)
    return {
      target,
      url: one.url ?? 'http://VLLM',
      fresh,
      placement,
      ...assess(target, fresh, { gpu: work, loading }),
    }
  })
}

function watchGpu({ gpu, windows, atMs }: EvaluateInput): Watched | undefined {
  if (gpu === undefined) return undefined
  const target = windows.target(gpu.name)
  if (gpu.quiet && isAbsent(target)) return undefined
  const fresh = isFresh(target, gpu, atMs)
  const state = sourceStateOf(target, fresh)
  const placement = { kind: 'unknown', why: 'it is the GPUs themselves' } as const
  return { target, url: '', fresh, state, placement, stall: undefined, loading: undefined }
}

/** Why the GPUs tell a diagnosis nothing; `undefined` where they do. */
function whyNoGpus(gpu: Watched | undefined, input: EvaluateInput): string | undefined {
  if (input.gpu === undefined) return 'they are not read, by the configuration'
  if (gpu === undefined) return 'this host shows none'
  const { last } = gpu.target
  if (last?.kind === 'missed') return `they cannot be read: ${last.message}`
  return last === undefined ? 'they were not read yet' : undefined
}

/** Whether a host has no GPUs as far as is known; one where reading them fails has some. */
function isAbsent({ last, lastRead }: TargetWindows): boolean {
  if (lastRead !== undefined) return false
  return last === undefined || (last.kind === 'missed' && absenceCodes.has(last.code))
}

/** Everything that is watched, as an evaluation finds it. */
interface Scene {
  readonly watched: readonly Watched[]
  readonly gpu: Watched | undefined
  /** The targets that run on a GPU. */
  readonly runsOn: (uuid: string) => ReadonlySet<string>
}

function judge(
  previous: Snapshot | undefined,
  input: EvaluateInput,
  { watched, gpu, runsOn }: Scene,
): Told {
  const known = new Map<string, Alert>()
  for (const alert of previous?.alerts ?? []) {
    if (isWatched(alert, input)) known.set(alertKey(alert.alert, alert.subject), alert)
  }
  const { atMs, thresholds } = input
  const undecided: Undecided[] = []
  const alerts = input.rules.flatMap((rule) => {
    const context: JudgeContext = {
      atMs,
      targets: watched,
      gpu,
      gpuExpected: input.gpu?.quiet === false,
      thresholds,
      windowMs: rule.windowMs,
    }
    const findings = rule.judge(context)
    for (const finding of findings) {
      if (finding.outcome !== 'unknown' || finding.summary === undefined) continue
      undecided.push({ alert: rule.name, subject: finding.subject, summary: finding.summary })
    }
    return step(rule, known, { findings, atMs, wallMs: input.wallMs })
  })
  const windows = new Map<string, number>(input.rules.map(({ name, windowMs }) => [name, windowMs]))
  const windowOf = (alert: string) => windows.get(alert) ?? 0
  const before = (previous?.causes ?? []).filter((cause) => isWatched(cause, input))
  const held = { targets: watched, runsOn, windowOf, before, atMs }
  return { ...holdBack(alerts, held), undecided }
}

/** Whether what an alert speaks of is still of interest: a new configuration may have left it out. */
function isWatched({ subject }: Pick<Alert, 'subject'>, { targets, gpu }: EvaluateInput): boolean {
  const { target, uuid } = subject
  if (uuid !== undefined) return gpu !== undefined
  return target === gpu?.name || targets.some(({ name }) => name === target)
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
