import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { errorSignals } from '../../src/signals/errors.ts'
import { trafficSignals } from '../../src/signals/traffic.ts'
import {
  counter,
  gauge,
  type MadeReading,
  type MadeSeries,
  missed,
  read,
} from '../fakes/readings.ts'
import { measure, only } from '../fakes/signals.ts'

const llama = 'model_name="llama",target="vllm"'
const overOneMinute = `${llama},window="1m"`

describe('traffic', () => {
  it('is divided by the time covered, which is shorter than the window at first', () => {
    const found = measure(trafficSignals, [
      read(0, [counter('generation_tokens', 1_000), counter('prompt_tokens', 50)]),
      read(20_000, [counter('generation_tokens', 1_400), counter('prompt_tokens', 250)]),
    ])
    // 400 and 200 tokens in 20 s.
    assert.equal(found[`generation_tokens_per_second{${overOneMinute}}`], 20)
    assert.equal(found[`prompt_tokens_per_second{${overOneMinute}}`], 10)
  })

  it('is counted since the watch began for those who add up hosts, resets taken out', () => {
    const found = measure(trafficSignals, [
      read(0, [counter('generation_tokens', 1_000), counter('prompt_tokens', 50)]),
      read(20_000, [counter('generation_tokens', 1_400), counter('prompt_tokens', 250)]),
      read(40_000, [counter('generation_tokens', 30), counter('prompt_tokens', 260)]),
    ])
    // 400 before the reset and 30 after it; 200 + 10.
    assert.equal(found[`generation_tokens_total{${llama}}`], 430)
    assert.equal(found[`prompt_tokens_total{${llama}}`], 210)
  })

  it('is counted from 0 on at the first scrape', () => {
    const first = measure(trafficSignals, [read(0, [counter('generation_tokens', 1_000)])])
    assert.equal(first[`generation_tokens_total{${llama}}`], 0)
    assert.equal(first[`prompt_tokens_total{${llama}}`], undefined)
  })

  it('is divided by the time across a failed scrape', () => {
    const found = measure(trafficSignals, [
      read(0, [counter('generation_tokens', 0)]),
      missed(10_000, 'timeout'),
      read(40_000, [counter('generation_tokens', 400)]),
    ])
    assert.equal(found[`generation_tokens_per_second{${overOneMinute}}`], 10)
  })

  it('counts finished requests of every reason', () => {
    const finished = (stop: number, length: number) => [
      counter('requests_finished', stop, { reason: 'stop' }),
      counter('requests_finished', length, { reason: 'length' }),
    ]
    const found = measure(trafficSignals, [read(0, finished(7, 3)), read(10_000, finished(19, 6))])
    // 12 + 3 requests in 10 s.
    assert.equal(found[`requests_per_second{${overOneMinute}}`], 1.5)
    assert.deepEqual(only(found, 'requests_finished_total'), {
      'requests_finished_total{model_name="llama",reason="stop",target="vllm"}': 12,
      'requests_finished_total{model_name="llama",reason="length",target="vllm"}': 3,
    })
  })

  it('is 0 and not absent while nothing is asked', () => {
    const idle = [
      counter('generation_tokens', 5),
      counter('requests_finished', 2, { reason: 'stop' }),
    ]
    const found = measure(trafficSignals, [read(0, idle), read(10_000, idle)])
    assert.equal(found[`generation_tokens_per_second{${overOneMinute}}`], 0)
    assert.equal(found[`requests_per_second{${overOneMinute}}`], 0)
  })

  it('is absent where the version does not expose it', () => {
    const found = measure(trafficSignals, [
      read(0, [counter('generation_tokens', 5)]),
      read(10_000, [counter('generation_tokens', 5)]),
    ])
    assert.equal(found[`prompt_tokens_per_second{${overOneMinute}}`], 'no-data')
  })

  it('is stale when the last good reading is too old, while totals stay', () => {
    const finished = (count: number) => [counter('requests_finished', count, { reason: 'stop' })]
    const found = measure(trafficSignals, [read(0, finished(0)), read(10_000, finished(4))], {
      fresh: false,
    })
    assert.equal(found[`requests_per_second{${overOneMinute}}`], 'stale')
    const total = 'requests_finished_total{model_name="llama",reason="stop",target="vllm"}'
    assert.equal(found[total], 4)
  })
})

