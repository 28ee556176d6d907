import { describe } from 'node:test'
import { type Given, painTable, quietStretch, stalled, timing } from '../fakes/diagnosis.ts'

/** Twenty wait, the oldest for 8 s at least, and a request a second goes on finishing. */
const queue: Given = {
  engines: [{ running: 30, waiting: 20, oldestWait: { ms: 8_000, certain: true } }],
  timings: { queue_time: timing(120, 3, 9) },
}
/** Ten requests a second: whoever waits behind a few does not wait for long. */
const brisk = { requests_finished: 1_200 }
const fullCache = { highs: { kv_cache_usage: 0.97 } }

describe('a full cache', () => {
  painTable(
    'P9',
    [
      {
        holds: 'where many requests are evicted from it',
        scene: { facts: fullCache, gained: { preemptions: 12 } },
        // Twelve in two minutes.
        verdict:
          'the KV cache is up to 97 % full and 12 requests were evicted of late (0.1/s), to be computed again',
        confidence: 'certain',
        evidence: { kv_cache_usage_ratio: 0.97, preemptions: 12, preemptions_per_second: 0.1 },
        next: 'vllm serve … --max-num-seqs LOWER',
        ruledOut: ['P11'],
      },
      {
        holds: 'less surely where few are',
        scene: { facts: fullCache, gained: { preemptions: 9, requests_finished: 450 } },
        // Nine are 2 % of 450; in two minutes 0.075 a second.
        verdict:
          'the KV cache is up to 97 % full and 9 requests were evicted of late (0.075/s), to be computed again',
        confidence: 'likely',
        evidence: { preemptions: 9 },
        next: 'vllm serve',
      },
    ],
    [
      ['where nobody is evicted: that is good batching', { facts: fullCache }, 'none'],
      ['for two evictions', { facts: fullCache, gained: { preemptions: 2 } }, 'none'],
      [
        'for fewer than 2 % of those that finish',
        { facts: fullCache, gained: { preemptions: 9, requests_finished: 500 } },
        'none',
      ],
      ['where the cache has room', { gained: { preemptions: 12 } }, 'none'],
      [
        'where this version tells no usage of the cache',
        { facts: { highs: {}, gauges: {} }, gained: { preemptions: 12 } },
        'none',
      ],
    ],
  )
})

