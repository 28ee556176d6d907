import type { TargetWindows } from '../window/target-windows.ts'
import { entry } from './context.ts'
import { cardGrowths } from './gpu-growth.ts'
import { type GpuProcess, runsEngine, workingSince } from './gpu-processes.ts'
import { settleMs } from './growth.ts'
import { type Family, type Measured, measured } from './signal.ts'

const plannedFamily: Family = {
  name: 'gpu_memory_planned_bytes',
  type: 'gauge',
  help: 'Device memory that the running vLLM planned to take.',
}

const growthFamily: Family = {
  name: 'gpu_memory_growth_bytes_per_second',
  type: 'gauge',
  help: 'How fast the device memory of a process grows since its warm-up or last step.',
}

const toFullFamily: Family = {
  name: 'gpu_memory_seconds_to_full',
  type: 'gauge',
  help: 'When the device memory will be full if what grows for certain goes on growing.',
}

/** What is published of GPU memory over time: what was planned of it, how it grows, and when it is full. */
export function gpuMemory(
  gpu: TargetWindows | undefined,
  targets: readonly TargetWindows[],
  atMs: number,
): readonly Measured[] {
  if (gpu === undefined) return []
  const cards = cardGrowths(gpu, targets, atMs)
  return [
    ...plannedMemory(gpu, targets),
    ...cards.flatMap(({ all }) =>
      all.map(({ growth, ...labels }) => entry(growthFamily, labels, measured(growth.slope))),
    ),
    ...cards.flatMap(({ gpu: position, uuid, secondsToFull }) =>
      secondsToFull === undefined
        ? []
        : [entry(toFullFamily, { gpu: position, uuid }, measured(secondsToFull))],
    ),
  ]
}

/**
 * What the running vLLM planned to take of each GPU: its share of the card. Where the driver lists
 * processes, only GPUs that run one of vLLM's are spoken of; where several targets may share a card or
 * planned different shares, nothing tells whose card it is and nothing is published.
 */
function plannedMemory(gpu: TargetWindows, targets: readonly TargetWindows[]): readonly Measured[] {
  const planned = plannedShare(targets)
  if (planned === undefined || !planned.exact) return []
  return gpu.gauges
    .filter(
      ({ instrument, labels }) =>
        instrument === 'gpu_memory_total' && runsEngine(gpu, labels['gpu']) !== false,
    )
    .map(({ labels, value }) =>
      entry(plannedFamily, labels, measured(Math.round(planned.share * value))),
    )
}

/**
 * The largest share of one card that the targets can have planned together: the largest sum of their shares
 * that a card has room for. `exact` says that it is the share of every card that any of them runs on.
 *
 * - no target tells what it planned: `undefined`
 * - one was given a size for its KV cache, which puts its share out of force: `undefined`
 */
export function plannedShare(
  targets: readonly TargetWindows[],
): { readonly share: number; readonly exact: boolean } | undefined {
  const highest = ({ gauges }: TargetWindows, id: string) =>
    gauges.reduce((high, one) => (one.instrument === id ? Math.max(high, one.value) : high), 0)
  if (targets.some((target) => highest(target, 'planned_kv_cache_memory') > 0)) return undefined
  const shares = targets
    .map((target) => highest(target, 'planned_gpu_memory_ratio'))
    .filter((share) => share > 0)
  if (shares.length === 0) return undefined
  // Sums in thousandths of a card, so that there are few of them, however many targets there are.
  let sums = new Set([0])
  for (const share of shares) {
    const thousandths = Math.round(share * 1_000)
    sums = new Set([...sums, ...[...sums].map((sum) => sum + thousandths)].filter(fitsOnCard))
  }
  const largest = Math.max(...sums) / 1_000
  const alone = shares.find((share) => Math.abs(share - largest) < 0.001)
  const exact = alone !== undefined && shares.every((share) => share === alone)
  return { share: exact ? alone : largest, exact }
}

function fitsOnCard(thousandths: number): boolean {
  return thousandths <= 1_000
}

/**
 * The memory at which engine processes settled after their warm-up, added up: what stands in for a plan
 * that nobody told. `undefined` while one of them has not settled.
 */
export function settledBytes(
  processes: readonly GpuProcess[],
  targets: readonly TargetWindows[],
  atMs: number,
): number | undefined {
  let sum = 0
  for (const { history } of processes) {
    const sinceMs = workingSince(history, targets, { of: 'process', atMs })
    if (history.settled === undefined || sinceMs === undefined || atMs - sinceMs < settleMs) {
      return undefined
    }
    sum += history.settled
  }
  return sum
}
