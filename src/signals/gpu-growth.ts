import type { GaugeId } from '../instruments.ts'
import type { GaugeHistory } from '../window/history.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import { gpuProcesses, workingSince } from './gpu-processes.ts'
import { type Growth, type GrowthTest, growthOf, settleMs } from './growth.ts'

/** Growth by less than this, and than this share of the card, is none. */
const leastBytes = 256 * 2 ** 20
const leastShare = 0.01

/** How the memory of a process grows, or that of a card where no process is listed. */
export interface MemoryGrowth {
  readonly gpu: string
  readonly uuid: string
  /** Empty, as the name is, for the card as a whole. */
  readonly pid: string
  readonly process: string
  readonly growth: Growth
}

/** How the memory of one card fills up. */
export interface CardGrowth {
  readonly gpu: string
  readonly uuid: string
  /** Of each process that there is enough to tell of. */
  readonly all: readonly MemoryGrowth[]
  /** Of those that grow for certain. */
  readonly growing: readonly MemoryGrowth[]
  /** When the card will be full; absent unless something grows for certain. */
  readonly secondsToFull: number | undefined
}

/**
 * How the memory of each card grows, process by process; none while the GPUs cannot be read. Where the driver
 * lists no process at all, as in a container of its own, a card is taken as a whole.
 */
export function cardGrowths(
  gpu: TargetWindows,
  targets: readonly TargetWindows[],
  atMs: number,
): readonly CardGrowth[] {
  const totals = gpu.gauges.filter(({ instrument }) => instrument === 'gpu_memory_total')
  const followed = followedOn(gpu, targets, atMs)
  return totals.map(({ labels, value: totalBytes }) => {
    const { gpu: position = '', uuid = '' } = labels
    const least = Math.max(leastBytes, leastShare * totalBytes)
    const all = followed.flatMap(({ history, of, ...names }) => {
      const sinceMs =
        names.gpu === position ? workingSince(history, targets, { of, atMs }) : undefined
      if (sinceMs === undefined) return []
      const growth = growthOnce(history, { fromMs: sinceMs + settleMs, least })
      return growth === undefined ? [] : [{ ...names, growth }]
    })
    const growing = all.filter(({ growth }) => growth.course === 'growing')
    const slope = growing.reduce((sum, { growth }) => sum + growth.slope, 0)
    const freeBytes = totalBytes - takenOf(gpu, position)
    const secondsToFull = slope > 0 ? Math.max(0, freeBytes) / slope : undefined
    return { gpu: position, uuid, all, growing, secondsToFull }
  })
}

interface Followed extends Omit<MemoryGrowth, 'growth'> {
  readonly history: GaugeHistory
  readonly of: 'process' | 'card'
}

function followedOn(
  gpu: TargetWindows,
  targets: readonly TargetWindows[],
  atMs: number,
): readonly Followed[] {
  const processes = gpuProcesses(gpu, targets, atMs)
  if (processes.length > 0) {
    return processes.map(({ gpu: position, uuid, pid, process, history }) => ({
      gpu: position,
      uuid,
      pid,
      process,
      history,
      of: 'process',
    }))
  }
  return gpu.gauges.flatMap(({ instrument, labels }): readonly Followed[] => {
    const used: GaugeId = 'gpu_memory_used'
    const history = instrument === used ? gpu.history(used, labels) : undefined
    if (history === undefined) return []
    const { gpu: position = '', uuid = '' } = labels
    return [{ gpu: position, uuid, pid: '', process: '', history, of: 'card' }]
  })
}

/** What is in use of a card, with what driver and firmware keep for themselves. */
function takenOf(gpu: TargetWindows, position: string): number {
  let taken = 0
  for (const { instrument, labels, value } of gpu.gauges) {
    if (labels['gpu'] !== position) continue
    if (instrument === 'gpu_memory_used' || instrument === 'gpu_memory_reserved') taken += value
  }
  return taken
}

interface Known {
  readonly lastMs: number
  readonly test: GrowthTest
  readonly growth: Growth | undefined
}

/** Evaluations come more often than readings: what was worked out of the same values is not again. */
const known = new WeakMap<GaugeHistory, Known>()

/** As `growthOf`, worked out once for each new value. */
export function growthOnce(history: GaugeHistory, test: GrowthTest): Growth | undefined {
  const { lastMs } = history
  const before = known.get(history)
  const holds =
    before?.lastMs === lastMs &&
    before.test.fromMs === test.fromMs &&
    before.test.least === test.least
  if (holds) return before.growth
  const growth = growthOf(history, test)
  known.set(history, { lastMs, test, growth })
  return growth
}
