import type { GaugeHistory } from '../window/history.ts'
import type { TargetWindows } from '../window/target-windows.ts'

/**
 * What the GPUs of a target do, as far as can be known: `idle`; `working` as when tokens come out;
 * `spinning`, fully utilized at a power far below that, as kernels do that wait for each other.
 */
export interface GpuWork {
  readonly kind: 'idle' | 'working' | 'spinning' | 'unclear'
  /** Mean over the target's GPUs, 0 to 1. */
  readonly utilizationRatio: number
  /** Power as a share of what these GPUs draw while tokens come out; absent where that is not known. */
  readonly powerShare: number | undefined
  /** How long they have been fully utilized without a break, milliseconds; 0 where they are not. */
  readonly busyForMs: number
}

/** A GPU below this does nothing, one above this does nothing else. */
const idleRatio = 0.1
const fullRatio = 0.9
/** Below this share of its power at work, a fully utilized GPU computes nothing. */
const spinningShare = 0.7
/** Utilization from which power counts as that of work. */
const workRatio = 0.5
/** The power at work is that of its better moments, since batches differ. */
const workQuantile = 0.8
/** The driver averages over up to a second, and a reading may have begun before. */
const settleMs = 2_000

/**
 * Tells what the GPUs at `positions` do, from readings after `sinceMs`, compared with those before it.
 *
 * - no such GPU, or none that was read since then: `undefined`
 * - MIG, where the driver has no utilization: `undefined`
 */
export function gpuWorkOf(
  gpu: TargetWindows | undefined,
  positions: ReadonlySet<string>,
  sinceMs: number,
): GpuWork | undefined {
  if (gpu?.last?.kind !== 'read' || gpu.last.atMs - gpu.last.tookMs < sinceMs + settleMs) {
    return undefined
  }
  const drawn = gpu.histories('gpu_power_draw').filter(({ goneMs }) => goneMs === undefined)
  const power = new Map(drawn.map((one) => [one.labels['gpu'], one]))
  const cards = gpu.histories('gpu_utilization').flatMap((utilization) => {
    const { goneMs, labels } = utilization
    if (goneMs !== undefined || !positions.has(labels['gpu'] ?? '')) return []
    return [cardOf(utilization, power.get(labels['gpu']), sinceMs)]
  })
  if (cards.length === 0) return undefined
  const shares = cards.flatMap(({ powerShare }) => (powerShare === undefined ? [] : [powerShare]))
  return {
    kind: kindOf(cards),
    utilizationRatio: meanOf(cards.map(({ utilizationRatio }) => utilizationRatio)),
    powerShare: shares.length === 0 ? undefined : meanOf(shares),
    busyForMs: Math.max(...cards.map(({ busyForMs }) => busyForMs)),
  }
}

/** One that idles while its peers spin has died, and they wait for it. */
function kindOf(cards: readonly GpuWork[]): GpuWork['kind'] {
  const kinds = cards.map(({ kind }) => kind)
  if (kinds.includes('working')) return 'working'
  if (kinds.includes('spinning')) return 'spinning'
  return kinds.every((kind) => kind === 'idle') ? 'idle' : 'unclear'
}

function cardOf(
  utilization: GaugeHistory,
  power: GaugeHistory | undefined,
  sinceMs: number,
): GpuWork {
  const now = utilization.values.at(-1) ?? 0
  const watts = power?.values.at(-1)
  const usual = power === undefined ? undefined : wattsAtWork(utilization, power, sinceMs)
  const powerShare = watts === undefined || usual === undefined ? undefined : watts / usual
  const kind =
    now < idleRatio
      ? 'idle'
      : now < fullRatio || powerShare === undefined
        ? 'unclear'
        : powerShare < spinningShare
          ? 'spinning'
          : 'working'
  return { kind, utilizationRatio: now, powerShare, busyForMs: busyFor(utilization) }
}

/** What the card drew while it worked, before `sinceMs`; `undefined` where it was not seen at work. */
function wattsAtWork(
  utilization: GaugeHistory,
  power: GaugeHistory,
  sinceMs: number,
): number | undefined {
  const busyAt = new Set<number>()
  for (const [index, time] of utilization.times.entries()) {
    if (time <= sinceMs && (utilization.values[index] ?? 0) >= workRatio) busyAt.add(time)
  }
  const drawn = power.values.filter((_, index) => busyAt.has(power.times[index] ?? -1))
  if (drawn.length === 0) return undefined
  const sorted = drawn.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(workQuantile * sorted.length))]
}

function busyFor({ times, values }: GaugeHistory): number {
  const lastMs = times.at(-1) ?? 0
  let sinceMs = lastMs
  for (let index = values.length - 1; index >= 0; index -= 1) {
    if ((values[index] ?? 0) < fullRatio) break
    sinceMs = times[index] ?? sinceMs
  }
  return lastMs - sinceMs
}

function meanOf(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0) / values.length
}
