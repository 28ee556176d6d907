import { type GaugeId, instruments } from '../instruments.ts'
import { entry, type Signal } from './context.ts'
import { type Family, measured } from './signal.ts'

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
