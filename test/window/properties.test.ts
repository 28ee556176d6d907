import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { Reading } from '../../src/reading.ts'
import { SeriesBook, widthOf } from '../../src/window/series-book.ts'
import { TargetWindows } from '../../src/window/target-windows.ts'
import { exposed } from '../bench/loads.ts'
import {
  type Cumulative,
  keyOf,
  missed,
  observe,
  read,
  readingOf,
  type Written,
} from './readings.ts'

const hourMs = 3_600_000
const layouts = [
  [0.5, 1, 2],
  [0.5, 1, 3],
  [1, 2],
] as const
const bounds = layouts[0]
const model = { model_name: 'm' }

function recordAll(attempts: Iterable<Parameters<TargetWindows['record']>[0]>, keepMs = hourMs) {
  const target = new TargetWindows('t', { keepMs })
  for (const attempt of attempts) target.record(attempt)
  return target
}

function totalOf(target: TargetWindows, labels = model) {
  const delta = target.sinceStart()?.histogram('e2e_latency', labels)
  return delta === undefined ? undefined : { ...delta, counts: Array.from(delta.counts) }
}

function keysOf(reading: Reading | undefined): string | undefined {
  return reading?.channels.map(({ key }) => key).join(' ')
}

/** Times whose sums are exact in doubles: multiples of 1/1024 on both sides of every edge. */
const times = fc.nat(4096).map((parts) => parts / 1024)

describe('increments', () => {
  /** Any histogram that a page can have: counts that do not fall from edge to edge. */
  const histograms = fc
    .tuple(
      fc.constantFrom(...layouts),
      fc.array(fc.nat(20), { minLength: 4, maxLength: 4 }),
      fc.nat(1000),
    )
    .map(([edges, held, sum]): Cumulative => {
      let upTo = 0
      return { bounds: edges, counts: held.slice(0, edges.length + 1).map((n) => (upTo += n)), sum }
    })
  const series = fc.oneof(
    fc.record({
      instrument: fc.constantFrom('generation_tokens' as const, 'prompt_tokens' as const),
      value: fc.nat(50),
      engine: fc.constantFrom('0', '1'),
      created: fc.constantFrom(100, 200),
    }),
    fc.record({
      instrument: fc.constantFrom('e2e_latency' as const, 'ttft' as const),
      value: histograms,
      engine: fc.constantFrom('0', '1'),
    }),
  )
  const pages = fc.array(
    fc.record({
      written: fc.uniqueArray(series, { maxLength: 6, selector: (one) => keyOf(one) }),
      leftOut: fc.uniqueArray(
        series.map((one) => keyOf(one)),
        { maxLength: 2 },
      ),
      processStartSeconds: fc.constantFrom(undefined, 10, 10, 20),
      malformedLines: fc.nat(1),
    }),
    { minLength: 2, maxLength: 12 },
  )

  it('are never negative, whatever is reset, missing, laid out anew or torn', () => {
    fc.assert(
      fc.property(pages, fc.constantFrom(2, 100), (all, maxSeries) => {
        const book = new SeriesBook({ maxSeries })
        for (const [index, { written, ...rest }] of all.entries()) {
          const reading = readingOf(written, rest)
          const { increments } = book.advance(reading, {
            atMs: index * 200_000,
            baseline: index === 0,
          })
          for (const channel of reading.channels) {
            // The sum of a histogram may fall: an engine can observe a negative time.
            const counts = widthOf(channel) - (channel.bounds === undefined ? 0 : 1)
            let below = 0
            for (let slot = channel.offset; slot < channel.offset + counts; slot += 1) {
              const gained = increments[slot] ?? Number.NaN
              assert.ok(gained >= below && gained <= (reading.values[slot] ?? 0))
              if (channel.bounds !== undefined) below = gained
              if (index === 0) assert.equal(gained, 0)
            }
          }
        }
      }),
      { numRuns: 200 },
    )
  })

  it('make windows in which the buckets sum up to the count and nothing is negative', () => {
    fc.assert(
      fc.property(pages, fc.nat(70_000), (all, spanMs) => {
        const target = new TargetWindows('t', { keepMs: 60_000 })
        for (const [index, { written, ...rest }] of all.entries()) {
          target.record(read(index * 5000, readingOf(written, rest)))
          for (const view of [target.view(spanMs), target.sinceStart()]) {
            for (const id of ['e2e_latency', 'ttft'] as const) {
              const delta = view?.histogram(id, model)
              if (delta === undefined) continue
              const counts = Array.from(delta.counts)
              assert.ok(counts.every((held) => held >= 0))
              assert.equal(
                counts.reduce((sum, held) => sum + held, 0),
                delta.count,
              )
            }
            assert.ok((view?.increase('generation_tokens', model) ?? 0) >= 0)
          }
        }
      }),
      { numRuns: 150 },
    )
  })
})

