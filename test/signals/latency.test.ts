import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Attempt } from '../../src/reading.ts'
import { formatEdge, latencySignals } from '../../src/signals/latency.ts'
import { thresholdNotes } from '../../src/signals/thresholds.ts'
import { gauge, histogram, missed, read } from '../fakes/readings.ts'
import { familyNames, measure, only, remembered, signalSettings } from '../fakes/signals.ts'

const bounds = [1, 2, 5, 10]
const untouched = { bounds, counts: [0, 0, 0, 0, 0], sum: 0 }

// 60 up to 1 s, 30 up to 2 s, 6 up to 5 s, 3 up to 10 s and 1 above: 100 requests in 126 seconds.
const hundred = { bounds, counts: [60, 30, 6, 3, 1], sum: 126 }

const aMinute: readonly Attempt[] = [
  read(0, [histogram('e2e_latency', untouched)]),
  read(60_000, [histogram('e2e_latency', hundred)]),
]

const llama = 'model_name="llama",target="vllm"'
const overOneMinute = `${llama},window="1m"`

describe('a latency signal', () => {
  it('gives the bucket of the observation of rank ⌈q·n⌉ as the bounds of a quantile', () => {
    const quantiles = [0.5, 0.95, 0.99]
    const found = measure(latencySignals, aMinute, { settings: { quantiles } })
    // Ranks 50, 95 and 99; the buckets end at ranks 60, 90, 96 and 99.
    const expected: readonly [string, number, number][] = [
      ['0.5', 0, 1],
      ['0.95', 2, 5],
      ['0.99', 5, 10],
    ]
    for (const [q, lower, upper] of expected) {
      const labels = `{model_name="llama",quantile="${q}",target="vllm",window="1m"}`
      assert.equal(found[`e2e_latency_lower_bound_seconds${labels}`], lower)
      assert.equal(found[`e2e_latency_upper_bound_seconds${labels}`], upper)
      const estimate = Number(found[`e2e_latency_seconds${labels}`])
      assert.ok(estimate >= lower && estimate <= upper, `${q}: ${estimate}`)
    }
  })

  it('says of a quantile in the last bucket that it is at least the last edge', () => {
    const target = remembered(aMinute)
    // Rank 100 of 100 is the one request above 10 s.
    const settings = { ...signalSettings, quantiles: [1] }
    const found = latencySignals.flatMap((one) => one.measure({ target, settings, fresh: true }))
    const of = (name: string) =>
      found.find(({ family, suffix }) => family.name === name && suffix === '')?.measurement
    const seen = of('e2e_latency_seconds')
    assert.deepEqual(seen, { kind: 'value', value: 10, count: 100, atLeast: true })
    const upper = of('e2e_latency_upper_bound_seconds')
    assert.equal(upper?.kind === 'value' && upper.value, Number.POSITIVE_INFINITY)
  })

  it('counts what came since the watch began, and nothing from before it', () => {
    const before = { bounds, counts: [1_000, 0, 0, 0, 0], sum: 500 }
    // 1,000 + 60 up to 1 s, then as above; 500 + 126 seconds.
    const after = { bounds, counts: [1_060, 30, 6, 3, 1], sum: 626 }
    const found = measure(latencySignals, [
      read(0, [histogram('e2e_latency', before)]),
      read(60_000, [histogram('e2e_latency', after)]),
    ])
    assert.equal(found[`e2e_latency_seconds_sum{${llama}}`], 126)
    assert.equal(found[`e2e_latency_seconds_count{${llama}}`], 100)
    assert.equal(found[`e2e_latency_window_observations{${overOneMinute}}`], 100)
  })

  it('publishes the merged histogram with cumulative buckets up to +Inf', () => {
    const found = measure(latencySignals, aMinute)
    const bucket = (le: string) =>
      `e2e_latency_merged_seconds_bucket{le="${le}",model_name="llama",target="vllm"}`
    const merged = only(
      found,
      'e2e_latency_merged_seconds_bucket',
      'e2e_latency_merged_seconds_sum',
      'e2e_latency_merged_seconds_count',
    )
    assert.deepEqual(merged, {
      [bucket('1.0')]: 60,
      [bucket('2.0')]: 90,
      [bucket('5.0')]: 96,
      [bucket('10.0')]: 99,
      [bucket('+Inf')]: 100,
      [`e2e_latency_merged_seconds_sum{${llama}}`]: 126,
      [`e2e_latency_merged_seconds_count{${llama}}`]: 100,
    })
  })

  it('adds the increments of all engines, also of one that began again at zero', () => {
    const both = (first: number, second: number) =>
      [first, second].map((held, rank) =>
        histogram(
          'e2e_latency',
          { bounds: [1], counts: [held, 0], sum: held / 2 },
          {},
          { engine: String(rank) },
        ),
      )
    const found = measure(latencySignals, [
      read(0, both(100, 200)),
      read(30_000, both(110, 220)),
      read(60_000, both(115, 7)),
    ])
    // 10 + 5 of the first engine; 20 of the second, then 7 of its new life: 42, each of half a second.
    assert.equal(found[`e2e_latency_seconds_count{${llama}}`], 42)
    assert.equal(found[`e2e_latency_seconds_sum{${llama}}`], 21)
  })

  it('keeps models apart', () => {
    const of = (model: string, held: number) =>
      histogram('ttft', { bounds: [1], counts: [held, 0], sum: held }, { model_name: model })
    const found = measure(latencySignals, [
      read(0, [of('a', 5), of('b', 5)]),
      read(60_000, [of('a', 8), of('b', 6)]),
    ])
    assert.equal(found['ttft_seconds_count{model_name="a",target="vllm"}'], 3)
    assert.equal(found['ttft_seconds_count{model_name="b",target="vllm"}'], 1)
  })

  it('begins the merged histogram anew when the edges change', () => {
    const found = measure(latencySignals, [
      ...aMinute,
      read(70_000, [histogram('e2e_latency', { bounds: [3], counts: [4, 0], sum: 8 })]),
    ])
    assert.deepEqual(only(found, 'e2e_latency_merged_seconds_bucket'), {
      'e2e_latency_merged_seconds_bucket{le="3.0",model_name="llama",target="vllm"}': 4,
      'e2e_latency_merged_seconds_bucket{le="+Inf",model_name="llama",target="vllm"}': 4,
    })
  })
})