describe('a queue', () => {
  painTable(
    'P10',
    [
      {
        holds: 'where requests wait and others finish',
        scene: queue,
        verdict:
          '20 requests wait, the oldest for at least 8 s, and 1 a second finish: whoever comes now waits some 20 s',
        confidence: 'certain',
        evidence: {
          requests_waiting: 20,
          oldest_wait_seconds: 8,
          queue_mean_seconds: 3,
          requests_finished_per_second: 1,
        },
        next: 'limit what comes in',
        ruledOut: ['P1', 'P9'],
      },
      {
        holds: 'less surely where no histogram tells how long they waited that finished',
        scene: { ...queue, timings: {} },
        verdict:
          '20 requests wait, the oldest for at least 8 s, and 1 a second finish: whoever comes now waits some 20 s',
        confidence: 'likely',
        evidence: { oldest_wait_seconds: 8 },
        next: 'limit what comes in',
      },
    ],
    [
      ['where nothing finishes: that is a hang', { ...queue, target: stalled() }, 'P1'],
      [
        'where nothing has finished of late, so that nobody knows how long it takes',
        { ...queue, gained: { requests_finished: 0 } },
        'none',
      ],
      [
        'for two that wait',
        { ...queue, engines: [{ waiting: 2, oldestWait: { ms: 8_000, certain: true } }] },
        'none',
      ],
      [
        'for a queue that passes in a moment: 20 wait where 40 a second finish',
        { engines: [{ running: 30, waiting: 20 }], gained: { requests_finished: 4_800 } },
        'none',
      ],
    ],
  )

  const room = { kv_cache_usage: 0.3, requests_running: 2, requests_waiting: 6 }
  const waits = [{ waiting: 6, oldestWait: { ms: 3_000, certain: true } }]
  painTable(
    'P11',
    [
      {
        holds: 'where the page says that they are deferred',
        scene: {
          engines: waits,
          facts: { gauges: { ...room, requests_deferred: 5 } },
        },
        verdict:
          '6 requests wait while 2 run and the KV cache is 30 % full; 5 of them are deferred',
        confidence: 'certain',
        evidence: { requests_waiting: 6, requests_deferred: 5, oldest_wait_seconds: 3 },
        next: 'curl -s http://vllm:8000/metrics | grep waiting_by_reason',
        ruledOut: ['P10', 'P9'],
      },
      {
        holds:
          'less surely where the version tells no reason, and the batch is smaller than it was',
        scene: { engines: waits, facts: { gauges: room } },
        verdict: '6 requests wait while 2 run and the KV cache is 30 % full',
        confidence: 'likely',
        evidence: { requests_waiting: 6, requests_running: 2, oldest_wait_seconds: 3 },
        next: 'curl -s http://vllm:8000/metrics | grep waiting_by_reason',
      },
    ],
    [
      [
        'where the cache has little room',
        {
          engines: waits,
          facts: { gauges: { ...room, requests_deferred: 5, kv_cache_usage: 0.7 } },
        },
        'P10',
      ],
      [
        'where the batch is as large as ever: that is an overload',
        { engines: waits, facts: { gauges: { ...room, requests_running: 4 } } },
        'P10',
      ],
      [
        'for requests that are deferred for a moment, as adapters and transfers do',
        {
          engines: [{ waiting: 6 }],
          gained: brisk,
          facts: { gauges: { ...room, requests_deferred: 5 } },
        },
        'none',
      ],
    ],
  )

  const behind = { rank: '2', waiting: 12, running: 30, kvCacheUsageRatio: 0.99 }
  const others = [0, 1, 1].map((waiting, rank) => ({ rank: String(rank), waiting, running: 10 }))
  painTable(
    'P18',
    [
      {
        holds: 'where one rank has the queue and the others have room',
        scene: { engines: [...others, behind] },
        verdict:
          'engine 2 has 12 requests waiting and 30 running, the other 3 have 0.67 and 10 on average',
        confidence: 'certain',
        evidence: {
          engine: '2',
          requests_waiting: 12,
          requests_waiting_mean_of_others: 0.6667,
          kv_cache_usage_ratio: 0.99,
          kv_cache_usage_ratio_max_of_others: 0.3,
        },
        next: 'curl -s http://vllm:8000/metrics | grep num_requests_',
        ruledOut: ['P10'],
      },
    ],
    [
      [
        'where all ranks have a queue',
        { ...queue, engines: [behind, { ...behind, rank: '3' }] },
        'P10',
      ],
      [
        'of a single engine',
        { ...queue, engines: [{ ...behind, oldestWait: { ms: 8_000, certain: true } }] },
        'P10',
      ],
      // Sticky sessions make some difference: it takes four times the others' and four more, and five at least.
      [
        'for four that wait in one rank',
        { engines: [{ rank: '0' }, { ...behind, waiting: 4 }], gained: brisk },
        'none',
      ],
      [
        'for less than four times the queue of the others',
        {
          engines: [
            { rank: '0', waiting: 3 },
            { ...behind, waiting: 15 },
          ],
          gained: brisk,
        },
        'none',
      ],
    ],
  )
})