describe('totals', () => {
  /** What happens between two scrapes: a restart or none, then observations of each engine. */
  const steps = fc.array(
    fc.record({
      restart: fc.integer({ min: 0, max: 5 }).map((die) => die === 0),
      missed: fc.integer({ min: 0, max: 4 }).map((die) => die === 0),
      seen: fc.tuple(fc.boolean(), fc.boolean()),
      swap: fc.boolean(),
      observed: fc.tuple(fc.array(times, { maxLength: 6 }), fc.array(times, { maxLength: 6 })),
    }),
    { minLength: 1, maxLength: 15 },
  )

  it('hold just what was counted in each life up to the last page that had the series', () => {
    fc.assert(
      fc.property(steps, (all) => {
        const engines: { values: number[]; seen: number[]; ended: number[] }[] = [0, 1].map(() => ({
          values: [],
          seen: [],
          ended: [],
        }))
        const target = new TargetWindows('t', { keepMs: hourMs })
        let start = 1000
        let first = true
        let like: Reading | undefined
        for (const [index, step] of all.entries()) {
          if (step.restart) {
            start += 60
            for (const engine of engines) {
              engine.ended.push(...engine.seen)
              engine.values = []
              engine.seen = []
            }
          }
          for (const [position, engine] of engines.entries()) {
            engine.values.push(...(step.observed[position] ?? []))
          }
          const atMs = index * 5000
          if (step.missed) {
            target.record(missed(atMs))
            continue
          }
          const page = engines.flatMap(({ values }, position): Written[] => {
            if (step.seen[position] !== true) return []
            const value = observe(bounds, values)
            return [{ instrument: 'e2e_latency', value, engine: String(position) }]
          })
          if (step.swap) page.reverse()
          const rest = { processStartSeconds: start }
          const next = readingOf(page, rest)
          // As long as a page keeps its shape, so do the channels.
          const sameShape = keysOf(next) === keysOf(like)
          like = sameShape ? readingOf(page, { ...rest, like }) : next
          target.record(read(atMs, like))
          for (const [position, engine] of engines.entries()) {
            if (step.seen[position] === true) engine.seen = [...engine.values]
            // What the first page held was counted before the watch began.
            if (first && step.seen[position] === true) engine.ended = engine.seen.map((v) => -1 - v)
          }
          first = false
        }
        const counted = engines.flatMap(({ ended, seen }) => [...ended, ...seen])
        const gained = counted.filter((value) => value >= 0)
        const before = counted.filter((value) => value < 0).map((value) => -1 - value)
        const found = totalOf(target)
        const plus = exposed(bounds, gained)
        const minus = exposed(bounds, before)
        if (found === undefined) assert.deepEqual(counted, [])
        else {
          const expected = Array.from(plus.counts, (held, bucket) => {
            return held - (minus.counts[bucket] ?? 0)
          })
          assert.deepEqual(found.counts, expected)
          assert.equal(found.sum, plus.sum - minus.sum)
        }
      }),
      { numRuns: 200 },
    )
  })

  const observedByScrape = fc.array(fc.array(times, { maxLength: 8 }), {
    minLength: 2,
    maxLength: 20,
  })

  it('are the same when a scrape in the middle is left out', () => {
    fc.assert(
      fc.property(observedByScrape, fc.nat(30), (observed, leaveOut) => {
        const seen: number[] = []
        const attempts = observed.map((values, index) => {
          seen.push(...values)
          const value = observe(bounds, seen)
          const tokens: Written = { instrument: 'generation_tokens', value: seen.length * 7 }
          return read(index * 5000, readingOf([{ instrument: 'e2e_latency', value }, tokens]))
        })
        const last = attempts.length - 1
        const some = attempts.filter((_, i) => i === 0 || i === last || i !== 1 + (leaveOut % last))
        const [whole, thinned] = [recordAll(attempts), recordAll(some)]
        assert.deepEqual(totalOf(whole), totalOf(thinned))
        assert.equal(
          whole.sinceStart()?.increase('generation_tokens', model),
          thinned.sinceStart()?.increase('generation_tokens', model),
        )
        // The window that reaches over all of it says the same too.
        assert.deepEqual(
          whole.view(hourMs)?.histogram('e2e_latency', model),
          thinned.view(hourMs)?.histogram('e2e_latency', model),
        )
        assert.equal(thinned.view(hourMs)?.coveredMs, last * 5000)
      }),
    )
  })

  it('of engines are those of one engine that observed it all, in any order and any grouping', () => {
    const work = fc.array(fc.array(fc.tuple(times, fc.nat(3), fc.nat(3)), { maxLength: 8 }), {
      minLength: 2,
      maxLength: 8,
    })
    fc.assert(
      fc.property(work, fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4 }), (scrapes, order) => {
        /** The target when each observation is counted by the engine that `engineOf` says. */
        const grouped = (
          engineOf: (one: readonly number[]) => number,
          ranks: readonly number[],
        ) => {
          const seen = new Map<number, number[]>(ranks.map((rank) => [rank, []]))
          return recordAll(
            scrapes.map((observations, index) => {
              for (const one of observations) seen.get(engineOf(one))?.push(one[0] ?? 0)
              const page = ranks.map((rank): Written => {
                const value = observe(bounds, seen.get(rank) ?? [])
                return { instrument: 'e2e_latency', value, engine: String(rank) }
              })
              return read(index * 5000, readingOf(page))
            }),
          )
        }
        const one = grouped(() => 0, [0])
        const observed = scrapes.slice(1).flatMap((all) => all.map(([value]) => value))
        const { counts, count, sum } = exposed(bounds, observed)
        assert.deepEqual(totalOf(one), { bounds, counts: Array.from(counts), count, sum })
        assert.deepEqual(totalOf(grouped((o) => o[1] ?? 0, [0, 1, 2, 3])), totalOf(one))
        assert.deepEqual(totalOf(grouped((o) => o[2] ?? 0, order)), totalOf(one))
      }),
    )
  })
})

