import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Attempt } from '../../src/reading.ts'
import { blindSpotsOf, errorSignals, failuresOf } from '../../src/signals/errors.ts'
import { trafficSignals } from '../../src/signals/traffic.ts'
import { counter, type MadeReading, type MadeSeries, missed, read } from '../fakes/readings.ts'
import { familyNames, measure, only, remembered, signalSettings } from '../fakes/signals.ts'

interface Counted {
  readonly '2xx'?: number
  readonly '4xx'?: number
  readonly '5xx'?: number
  readonly stop?: number
  readonly error?: number
}

/** A page with the counters named; those that are not named are not on it. */
function counts(of: Counted): readonly MadeSeries[] {
  return Object.entries(of).map(([name, count]) =>
    name.endsWith('xx')
      ? counter('http_answers', count, { status: name })
      : counter('requests_finished', count, { reason: name }),
  )
}

/** Attempts in which everything named by `gained` grew from 0 by so much within half a minute. */
function grown(gained: Counted, rest: MadeReading = {}): readonly Attempt[] {
  const nothing = Object.fromEntries(Object.keys(gained).map((name) => [name, 0]))
  return [read(0, counts(nothing), rest), read(30_000, counts(gained), rest)]
}

/** Who tells failures: the server alone, the engine alone, both, and both where 5xx holds bad requests. */
const byServer = ['engine', 'http', 'http-certain']
const byEngine = ['engine', 'engine-errors']
const byBoth = [...byServer, 'engine-errors']
const uncertain = ['engine', 'http', 'engine-errors']

const ratioName = 'error_ratio{target="vllm",window="1m"}'
const upperName = 'error_ratio_upper_bound{target="vllm",window="1m"}'

function ratios(attempts: readonly Attempt[]) {
  const found = measure(errorSignals, attempts)
  return [found[ratioName], found[upperName]]
}

describe('the error ratio', () => {
  // 970 + 30 answers ended, the 4xx left out; 30 were 5xx and 20 failed in the engine.
  const both: Counted = { '2xx': 970, '4xx': 50, '5xx': 30, stop: 950, error: 20 }
  const { error: _, ...withoutError } = both
  const rows: readonly [string, readonly string[], Counted, number, number][] = [
    // Without the engine's word 5xx is all there is: 30 ÷ 1,000.
    ['takes 5xx alone where the engine names no failures', byServer, withoutError, 0.03, 0.03],
    // The larger of 20 and 30, and their sum, ÷ 1,000.
    ['takes the larger count where both are certain', byBoth, both, 0.03, 0.05],
    // The larger of 40 and 30, and their sum, ÷ 1,000.
    [
      'takes the larger count also where it is the engine’s',
      byBoth,
      { ...both, error: 40 },
      0.04,
      0.07,
    ],
    // Bad requests are among the 30.
    ['trusts the engine alone where 5xx is uncertain', uncertain, both, 0.02, 0.05],
    ['trusts nobody where 5xx is uncertain and all there is', ['http'], withoutError, 0, 0.03],
    ['never counts 4xx', byBoth, { '2xx': 10, '4xx': 990, stop: 10, error: 0 }, 0, 0],
    ['is 0, and not absent, where nothing failed', byBoth, { '2xx': 10, stop: 10, error: 0 }, 0, 0],
    // Without HTTP answers the finished requests ended: 20 of 100.
    [
      'is taken of finished requests where answers are not counted',
      byEngine,
      { stop: 80, error: 20 },
      0.2,
      0.2,
    ],
    // 3 failures of the engine, of which 2 were answered so far.
    ['is never above 1', byBoth, { '2xx': 0, '5xx': 2, stop: 0, error: 3 }, 1, 1],
  ]
  for (const [claim, capabilities, gained, certain, possible] of rows) {
    it(claim, () => {
      assert.deepEqual(ratios(grown(gained, { capabilities })), [certain, possible])
    })
  }

  it('takes the larger and the sum over the whole window, not scrape by scrape', () => {
    const at = (atMs: number, answered: number, failed: number, dead: number) =>
      read(atMs, counts({ '2xx': answered, '5xx': dead, stop: 0, error: failed }), {
        capabilities: byBoth,
      })
    // The same ten failures, seen by the engine before the answers were counted: 10 ÷ (90 + 10).
    const attempts = [at(0, 0, 0, 0), at(10_000, 45, 10, 0), at(20_000, 90, 10, 10)]
    assert.deepEqual(ratios(attempts), [0.1, 0.2])
  })

  it('is absent where nothing tells of failures, and says why', () => {
    const target = remembered(grown({ stop: 100 }, { capabilities: ['engine'] }))
    const [ratio] = errorSignals.flatMap((one) =>
      one.measure({ target, settings: signalSettings, fresh: true }),
    )
    assert.equal(ratio?.measurement.kind, 'absent')
    assert.deepEqual(ratio?.measurement, {
      kind: 'absent',
      why: 'no-data',
      detail:
        'neither HTTP answers nor requests that the engine failed are counted: only a probe could tell',
    })
  })

  it('is absent without requests', () => {
    const same = counts({ '2xx': 5, '5xx': 1, stop: 5, error: 1 })
    assert.deepEqual(ratios([read(0, same), read(30_000, same)]), ['no-traffic', 'no-traffic'])
  })

  it('has no traffic, and not no data, while a counter is declared that has no series yet', () => {
    const rest = { capabilities: byServer }
    const page = counts({ stop: 0 })
    assert.deepEqual(ratios([read(0, page, rest), read(30_000, page, rest)]), [
      'no-traffic',
      'no-traffic',
    ])
  })

  it('has no data after the first scrape, and is stale after the last', () => {
    const attempts = grown(both)
    assert.deepEqual(ratios(attempts.slice(0, 1)), ['no-data', 'no-data'])
    const late = measure(errorSignals, attempts, { fresh: false })
    assert.deepEqual([late[ratioName], late[upperName]], ['stale', 'stale'])
  })

  it('is silence for a target that was never read', () => {
    assert.deepEqual(measure(errorSignals, [missed(0, 'refused')]), {})
  })
})

