import type { HistogramId } from '../instruments.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import type { SignalSettings } from './context.ts'

/** Which threshold each histogram is compared with: the setting that holds it, its key in the configuration. */
const compared: readonly {
  readonly id: HistogramId
  readonly setting: keyof SignalSettings & `${string}Seconds`
  readonly key: string
}[] = [
  { id: 'e2e_latency', setting: 'e2eLatencyThresholdSeconds', key: 'thresholds.e2e_latency_p99' },
  { id: 'queue_time', setting: 'queueTimeThresholdSeconds', key: 'thresholds.queue_time_p95' },
  { id: 'ttft', setting: 'ttftThresholdSeconds', key: 'thresholds.ttft_p99' },
]

/** The threshold that a histogram is compared with, seconds; absent where it has none or it is switched off. */
export function thresholdOf(id: HistogramId, settings: SignalSettings): number | undefined {
  const setting = compared.find((one) => one.id === id)?.setting
  if (setting === undefined || settings[setting] <= 0) return undefined
  return settings[setting]
}

/**
 * Returns a warning for each threshold that is no bucket edge of the target's histogram, so that the
 * share above it cannot be counted exactly: which edge is used in its place, or that none can be.
 */
export function thresholdNotes(target: TargetWindows, settings: SignalSettings): readonly string[] {
  const view = target.sinceStart()
  if (view === undefined) return []
  const notes: string[] = []
  for (const { id, key } of compared) {
    const threshold = thresholdOf(id, settings)
    if (threshold === undefined) continue
    const bounds = target.models
      .map((model) => view.histogram(id, { model_name: model })?.bounds)
      .find((edges) => edges !== undefined && edges.length > 0)
    if (bounds === undefined || bounds.includes(threshold)) continue
    const below = bounds.findLast((edge) => edge <= threshold)
    const last = bounds.at(-1)
    notes.push(
      below === undefined || last === undefined || threshold > last
        ? `${key}: ${threshold} s lies outside the bucket edges (${bounds[0]} s to ${last} s), so the share above it cannot be known.`
        : `${key}: ${threshold} s is no bucket edge; the edge below it, ${below} s, is used.`,
    )
  }
  return notes
}
