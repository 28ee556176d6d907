import type { GaugeId } from '../instruments.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import { runsEngine } from './gpu-processes.ts'

/** A process on a GPU, as a diagnosis sees it. */
export interface GpuProcessFacts {
  readonly pid: string
  readonly process: string
  readonly bytes: number
}

/** Everything about one GPU that a diagnosis weighs, as of the last reading. */
export interface GpuFacts {
  readonly gpu: string
  readonly uuid: string
  readonly lost: boolean
  /** The recovery that the driver asks for; absent where it asks for none. */
  readonly recoveryAction: string | undefined
  readonly runsEngine: boolean | undefined
  readonly utilizationRatio: number | undefined
  readonly powerWatts: number | undefined
  readonly smClockHertz: number | undefined
  /** Reasons for lower clocks that are active. */
  readonly throttledBy: readonly string[]
  readonly memoryUsedBytes: number | undefined
  readonly memoryTotalBytes: number | undefined
  /** Absent where the driver lists none at all, as in a container of its own. */
  readonly processes: readonly GpuProcessFacts[] | undefined
}

/** Gathers what is known of each GPU; nothing before the first good reading. */
export function gpuFactsOf(target: TargetWindows | undefined): readonly GpuFacts[] {
  if (target === undefined) return []
  const all = target.lastGauges
  const showsProcesses = all.some(({ instrument }) => instrument === 'gpu_process_memory_used')
  return all
    .filter(({ instrument }) => instrument === 'gpu_lost')
    .map(({ labels, value }) => {
      const own = all.filter((one) => one.labels['gpu'] === labels['gpu'])
      const read = (id: GaugeId, name?: string, text?: string) =>
        own.find(
          (one) => one.instrument === id && (name === undefined || one.labels[name] === text),
        )?.value
      const active = (id: GaugeId, name: string) =>
        own.flatMap((one) =>
          one.instrument === id && one.value === 1 ? [one.labels[name] ?? ''] : [],
        )
      return {
        gpu: labels['gpu'] ?? '',
        uuid: labels['uuid'] ?? '',
        lost: value === 1,
        recoveryAction: active('gpu_recovery_action', 'action').find((one) => one !== 'none'),
        runsEngine: runsEngine(target, labels['gpu']),
        utilizationRatio: read('gpu_utilization'),
        powerWatts: read('gpu_power_draw'),
        smClockHertz: read('gpu_clock', 'clock', 'sm'),
        throttledBy: active('gpu_throttle', 'reason'),
        memoryUsedBytes: read('gpu_memory_used'),
        memoryTotalBytes: read('gpu_memory_total'),
        processes: showsProcesses
          ? own.flatMap((one) =>
              one.instrument === 'gpu_process_memory_used'
                ? [
                    {
                      pid: one.labels['pid'] ?? '',
                      process: one.labels['process'] ?? '',
                      bytes: one.value,
                    },
                  ]
                : [],
            )
          : undefined,
      }
    })
}
