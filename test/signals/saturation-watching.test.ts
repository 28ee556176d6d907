import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { saturationSignals } from '../../src/signals/saturation.ts'
import { probingSignals, watchingSignals } from '../../src/signals/watching.ts'
import { type Step, scrapes, still } from '../fakes/engine-pages.ts'
import { counter, gauge, type MadeSeries, missed, read, wallAtZeroMs } from '../fakes/readings.ts'
import {
  familyNames,
  measure,
  only,
  remembered,
  signalSettings,
  written,
} from '../fakes/signals.ts'

const llama = 'model_name="llama",target="vllm"'
const overOneMinute = `${llama},window="1m"`

function load(running: number, waiting: number, kv: number): readonly MadeSeries[] {
  return [
    gauge('requests_running', running),
    gauge('requests_waiting', waiting),
    gauge('kv_cache_usage', kv),
  ]
}

describe('a gauge of the instant', () => {
  it('is what the last reading had', () => {
    const found = measure(saturationSignals, [
      read(0, load(9, 9, 0.9)),
      read(5_000, load(4, 2, 0.5)),
    ])
    assert.equal(found[`requests_running{${llama}}`], 4)
    assert.equal(found[`requests_waiting{${llama}}`], 2)
    assert.equal(found[`kv_cache_usage_ratio{${llama}}`], 0.5)
  })

  it('is there after one scrape, and 0 is a value', () => {
    const found = measure(saturationSignals, [read(0, load(0, 0, 0))])
    assert.equal(found[`requests_running{${llama}}`], 0)
    assert.equal(found[`kv_cache_usage_ratio{${llama}}`], 0)
  })

  it('adds requests over engines and takes the fullest cache', () => {
    const ranks = [0, 1].flatMap((rank) => [
      gauge('requests_running', 3 + rank, {}, { engine: String(rank) }),
      gauge('kv_cache_usage', 0.2 + 0.7 * rank, {}, { engine: String(rank) }),
    ])
    const found = measure(saturationSignals, [read(0, ranks)])
    // 3 + 4 requests; 0.2 and 0.9 of the caches.
    assert.equal(found[`requests_running{${llama}}`], 7)
    assert.equal(found[`kv_cache_usage_ratio{${llama}}`], 0.2 + 0.7)
  })

  it('vanishes with one failed scrape, though the windows still speak for now', () => {
    const found = measure(saturationSignals, [
      read(0, load(1, 0, 0.1)),
      read(5_000, load(4, 2, 0.5)),
      missed(10_000, 'timeout'),
    ])
    assert.equal(found[`requests_running{${llama}}`], 'stale')
    assert.equal(found[`requests_waiting_max{${overOneMinute}}`], 2)
  })

  it('has no data where the version does not expose it', () => {
    const found = measure(saturationSignals, [read(0, [gauge('requests_running', 1)])])
    assert.equal(found[`kv_cache_usage_ratio{${llama}}`], 'no-data')
  })
})

describe('the highest value over a window', () => {
  it('keeps a peak between two looks of whoever reads it', () => {
    const found = measure(saturationSignals, [
      read(0, load(0, 0, 0)),
      read(10_000, load(0, 17, 0.97)),
      read(20_000, load(0, 1, 0.3)),
    ])
    assert.equal(found[`requests_waiting_max{${overOneMinute}}`], 17)
    assert.equal(found[`kv_cache_usage_ratio_max{${overOneMinute}}`], 0.97)
  })

  it('forgets a peak that the window no longer reaches', () => {
    const found = measure(saturationSignals, [
      read(0, load(0, 50, 0.9)),
      read(60_000, load(0, 3, 0.2)),
      read(120_000, load(0, 1, 0.1)),
    ])
    // The last minute begins with the reading of 60 s, which lies before it.
    assert.equal(found[`requests_waiting_max{${overOneMinute}}`], 1)
  })

  it('is absent after a single scrape and when the last good reading is too old', () => {
    const attempts = [read(0, load(0, 5, 0)), read(10_000, load(0, 6, 0))]
    const name = `requests_waiting_max{${overOneMinute}}`
    assert.equal(measure(saturationSignals, attempts.slice(0, 1))[name], 'no-data')
    assert.equal(measure(saturationSignals, attempts, { fresh: false })[name], 'stale')
  })
})

