import type { Attempt } from '../../src/reading.ts'
import { counter, gauge, histogram, type MadeReading, missed, read } from '../fakes/readings.ts'
import { ruleTable } from '../fakes/rules.ts'

const llama = { target: 'vllm', model_name: 'llama' }
const bounds = [5, 10]

/** Requests of five minutes: up to 5 s, up to 10 s, and above. */
function requests(id: 'e2e_latency' | 'queue_time', ...counts: readonly number[]) {
  const at = (atMs: number, held: readonly number[]) =>
    read(atMs, [histogram(id, { bounds, counts: held, sum: 0 })])
  return [at(0, [0, 0, 0]), at(300_000, counts)]
}

ruleTable(
  'VllmLatencyP99High',
  [
    {
      fails: 'where more than 1 % took longer than the threshold',
      scene: { engine: requests('e2e_latency', 80, 17, 3) },
      // 3 of 100: the interval of Wilson begins at (0.03 + z²/200 − z·√(0.03·0.97/100 + z²/40000)) / (1 + z²/100)
      // = (0.03 + 0.0192 − 1.96·√(0.000291 + 0.000096)) / 1.0384 = 0.0103, above 0.01.
      summary: '3 % of 100 requests took longer than 10 s in the last 5 m (allowed 1 %)',
      evidence: {
        over_ratio: 0.03,
        over_ratio_low: 0.0103,
        observations: 100,
        threshold_seconds: 10,
        edge_seconds: 10,
      },
      subject: llama,
    },
    {
      fails: 'at the edge below a threshold between edges, and names that edge',
      scene: {
        engine: requests('e2e_latency', 80, 17, 3),
        thresholds: { e2eLatencyP99Seconds: 8 },
      },
      // 17 + 3 of 100 took longer than 5 s.
      summary: '20 % of 100 requests took longer than 5 s in the last 5 m (allowed 1 %)',
      evidence: {
        over_ratio: 0.2,
        over_ratio_low: 0.133,
        observations: 100,
        threshold_seconds: 8,
        edge_seconds: 5,
      },
      subject: llama,
    },
    {
      fails: 'with twenty requests of which two were slow: 2.8 % at least',
      scene: { engine: requests('e2e_latency', 18, 0, 2) },
      summary: '10 % of 20 requests took longer than 10 s in the last 5 m (allowed 1 %)',
      evidence: {
        over_ratio: 0.1,
        over_ratio_low: 0.0279,
        observations: 20,
        threshold_seconds: 10,
        edge_seconds: 10,
      },
      subject: llama,
    },
  ],
  [
    ['at exactly 1 %', { engine: requests('e2e_latency', 90, 9, 1) }, 'pass'],
    ['when nothing is slow', { engine: requests('e2e_latency', 100, 0, 0) }, 'pass'],
    // One of twenty may be 0.9 %, two of a hundred 0.55 %.
    ['for one slow request of twenty', { engine: requests('e2e_latency', 19, 0, 1) }, 'unknown'],
    ['for two of a hundred', { engine: requests('e2e_latency', 98, 0, 2) }, 'unknown'],
    ['while idle', { engine: requests('e2e_latency', 0, 0, 0) }, 'unknown'],
    ['after one scrape', { engine: requests('e2e_latency', 0, 0, 9).slice(0, 1) }, 'unknown'],
    ['on old data', { engine: requests('e2e_latency', 0, 0, 99), fresh: false }, 'unknown'],
    [
      'where the threshold lies above the last edge',
      { engine: requests('e2e_latency', 0, 0, 99), thresholds: { e2eLatencyP99Seconds: 20 } },
      'unknown',
    ],
    ['where the histogram is not exposed', { engine: requests('queue_time', 0, 0, 99) }, 'unknown'],
    ['of a target that loads and has no model yet', { engine: [missed(0, 'refused')] }],
  ],
)

ruleTable(
  'VllmQueueWaitHigh',
  [
    {
      fails: 'where more than 5 % waited longer than the threshold',
      scene: { engine: requests('queue_time', 88, 8, 4) },
      // 8 + 4 of 100 waited longer than 5 s: 7 % at least.
      summary: '12 % of 100 requests waited longer than 5 s in the last 5 m (allowed 5 %)',
      evidence: {
        over_ratio: 0.12,
        over_ratio_low: 0.07,
        observations: 100,
        threshold_seconds: 5,
        edge_seconds: 5,
      },
      subject: llama,
    },
  ],
  [
    ['at exactly 5 %', { engine: requests('queue_time', 95, 5, 0) }, 'pass'],
    // 2.8 % at least is no 5 %.
    ['for six of a hundred', { engine: requests('queue_time', 94, 6, 0) }, 'unknown'],
    ['while idle', { engine: requests('queue_time', 0, 0, 0) }, 'unknown'],
  ],
)

