import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import fc from 'fast-check'
import { latencyInstruments } from '../../src/instruments.ts'
import { engineSignals } from '../../src/signals/catalog.ts'
import type { SignalContext, SignalSettings } from '../../src/signals/context.ts'
import type { Measurement } from '../../src/signals/signal.ts'
import { formatDuration } from '../../src/units.ts'
import type { TargetWindows } from '../../src/window/target-windows.ts'
import {
  type Gain,
  type LatencyId,
  type Observed,
  type Play,
  replay,
  targetName,
} from './replay.ts'

/** In thousandths, so that ⌈q·n⌉ can be taken of whole numbers. */
const thousandths = [0, 500, 900, 950, 990, 999, 1000]
const spansMs = [60_000, 300_000]
const playedMs = 400_000

const settings: SignalSettings = {
  windowsMs: spansMs,
  quantiles: thousandths.map((q) => q / 1000),
  e2eLatencyThresholdSeconds: 10,
  queueTimeThresholdSeconds: 5,
  ttftThresholdSeconds: 1,
}
const thresholds: Partial<Record<LatencyId, number>> = { e2e_latency: 10, queue_time: 5, ttft: 1 }

/** Published numbers by name and labels, those of target and model left out. */
class Published {
  readonly #byKey = new Map<string, Measurement>()

  constructor(target: TargetWindows) {
    const context: SignalContext = { target, settings, fresh: true }
    for (const { family, suffix, labels, measurement } of engineSignals.flatMap((signal) =>
      signal.measure(context),
    )) {
      const key = keyOf(family.name + suffix, labels)
      assert.ok(!this.#byKey.has(key), `${key} is there twice`)
      this.#byKey.set(key, measurement)
    }
  }

  get(name: string, labels: Readonly<Record<string, string>> = {}): Measurement {
    const found = this.#byKey.get(keyOf(name, labels))
    assert.ok(found !== undefined, `expected ${keyOf(name, labels)}`)
    return found
  }

  value(name: string, labels: Readonly<Record<string, string>> = {}): number {
    const found = this.get(name, labels)
    assert.equal(found.kind, 'value', keyOf(name, labels))
    return found.kind === 'value' ? found.value : Number.NaN
  }

  /** The values of a family by the label `by`. */
  family(name: string, by: string): ReadonlyMap<string, number> {
    const found = new Map<string, number>()
    for (const [key, measurement] of this.#byKey) {
      const label = new RegExp(`^${name} ${by}=([^ ]*)$`).exec(key)?.[1]
      if (label !== undefined && measurement.kind === 'value') found.set(label, measurement.value)
    }
    return found
  }
}

function keyOf(name: string, labels: Readonly<Record<string, string>>): string {
  const own = Object.entries(labels).filter(([label]) => !/^(target|model_name)$/.test(label))
  return [name, ...own.map(([label, value]) => `${label}=${value}`).sort()].join(' ')
}

/** Counts what was compared, so that a comparison of nothing does not pass for one. */
const compared = { quantiles: 0, shares: 0, buckets: 0, resets: 0 }

function checkWindow(target: TargetWindows, published: Published, gains: readonly Gain[]): void {
  const nowMs = target.lastRead?.atMs ?? Number.NaN
  for (const spanMs of spansMs) {
    const window = formatDuration(spanMs)
    const coveredMs = target.view(spanMs)?.coveredMs ?? Number.NaN
    const inside = gains.filter((gain) => gain.atMs > nowMs - coveredMs)
    assert.ok(inside.length > 0)
    for (const id of latencyInstruments) {
      const seen = { id, window, truth: new Observations(inside, id) }
      checkQuantiles(published, seen)
      checkShare(published, seen)
    }
    const perSecond = (count: number) => count / (coveredMs / 1000)
    const total = (read: (gain: Gain) => number) =>
      inside.reduce((sum, gain) => sum + read(gain), 0)
    const rates = {
      requests_per_second: total((gain) => gain.reasons.length),
      generation_tokens_per_second: total((gain) => gain.generationTokens),
      prompt_tokens_per_second: total((gain) => gain.promptTokens),
    }
    for (const [name, count] of Object.entries(rates)) {
      assert.equal(published.value(name, { window }), perSecond(count), name)
    }
    checkErrors(published, window, inside)
  }
}

interface Seen {
  readonly id: LatencyId
  readonly window: string
  readonly truth: Observations
}

/** Everything that was truly observed of one latency, in ascending order. */
class Observations {
  readonly count: number
  readonly sum: number
  readonly #ascending: readonly Observed[]

