import type { CounterId, InstrumentId } from '../instruments.ts'
import { formatDuration } from '../units.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import type { WindowView } from '../window/view.ts'
import { type AbsentWhy, absent, type Family, type Measured, type Measurement } from './signal.ts'

/** What the configuration says of the published numbers. */
export interface SignalSettings {
  readonly windowsMs: readonly number[]
  readonly quantiles: readonly number[]
  readonly e2eLatencyThresholdSeconds: number
  readonly queueTimeThresholdSeconds: number
  /** 0: no threshold, and no series for it. */
  readonly ttftThresholdSeconds: number
  /** Engines are probed where the evidence does not decide; unset: nothing is published of probes. */
  readonly probing?: boolean
}

/** One target at one instant, as signals see it. */
export interface SignalContext {
  readonly target: TargetWindows
  readonly settings: SignalSettings
  /** The last good reading is recent enough for windows to speak of now. */
  readonly fresh: boolean
}

/** A derived signal: an entry of the catalogue. Whatever it yields appears in metrics and API by itself. */
export interface Signal {
  /** Every measurement of it for one target: values, and what is absent with the reason. */
  measure(context: SignalContext): readonly Measured[]
}

/** One configured window, with what can be said of it now. */
export interface Span {
  /** The label `window`. */
  readonly window: string
  readonly view: WindowView | undefined
  /** Why there is nothing to say when there is no view. */
  readonly why: AbsentWhy
}

/** The configured windows of a target. */
export function spansOf({ target, settings, fresh }: SignalContext): readonly Span[] {
  return settings.windowsMs.map((spanMs) => ({
    window: formatDuration(spanMs),
    view: fresh ? target.view(spanMs) : undefined,
    why: fresh || target.lastRead === undefined ? 'no-data' : 'stale',
  }))
}

/** A measured number of a family under `labels`. */
export function entry(
  family: Family,
  labels: Measured['labels'],
  measurement: Measurement,
  suffix: Measured['suffix'] = '',
): Measured {
  return { family, suffix, labels, measurement }
}

/**
 * Measures something for every configured window: `measure` is given the view, and says `undefined` where
 * the producer exposes nothing to derive it from.
 */
export function overWindows(
  family: Family,
  context: SignalContext,
  labels: Measured['labels'],
  measure: (view: WindowView) => Measurement | undefined,
): readonly Measured[] {
  return spansOf(context).map(({ window, view, why }) => {
    const measurement = view === undefined ? absent(why) : (measure(view) ?? absent('no-data'))
    return entry(family, { ...labels, window }, measurement)
  })
}

/** The labels that tell each model of a target from the others. */
export function modelLabels({
  target,
}: SignalContext): readonly Readonly<Record<string, string>>[] {
  return target.models.map((model) => ({ target: target.name, model_name: model }))
}

/**
 * Whether a target shows all that it has of an instrument: what has no series there has counted nothing
 * yet. A page that lost a line, or series that found no room, may have counted what we do not see.
 */
export function isShownWhole({ reading, tally }: TargetWindows, id: InstrumentId): boolean {
  return (
    reading?.declared?.has(id) === true &&
    reading.malformedLines === 0 &&
    Object.keys(reading.limitHits).length === 0 &&
    !tally.limitHits.has('series')
  )
}

/**
 * What a counter gained by its series: `gained`, or 0 where the target exposes the counter and has no series
 * of it yet. `undefined` where it is not exposed.
 */
export function orNothingYet(
  gained: number | undefined,
  target: TargetWindows,
  counter: CounterId,
): number | undefined {
  return gained ?? (isShownWhole(target, counter) ? 0 : undefined)
}

/** Adds values up; of none there is no sum. */
export function sum(values: readonly { readonly value: number }[]): number | undefined {
  if (values.length === 0) return undefined
  let total = 0
  for (const { value } of values) total += value
  return total
}

/** How many of something happened for each second of the time that `view` covers. */
export function perSecond(view: WindowView, count: number): number {
  return count / (view.coveredMs / 1_000)
}