describe('the absence of a latency', () => {
  const sample = (q: string) =>
    `e2e_latency_seconds{model_name="llama",quantile="${q}",target="vllm",window="1m"}`
  const observed = `e2e_latency_window_observations{${overOneMinute}}`

  it('has no traffic for its reason where no request ended, and observations are 0', () => {
    const idle = [read(0, [histogram('e2e_latency', hundred)])]
    const found = measure(latencySignals, [
      ...idle,
      read(60_000, [histogram('e2e_latency', hundred)]),
    ])
    assert.equal(found[sample('0.5')], 'no-traffic')
    assert.equal(found[observed], 0)
    assert.equal(found[`e2e_latency_seconds_count{${llama}}`], 0)
    const over = `e2e_latency_over_threshold_ratio{model_name="llama",target="vllm",threshold="10",window="1m"}`
    assert.equal(found[over], 'no-traffic')
    assert.deepEqual(only(found, 'e2e_latency_lower_bound_seconds'), {})
  })

  it('has no data for its reason before there is an increment, and totals are 0', () => {
    const found = measure(latencySignals, aMinute.slice(0, 1))
    assert.equal(found[sample('0.5')], 'no-data')
    assert.equal(found[observed], 'no-data')
    assert.equal(found[`e2e_latency_seconds_sum{${llama}}`], 0)
  })

  it('is stale when the last good reading is too old, while totals stay', () => {
    const found = measure(latencySignals, [...aMinute, missed(90_000, 'refused')], { fresh: false })
    assert.equal(found[sample('0.99')], 'stale')
    assert.equal(found[observed], 'stale')
    assert.equal(found[`e2e_latency_seconds_count{${llama}}`], 100)
    assert.equal(Object.keys(only(found, 'e2e_latency_merged_seconds_bucket')).length, 5)
  })

  it('tells of a histogram that the version does not expose', () => {
    const found = measure(latencySignals, aMinute)
    assert.deepEqual(only(found, 'tpot_seconds', 'tpot_seconds_count'), {
      [`tpot_seconds{${llama}}`]: 'no-data',
    })
  })

  describe('of a histogram that is declared and has no series yet', () => {
    // A gauge alone is enough for the model to be known.
    const page = [gauge('requests_running', 0)]
    const rest = { declared: ['e2e_latency'] } as const
    const found = measure(latencySignals, [read(0, page, rest), read(60_000, page, rest)])

    it('has no traffic for its reason, while observations and totals are 0', () => {
      assert.deepEqual(only(found, 'e2e_latency_seconds', 'e2e_latency_over_threshold_ratio'), {
        [sample('0.5')]: 'no-traffic',
        [sample('0.99')]: 'no-traffic',
        [`e2e_latency_over_threshold_ratio{model_name="llama",target="vllm",threshold="10",window="1m"}`]:
          'no-traffic',
      })
      assert.equal(found[observed], 0)
      assert.equal(found[`e2e_latency_seconds_sum{${llama}}`], 0)
      assert.equal(found[`e2e_latency_seconds_count{${llama}}`], 0)
    })

    it('has no buckets, whose edges are not known yet, and no data where it is not declared', () => {
      const merged = ['_bucket', '_sum', '_count'].map(
        (part) => `e2e_latency_merged_seconds${part}`,
      )
      assert.deepEqual(only(found, ...merged), {})
      assert.deepEqual(only(found, 'ttft_seconds', 'ttft_window_observations'), {
        [`ttft_seconds{${llama}}`]: 'no-data',
      })
    })

    it('has no data before there is an increment, and is not taken for nothing on a torn page', () => {
      const first = measure(latencySignals, [read(0, page, rest)])
      assert.deepEqual([first[sample('0.5')], first[observed]], ['no-data', 'no-data'])
      const torn = { ...rest, malformedLines: 1 }
      const attempts = [read(0, page, rest), read(60_000, page, torn)]
      assert.equal(measure(latencySignals, attempts)[`e2e_latency_seconds{${llama}}`], 'no-data')
    })
  })

  it('is silence for a target that was never read', () => {
    assert.deepEqual(measure(latencySignals, [missed(0, 'refused')]), {})
  })
})