describe('what is declared and has no series yet', () => {
  const declared = [
    'requests_finished',
    'generation_tokens',
    'prefix_cache_queries',
    'prefix_cache_hits',
  ] as const
  // A gauge alone is enough for the model to be known.
  const page = [gauge('requests_running', 0)]
  const measureIdle = (rest: MadeReading, capabilities: readonly string[] = ['engine']) => {
    const idle = { declared, capabilities, ...rest }
    const signals = [...trafficSignals, ...errorSignals]
    return measure(signals, [read(0, page, idle), read(10_000, page, idle)])
  }

  it('has rates of 0 and ratios without traffic', () => {
    const found = measureIdle({})
    assert.equal(found[`requests_per_second{${overOneMinute}}`], 0)
    assert.equal(found[`generation_tokens_per_second{${overOneMinute}}`], 0)
    assert.equal(found[`prefix_cache_hit_ratio{${overOneMinute}}`], 'no-traffic')
    assert.equal(found['requests_ended_total{target="vllm"}'], 0)
  })

  it('is no word for what is not declared', () => {
    const found = measureIdle({})
    assert.equal(found[`prompt_tokens_per_second{${overOneMinute}}`], 'no-data')
    assert.equal(found[`spec_decode_acceptance_ratio{${overOneMinute}}`], 'no-data')
    const none = measureIdle({ declared: [] })
    assert.equal(none[`requests_per_second{${overOneMinute}}`], 'no-data')
    assert.equal('requests_ended_total{target="vllm"}' in none, false)
  })

  it('has an error ratio without traffic, and no failures so far', () => {
    const found = measureIdle({}, ['engine', 'engine-errors'])
    assert.equal(found['error_ratio{target="vllm",window="1m"}'], 'no-traffic')
    const failed = 'requests_failed_total{model_name="llama",reason="engine_error",target="vllm"}'
    assert.equal(found[failed], 0)
  })

  const lossy: readonly [string, MadeReading][] = [
    ['lost a line', { malformedLines: 1 }],
    ['lost a line to a limit', { limitHits: { labels: 1 } }],
  ]
  for (const [what, rest] of lossy) {
    it(`is not taken for nothing on a page that ${what}`, () => {
      assert.equal(measureIdle(rest)[`requests_per_second{${overOneMinute}}`], 'no-data')
    })
  }

  it('is not taken for nothing once series found no room', () => {
    const crowded = { declared, limitHits: { series: 1 } }
    const attempts = [read(0, page, crowded), read(10_000, page, { declared })]
    const found = measure(trafficSignals, attempts)
    assert.equal(found[`requests_per_second{${overOneMinute}}`], 'no-data')
  })

  it('grows from 0 by what the first series brings', () => {
    const rest = { declared }
    const found = measure(trafficSignals, [
      read(0, page, rest),
      read(10_000, page, rest),
      read(20_000, [...page, counter('requests_finished', 30, { reason: 'stop' })], rest),
    ])
    // 30 requests in 20 s.
    assert.equal(found[`requests_per_second{${overOneMinute}}`], 1.5)
  })
})

describe('a ratio of two counters', () => {
  const name = `prefix_cache_hit_ratio{${overOneMinute}}`
  const cache = (queries: number, hits: number) => [
    counter('prefix_cache_queries', queries),
    counter('prefix_cache_hits', hits),
  ]
  const rows: readonly [string, readonly MadeSeries[], readonly MadeSeries[], number | string][] = [
    // 75 of 300 tokens.
    ['is the share of what was gained', cache(100, 100), cache(400, 175), 0.25],
    ['is 0 where nothing was hit', cache(100, 100), cache(400, 100), 0],
    ['has no traffic where nothing was looked up', cache(100, 50), cache(100, 50), 'no-traffic'],
    [
      'has no data where one of the two is not exposed',
      [counter('prefix_cache_queries', 1)],
      [counter('prefix_cache_queries', 2)],
      'no-data',
    ],
  ]
  for (const [claim, before, after, expected] of rows) {
    it(claim, () => {
      const found = measure(trafficSignals, [read(0, before), read(10_000, after)])
      assert.equal(found[name], expected)
    })
  }

  it('tells the share of drafted tokens that were accepted', () => {
    const drafts = (drafted: number, accepted: number) => [
      counter('spec_decode_draft_tokens', drafted),
      counter('spec_decode_accepted_tokens', accepted),
    ]
    const found = measure(trafficSignals, [read(0, drafts(0, 0)), read(10_000, drafts(50, 40))])
    assert.equal(found[`spec_decode_acceptance_ratio{${overOneMinute}}`], 0.8)
  })
})
