import type { CounterId, GaugeId, HistogramId } from '../instruments.ts'
import type { HealthProbe, ProbeResult } from '../reading.ts'
import { estimateQuantiles } from '../window/estimate.ts'
import { type HistogramDelta, mean, sameBounds } from '../window/histogram.ts'
import type { TargetProgress } from '../window/progress.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import type { WindowView } from '../window/view.ts'
import { sum } from './context.ts'
import { type Failures, failuresOf } from './errors.ts'

/** What was observed of one latency over a stretch, in seconds. */
export interface Timing {
  readonly count: number
  /** Absent where the sum cannot be right. */
  readonly mean: number | undefined
  readonly p95: number
}

/** What a target did over a stretch of time, all models and engines together. */
export interface Stretch {
  readonly coveredMs: number
  /** What each counter gained; none for one that is not exposed. */
  readonly gained: Readonly<Partial<Record<CounterId, number>>>
  /** Latencies that were observed; none for one that was not. */
  readonly timings: Readonly<Partial<Record<HistogramId, Timing>>>
}

/** Everything about one target that a diagnosis weighs, as of its last reading. */
export interface TargetFacts {
  /** Monotonic time of the last good reading. */
  readonly readMs: number
  /** Of late, and of the time before that: what is usual. Absent where too little was watched. */
  readonly recent: Stretch | undefined
  readonly usual: Stretch | undefined
  readonly progress: TargetProgress | undefined
  /** Gauges of the last reading; sums over models, the highest for those that merge so. */
  readonly gauges: Readonly<Partial<Record<GaugeId, number>>>
  /** The highest of late. */
  readonly highs: Readonly<Partial<Record<GaugeId, number>>>
  readonly health: HealthProbe | undefined
  readonly scrapeTookMs: number
  readonly probe: ProbeResult | undefined
  /** Unix seconds at which the process started, where it says so. */
  readonly processStartSeconds: number | undefined
  readonly young: boolean
  /** What can be known of failed requests of late. */
  readonly failures: Failures | undefined
  /** The page has anything of the engine. */
  readonly showsEngine: boolean
}

/** How far back `recent` reaches. */
const recentMs = 120_000
/** `usual` leaves out what came after the beginning of a trouble of this age, if enough is left then. */
const leftOutMs: readonly number[] = [900_000, 480_000, 240_000, recentMs]
const leastUsualMs = 120_000

const counters = [
  'requests_finished',
  'generation_tokens',
  'prompt_tokens',
  'preemptions',
  'prefix_cache_queries',
  'prefix_cache_hits',
  'spec_decode_draft_tokens',
  'spec_decode_accepted_tokens',
  'engine_steps',
  'server_cpu_seconds',
  'http_answers',
] as const satisfies readonly CounterId[]

const latencies = [
  'e2e_latency',
  'ttft',
  'itl',
  'queue_time',
  'prefill_time',
  'decode_time',
] as const satisfies readonly HistogramId[]

/** Gathers what is known of a target; nothing before its first good reading. */
export function factsOf(target: TargetWindows, young: boolean): TargetFacts | undefined {
  const { lastRead, reading } = target
  if (lastRead === undefined || reading === undefined) return undefined
  const recent = target.view(recentMs)
  return {
    readMs: lastRead.atMs,
    recent: recent === undefined ? undefined : stretchOf(target, recent, undefined),
    usual: usualOf(target),
    progress: target.progress,
    gauges: gaugesOf(target),
    highs: recent === undefined ? {} : highsOf(target, recent),
    health: target.health,
    scrapeTookMs: lastRead.tookMs,
    probe: target.probe,
    processStartSeconds: reading.processStartSeconds,
    young,
    failures: recent === undefined ? undefined : failuresOf(target, recent),
    showsEngine: reading.capabilities.has('engine'),
  }
}

