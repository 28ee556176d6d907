import type { CollectErrorCode } from '../errors.ts'
import { type GpuProcess, gpuProcesses, isEngineProgram } from '../signals/gpu-processes.ts'
import type { GaugeHistory } from '../window/history.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import { gibibytes } from './words.ts'

/** A server that does not answer yet while its model is being loaded. */
export interface Loading {
  readonly summary: string
  readonly evidence: Readonly<Record<string, number | string>>
}

/** Failures that a server which has not opened its port yet gives. */
const closedCodes: ReadonlySet<CollectErrorCode> = new Set(['refused', 'reset', 'resolve'])

/** Memory that changes by less is no sign of loading. */
const leastChangeBytes = 64 * 2 ** 20
/** Loading that shows nothing for so long has hung: compiling takes up to half an hour on a slow host. */
const stillMs = 1_800_000
/** A process that is there for longer is none that loads. */
const longestLoadMs = 3_600_000
/** After so many starts that came to nothing, the next one is no reason to wait. */
const patience = 1
/** A process that was there for a shorter time may have been no start, but a helper of one. */
const shortestStartMs = 15_000
/** So many of those, each the last that was there, are no helpers: they are starts that fail at once. */
const shortStarts = 3

/**
 * Tells whether a target that does not answer is being loaded: a process of vLLM's that came after its last
 * good reading is on a GPU, and its memory changes or the GPU works. Where the driver lists no processes, the
 * memory of a whole card has to rise.
 *
 * - the target answers, or fails in another way than by a closed port: `undefined`
 * - starts have failed again and again: `undefined`
 */
export function findLoading(
  target: TargetWindows,
  others: readonly TargetWindows[],
  gpu: TargetWindows | undefined,
  atMs: number,
): Loading | undefined {
  const { last } = target
  if (last?.kind !== 'missed' || !closedCodes.has(last.code)) return undefined
  if (gpu?.last?.kind !== 'read') return undefined
  const sinceMs = target.lastRead?.atMs ?? Number.NEGATIVE_INFINITY
  if (failedStarts(gpu, sinceMs) >= patience) return undefined
  const processes = gpuProcesses(gpu, [target, ...others], atMs)
  if (processes.length === 0 && gpu.histories('gpu_process_memory_used').length === 0) {
    return loadingCard(gpu, sinceMs, atMs)
  }
  const newcomers = processes.filter(
    (one) => one.owner.kind === 'engine' && mayBelongTo(one, sinceMs, others),
  )
  const moving = newcomers.filter(({ history, gpu: position }) =>
    isMoving(history, gpu, { position, atMs }),
  )
  if (moving.length === 0) return undefined
  return describe(moving, atMs)
}

/**
 * How many starts of vLLM's after the target's last good reading came to nothing: processes that are gone without its
 * having answered. Short ones, as where the card is full when they begin, count once there are several that left nobody
 * behind; a helper leaves the process that it helped.
 */
export function failedStarts(gpu: TargetWindows, sinceMs: number): number {
  const all = gpu
    .histories('gpu_process_memory_used')
    .filter(({ firstMs, labels }) => firstMs > sinceMs && isEngineProgram(labels['process'] ?? ''))
  const long = new Set<string>()
  const short = new Set<string>()
  for (const { firstMs, lastMs, goneMs, labels } of all) {
    if (goneMs === undefined) continue
    const pid = labels['pid'] ?? ''
    const survived = all.some((one) => one.firstMs < goneMs && (one.goneMs ?? goneMs + 1) > goneMs)
    if (lastMs - firstMs >= shortestStartMs) long.add(pid)
    else if (!survived) short.add(pid)
  }
  return long.size + Math.floor(short.size / shortStarts)
}

/** Whether a process came too late to be one that served before, and is none that serves another target. */
function mayBelongTo(
  { firstMs, fromStart }: GpuProcess,
  sinceMs: number,
  others: readonly TargetWindows[],
): boolean {
  if (firstMs <= sinceMs) return false
  return others.every(({ life, last }) => {
    if (last?.kind !== 'read' || life === undefined) return true
    return !fromStart && firstMs > life.readMs
  })
}

function isMoving(
  { times, values, firstMs, fromStart }: GaugeHistory,
  gpu: TargetWindows,
  { position, atMs }: { readonly position: string; readonly atMs: number },
): boolean {
  if (atMs - firstMs > longestLoadMs) return false
  if (atMs - firstMs < 60_000) return true
  const now = values.at(-1) ?? 0
  const isRecent = (time: number | undefined) => atMs - (time ?? 0) <= stillMs
  if (values.some((value, i) => isRecent(times[i]) && Math.abs(value - now) >= leastChangeBytes)) {
    return true
  }
  // What was there before the watch may be anybody's, and at work for long.
  if (fromStart) return false
  const work = gpu.histories('gpu_utilization').find((one) => one.labels['gpu'] === position)
  return work?.values.some((value, i) => value > 0 && isRecent(work.times[i])) === true
}

function describe(moving: readonly GpuProcess[], atMs: number): Loading {
  const bytes = moving.reduce((total, { usedBytes }) => total + usedBytes, 0)
  const forMs = atMs - Math.min(...moving.map(({ firstMs }) => firstMs))
  const [first] = moving
  const gpus = [...new Set(moving.map(({ gpu }) => gpu))].join(', ')
  return {
    summary: `the model is being loaded, for ${Math.round(forMs / 1_000)} s so far: ${first?.process} (pid ${first?.pid}) holds ${gibibytes(bytes)} of GPU ${gpus}`,
    evidence: { pid: first?.pid ?? '', loading_seconds: forMs / 1_000, memory_bytes: bytes, gpus },
  }
}

function loadingCard(gpu: TargetWindows, sinceMs: number, atMs: number): Loading | undefined {
  for (const { labels, times, values, goneMs } of gpu.histories('gpu_memory_used')) {
    if (goneMs !== undefined) continue
    const now = values.at(-1) ?? 0
    const late = values.filter((_, i) => (times[i] ?? 0) > Math.max(sinceMs, atMs - stillMs))
    const least = Math.min(...late)
    if (late.length < 2 || now - least < 8 * leastChangeBytes) continue
    return {
      summary: `a model seems to be loaded: the memory of GPU ${labels['gpu']} has risen by ${gibibytes(now - least)} to ${gibibytes(now)}`,
      evidence: { gpus: labels['gpu'] ?? '', memory_bytes: now },
    }
  }
  return undefined
}
