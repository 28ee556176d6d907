import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Attempt } from '../../src/reading.ts'
import {
  factsOf,
  rateOf,
  type Stretch,
  shareOf,
  type TargetFacts,
} from '../../src/signals/facts.ts'
import { counter, gauge, histogram, type MadeSeries, missed, read } from '../fakes/readings.ts'
import { remembered } from '../fakes/signals.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs

/** A reading each minute, from 0 to `minutes`. */
function each(
  minutes: number,
  page: (minute: number) => readonly MadeSeries[],
): readonly Attempt[] {
  return Array.from({ length: minutes + 1 }, (_, minute) => read(minute * minuteMs, page(minute)))
}

function factsAfter(attempts: readonly Attempt[]): TargetFacts {
  const facts = factsOf(remembered(attempts, hourMs), false)
  assert.ok(facts !== undefined)
  return facts
}

/** Ten tokens a minute before minute `from`, and a hundred from then on. */
function tokens(minute: number, from: number): number {
  return 10 * Math.min(minute, from) + 100 * Math.max(0, minute - from)
}

describe('what a target did of late, and what is usual for it', () => {
  it('do not overlap', () => {
    const facts = factsAfter(
      each(30, (minute) => [counter('generation_tokens', tokens(minute, 15))]),
    )
    // The last 2 minutes; and of 30 the first 15, as trouble of up to 15 minutes is left out.
    assert.deepEqual(
      [facts.recent?.coveredMs, facts.recent?.gained.generation_tokens],
      [2 * minuteMs, 200],
    )
    assert.deepEqual(
      [facts.usual?.coveredMs, facts.usual?.gained.generation_tokens],
      [15 * minuteMs, 150],
    )
  })

  const rows: readonly (readonly [minutes: number, usualMinutes: number])[] = [
    // 15 minutes are left out where 2 or more are left then, else 8, else 4, else 2.
    [60, 45],
    [17, 2],
    [16, 8],
    [10, 2],
    [9, 5],
    [6, 2],
    [5, 3],
    [4, 2],
  ]
  for (const [minutes, usual] of rows) {
    it(`leave what is usual ${usual} of ${minutes} minutes`, () => {
      const facts = factsAfter(each(minutes, (minute) => [counter('generation_tokens', minute)]))
      assert.equal(facts.usual?.coveredMs, usual * minuteMs)
      assert.equal(facts.usual?.gained.generation_tokens, usual)
    })
  }

  it('say nothing of what is usual before there are four minutes, nor of late before two scrapes', () => {
    const watch = (minutes: number) =>
      factsAfter(each(minutes, (minute) => [counter('generation_tokens', minute)]))
    assert.equal(watch(3).usual, undefined)
    assert.equal(watch(3).recent?.gained.generation_tokens, 2)
    assert.equal(watch(0).recent, undefined)
  })

  it('are nothing before the first good reading, and of the last one after a failed scrape', () => {
    assert.equal(factsOf(remembered([missed(0, 'refused')]), false), undefined)
    const page = (minute: number) => [counter('generation_tokens', minute)]
    const facts = factsAfter([...each(5, page), missed(6 * minuteMs, 'timeout')])
    assert.equal(facts.readMs, 5 * minuteMs)
    assert.equal(facts.recent?.gained.generation_tokens, 2)
  })

  it('know nothing of counters that are not exposed', () => {
    const facts = factsAfter(each(5, (minute) => [counter('generation_tokens', minute)]))
    assert.deepEqual(Object.keys(facts.recent?.gained ?? {}), ['generation_tokens'])
    assert.deepEqual(facts.recent?.timings, {})
  })
})

describe('a counter of several series', () => {
  it('is added up over models, reasons and engines', () => {
    const facts = factsAfter(
      each(4, (minute) => [
        counter('requests_finished', 3 * minute, { reason: 'stop' }),
        counter('requests_finished', minute, { reason: 'length' }),
        counter('requests_finished', 5 * minute, { model_name: 'other', reason: 'stop' }),
        counter('requests_finished', minute, { reason: 'stop' }, { engine: '1' }),
      ]),
    )
    // 3 + 1 + 5 + 1 in each of two minutes.
    assert.equal(facts.recent?.gained.requests_finished, 20)
    assert.equal(facts.usual?.gained.requests_finished, 20)
  })
})