describe('the share over a threshold', () => {
  const rows: readonly [string, number, number | string][] = [
    // One of 100 took longer than 10 s, 1 + 3 longer than 5 s, 40 longer than 1 s.
    ['is exact where the threshold is an edge', 10, 0.01],
    ['is exact at an inner edge', 5, 0.04],
    ['is exact at the first edge', 1, 0.4],
    ['uses the edge below a threshold between edges', 7.5, 0.04],
    ['is absent below the first edge', 0.5, 'no-data'],
    ['is absent above the last finite edge', 10.5, 'no-data'],
  ]
  for (const [claim, threshold, share] of rows) {
    it(`${claim}: ${threshold} s`, () => {
      const settings = { e2eLatencyThresholdSeconds: threshold }
      const found = measure(latencySignals, aMinute, { settings })
      assert.deepEqual(only(found, 'e2e_latency_over_threshold_ratio'), {
        [`e2e_latency_over_threshold_ratio{model_name="llama",target="vllm",threshold="${threshold}",window="1m"}`]:
          share,
      })
    })

    it(`${claim}, and so it is counted since the watch began: ${threshold} s`, () => {
      const found = measure(latencySignals, aMinute, {
        settings: { e2eLatencyThresholdSeconds: threshold },
      })
      const name = 'e2e_latency_over_threshold_requests_total'
      const sample = `${name}{model_name="llama",target="vllm",threshold="${threshold}"}`
      // Of 100 requests, as many as the share has hundredths.
      const count = typeof share === 'number' ? { [sample]: 100 * share } : {}
      assert.deepEqual(only(found, name), count)
    })
  }

  it('is counted from 0 on at the first scrape', () => {
    const found = measure(latencySignals, aMinute.slice(0, 1), {
      settings: { e2eLatencyThresholdSeconds: 5 },
    })
    assert.deepEqual(Object.values(only(found, 'e2e_latency_over_threshold_requests_total')), [0])
  })

  it('is there for the time to first token only where its threshold is set', () => {
    const attempts = [
      read(0, [histogram('ttft', untouched)]),
      read(60_000, [histogram('ttft', hundred)]),
    ]
    const name = 'ttft_over_threshold_ratio'
    assert.deepEqual(only(measure(latencySignals, attempts), name), {})
    const set = measure(latencySignals, attempts, { settings: { ttftThresholdSeconds: 2 } })
    // 6 + 3 + 1 of 100 took longer than 2 s.
    assert.deepEqual(only(set, name), {
      [`${name}{model_name="llama",target="vllm",threshold="2",window="1m"}`]: 0.1,
    })
  })
})