describe('the oldest wait', () => {
  const name = `oldest_wait_lower_bound_seconds{${llama}}`
  const options = { models: ['llama', 'llama'] }
  const waits = (steps: readonly Step[], http = true) =>
    measure(saturationSignals, scrapes(steps, { ...options, http }))[name]
  /** An engine that is seen to work at 5 s. */
  const begins = [{ running: 1 }, { tokens: 1 }]

  it('is how long somebody has waited at least who still waits', () => {
    // Both joined the queue by 10 s and nobody was scheduled by 25 s.
    assert.equal(waits([...begins, { waiting: 2, tokens: 9 }, ...still(3)]), 15)
  })

  it('is 0 where nobody is known to wait still', () => {
    assert.equal(waits([...begins, {}]), 0)
    // Two of the two were scheduled since.
    assert.equal(waits([...begins, { waiting: 2 }, { waiting: 0, running: 3 }]), 0)
  })

  it('is the longest of the engines', () => {
    const steps = [
      [{ running: 1 }, { running: 1 }],
      [{ tokens: 1 }, { tokens: 1 }],
      [{}, { waiting: 1 }],
      [{ waiting: 1 }, { tokens: 5 }],
      [{}, { tokens: 9 }],
    ]
    // Since 15 s in one engine, since 10 s in the other.
    assert.equal(waits(steps), 10)
  })

  it('is not told where whoever waited may have gone unseen', () => {
    assert.equal(waits([...begins, { waiting: 2, tokens: 9 }, ...still(3)], false), 'no-data')
  })

  it('is a certain one, though a longer one of another engine is not', () => {
    const steps = [
      // The second engine was never seen to move: its gauges may be older than the watch.
      [{ running: 1 }, { running: 1, waiting: 5 }],
      [{ tokens: 1 }, {}],
      [{ waiting: 1 }, {}],
      [{}, {}],
    ]
    assert.equal(waits(steps), 5)
  })

  it('is of each model by itself', () => {
    const [first, second] = begins.map((one) => [one, one])
    const attempts = scrapes([first ?? [], second ?? [], [{ waiting: 1 }, {}], [{}, {}]], {
      models: ['llama', 'other'],
    })
    const found = only(measure(saturationSignals, attempts), 'oldest_wait_lower_bound_seconds')
    assert.deepEqual(Object.values(found), [5, 0])
  })

  it('vanishes with one failed scrape, and comes back with what was true all along', () => {
    const steps = [...begins, { waiting: 2 }, 'missed'] as const
    assert.equal(waits(steps), 'stale')
    assert.equal(waits([...steps, {}]), 10)
  })

  it('has no data where no engine tells its queue', () => {
    const page = [gauge('kv_cache_usage', 0.1)]
    assert.equal(measure(saturationSignals, [read(0, page)])[name], 'no-data')
  })
})

describe('preemptions', () => {
  it('are a rate over the time covered', () => {
    const page = (count: number) => [...load(1, 0, 0.9), counter('preemptions', count)]
    const found = measure(saturationSignals, [read(0, page(3)), read(20_000, page(8))])
    assert.equal(found[`preemptions_per_second{${overOneMinute}}`], 0.25)
  })
})

describe('the families of saturation', () => {
  it('are those of the contract', () => {
    const target = remembered([read(0, load(0, 0, 0)), read(5_000, load(0, 0, 0))])
    const context = { target, settings: signalSettings, fresh: true }
    assert.deepEqual(familyNames(saturationSignals.flatMap((one) => one.measure(context))), [
      'kv_cache_usage_ratio',
      'kv_cache_usage_ratio_max',
      'oldest_wait_lower_bound_seconds',
      'preemptions_per_second',
      'requests_running',
      'requests_waiting',
      'requests_waiting_max',
    ])
  })
})