describe('a latency', () => {
  const bounds = [1, 2, 4]
  const none = { bounds, counts: [0, 0, 0, 0], sum: 0 }
  const held = (minute: number, counts: readonly number[], sum: number) => ({
    bounds,
    counts: counts.map((count) => minute * count),
    sum: minute * sum,
  })

  it('is the mean and the p95 of each stretch by itself', () => {
    // Ten a minute up to 1 s, 5 s in all, before minute 4; from then on ten between 2 s and 4 s, 30 s in all.
    const facts = factsAfter(
      each(6, (minute) => {
        const early = Math.min(minute, 4)
        const late = minute - early
        return [
          histogram('ttft', {
            bounds,
            counts: [10 * early, 0, 10 * late, 0],
            sum: 5 * early + 30 * late,
          }),
        ]
      }),
    )
    const { recent, usual } = facts
    assert.deepEqual([recent?.timings.ttft?.count, recent?.timings.ttft?.mean], [20, 3])
    // Four minutes are left out of six: the first two are usual.
    assert.deepEqual([usual?.timings.ttft?.count, usual?.timings.ttft?.mean], [20, 0.5])
    const [late = 0, early = 0] = [recent, usual].map((one) => one?.timings.ttft?.p95)
    assert.ok(late > 2 && late <= 4, `expected the third bucket, found ${late}`)
    assert.ok(early > 0 && early <= 1, `expected the first bucket, found ${early}`)
  })

  it('is the mean of all models, and the p95 of the one with the most observations', () => {
    const { recent } = factsAfter(
      each(4, (minute) => [
        histogram('ttft', held(minute, [0, 0, 10, 0], 25)),
        histogram('ttft', held(minute, [30, 0, 0, 0], 15), { model_name: 'other' }),
      ]),
    )
    // 30 of 0.5 s and 10 of 2.5 s in a minute: 40 s in 40.
    assert.deepEqual([recent?.timings.ttft?.count, recent?.timings.ttft?.mean], [80, 1])
    assert.ok((recent?.timings.ttft?.p95 ?? 9) <= 1)
  })

  it('is absent where nothing was observed', () => {
    const { recent } = factsAfter(each(4, () => [histogram('ttft', none)]))
    assert.equal(recent?.timings.ttft, undefined)
  })

  it('begins anew with edges that change, and never mixes the two', () => {
    const other = [0.5, 3]
    const { recent, usual } = factsAfter(
      each(10, (minute) => [
        minute < 7
          ? histogram('ttft', held(minute, [10, 0, 0, 0], 5))
          : histogram('ttft', {
              bounds: other,
              counts: [0, 20 * (minute - 6), 0],
              sum: 40 * (minute - 6),
            }),
      ]),
    )
    // 20 of 2 s in a minute with the new edges. All of them are of late; what is usual has none of them.
    assert.deepEqual([recent?.timings.ttft?.count, recent?.timings.ttft?.mean], [40, 2])
    assert.equal(usual?.timings.ttft, undefined)
  })

  it('is that of the present edges alone in what is usual', () => {
    const other = [0.5, 3]
    const { usual } = factsAfter(
      each(20, (minute) => [
        minute < 2
          ? histogram('ttft', held(minute, [10, 0, 0, 0], 5))
          : histogram('ttft', { bounds: other, counts: [0, 20 * minute, 0], sum: 40 * minute }),
      ]),
    )
    // What is usual ends at minute 5. The first page with other edges began at minute 2, with 40 that were
    // counted since the edges are others: 20 more in each of three minutes, 100 in all.
    assert.deepEqual([usual?.timings.ttft?.count, usual?.timings.ttft?.mean], [100, 2])
  })
})

describe('a gauge', () => {
  it('is added up over models, and the highest where shares of a cache merge', () => {
    const { gauges, highs } = factsAfter(
      each(4, (minute) => [
        gauge('requests_running', 2),
        gauge('requests_running', 3, { model_name: 'other' }),
        gauge('kv_cache_usage', minute === 3 ? 0.9 : 0.2),
        gauge('kv_cache_usage', 0.4, { model_name: 'other' }),
      ]),
    )
    assert.deepEqual([gauges.requests_running, gauges.kv_cache_usage], [5, 0.4])
    // It was that full a minute ago.
    assert.equal(highs.kv_cache_usage, 0.9)
  })
})

describe('rates and shares of a stretch', () => {
  const stretch: Stretch = {
    coveredMs: 20_000,
    gained: { prefix_cache_queries: 1_000, prefix_cache_hits: 250 },
    timings: {},
  }

  it('are known of what is exposed', () => {
    const of = { part: 'prefix_cache_hits', whole: 'prefix_cache_queries', least: 1_000 } as const
    assert.equal(rateOf(stretch, 'prefix_cache_hits'), 12.5)
    assert.equal(shareOf(stretch, of), 0.25)
    assert.equal(shareOf(stretch, { ...of, least: 1_001 }), undefined)
  })

  it('are not known of what is not', () => {
    assert.equal(rateOf(stretch, 'preemptions'), undefined)
    assert.equal(rateOf({ ...stretch, coveredMs: 0 }, 'prefix_cache_hits'), undefined)
    const of = { part: 'preemptions', whole: 'prefix_cache_queries', least: 1 } as const
    assert.equal(shareOf(stretch, of), undefined)
  })
})
