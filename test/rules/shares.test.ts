import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { HistogramId } from '../../src/instruments.ts'
import type { Attempt } from '../../src/reading.ts'
import { type PageOptions, type Step, scrapes, still } from '../fakes/engine-pages.ts'
import { counter, histogram, type MadeSeries, read } from '../fakes/readings.ts'
import { judge, ruleTable } from '../fakes/rules.ts'

const bounds = [1, 5, 10]
const subject = { target: 'vllm', model_name: 'm' }
const model = { model_name: 'm' }

/**
 * Scrapes 5 s apart of an engine that shows `steps`, with so many observations up to 1 s, up to 5 s, up to
 * 10 s and above, all of them made between the first two.
 */
function timed(
  id: HistogramId,
  counts: readonly number[],
  { steps, ...options }: PageOptions & { readonly steps: readonly Step[] },
): readonly Attempt[] {
  return beside(scrapes(steps, options), (index) => [
    histogram(id, { bounds, counts: index === 0 ? [0, 0, 0, 0] : counts, sum: 0 }, model),
  ])
}

/** The same attempts with more series on each page. */
function beside(
  attempts: readonly Attempt[],
  more: (index: number) => readonly MadeSeries[],
): readonly Attempt[] {
  return attempts.map((attempt, index) => {
    if (attempt.kind !== 'read') return attempt
    const { channels, values } = attempt.reading
    const made = read(attempt.atMs, more(index))
    if (made.kind !== 'read') throw new Error('expected a reading')
    const moved = made.reading.channels.map((one) => ({
      ...one,
      offset: one.offset + values.length,
    }))
    const reading = {
      ...attempt.reading,
      channels: [...channels, ...moved],
      values: Float64Array.from([...values, ...made.reading.values]),
      declared: new Set([
        ...(attempt.reading.declared ?? []),
        ...made.reading.channels.map(({ instrument }) => instrument),
      ]),
    }
    return { ...attempt, reading }
  })
}

/** Three begin to run at 10 s and stand there; the last reading is that of 25 s, or a later one. */
const threeInside: readonly Step[] = [{}, { tokens: 9 }, { running: 3 }, ...still(3)]
/** Three begin to wait at 10 s. */
const threeWaiting: readonly Step[] = [
  { running: 1 },
  { tokens: 9 },
  { waiting: 3, tokens: 10 },
  ...[11, 12, 13].map((tokens) => ({ tokens })),
]

