import type { Attempt } from './reading.ts'
import type { Alert } from './rules/alert.ts'
import type { HealthStatus, TargetState } from './rules/health.ts'
import type { Cause } from './rules/hold-back.ts'
import type { Watched } from './rules/rule.ts'
import { isYoung } from './rules/youth.ts'
import type { Signal, SignalSettings } from './signals/context.ts'
import { blindSpotsOf } from './signals/errors.ts'
import { factsOf } from './signals/facts.ts'
import { runsEngine } from './signals/gpu-processes.ts'
import { thresholdNotes } from './signals/thresholds.ts'
import type { Derived, GpuSnapshot, Snapshot, TargetSnapshot, Undecided } from './snapshot.ts'
import type { TargetWindows } from './window/target-windows.ts'

/** What the rules say: alerts, and what they cannot tell. */
export interface Told {
  readonly alerts: readonly Alert[]
  readonly undecided: readonly Undecided[]
  /** What holds alerts back, or did of late. */
  readonly causes: readonly Cause[]
}

/** Derives everything that is published of a target, or takes it over where nothing has changed since. */
export function derive(
  { target, fresh }: Watched,
  signals: readonly Signal[],
  previous: Snapshot | undefined,
  settings: SignalSettings,
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
    facts: factsOf(target, isYoung(target)),
    measured: signals.flatMap((signal) => signal.measure(context)),
    notes: [...(target.reading?.notes ?? []), ...ofThresholds, ...blindSpotsOf(target)],
    thresholdNotes: ofThresholds,
  }
}

/** What is known of a target at an instant, with the alerts that speak of it. */
export function describe(
  { target, url, state, stall, loading, placement }: Watched,
  statusOf: (state: TargetState, firing: number) => HealthStatus,
  { alerts, undecided }: Omit<Told, 'causes'>,
  { facts, notes, thresholdNotes }: Derived,
): TargetSnapshot {
  const { reasons, suppressed } = shownOf(alerts, ({ subject }) => subject.target === target.name)
  const { last, lastRead } = target
  return {
    name: target.name,
    url,
    // What is held back fires all the same: it degrades, and its cause tells why.
    status: statusOf(state, reasons.length + suppressed.length),
    state,
    stall,
    loading,
    placement,
    facts,
    up: last === undefined ? undefined : last.kind === 'read',
    models: target.models,
    version: target.reading?.version,
    lastSuccessMs: lastRead?.atMs,
    lastFailure: last?.kind === 'missed' ? failureOf(last) : undefined,
    health: target.health,
    reasons,
    suppressed,
    undecided: undecided.filter(({ subject }) => subject.target === target.name),
    notes,
    thresholdNotes,
  }
}

function failureOf({ code, message, status }: Extract<Attempt, { kind: 'missed' }>) {
  return status === undefined ? { code, message } : { code, message, status }
}

/** What is known of each GPU that was ever there. `targetsOnLost` tells which targets run on a lost one. */
export function describeGpus(
  target: TargetWindows,
  alerts: readonly Alert[],
  targetsOnLost: (uuid: string) => ReadonlySet<string>,
): readonly GpuSnapshot[] {
  const identities = target.lastGauges.filter(({ instrument }) => instrument === 'gpu_info')
  // Every GPU that was ever there says whether it is lost; one that is lost says nothing else.
  return target.lastGauges
    .filter(({ instrument }) => instrument === 'gpu_lost')
    .map(({ labels }) => {
      const identity = identities.find((one) => one.labels['gpu'] === labels['gpu'])
      const uuid = labels['uuid'] ?? ''
      const { reasons, suppressed } = shownOf(alerts, ({ subject }) => subject.uuid === uuid)
      return {
        uuid,
        index: Number(labels['gpu'] ?? 0),
        name: identity?.labels['name'] ?? '',
        // A GPU tells nothing of whether traffic should go there: that is for its targets to say.
        status: reasons.length > 0 ? 'degraded' : 'healthy',
        reasons,
        suppressed,
        runsEngine: runsEngine(target, labels['gpu']),
        targetsOnLost: [...targetsOnLost(uuid)],
      }
    })
}

/** The firing alerts among those that `speaksOf` picks: reasons, and what is held back. */
function shownOf(
  alerts: readonly Alert[],
  speaksOf: (alert: Alert) => boolean,
): { readonly reasons: readonly Alert[]; readonly suppressed: readonly Alert[] } {
  const firing = alerts.filter((alert) => alert.state === 'firing' && speaksOf(alert))
  return {
    reasons: firing.filter(({ heldBack }) => heldBack === undefined),
    suppressed: firing.filter(({ heldBack }) => heldBack !== undefined),
  }
}