describe('windows', () => {
  /** Seconds to the next scrape, and whether it fails. */
  const scrapes = fc.array(
    fc.tuple(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 0, max: 3 })),
    { minLength: 3, maxLength: 400, size: 'max' },
  )

  it('show a steady rate for any gaps and any span', () => {
    fc.assert(
      fc.property(scrapes, fc.integer({ min: 0, max: 4000 }), (all, spanSeconds) => {
        let atMs = 0
        const target = new TargetWindows('t', { keepMs: 600_000 })
        for (const [seconds, die] of all) {
          atMs += seconds * 1000
          const tokens: Written = { instrument: 'generation_tokens', value: atMs / 8 }
          target.record(die === 0 ? missed(atMs) : read(atMs, readingOf([tokens])))
        }
        const view = target.view(spanSeconds * 1000)
        if (view === undefined) return
        assert.equal((view.increase('generation_tokens', model) ?? 0) / view.coveredMs, 1 / 8)
      }),
      { numRuns: 60, endOnFailure: true },
    )
  })

  it('are right while models come and go, and memory is laid out anew', () => {
    const turns = fc.array(fc.tuple(fc.nat(30), fc.nat(100)), {
      minLength: 100,
      maxLength: 250,
      size: 'max',
    })
    fc.assert(
      fc.property(turns, (all) => {
        const target = new TargetWindows('t', { keepMs: 30_000 })
        const totalAt = new Map<number, number>()
        let total = 0
        for (const [index, [churn, gained]] of all.entries()) {
          const atMs = index * 1000
          total += gained
          totalAt.set(atMs, total)
          const value = observe(bounds, [0.7, 1.5])
          const page: readonly Written[] = [
            // Some models that are never seen again, on every third page.
            ...(index % 3 > 0
              ? []
              : Array.from({ length: churn }, (_, one) => `${index} ${one}`).flatMap(
                  (name): Written[] => [
                    { instrument: 'ttft', value, model: name },
                    { instrument: 'requests_running', value: 1000, model: name },
                  ],
                )),
            { instrument: 'generation_tokens', value: total },
            { instrument: 'requests_running', value: gained },
          ]
          target.record(read(atMs, readingOf(page)))
          for (const spanMs of [0, 10_000, 30_000]) {
            const view = target.view(spanMs)
            if (view === undefined) continue
            const from = totalAt.get(atMs - view.coveredMs) ?? Number.NaN
            assert.equal(view.increase('generation_tokens', model), total - from)
            const covered = Math.round(view.coveredMs / 1000)
            const latest = all.slice(index + 1 - covered, index + 1).map(([, high]) => high)
            assert.equal(view.high('requests_running', model), Math.max(...latest))
          }
        }
        // Of those models only the ones of the last 30 s are left.
        assert.ok(target.models.length <= 1 + 11 * 30)
      }),
      // Shrinking hundreds of pages would take minutes.
      { numRuns: 8, endOnFailure: true },
    )
  })
})