/** Answers and finished requests of five minutes, by their names. */
function outcomes(
  of: Readonly<Record<string, number>>,
  rest: MadeReading = {},
): readonly Attempt[] {
  const page = (share: number) =>
    Object.entries(of).map(([name, count]) =>
      name.endsWith('xx')
        ? counter('http_answers', count * share, { status: name })
        : counter('requests_finished', count * share, { reason: name }),
    )
  return [read(0, page(0), rest), read(300_000, page(1), rest)]
}

/** Bad requests are among the 5xx, so that only the engine's word is certain. */
const uncertain = { capabilities: ['engine', 'engine-errors', 'http'] }

ruleTable(
  'VllmErrorRatioHigh',
  [
    {
      fails: 'where more than the threshold failed for certain',
      scene: { engine: outcomes({ '2xx': 95, '5xx': 5, stop: 98, error: 2 }) },
      // The larger of 5 and 2 of 95 + 5; at most their sum.
      summary: '5 % of 100 requests failed in the last 5 m (allowed 1 %)',
      evidence: {
        error_ratio: 0.05,
        error_ratio_low: 0.0215,
        failed: 5,
        failed_at_most: 7,
        requests: 100,
      },
      subject: { target: 'vllm' },
    },
    {
      fails: 'for failures within streams that were answered with 200',
      scene: { engine: outcomes({ '2xx': 200, stop: 190, error: 10 }, uncertain) },
      summary: '5 % of 200 requests failed in the last 5 m (allowed 1 %)',
      evidence: {
        error_ratio: 0.05,
        error_ratio_low: 0.0274,
        failed: 10,
        failed_at_most: 10,
        requests: 200,
      },
      subject: { target: 'vllm' },
    },
  ],
  [
    ['at exactly the threshold', { engine: outcomes({ '2xx': 99, '5xx': 1 }) }, 'pass'],
    ['for 4xx', { engine: outcomes({ '2xx': 50, '4xx': 950, '5xx': 0 }) }, 'pass'],
    [
      'for bad requests that are counted as 5xx',
      { engine: outcomes({ '2xx': 50, '5xx': 50, stop: 50, error: 0 }, uncertain) },
      'pass',
    ],
    ['for one failure in twenty', { engine: outcomes({ '2xx': 19, '5xx': 1 }) }, 'unknown'],
    ['while idle', { engine: outcomes({ '2xx': 0, '5xx': 0 }) }, 'unknown'],
    [
      'where nothing tells failures',
      { engine: outcomes({ stop: 99 }, { capabilities: ['engine'] }) },
      'unknown',
    ],
    ['on old data', { engine: outcomes({ '2xx': 0, '5xx': 99 }), fresh: false }, 'unknown'],
    ['of a target never read', { engine: [missed(0, 'refused')] }, 'unknown'],
  ],
)

/** A minute in which so many tokens were made, and what is pending at its end. */
function generated(tokens: number, running: number, waiting: number): readonly Attempt[] {
  const page = (made: number) => [
    counter('generation_tokens', made),
    gauge('requests_running', running),
    gauge('requests_waiting', waiting),
  ]
  return [read(0, page(0)), read(60_000, page(tokens))]
}

ruleTable(
  'VllmThroughputLow',
  [
    {
      fails: 'below the floor while work is pending',
      scene: { engine: generated(900, 2, 3) },
      // 900 tokens in 60 s; 2 + 3 requests.
      summary: '15.0 tokens/s while 5 requests are pending (floor 100)',
      evidence: { generation_tokens_per_second: 15, requests_pending: 5 },
      subject: { target: 'vllm' },
    },
    {
      fails: 'where tokens are declared and none was ever made',
      scene: {
        engine: [0, 60_000].map((atMs) =>
          read(atMs, [gauge('requests_running', 1)], { declared: ['generation_tokens'] }),
        ),
      },
      summary: '0.0 tokens/s while 1 requests are pending (floor 100)',
      evidence: { generation_tokens_per_second: 0, requests_pending: 1 },
      subject: { target: 'vllm' },
    },
  ],
  [
    ['at the floor', { engine: generated(6_000, 2, 0) }, 'pass'],
    ['while idle', { engine: generated(0, 0, 0) }, 'pass'],
    [
      'where the rule is switched off',
      { engine: generated(0, 2, 0), thresholds: { generationTokensPerSecondMin: 0 } },
    ],
    [
      'after one lost scrape',
      { engine: [...generated(0, 2, 0), missed(65_000, 'timeout')] },
      'unknown',
    ],
    ['after one scrape', { engine: generated(0, 2, 0).slice(0, 1) }, 'unknown'],
    ['on old data', { engine: generated(0, 2, 0), fresh: false }, 'unknown'],
    [
      'where tokens are not counted',
      { engine: [0, 60_000].map((atMs) => read(atMs, [gauge('requests_running', 1)])) },
      'unknown',
    ],
  ],
)
