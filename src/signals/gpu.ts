import { type GaugeId, instruments } from '../instruments.ts'
import type { Labels } from '../reading.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import { entry, type Signal } from './context.ts'
import { type Family, type Measured, measured } from './signal.ts'

/** What each GPU instrument is published as. */
const names: Readonly<
  Partial<Record<GaugeId, { name: string; type?: 'counter'; apiOnly?: true }>>
> = {
  gpu_info: { name: 'gpu_info' },
  gpu_utilization: { name: 'gpu_utilization_ratio' },
  gpu_memory_activity: { name: 'gpu_memory_activity_ratio' },
  gpu_memory_used: { name: 'gpu_memory_used_bytes' },
  gpu_memory_total: { name: 'gpu_memory_total_bytes' },
  gpu_memory_reserved: { name: 'gpu_memory_reserved_bytes' },
  gpu_temperature: { name: 'gpu_temperature_celsius' },
  gpu_power_draw: { name: 'gpu_power_draw_watts' },
  gpu_power_limit: { name: 'gpu_power_limit_watts' },
  gpu_clock: { name: 'gpu_clock_hertz' },
  gpu_fan_speed: { name: 'gpu_fan_speed_ratio' },
  gpu_performance_state: { name: 'gpu_performance_state' },
  gpu_throttle: { name: 'gpu_throttle_active' },
  // The driver's own count, which a reset of the driver takes back: a counter to whoever reads it.
  gpu_ecc_errors: { name: 'gpu_ecc_errors_total', type: 'counter' },
  gpu_remapped_rows: { name: 'gpu_remapped_rows' },
  gpu_row_remap_pending: { name: 'gpu_row_remap_pending' },
  gpu_recovery_action: { name: 'gpu_recovery_action' },
  gpu_lost: { name: 'gpu_lost' },
  gpu_mig_memory_used: { name: 'gpu_mig_memory_used_bytes' },
  gpu_mig_memory_total: { name: 'gpu_mig_memory_total_bytes' },
  gpu_process_memory_used: { name: 'gpu_process_memory_used_bytes' },
  // Others publish these of every host; here they are evidence.
  host_process_memory: { name: 'host_process_memory_bytes', apiOnly: true },
  host_memory_total: { name: 'host_memory_total_bytes', apiOnly: true },
  host_memory_available: { name: 'host_memory_available_bytes', apiOnly: true },
}

function familyOf(id: GaugeId): Family | undefined {
  const named = names[id]
  if (named === undefined) return undefined
  const { name, type = 'gauge', apiOnly } = named
  const help = instruments[id].help
  return apiOnly === undefined ? { name, type, help } : { name, type, help, apiOnly }
}

const usedRatio: Family = {
  name: 'gpu_memory_used_ratio',
  type: 'gauge',
  help: 'Share of the device memory in use.',
}

const gpuCount: Family = { name: 'gpus', type: 'gauge', help: 'GPUs that can be read.' }

/** What `nvidia-smi` says, as it says it: gauges of the instant, gone with the first failed reading. */
export const gpuSignals: readonly Signal[] = [
  {
    measure({ target }) {
      return target.gauges.flatMap(({ instrument, labels, value }) => {
        const family = familyOf(instrument)
        if (family === undefined) return []
        const isOfHost = instruments[instrument].of === 'host'
        const all = isOfHost ? { target: target.name, ...labels } : labels
        return [entry(family, all, measured(value))]
      })
    },
  },
  {
    measure({ target }) {
      const totals = new Map<string, number>()
      for (const { instrument, labels, value } of target.gauges) {
        if (instrument === 'gpu_memory_total') totals.set(labels['gpu'] ?? '', value)
      }
      return target.gauges.flatMap(({ instrument, labels, value }) => {
        const total = totals.get(labels['gpu'] ?? '')
        if (instrument !== 'gpu_memory_used' || total === undefined || total <= 0) return []
        return [entry(usedRatio, labels, measured(value / total))]
      })
    },
  },
  {
    measure({ target }) {
      if (target.last?.kind !== 'read') return []
      const readable = target.gauges.filter(
        ({ instrument, value }) => instrument === 'gpu_lost' && value === 0,
      )
      return [entry(gpuCount, {}, measured(readable.length))]
    },
  },
]

const plannedFamily: Family = {
  name: 'gpu_memory_planned_bytes',
  type: 'gauge',
  help: 'Device memory that the running vLLM planned to take.',
}

/**
 * What the running vLLM planned to take of each GPU: its share of the card. Where the driver lists
 * processes, only GPUs that run one of vLLM's are spoken of; where several targets may share a card or
 * planned different shares, nothing tells whose card it is and nothing is published.
 */
export function plannedMemory(
  gpu: TargetWindows | undefined,
  targets: readonly TargetWindows[],
): readonly Measured[] {
  const planned = plannedShare(targets)
  if (gpu === undefined || planned === undefined || !planned.exact) return []
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
 */
export function plannedShare(
  targets: readonly TargetWindows[],
): { readonly share: number; readonly exact: boolean } | undefined {
  const shares = targets.flatMap(({ gauges }) => {
    const own = gauges.filter(({ instrument }) => instrument === 'planned_gpu_memory_ratio')
    return own.length === 0 ? [] : [Math.max(...own.map(({ value }) => value))]
  })
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

/** Names of programs under which vLLM's processes show. */
const enginePrograms = /^(vllm|python)/i

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
  return processes.some((one) => here(one) && enginePrograms.test(one.labels['process'] ?? ''))
}
