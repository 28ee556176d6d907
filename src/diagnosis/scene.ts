import type { Evidence } from '../finding.ts'
import type { Stretch, TargetFacts } from '../signals/facts.ts'
import type { GpuFacts } from '../signals/gpu-facts.ts'
import type { TargetSnapshot } from '../snapshot.ts'

/** One target and what is around it, as the detectors see it. */
export interface Scene {
  readonly target: TargetSnapshot
  readonly facts: TargetFacts | undefined
  /** GPUs that the target runs on, or may run on. */
  readonly gpus: readonly GpuFacts[]
  /** Why the GPUs say nothing of this target; absent where they do. */
  readonly gpusUnknown: string | undefined
  readonly atMs: number
  readonly ownUrl: string
}

/** A scene whose target was read, with something to say of late. */
export interface ReadScene extends Scene {
  readonly facts: TargetFacts
  readonly recent: Stretch
  readonly usual: Stretch | undefined
}

/** The scene, where its target was read lately and shows its engine; otherwise nothing. */
export function readScene(scene: Scene): ReadScene | undefined {
  const { facts, target } = scene
  if (facts?.recent === undefined || !facts.showsEngine || target.up !== true) return undefined
  return { ...scene, facts, recent: facts.recent, usual: facts.usual }
}

/** What speaks for a finding, as of the target's last reading; values that are not known are left out. */
export function evidence(
  { atMs, facts }: Scene,
  found: Readonly<Record<string, number | string | undefined>>,
): readonly Evidence[] {
  const ageSeconds = facts === undefined ? 0 : Math.max(0, Math.round(atMs - facts.readMs)) / 1_000
  return Object.entries(found).flatMap(([what, value]) =>
    value === undefined ? [] : [{ what, value: rounded(value), ageSeconds }],
  )
}

function rounded(value: number | string): number | string {
  return typeof value === 'number' && Number.isFinite(value) ? Number(value.toPrecision(4)) : value
}

/** Writes seconds for a person: `0.21 s`, `12 s`. */
export function inSeconds(value: number): string {
  return `${value >= 10 ? Math.round(value) : Number(value.toPrecision(2))} s`
}

/** Writes a duration of milliseconds for a person: `12 s`, `4 min`. */
export function duration(ms: number): string {
  return ms < 180_000 ? `${Math.round(ms / 1_000)} s` : `${Math.round(ms / 60_000)} min`
}

/** Writes a number for a person, whole where it is large. */
export function figure(value: number): string {
  return value >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(2)))
}

/** How many times larger a value is than usual; nothing where either is not known or nothing is usual. */
export function times(now: number | undefined, usual: number | undefined): number | undefined {
  return now === undefined || usual === undefined || usual <= 0 ? undefined : now / usual
}

/** Requests that wait, of all engines; nothing where the page does not say. */
export function waitingNow({ facts }: Scene): number | undefined {
  return facts?.gauges.requests_waiting
}

/** The fullest KV cache of late. */
export function fullest({ facts }: Scene): number | undefined {
  return facts?.highs.kv_cache_usage ?? facts?.gauges.kv_cache_usage
}

/** The longest that somebody has waited at least who still waits, in milliseconds; 0 where nobody is known to. */
export function oldestWaitMs({ facts }: Scene): number {
  return Math.max(
    0,
    ...(facts?.progress?.engines ?? []).map(({ oldestWait }) => oldestWait?.ms ?? 0),
  )
}

/** The mean utilization of the GPUs that tell one, 0 to 1. */
export function meanUtilization({ gpus }: Scene): number | undefined {
  const told = gpus.flatMap(({ utilizationRatio: one }) => (one === undefined ? [] : [one]))
  return told.length === 0 ? undefined : told.reduce((a, b) => a + b, 0) / told.length
}
