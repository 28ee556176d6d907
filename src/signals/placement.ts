import type { TargetWindows } from '../window/target-windows.ts'
import { isEngineProgram } from './gpu-processes.ts'

/** Which GPUs a target runs on, by their position; or why nobody can tell. */
export type Placement =
  | { readonly kind: 'known'; readonly gpus: ReadonlySet<string> }
  | { readonly kind: 'unknown'; readonly why: string }

/**
 * Tells which GPUs a target runs on: the only target of a host has all processes of vLLM's there. Of several
 * each has those that descend from its server, which says when it started; where that cannot be read, those
 * that came before it first answered, if no other one did after that.
 *
 * - the driver lists no processes: for the only target, every GPU that can be read
 * - nobody can tell: `unknown`
 */
export function placementOf(
  target: TargetWindows,
  targets: readonly TargetWindows[],
  gpu: TargetWindows | undefined,
): Placement {
  if (gpu === undefined) return { kind: 'unknown', why: 'no GPU is read' }
  const processes = gpu.gauges.filter(({ instrument }) => instrument === 'gpu_process_memory_used')
  const isOnly = targets.length === 1
  if (processes.length === 0) {
    if (!isOnly) return { kind: 'unknown', why: 'the driver lists no processes' }
    const readable = gpu.gauges.filter(
      ({ instrument, value }) => instrument === 'gpu_lost' && value === 0,
    )
    return { kind: 'known', gpus: new Set(readable.map(({ labels }) => labels['gpu'] ?? '')) }
  }
  const own = processes.filter(({ labels }) => {
    if (!isEngineProgram(labels['process'] ?? '')) return false
    const history = gpu.history('gpu_process_memory_used', labels)
    if (isOnly) return true
    const owner = parentOf(labels['pid'] ?? '', targets, gpu)
    if (owner !== undefined) return owner === target.name
    return history !== undefined && ownerOf(history, targets) === target.name
  })
  if (own.length === 0 && !isOnly) {
    return {
      kind: 'unknown',
      why: 'several targets share this host, and nothing tells whose is which',
    }
  }
  return { kind: 'known', gpus: new Set(own.map(({ labels }) => labels['gpu'] ?? '')) }
}

/**
 * The targets that ran on a GPU when it was lost and still do: those whose present process began before.
 * None where it was lost before the watch began, or where nobody can tell.
 */
export function targetsOnLost(
  uuid: string,
  targets: readonly TargetWindows[],
  gpu: TargetWindows | undefined,
): ReadonlySet<string> {
  const found = new Set<string>()
  if (gpu === undefined) return found
  const ofCard = ({ labels }: { readonly labels: Readonly<Record<string, string>> }) =>
    labels['uuid'] === uuid
  const lostMs = gpu.histories('gpu_memory_used').find(ofCard)?.goneMs
  if (lostMs === undefined) return found
  for (const process of gpu.histories('gpu_process_memory_used')) {
    if (!ofCard(process) || process.goneMs !== lostMs) continue
    if (!isEngineProgram(process.labels['process'] ?? '')) continue
    const [only] = targets
    const parent = parentOf(process.labels['pid'] ?? '', targets, gpu)
    const owner = targets.length === 1 ? only?.name : (parent ?? ownerOf(process, targets))
    const target = targets.find(({ name }) => name === owner)
    if (target === undefined) continue
    const began = beganMs(target)
    if (began !== undefined && began <= lostMs) found.add(target.name)
  }
  return found
}

/** Two ways to one time: a server rounds its own start, and the boot time moves with the wall clock. */
const sameStartSeconds = 1.5

/** The target whose server is a process, or an ancestor of it, by the times at which they started. */
function parentOf(
  pid: string,
  targets: readonly TargetWindows[],
  gpu: TargetWindows,
): string | undefined {
  let nearest: { readonly name: string; readonly apart: number } | undefined
  // Those of processes that are gone, too: a card that is lost takes its processes along.
  for (const { labels, values } of gpu.histories('host_process_start')) {
    const value = values.at(-1)
    if (labels['pid'] !== pid || value === undefined) continue
    for (const { name, reading } of targets) {
      const apart = Math.abs(value - (reading?.processStartSeconds ?? Number.NaN))
      if (apart <= sameStartSeconds && apart < (nearest?.apart ?? Number.POSITIVE_INFINITY)) {
        nearest = { name, apart }
      }
    }
  }
  return nearest?.name
}

/** When the present process of a target began: as it tells, else by its first answer, which a lost GPU allows none. */
function beganMs({ life, reading }: TargetWindows): number | undefined {
  return reading?.processStartSeconds === undefined ? life?.readMs : life?.sinceMs
}

/** A load takes at most so long: a process is that of the first target that answers within it. */
const longestLoadMs = 3_600_000

/** The only target whose life began to answer within the time of a load after a process came. */
function ownerOf(
  { firstMs, fromStart }: { readonly firstMs: number; readonly fromStart: boolean },
  targets: readonly TargetWindows[],
): string | undefined {
  if (fromStart) return undefined
  const after = targets.filter(({ life }) => {
    const readMs = life?.readMs
    return readMs !== undefined && readMs >= firstMs && readMs <= firstMs + longestLoadMs
  })
  return after.length === 1 ? after[0]?.name : undefined
}