  constructor(gains: readonly Gain[], id: LatencyId) {
    const all = gains.flatMap((gain) => gain.latencies[id])
    this.#ascending = all.sort((a, b) => a.seconds - b.seconds)
    this.count = this.upTo(Number.POSITIVE_INFINITY)
    this.sum = all.reduce((total, { seconds, times }) => total + seconds * times, 0)
  }

  /** How many were at most `edge`. */
  upTo(edge: number): number {
    let count = 0
    for (const { seconds, times } of this.#ascending) {
      if (seconds > edge) break
      count += times
    }
    return count
  }

  /** The one of `rank`, counted from 1. */
  at(rank: number): number {
    let count = 0
    for (const { seconds, times } of this.#ascending) {
      count += times
      if (count >= rank) return seconds
    }
    return Number.NaN
  }
}

function checkQuantiles(published: Published, { id, window, truth }: Seen): void {
  const n = truth.count
  assert.equal(published.value(`${id}_window_observations`, { window }), n)
  for (const q of thousandths) {
    const at = { window, quantile: String(q / 1000) }
    const estimate = published.get(`${id}_seconds`, at)
    if (n === 0) {
      assert.deepEqual(estimate, { kind: 'absent', why: 'no-traffic' })
      continue
    }
    const exact = truth.at(Math.max(1, Math.ceil((q * n) / 1000)))
    const lower = published.value(`${id}_lower_bound_seconds`, at)
    const upper = published.value(`${id}_upper_bound_seconds`, at)
    const told = `${id} ${window} ${q}: ${exact} of ${n} in (${lower}, ${upper}]`
    // Nothing is below 0, and who did not wait at all is in the first bucket.
    assert.ok((lower === 0 ? exact >= 0 : exact > lower) && exact <= upper, told)
    assert.ok(estimate.kind === 'value' && estimate.value >= lower && estimate.value <= upper, told)
    assert.equal(estimate.kind === 'value' && estimate.atLeast, upper === Number.POSITIVE_INFINITY)
    compared.quantiles += 1
  }
}

function checkShare(published: Published, { id, window, truth }: Seen): void {
  const threshold = thresholds[id]
  if (threshold === undefined || truth.count === 0) return
  const labels = { window, threshold: String(threshold) }
  const over = truth.count - truth.upTo(threshold)
  assert.equal(published.value(`${id}_over_threshold_ratio`, labels), over / truth.count)
  compared.shares += 1
}

function checkErrors(published: Published, window: string, inside: readonly Gain[]): void {
  const statuses = inside.flatMap((gain) => gain.statuses)
  const ended = statuses.filter((status) => status !== '4xx').length
  if (ended === 0) return
  const failures = inside.reduce((sum, gain) => sum + gain.failures, 0)
  const certain = published.value('error_ratio', { window })
  const possible = published.value('error_ratio_upper_bound', { window })
  assert.ok(certain <= failures / ended && failures / ended <= possible)
}

function checkTotals(published: Published, gains: readonly Gain[]): void {
  for (const id of latencyInstruments) {
    const truth = new Observations(gains, id)
    assert.equal(published.value(`${id}_seconds_count`), truth.count)
    // A sum on a page is rounded to a double at each scrape; what is gained carries those roundings.
    assert.ok(Math.abs(published.value(`${id}_seconds_sum`) - truth.sum) <= 1e-9 * truth.sum + 1e-8)
    for (const [le, count] of published.family(`${id}_merged_seconds_bucket`, 'le')) {
      const edge = le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le)
      assert.equal(count, truth.upTo(edge), `${id} ${le}`)
      compared.buckets += 1
    }
  }
  const reasons = gains.flatMap((gain) => gain.reasons)
  for (const [reason, count] of published.family('requests_finished_total', 'reason')) {
    assert.equal(count, reasons.filter((one) => one === reason).length, reason)
  }
  const statuses = gains.flatMap((gain) => gain.statuses)
  const failed = published.family('requests_failed_total', 'reason')
  assert.equal(failed.get('http_5xx'), statuses.filter((status) => status === '5xx').length)
  assert.equal(failed.get('engine_error'), reasons.filter((one) => one === 'error').length)
  const ended = statuses.filter((status) => status !== '4xx').length
  assert.equal(published.value('requests_ended_total'), ended)
}

