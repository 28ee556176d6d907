import type { Labels } from '../reading.ts'
import type { GaugeHistory } from '../window/history.ts'
import type { TargetWindows } from '../window/target-windows.ts'

/** Names of programs under which vLLM's processes show. */
const enginePrograms = /^(vllm|python|ray::)/i

/** A server that nobody has reached for so long, and that is refused, has ended with all that it was. */
const endedAfterMs = 60_000

/** How long a model takes to be loaded at most: a process older than this is none that loads. */
const longestLoadMs = 3_600_000

/** A process that holds memory of a GPU, and whose it is as far as can be told. */
export interface GpuProcess {
  /** The position of the GPU, and its uuid. */
  readonly gpu: string
  readonly uuid: string
  readonly pid: string
  /** The base name of its program. */
  readonly process: string
  readonly usedBytes: number
  /** When it was first seen, and whether it was there when the GPUs were first read. */
  readonly firstMs: number
  readonly fromStart: boolean
  /** Its kept past. */
  readonly history: GaugeHistory
  readonly owner: Owner
}

/**
 * - `engine`: vLLM's by its name, and nothing says that it is left over
 * - `orphan`: vLLM's by its name, but older than whatever serves now: no target can own it, since `sinceMs`
 * - `foreign`: another program
 */
export type Owner =
  | { readonly kind: 'engine' | 'foreign' }
  | { readonly kind: 'orphan'; readonly sinceMs: number }

/**
 * The processes that the driver lists, in its order; none while it cannot be read.
 *
 * What is left over of an engine is a suspicion: it rests on names and times alone, and all targets are
 * taken to run on this host. While any of them may own a process, it is no orphan.
 */
export function gpuProcesses(
  gpu: TargetWindows,
  targets: readonly TargetWindows[],
  atMs: number,
): readonly GpuProcess[] {
  return gpu.gauges.flatMap(({ instrument, labels, value }) => {
    if (instrument !== 'gpu_process_memory_used') return []
    const history = gpu.history(instrument, labels)
    if (history === undefined) return []
    const { gpu: position = '', uuid = '', pid = '', process = '' } = labels
    const { firstMs, fromStart } = history
    const owner = isEngineProgram(process) ? ownerOf(history, targets, atMs) : foreign
    const usedBytes = value
    return [{ gpu: position, uuid, pid, process, usedBytes, firstMs, fromStart, history, owner }]
  })
}

/**
 * Whether vLLM runs on the GPU at a position, by the names of the processes there; `undefined` where the
 * driver lists no process at all, or where the GPU is lost, so that nobody knows.
 */
export function runsEngine(gpu: TargetWindows, position: string | undefined): boolean | undefined {
  const here = ({ labels }: { readonly labels: Labels }) => labels['gpu'] === position
  const processes = gpu.gauges.filter(({ instrument }) => instrument === 'gpu_process_memory_used')
  const isLost = gpu.gauges.some(
    (one) => one.instrument === 'gpu_lost' && one.value === 1 && here(one),
  )
  if (processes.length === 0 || isLost) return undefined
  return processes.some((one) => here(one) && isEngineProgram(one.labels['process'] ?? ''))
}

/**
 * From when on a series of memory speaks of an engine at work: when it was first read or, where a server
 * first answered after that, when it did; `undefined` while a server that may be its own is being loaded.
 *
 * A process is that of a server which answers within an hour of it, as long as loading takes at most. A whole
 * card outlives its processes, so that it waits for every server.
 */
export function workingSince(
  { firstMs }: GaugeHistory,
  targets: readonly TargetWindows[],
  { of, atMs }: { readonly of: 'process' | 'card'; readonly atMs: number },
): number | undefined {
  const loadedMs = of === 'card' ? Number.POSITIVE_INFINITY : firstMs + longestLoadMs
  const answeredSinceMs = of === 'card' ? atMs - endedAfterMs : firstMs
  let sinceMs = firstMs
  for (const { life, lastRead } of targets) {
    const answers = lastRead !== undefined && lastRead.atMs >= answeredSinceMs
    if (!answers && atMs < loadedMs) return undefined
    if (life !== undefined && life.readMs <= loadedMs) sinceMs = Math.max(sinceMs, life.readMs)
  }
  return sinceMs
}

const engine: Owner = { kind: 'engine' }
const foreign: Owner = { kind: 'foreign' }

/** Whether a program of this name is one of vLLM's. */
export function isEngineProgram(process: string): boolean {
  return enginePrograms.test(process)
}

function ownerOf(
  { firstMs }: GaugeHistory,
  targets: readonly TargetWindows[],
  atMs: number,
): Owner {
  let sinceMs: number | undefined
  for (const target of targets) {
    const disownedMs = disowned(firstMs, target, atMs)
    if (disownedMs === undefined) return engine
    sinceMs = Math.max(sinceMs ?? disownedMs, disownedMs)
  }
  return sinceMs === undefined ? engine : { kind: 'orphan', sinceMs }
}

/**
 * Since when a process first seen at `firstMs` cannot be one of a target's; `undefined` while it may be.
 *
 * - the target serves, and its process began after that
 * - the target is refused for a minute, and served after that: its process has ended
 */
function disowned(firstMs: number, target: TargetWindows, atMs: number): number | undefined {
  const { life, last, lastRead } = target
  if (lastRead === undefined || life === undefined) return undefined
  const refused = last?.kind === 'missed' && last.code === 'refused'
  if (refused && atMs - lastRead.atMs > endedAfterMs) {
    return firstMs <= lastRead.atMs ? lastRead.atMs : undefined
  }
  return life.sinceMs !== undefined && firstMs < life.sinceMs ? life.sinceMs : undefined
}
