import { type HistogramId, instruments, latencyInstruments } from '../instruments.ts'
import type { Labels } from '../reading.ts'
import { estimateQuantiles } from '../window/estimate.ts'
import { type HistogramDelta, observationsOver, overThreshold } from '../window/histogram.ts'
import type { WindowView } from '../window/view.ts'
import {
  entry,
  isShownWhole,
  modelLabels,
  overWindows,
  type Signal,
  type SignalContext,
  spansOf,
} from './context.ts'
import { absent, type Family, type Measured, measured } from './signal.ts'
import { thresholdOf } from './thresholds.ts'

/** What of a latency is published beside its quantiles and the share over its threshold. */
interface Published {
  readonly bounds: boolean
  readonly merged: boolean
  /** How many observations were above the threshold since the watch began, for objectives over long periods. */
  readonly overTotal?: true
}

const published: Readonly<Partial<Record<HistogramId, Published>>> = {
  e2e_latency: { bounds: true, merged: true, overTotal: true },
  ttft: { bounds: true, merged: true },
  queue_time: { bounds: true, merged: true },
  itl: { bounds: false, merged: true },
}

const plain: Published = { bounds: false, merged: false }

/** The seven latencies: quantiles with their bounds, totals, and the merged histograms for fleets. */
export const latencySignals: readonly Signal[] = latencyInstruments.map(latencySignal)

function latencySignal(id: HistogramId): Signal {
  const { help } = instruments[id]
  const extras = published[id] ?? plain
  const quantile = family(`${id}_seconds`, 'summary', `${help} Best estimate of the quantile.`)
  const count = family(`${id}_window_observations`, 'gauge', `Observations in the window. ${help}`)
  const boundFamily = (side: 'lower' | 'upper'): Family => ({
    ...family(
      `${id}_${side}_bound_seconds`,
      'summary',
      `${help} The ${side} edge of the bucket that holds the quantile.`,
    ),
    ...(extras.bounds ? {} : { apiOnly: true as const }),
  })
  const families = { quantile, lower: boundFamily('lower'), upper: boundFamily('upper') }
  return {
    measure(context) {
      const found: Measured[] = []
      for (const labels of modelLabels(context)) {
        const whole = context.target.sinceStart()?.histogram(id, labels)
        if (whole === undefined && !isShownWhole(context.target, id)) {
          found.push(entry(quantile, labels, absent('no-data', 'the page does not show it')))
          continue
        }
        // A histogram that is declared and has no series yet has observed nothing, at edges not known yet.
        const { sum: total, count: observed } = whole ?? { sum: 0, count: 0 }
        found.push(...quantilesOf(id, families, context, labels))
        found.push(entry(quantile, labels, measured(total, observed), '_sum'))
        found.push(entry(quantile, labels, measured(observed, observed), '_count'))
        found.push(
          ...overWindows(count, context, labels, (view) => {
            const gained = view.histogram(id, labels)?.count ?? 0
            return measured(gained, gained)
          }),
        )
        if (extras.merged && whole !== undefined) found.push(...mergedOf(id, whole, labels))
        found.push(...overThresholdOf(id, context, labels))
        if (extras.overTotal && whole !== undefined) {
          found.push(...overTotalOf(id, whole, { context, labels }))
        }
      }
      return found
    },
  }
}

function quantilesOf(
  id: HistogramId,
  families: { readonly quantile: Family; readonly lower: Family; readonly upper: Family },
  context: SignalContext,
  labels: Labels,
): readonly Measured[] {
  const { quantiles } = context.settings
  const found: Measured[] = []
  for (const { window, view, why } of spansOf(context)) {
    const delta = view?.histogram(id, labels)
    const estimates = delta === undefined ? [] : estimateQuantiles(delta, quantiles)
    for (const [position, q] of quantiles.entries()) {
      const at = { ...labels, window, quantile: String(q) }
      const estimate = estimates[position]
      if (delta === undefined || estimate === undefined) {
        found.push(entry(families.quantile, at, absent(view === undefined ? why : 'no-traffic')))
        continue
      }
      const { value, lower, upper, atLeast } = estimate
      found.push(entry(families.quantile, at, measured(value, delta.count, atLeast)))
      found.push(entry(families.lower, at, measured(lower, delta.count)))
      found.push(entry(families.upper, at, measured(upper, delta.count)))
    }
  }
  return found
}

function mergedOf(id: HistogramId, whole: HistogramDelta, labels: Labels): readonly Measured[] {
  const merged = family(
    `${id}_merged_seconds`,
    'histogram',
    `${instruments[id].help} All engines together, resets taken out.`,
  )
  const found: Measured[] = []
  let upTo = 0
  for (const [bucket, bound] of [...whole.bounds, Number.POSITIVE_INFINITY].entries()) {
    upTo += whole.counts[bucket] ?? 0
    found.push(entry(merged, { ...labels, le: formatEdge(bound) }, measured(upTo), '_bucket'))
  }
  found.push(entry(merged, labels, measured(whole.sum), '_sum'))
  found.push(entry(merged, labels, measured(whole.count), '_count'))
  return found
}

function overThresholdOf(
  id: HistogramId,
  context: SignalContext,
  labels: Labels,
): readonly Measured[] {
  const threshold = thresholdOf(id, context.settings)
  if (threshold === undefined) return []
  const over = family(
    `${id}_over_threshold_ratio`,
    'gauge',
    `Share of observations above the threshold. ${instruments[id].help}`,
  )
  const at = { ...labels, threshold: String(threshold) }
  return overWindows(over, context, at, (view) => shareOver(view, id, labels, threshold))
}

function overTotalOf(
  id: HistogramId,
  whole: HistogramDelta,
  { context, labels }: { readonly context: SignalContext; readonly labels: Labels },
): readonly Measured[] {
  const threshold = thresholdOf(id, context.settings)
  const over = threshold === undefined ? undefined : observationsOver(whole, threshold)
  if (over === undefined) return []
  const total = family(
    `${id}_over_threshold_requests_total`,
    'counter',
    `Requests above the threshold since the watch began. ${instruments[id].help}`,
  )
  return [entry(total, { ...labels, threshold: String(threshold) }, measured(over, over))]
}

function shareOver(view: WindowView, id: HistogramId, labels: Labels, threshold: number) {
  const delta = view.histogram(id, labels)
  if (delta === undefined || delta.count === 0) return absent('no-traffic')
  const share = overThreshold(delta, threshold)
  return share === undefined
    ? absent('no-data', 'the threshold lies outside the finite bucket edges')
    : measured(share.ratio, share.count)
}

/** Writes a bucket edge as both text formats want it: `10.0`, `0.3`, `+Inf`. */
export function formatEdge(edge: number): string {
  if (edge === Number.POSITIVE_INFINITY) return '+Inf'
  return Number.isInteger(edge) && Math.abs(edge) < 1e21 ? edge.toFixed(1) : String(edge)
}

function family(name: string, type: Family['type'], help: string): Family {
  return { name, type, help }
}