describe('what is slow before the engine or in it', () => {
  const late = { kind: 'answered', status: 200, tookMs: 1_500 } as const
  // The mean request took 4 s, of which 0.01 + 0.2 + 1.7 in queue and engine.
  const outside = { e2e_latency: timing(120, 4, 8) }
  painTable(
    'P12',
    [
      {
        holds: 'where the API server is late, busy, and keeps requests to itself',
        scene: {
          facts: { health: late },
          gained: { server_cpu_seconds: 114 },
          timings: outside,
          gpus: [{ utilizationRatio: 0.2 }],
        },
        // 114 s of CPU in 120 s; 4 − 1.91 = 2.09 s where 2 − 1.91 = 0.09 s are usual.
        verdict:
          'the API server is late and uses 0.95 cores: /health took 1.5 s, requests spend 2.1 s outside queue and engine on average, the GPU is 20 % busy',
        confidence: 'certain',
        evidence: {
          health_seconds: 1.5,
          scrape_seconds: 0.02,
          server_cpu_cores: 0.95,
          overhead_seconds: 2.09,
          overhead_seconds_usual: 0.09,
          gpu_utilization_ratio: 0.2,
        },
        next: 'py-spy top',
        ruledOut: ['P1'],
      },
      {
        holds: 'by two signs where several processes tell no CPU together',
        scene: {
          facts: { health: late },
          lacks: ['server_cpu_seconds'],
          timings: outside,
          gpus: [],
        },
        verdict:
          'the API server is late: /health took 1.5 s, requests spend 2.1 s outside queue and engine on average',
        confidence: 'likely',
        evidence: { overhead_seconds: 2.09 },
        next: 'py-spy top',
      },
    ],
    [
      ['by one sign alone: a late answer', { facts: { health: late } }, 'none'],
      ['by one sign alone: a busy server', { gained: { server_cpu_seconds: 114 } }, 'none'],
      [
        'by one sign alone: time that is spent outside, as clients who read slowly do',
        { timings: outside },
        'none',
      ],
      [
        'for a gap that is usual',
        {
          facts: { health: late },
          timings: outside,
          usual: { ...quietStretch(900), timings: { ...quietStretch(900).timings, ...outside } },
        },
        'none',
      ],
      [
        'where clients ask for little: an idle GPU is no sign',
        { gpus: [{ utilizationRatio: 0.05 }] },
        'none',
      ],
    ],
  )

  // 900 tokens a prompt where 300 are usual.
  const long: Given = {
    gained: { prompt_tokens: 108_000 },
    timings: { ttft: timing(120, 1, 1.6), itl: timing(11_880, 0.03, 0.06) },
  }
  painTable(
    'P6',
    [
      {
        holds: 'where prompts are longer, and first and next tokens come later together',
        scene: long,
        verdict:
          'prompts are 3 times as long as usual (900 tokens), 900 prompt tokens/s: the p95 of the first token is 4 times and that of the gap between tokens 2 times the usual',
        confidence: 'certain',
        evidence: {
          prompt_tokens_per_request: 900,
          prompt_tokens_per_request_usual: 300,
          ttft_p95_seconds: 1.6,
          itl_p95_seconds_usual: 0.03,
        },
        next: 'vllm serve … --long-prefill-token-threshold',
        ruledOut: ['P9'],
      },
      {
        holds: 'less surely where they are not twice as long',
        // 540 tokens are 1.8 times as many.
        scene: { ...long, gained: { prompt_tokens: 64_800 } },
        verdict:
          'prompts are 1.8 times as long as usual (540 tokens), 540 prompt tokens/s: the p95 of the first token is 4 times and that of the gap between tokens 2 times the usual',
        confidence: 'likely',
        evidence: { prompt_tokens_per_request: 540 },
        next: 'vllm serve',
      },
    ],
    [
      [
        'where the cache is full and requests are evicted',
        { ...long, facts: fullCache, gained: { prompt_tokens: 108_000, preemptions: 12 } },
        'P9',
      ],
      ['where prompts are as long as ever', { timings: long.timings ?? {} }, 'none'],
      [
        'where the gap between tokens is as ever',
        { ...long, timings: { ttft: timing(120, 1, 1.6) } },
        'none',
      ],
      ['before it is known what is usual', { ...long, usual: 'unknown' }, 'none'],
    ],
  )
})
