import type { GaugeId } from '../instruments.ts'
import type { Labels } from '../reading.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import { type CardGrowth, cardGrowths, growthOnce } from './gpu-growth.ts'
import { type GpuProcess, gpuProcesses, workingSince } from './gpu-processes.ts'
import { type Growth, settleMs } from './growth.ts'

/** Everything about one GPU that a diagnosis weighs, as of the last reading. */
export interface GpuFacts {
  readonly gpu: string
  readonly uuid: string
  readonly lost: boolean
  /** The recovery that the driver asks for; absent where it asks for none. */
  readonly recoveryAction: string | undefined
  readonly utilizationRatio: number | undefined
  readonly powerWatts: number | undefined
  readonly smClockHertz: number | undefined
  /** Reasons for lower clocks that are active. */
  readonly throttledBy: readonly string[]
  readonly memoryUsedBytes: number | undefined
  readonly memoryTotalBytes: number | undefined
  /** Absent where the driver lists none at all, as in a container of its own. */
  readonly processes: readonly GpuProcess[] | undefined
  readonly growth: CardGrowth | undefined
}

/** How the resident host memory of a process on the GPUs grows. */
export interface HostGrowth {
  readonly pid: string
  readonly process: string
  readonly bytes: number
  readonly growth: Growth
}

/** The host's memory, as far as it is told. */
export interface HostFacts {
  readonly totalBytes: number | undefined
  readonly availableBytes: number | undefined
  /** Of each process that there is enough to tell of. */
  readonly growths: readonly HostGrowth[]
  /** Whether any process's host memory can be read. */
  readonly showsProcesses: boolean
}

/** Growth of host memory by less is none: caches of files and of multi-modal items fill up. */
const leastHostBytes = 512 * 2 ** 20

/** Gathers what is known of each GPU; nothing before the first good reading. */
export function gpuFactsOf(
  gpu: TargetWindows | undefined,
  targets: readonly TargetWindows[],
  atMs: number,
): readonly GpuFacts[] {
  if (gpu === undefined) return []
  const all = gpu.lastGauges
  const processes = gpuProcesses(gpu, targets, atMs)
  const showsProcesses = gpu.histories('gpu_process_memory_used').length > 0
  const growths = cardGrowths(gpu, targets, atMs)
  return all
    .filter(({ instrument }) => instrument === 'gpu_lost')
    .map(({ labels, value }) => {
      const own = all.filter((one) => one.labels['gpu'] === labels['gpu'])
      const read = (id: GaugeId, only: Labels = {}) =>
        own.find((one) => one.instrument === id && matches(one.labels, only))?.value
      const active = (id: GaugeId, name: string) =>
        own.flatMap((one) =>
          one.instrument === id && one.value === 1 ? [one.labels[name] ?? ''] : [],
        )
      return {
        gpu: labels['gpu'] ?? '',
        uuid: labels['uuid'] ?? '',
        lost: value === 1,
        recoveryAction: active('gpu_recovery_action', 'action').find((one) => one !== 'none'),
        utilizationRatio: read('gpu_utilization'),
        powerWatts: read('gpu_power_draw'),
        smClockHertz: read('gpu_clock', { clock: 'sm' }),
        throttledBy: active('gpu_throttle', 'reason'),
        memoryUsedBytes: read('gpu_memory_used'),
        memoryTotalBytes: read('gpu_memory_total'),
        processes: showsProcesses
          ? processes.filter((one) => one.gpu === labels['gpu'])
          : undefined,
        growth: growths.find((one) => one.gpu === labels['gpu']),
      }
    })
}

/** Gathers what is known of the host's memory. */
export function hostFactsOf(
  gpu: TargetWindows | undefined,
  targets: readonly TargetWindows[],
  atMs: number,
): HostFacts {
  const read = (id: GaugeId) => gpu?.gauges.find(({ instrument }) => instrument === id)?.value
  const processes = (gpu?.gauges ?? []).filter(
    ({ instrument }) => instrument === 'host_process_memory',
  )
  return {
    totalBytes: read('host_memory_total'),
    availableBytes: read('host_memory_available'),
    growths: processes.flatMap(({ instrument, labels, value }) => {
      const history = gpu?.history(instrument, labels)
      const sinceMs =
        history === undefined ? undefined : workingSince(history, targets, { of: 'process', atMs })
      if (history === undefined || sinceMs === undefined) return []
      const test = { fromMs: sinceMs + settleMs, least: leastHostBytes }
      const growth = growthOnce(history, test)
      if (growth === undefined) return []
      const { pid = '', process = '' } = labels
      return [{ pid, process, bytes: value, growth }]
    }),
    showsProcesses: processes.length > 0,
  }
}

function matches(labels: Labels, only: Labels): boolean {
  return Object.entries(only).every(([name, value]) => labels[name] === value)
}