ruleTable(
  'VllmLatencyP99High',
  [
    {
      fails: 'where requests that have not finished have been inside for longer',
      scene: { engine: timed('e2e_latency', [20, 0, 0, 0], { steps: threeInside }) },
      // Of 20 + 3 three took longer than 10 s so far, 13.04 %. With z² = 3.8415 the interval begins at
      // (0.13043 + 0.08351 − 1.96·√(0.0049314 + 0.0018154)) ÷ 1.16702 = 0.0454.
      summary:
        '13 % of 23 requests took longer than 10 s, 3 of them still inside, in the last 5 m (allowed 1 %)',
      evidence: {
        over_ratio: 3 / 23,
        over_ratio_low: 0.0454,
        observations: 23,
        threshold_seconds: 10,
        edge_seconds: 10,
        still_inside: 3,
      },
      subject,
    },
    {
      fails: 'where those that finished are too many by themselves, whoever is inside',
      scene: {
        engine: timed('e2e_latency', [10, 0, 0, 10], { steps: threeInside, http: false }),
      },
      // 10 + 3 of 20 + 3: 56.5 %. The interval begins at
      // (0.56522 + 0.08351 − 1.96·√(0.0106846 + 0.0018154)) ÷ 1.16702 = (0.64873 − 0.21913) ÷ 1.16702 = 0.368.
      summary:
        '57 % of 23 requests took longer than 10 s, 3 of them still inside, in the last 5 m (allowed 1 %)',
      evidence: {
        over_ratio: 13 / 23,
        over_ratio_low: 0.368,
        observations: 23,
        threshold_seconds: 10,
        edge_seconds: 10,
        still_inside: 3,
      },
      subject,
    },
    {
      fails: 'where nothing has finished at all',
      scene: { engine: scrapes(threeInside) },
      // Of three all; without a miss the interval begins at 3 ÷ (3 + 3.8415).
      summary:
        '100 % of 3 requests took longer than 10 s, 3 of them still inside, in the last 5 m (allowed 1 %)',
      evidence: {
        over_ratio: 1,
        over_ratio_low: 0.439,
        observations: 3,
        threshold_seconds: 10,
        edge_seconds: 10,
        still_inside: 3,
      },
      subject,
    },
  ],
  [
    [
      'for certain where clients may have gone unseen: it is suspected',
      { engine: timed('e2e_latency', [20, 0, 0, 0], { steps: threeInside, http: false }) },
      'suspected',
    ],
    [
      'for those who are inside for less than the threshold',
      { engine: timed('e2e_latency', [20, 0, 0, 0], { steps: threeInside.slice(0, 4) }) },
      'pass',
    ],
    [
      'once as many have left as were inside',
      {
        engine: timed('e2e_latency', [20, 0, 0, 0], {
          steps: [...threeInside, { running: 0, finished: 3, served: 3 }],
        }),
      },
      'pass',
    ],
    [
      'for one that is inside for long among many that finished',
      {
        engine: timed('e2e_latency', [200, 0, 0, 0], {
          steps: [{}, {}, { running: 1 }, ...still(3)],
        }),
      },
      'pass',
    ],
    [
      'for two of a hundred and more, which may be chance',
      {
        engine: timed('e2e_latency', [120, 0, 0, 0], {
          steps: [{}, {}, { running: 2 }, ...still(3)],
        }),
      },
      'unknown',
    ],
    [
      'where the threshold lies below every edge, for those at hand: they are few of all',
      {
        engine: timed('e2e_latency', [2_000, 0, 0, 0], { steps: threeInside }),
        thresholds: { e2eLatencyP99Seconds: 0.5 },
      },
      'unknown',
    ],
    [
      'where no latency is told, for those at hand: they are few of all that finished',
      { engine: scrapes([{}, { finished: 2_000 }, { running: 3 }, ...still(3)]) },
      'unknown',
    ],
  ],
)

ruleTable(
  'VllmTtftP99High',
  [
    {
      fails: 'where more than 1 % waited longer for their first token',
      scene: {
        engine: timed('ttft', [80, 10, 0, 10], { steps: [{}, {}] }),
        thresholds: { ttftP99Seconds: 10 },
      },
      // 10 of 100: (0.1 + 0.0192073 − 1.96·√(0.0009 + 0.000096036)) ÷ 1.038415 = 0.0552.
      summary:
        '10 % of 100 requests waited longer for their first token than 10 s in the last 5 m (allowed 1 %)',
      evidence: {
        over_ratio: 0.1,
        over_ratio_low: 0.0552,
        observations: 100,
        threshold_seconds: 10,
        edge_seconds: 10,
      },
      subject,
    },
    {
      fails: 'where requests in the queue wait longer than that already',
      scene: {
        engine: timed('ttft', [20, 0, 0, 0], { steps: threeWaiting }),
        thresholds: { ttftP99Seconds: 10 },
      },
      summary:
        '13 % of 23 requests waited longer for their first token than 10 s, 3 of them still inside, in the last 5 m (allowed 1 %)',
      evidence: {
        over_ratio: 3 / 23,
        over_ratio_low: 0.0454,
        observations: 23,
        threshold_seconds: 10,
        edge_seconds: 10,
        still_inside: 3,
      },
      subject,
    },
  ],
  [
    ['while it is switched off', { engine: timed('ttft', [0, 0, 0, 99], { steps: [{}, {}] }) }],
    [
      'for requests that run: their first token may have come',
      {
        engine: timed('ttft', [20, 0, 0, 0], { steps: threeInside }),
        thresholds: { ttftP99Seconds: 10 },
      },
      'pass',
    ],
  ],
)