describe('the totals behind the error ratio', () => {
  const totals = (gained: Counted, capabilities: readonly string[]) =>
    only(
      measure(errorSignals, grown(gained, { capabilities })),
      'requests_ended_total',
      'requests_failed_total',
    )
  const ended = 'requests_ended_total{target="vllm"}'
  const inEngine = 'requests_failed_total{model_name="llama",reason="engine_error",target="vllm"}'
  const inServer = 'requests_failed_total{reason="http_5xx",target="vllm"}'

  it('are told by who says so, the server’s without a model', () => {
    const found = totals({ '2xx': 90, '4xx': 7, '5xx': 10, stop: 92, error: 8 }, byBoth)
    assert.deepEqual(found, { [ended]: 100, [inEngine]: 8, [inServer]: 10 })
  })

  it('leave out what cannot be told, and never write 0 in its place', () => {
    assert.deepEqual(totals({ '2xx': 90, '5xx': 10, stop: 95 }, byServer), {
      [ended]: 100,
      [inServer]: 10,
    })
    assert.deepEqual(totals({ stop: 95, error: 5 }, byEngine), { [ended]: 100, [inEngine]: 5 })
    assert.deepEqual(totals({ stop: 95 }, ['engine']), { [ended]: 95 })
  })

  it('of failures that are certain leave out the answers that also tell bad requests', () => {
    const certain = (capabilities: readonly string[]) =>
      only(
        measure(
          errorSignals,
          grown({ '2xx': 90, '5xx': 10, stop: 92, error: 8 }, { capabilities }),
        ),
        'requests_failed_certain_total',
      )
    const by = (reason: string) => `requests_failed_certain_total{reason="${reason}",target="vllm"}`
    assert.deepEqual(certain(byBoth), { [by('engine_error')]: 8, [by('http_5xx')]: 10 })
    assert.deepEqual(certain(uncertain), { [by('engine_error')]: 8 })
    assert.deepEqual(certain(byServer), { [by('http_5xx')]: 10 })
    assert.deepEqual(certain(['engine']), {})
  })

  it('stay when the windows are stale', () => {
    const attempts = grown({ '2xx': 3, '5xx': 1, stop: 3, error: 1 })
    const late = measure(errorSignals, attempts, { fresh: false })
    assert.equal(late[ended], 4)
    assert.equal(late[inServer], 1)
  })
})

describe('the failures of a stretch', () => {
  it('keep certain and possible ones apart', () => {
    const target = remembered(
      grown({ '2xx': 96, '5xx': 4, stop: 97, error: 3 }, { capabilities: uncertain }),
    )
    const view = target.view(60_000)
    assert.ok(view !== undefined)
    const seen = { kind: 'seen', ended: 100, certain: 3, possible: 7 }
    assert.deepEqual(failuresOf(target, view), seen)
  })
})

describe('the blind spots of a target', () => {
  const spots = (...blindSpots: readonly string[]) => ({ blindSpots })

  it('are those that the last good reading tells of', () => {
    const attempts = [
      read(0, [], spots('of the version before')),
      read(30_000, [], spots('one', 'other')),
      missed(60_000, 'refused'),
    ]
    assert.deepEqual(blindSpotsOf(remembered(attempts)), ['one', 'other'])
  })

  it('are not spoken of before anything was read', () => {
    assert.deepEqual(blindSpotsOf(remembered([missed(0, 'refused')])), [])
  })
})

describe('the families of traffic and errors', () => {
  it('are those of the contract', () => {
    const target = remembered(grown({ '2xx': 1, '5xx': 0, stop: 1, error: 0 }))
    const context = { target, settings: signalSettings, fresh: true }
    const found = [...trafficSignals, ...errorSignals].flatMap((one) => one.measure(context))
    assert.deepEqual(familyNames(found), [
      'error_ratio',
      'error_ratio_upper_bound',
      'generation_tokens_per_second',
      'prefix_cache_hit_ratio',
      'prompt_tokens_per_second',
      'requests_ended_total',
      'requests_failed_certain_total',
      'requests_failed_total',
      'requests_finished_total',
      'requests_per_second',
      'spec_decode_acceptance_ratio',
    ])
  })
})