describe('the watching', () => {
  const page = [counter('generation_tokens', 10)]

  it('says nothing but its counters before the first attempt', () => {
    assert.deepEqual(measure(watchingSignals, []), {
      'resets_total{target="vllm"}': 0,
      'malformed_lines_total{target="vllm"}': 0,
    })
  })

  it('tells when and how the last collection went', () => {
    const found = measure(watchingSignals, [read(5_000, page)])
    assert.deepEqual(
      only(found, 'up', 'collect_duration_seconds', 'last_success_timestamp_seconds'),
      {
        'up{target="vllm"}': 1,
        // Made attempts take 20 ms.
        'collect_duration_seconds{target="vllm"}': 0.02,
        'last_success_timestamp_seconds{target="vllm"}': wallAtZeroMs / 1_000 + 5,
      },
    )
  })

  it('keeps the time of the last success through failures', () => {
    const found = measure(watchingSignals, [read(5_000, page), missed(10_000, 'refused')])
    assert.equal(found['up{target="vllm"}'], 0)
    assert.equal(found['last_success_timestamp_seconds{target="vllm"}'], wallAtZeroMs / 1_000 + 5)
  })

  it('never names a time of success that was not', () => {
    const found = measure(watchingSignals, [missed(0, 'refused')])
    assert.equal('last_success_timestamp_seconds{target="vllm"}' in found, false)
    assert.equal(found['up{target="vllm"}'], 0)
  })

  it('counts failures by code', () => {
    const found = measure(watchingSignals, [
      missed(0, 'refused'),
      missed(5_000, 'timeout'),
      read(10_000, page),
      missed(15_000, 'timeout'),
    ])
    assert.deepEqual(only(found, 'collect_failures_total'), {
      'collect_failures_total{code="refused",target="vllm"}': 1,
      'collect_failures_total{code="timeout",target="vllm"}': 2,
    })
  })

  it('counts resets, malformed lines and limits hit', () => {
    const found = measure(watchingSignals, [
      read(0, page, { malformedLines: 2, limitHits: { samples: 3 } }),
      read(5_000, [counter('generation_tokens', 4)], {
        malformedLines: 1,
        limitHits: { labels: 1 },
      }),
      read(10_000, [counter('generation_tokens', 9)], { limitHits: { samples: 4 } }),
    ])
    assert.equal(found['resets_total{target="vllm"}'], 1)
    assert.equal(found['malformed_lines_total{target="vllm"}'], 3)
    assert.deepEqual(only(found, 'limit_hits_total'), {
      'limit_hits_total{limit="samples",target="vllm"}': 7,
      'limit_hits_total{limit="labels",target="vllm"}': 1,
    })
  })
})

describe('the counts of probes', () => {
  const counted = (probing: boolean) => {
    const target = remembered([read(0, [])])
    const times = { target: 'vllm', startMs: 0, atMs: 5, tookMs: 5 }
    target.recordProbe({ ...times, kind: 'unanswered', code: 'timeout' })
    target.recordProbe({ ...times, kind: 'unanswered', code: 'reset' })
    const context = { target, settings: { ...signalSettings, probing }, fresh: true }
    return written(probingSignals.flatMap((signal) => signal.measure(context)))
  }

  it('are there for each outcome where engines may be probed', () => {
    assert.deepEqual(counted(true), {
      'probes_total{outcome="answered",target="vllm"}': 0,
      'probes_total{outcome="failed",target="vllm"}': 0,
      'probes_total{outcome="unanswered",target="vllm"}': 2,
      'probes_total{outcome="inconclusive",target="vllm"}': 0,
    })
  })

  it('are not published where they may not', () => {
    assert.deepEqual(counted(false), {})
  })
})