/** A way to watch a scenario: at any pace, with scrapes that fail and a death at any moment. */
const watchings = fc.record({
  intervalMs: fc.constantFrom(1_000, 2_500, 5_000, 15_000),
  offsetMs: fc.integer({ min: 1, max: 20_000 }),
  /** How much longer than 0.8 intervals each wait in turn is, in thousandths of the interval. */
  jitters: fc.array(fc.nat(400), { minLength: 7, maxLength: 7 }),
  failEvery: fc.integer({ min: 3, max: 30 }),
  seed: fc.nat(),
  prewarmMs: fc.constantFrom(0, 40_000),
  engines: fc.constantFrom(1, 2),
  restart: fc.option(
    fc.record({
      atMs: fc.integer({ min: 30_000, max: 390_000 }),
      dyingForMs: fc.constantFrom(0, 3_000),
      downForMs: fc.constantFrom(0, 300, 40_000),
    }),
    { nil: undefined },
  ),
})

function playOf(
  scenario: string,
  watching: typeof watchings extends fc.Arbitrary<infer W> ? W : never,
): Play {
  const { intervalMs, offsetMs, jitters, failEvery } = watching
  const scrapes: { atMs: number; fails: boolean }[] = []
  for (let atMs = offsetMs; atMs < playedMs; ) {
    const number = scrapes.length
    scrapes.push({ atMs, fails: number % failEvery === failEvery - 1 })
    // Whole milliseconds, so that the start of a window can be told from its end and its length.
    atMs += Math.round(intervalMs * (0.8 + (jitters[number % jitters.length] ?? 0) / 1000))
  }
  return { ...watching, scenario, scrapes }
}

/** One for each way in which the simulator makes what is counted. */
const scenarios = [
  'steady',
  'overload',
  'errors',
  'restart',
  'gpu-lost',
  'stall-recovers',
  'acceptance-collapse',
  'cpu-bound',
]

describe('what is published of a simulated engine', () => {
  for (const scenario of scenarios) {
    it(`is true of its requests, in the scenario ${scenario}, however it is watched`, () => {
      fc.assert(
        fc.property(watchings, (watching) => {
          const play = playOf(scenario, watching)
          // Checked a few times on the way and at the end.
          const every = Math.ceil(play.scrapes.length / 3)
          let scrapes = 0
          replay(play, Math.max(...spansMs), (windows, gains) => {
            scrapes += 1
            if (scrapes % every !== 0) return
            const target = windows.target(targetName)
            const published = new Published(target)
            checkWindow(target, published, gains)
            checkTotals(published, gains)
            compared.resets += target.tally.resets
          })
        }),
        { numRuns: 5, seed: 20_260_101, endOnFailure: true, includeErrorInReport: true },
      )
    })
  }

  after(() => {
    assert.ok(compared.quantiles > 1_000 && compared.shares > 200 && compared.buckets > 1_000)
    assert.ok(compared.resets > 20)
  })
})