ruleTable(
  'VllmQueueWaitHigh',
  [
    {
      fails: 'where one of very many still waits and has waited too long already',
      scene: {
        engine: timed('queue_time', [500, 0, 0, 0], {
          steps: [
            { running: 1 },
            { tokens: 1 },
            { waiting: 1, tokens: 2 },
            ...[3, 4].map((tokens) => ({ tokens })),
          ],
        }),
        thresholds: { queueTimeP95Seconds: 8 },
      },
      // It waits since 10 s, as of 20 s.
      summary: 'a request that still waits has waited at least 10 s (allowed 8 s)',
      evidence: { oldest_wait_seconds: 10, threshold_seconds: 8 },
      subject,
    },
    {
      fails: 'where a wait is certain, though a longer one in another engine is not',
      scene: {
        // The second engine was never seen to move: its gauges may be older than the watch.
        engine: scrapes([
          [{ running: 1 }, { waiting: 1, running: 1 }],
          [{ tokens: 1 }, {}],
          [{ waiting: 1, tokens: 2 }, {}],
          [{ tokens: 3 }, {}],
          [{ tokens: 4 }, {}],
        ]),
      },
      summary: 'a request that still waits has waited at least 10 s (allowed 5 s)',
      evidence: { oldest_wait_seconds: 10, threshold_seconds: 5 },
      subject,
    },
  ],
  [
    [
      'for certain where whoever waited may have gone unseen: it is suspected',
      {
        engine: timed('queue_time', [500, 0, 0, 0], {
          steps: [{ running: 1 }, { waiting: 1, tokens: 1 }, { tokens: 2 }, { tokens: 3 }],
          http: false,
        }),
      },
      'suspected',
    ],
    [
      'for a queue that moves on',
      {
        engine: timed('queue_time', [500, 0, 0, 0], {
          steps: [
            { running: 4, waiting: 3 },
            ...[3, 6, 9].map((finished) => ({ finished, served: finished })),
          ],
        }),
      },
      'pass',
    ],
    ['on old data', { engine: scrapes(threeWaiting), fresh: false }, 'unknown'],
  ],
)

/** A minute at whose end the fullest cache and the evictions of that time are these. */
function evicted(kv: number, preemptions: number): readonly Attempt[] {
  return scrapes([{ kv: 0.99 }, { kv }, { kv: 0.3, preempted: preemptions }], { everyMs: 30_000 })
}

ruleTable(
  'VllmKvCachePressure',
  [
    {
      fails: 'where running requests are evicted from a full cache',
      scene: { engine: evicted(0.97, 6) },
      // Six in 60 s. It was full at 30 s, and what was seen at 0 s is before the minute.
      summary: '6 running requests were evicted in the last 1 m, the KV cache is up to 97 % full',
      evidence: { kv_cache_usage_ratio: 0.97, preemptions: 6, preemptions_per_second: 0.1 },
      subject,
    },
  ],
  [
    [
      'for a full cache from which nobody is evicted: that is good batching',
      { engine: evicted(1, 0) },
      'pass',
    ],
    ['for a cache that is exactly 95 % full', { engine: evicted(0.95, 6) }, 'pass'],
    ['on old data', { engine: evicted(0.97, 6), fresh: false }, 'unknown'],
    ['after one scrape', { engine: evicted(0.97, 6).slice(0, 1) }, 'unknown'],
    [
      'where evictions are not counted',
      { engine: [0, 60_000].map((atMs) => read(atMs, [counter('generation_tokens', 1)])) },
      'unknown',
    ],
  ],
)

describe('a share that is above what is allowed and may be chance', () => {
  const summary = (...counts: readonly number[]) => {
    const [finding] = judge('VllmLatencyP99High', {
      engine: timed('e2e_latency', counts, { steps: [{}, {}] }),
    })
    assert.ok(finding?.outcome === 'unknown')
    return finding.summary
  }

  it('is not decided, and is told with the interval that it is known to', () => {
    // 1 of 20: (0.05 + 0.0960365 ∓ 1.96·√(0.002375 + 0.0024009)) ÷ 1.192073 = 0.00888 and 0.23613.
    assert.equal(
      summary(19, 0, 0, 1),
      '5 % of 20 requests took longer than 10 s in the last 5 m: too few to be sure, it may be 0.9 % to 24 % (allowed 1 %)',
    )
  })

  it('is not told where there is nothing to tell', () => {
    assert.equal(summary(0, 0, 0, 0), undefined)
  })
})