describe('the families of the latencies', () => {
  it('are those of the contract: bounds for three, merged for four, thresholds for three', () => {
    const stems = [
      'e2e_latency',
      'ttft',
      'itl',
      'tpot',
      'queue_time',
      'prefill_time',
      'decode_time',
    ] as const
    const all = (held: typeof hundred) => stems.map((id) => histogram(id, held))
    const target = remembered([read(0, all(untouched)), read(60_000, all(hundred))])
    const settings = { ...signalSettings, ttftThresholdSeconds: 2 }
    const found = latencySignals.flatMap((one) => one.measure({ target, settings, fresh: true }))
    const expected = [
      ...stems.flatMap((stem) => [`${stem}_seconds`, `${stem}_window_observations`]),
      ...['e2e_latency', 'ttft', 'queue_time'].flatMap((stem) => [
        `${stem}_lower_bound_seconds`,
        `${stem}_upper_bound_seconds`,
        `${stem}_over_threshold_ratio`,
      ]),
      ...['e2e_latency', 'ttft', 'itl', 'queue_time'].map((stem) => `${stem}_merged_seconds`),
      'e2e_latency_over_threshold_requests_total',
    ]
    assert.deepEqual(familyNames(found), expected.sort())
    // The API has the bounds of all seven.
    const bounded = found.filter(({ family }) => family.name.endsWith('_bound_seconds'))
    assert.equal(new Set(bounded.map(({ family }) => family.name)).size, 14)
  })
})

describe('a note about a threshold', () => {
  const rows: readonly [string, number, readonly string[]][] = [
    ['is not made where it is an edge', 10, []],
    [
      'names the edge used in its place',
      7.5,
      ['thresholds.e2e_latency_p99: 7.5 s is no bucket edge; the edge below it, 5 s, is used.'],
    ],
    [
      'says that one above the last edge cannot be counted',
      12,
      [
        'thresholds.e2e_latency_p99: 12 s lies outside the bucket edges (1 s to 10 s), so the share above it cannot be known.',
      ],
    ],
    [
      'says that one below the first edge cannot be counted',
      0.5,
      [
        'thresholds.e2e_latency_p99: 0.5 s lies outside the bucket edges (1 s to 10 s), so the share above it cannot be known.',
      ],
    ],
  ]
  for (const [claim, threshold, notes] of rows) {
    it(claim, () => {
      const settings = { ...signalSettings, e2eLatencyThresholdSeconds: threshold }
      // One scrape is enough: the edges are on the first page.
      assert.deepEqual(thresholdNotes(remembered(aMinute.slice(0, 1)), settings), notes)
    })
  }

  it('is not made of a target that was never read', () => {
    assert.deepEqual(thresholdNotes(remembered([missed(0, 'timeout')]), signalSettings), [])
  })
})

describe('the text of an edge', () => {
  const rows: readonly [number, string][] = [
    [10, '10.0'],
    [0.3, '0.3'],
    [7680, '7680.0'],
    [0.001, '0.001'],
    [Number.POSITIVE_INFINITY, '+Inf'],
  ]
  for (const [edge, text] of rows) {
    it(`of ${edge} is ${text}`, () => assert.equal(formatEdge(edge), text))
  }
})