/** The time before the last minutes, as far back as is remembered. */
function usualOf(target: TargetWindows): Stretch | undefined {
  const whole = target.view(Number.MAX_SAFE_INTEGER)
  if (whole === undefined) return undefined
  for (const outMs of leftOutMs) {
    const late = target.view(outMs)
    if (late !== undefined && whole.coveredMs - late.coveredMs >= leastUsualMs) {
      return stretchOf(target, whole, late)
    }
  }
  return undefined
}

/** What was gained over `view`, without what was gained over `without`, which lies at its end. */
function stretchOf(
  target: TargetWindows,
  view: WindowView,
  without: WindowView | undefined,
): Stretch {
  const gained: Partial<Record<CounterId, number>> = {}
  for (const id of counters) {
    const all = sum(view.increases(id, {}))
    if (all !== undefined) gained[id] = all - (sum(without?.increases(id, {}) ?? []) ?? 0)
  }
  const timings: Partial<Record<HistogramId, Timing>> = {}
  for (const id of latencies) {
    const timing = timingOf(
      target.models.flatMap((model) => {
        const labels = { model_name: model }
        const all = view.histogram(id, labels)
        const late = without?.histogram(id, labels)
        return all === undefined ? [] : [late === undefined ? all : minus(all, late)]
      }),
    )
    if (timing !== undefined) timings[id] = timing
  }
  return { coveredMs: view.coveredMs - (without?.coveredMs ?? 0), gained, timings }
}

/** Models may have different edges; the quantile is that of the one with the most observations. */
function timingOf(all: readonly HistogramDelta[]): Timing | undefined {
  let count = 0
  let total: number | undefined = 0
  let most: HistogramDelta | undefined
  for (const delta of all) {
    if (delta.count <= 0) continue
    count += delta.count
    const own = mean(delta)
    total = own === undefined || total === undefined ? undefined : total + own * delta.count
    if (most === undefined || delta.count > most.count) most = delta
  }
  if (most === undefined) return undefined
  const [p95] = estimateQuantiles(most, [0.95])
  if (p95 === undefined) return undefined
  return { count, mean: total === undefined ? undefined : total / count, p95: p95.value }
}

function minus(all: HistogramDelta, late: HistogramDelta): HistogramDelta {
  if (!sameBounds(all.bounds, late.bounds)) return all
  const counts = Float64Array.from(all.counts, (count, bucket) =>
    Math.max(0, count - (late.counts[bucket] ?? 0)),
  )
  return {
    bounds: all.bounds,
    counts,
    count: Math.max(0, all.count - late.count),
    sum: all.sum - late.sum,
  }
}

function gaugesOf({ lastGauges }: TargetWindows): Readonly<Partial<Record<GaugeId, number>>> {
  const found: Partial<Record<GaugeId, number>> = {}
  for (const { instrument, value } of lastGauges) {
    const before = found[instrument]
    // A share of a cache does not add up over models.
    const merged =
      instrument === 'kv_cache_usage' ? Math.max(before ?? 0, value) : (before ?? 0) + value
    found[instrument] = merged
  }
  return found
}

function highsOf(
  target: TargetWindows,
  view: WindowView,
): Readonly<Partial<Record<GaugeId, number>>> {
  const found: Partial<Record<GaugeId, number>> = {}
  for (const id of ['requests_running', 'requests_waiting', 'kv_cache_usage'] as const) {
    for (const model of target.models) {
      const high = view.high(id, { model_name: model })
      if (high !== undefined) found[id] = Math.max(found[id] ?? 0, high)
    }
  }
  return found
}

/** How much a counter gained in a second of the stretch; nothing where it is not exposed. */
export function rateOf({ gained, coveredMs }: Stretch, id: CounterId): number | undefined {
  const count = gained[id]
  return count === undefined || coveredMs <= 0 ? undefined : (1_000 * count) / coveredMs
}

/** What share of one counter another makes; nothing where the whole gained less than `least`. */
export function shareOf(
  { gained }: Stretch,
  of: { readonly part: CounterId; readonly whole: CounterId; readonly least: number },
): number | undefined {
  const part = gained[of.part]
  const whole = gained[of.whole]
  return part === undefined || whole === undefined || whole < of.least ? undefined : part / whole
}
