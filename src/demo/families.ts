import type { Histogram, RankLedger } from './ledger.ts'
import type { FinishReason } from './truth.ts'

/** A family of one number for each engine, or for each engine and each value of one more label. */
export interface NumberFamily {
  readonly type: 'counter' | 'gauge'
  /** As in code: a counter is exposed with `_total` behind it. */
  readonly name: string
  readonly help: string
  readonly label?: string
  readonly cells: readonly {
    readonly value?: string
    readonly read: (ledger: RankLedger) => number
  }[]
}

export interface HistogramFamily {
  readonly type: 'histogram'
  readonly name: string
  readonly help: string
  readonly read: (ledger: RankLedger) => Histogram
}

export type RankFamily = NumberFamily | HistogramFamily

const reasons: readonly FinishReason[] = ['stop', 'length', 'abort', 'error', 'repetition']

/** What vLLM 0.27 exposes for each engine, in its order and under its names. */
export const rankFamilies: readonly RankFamily[] = [
  // Zero on every server that was not told to estimate them.
  counter(
    'vllm:estimated_flops_per_gpu',
    'Floating point operations of each GPU, estimated.',
    zero,
  ),
  counter('vllm:estimated_read_bytes_per_gpu', 'Bytes each GPU has read, estimated.', zero),
  counter('vllm:estimated_write_bytes_per_gpu', 'Bytes each GPU has written, estimated.', zero),
  gauge('vllm:num_requests_running', 'Requests in the batch.', (ledger) => ledger.running),
  gauge('vllm:num_requests_waiting', 'Requests in the queue.', (ledger) => ledger.waiting),
  {
    type: 'gauge',
    name: 'vllm:num_requests_waiting_by_reason',
    help: 'Requests in the queue by what they wait for.',
    label: 'reason',
    cells: [
      { value: 'capacity', read: (ledger) => ledger.waiting - ledger.deferred },
      { value: 'deferred', read: (ledger) => ledger.deferred },
    ],
  },
  {
    type: 'gauge',
    name: 'vllm:engine_sleep_state',
    help: 'Whether the engine is awake, and how deep it sleeps if not.',
    label: 'sleep_state',
    cells: [
      { value: 'awake', read: (ledger) => Number(ledger.sleepState === 'awake') },
      {
        value: 'weights_offloaded',
        read: (ledger) => Number(ledger.sleepState === 'weights_offloaded'),
      },
      { value: 'discard_all', read: zero },
    ],
  },
  gauge('vllm:kv_cache_usage_perc', 'Used share of the KV cache, 1 when it is full.', (ledger) => {
    return ledger.kvCacheUsageRatio
  }),
  counter('vllm:prefix_cache_queries', 'Tokens looked up in the prefix cache.', (ledger) => {
    return ledger.prefixCacheQueries
  }),
  counter('vllm:prefix_cache_hits', 'Tokens found in the prefix cache.', (ledger) => {
    return ledger.prefixCacheHits
  }),
  counter('vllm:external_prefix_cache_queries', 'Tokens looked up in a shared cache.', zero),
  counter('vllm:external_prefix_cache_hits', 'Tokens found in a shared cache.', zero),
  counter('vllm:mm_cache_queries', 'Items looked up in the multi-modal cache.', zero),
  counter('vllm:mm_cache_hits', 'Items found in the multi-modal cache.', zero),
  counter('vllm:num_preemptions', 'Requests evicted while they ran.', (ledger) => {
    return ledger.preemptions
  }),
  counter('vllm:prompt_tokens', 'Prompt tokens taken in.', (ledger) => ledger.promptTokens),
  {
    type: 'counter',
    name: 'vllm:prompt_tokens_by_source',
    help: 'Prompt tokens by where their keys and values came from.',
    label: 'source',
    cells: [
      { value: 'local_compute', read: (ledger) => ledger.promptTokens - ledger.promptTokensCached },
      { value: 'local_cache_hit', read: (ledger) => ledger.promptTokensCached },
      { value: 'external_kv_transfer', read: zero },
    ],
  },
  counter('vllm:prompt_tokens_cached', 'Prompt tokens found in any cache.', (ledger) => {
    return ledger.promptTokensCached
  }),
  counter('vllm:generation_tokens', 'Output tokens made.', (ledger) => ledger.generationTokens),
  {
    type: 'counter',
    name: 'vllm:request_success',
    help: 'Requests that finished, by the reason for it.',
    label: 'finished_reason',
    cells: reasons.map((reason) => ({
      value: reason,
      read: (ledger: RankLedger) => ledger.finished[reason],
    })),
  },
  histogram('vllm:request_prompt_tokens', 'Prompt tokens of a request.', (ledger) => {
    return ledger.requestPromptTokens
  }),
  histogram('vllm:request_generation_tokens', 'Output tokens of a request.', (ledger) => {
    return ledger.requestGenerationTokens
  }),
  histogram('vllm:iteration_tokens_total', 'Tokens of one step of the engine.', (ledger) => {
    return ledger.stepTokens
  }),
  histogram(
    'vllm:request_max_num_generation_tokens',
    'Most output tokens of any answer to a request.',
    (ledger) => ledger.maxGenerationTokens,
  ),
  histogram('vllm:request_params_n', 'Answers asked for.', (ledger) => ledger.choices),
  histogram('vllm:request_params_max_tokens', 'Limit of output tokens asked for.', (ledger) => {
    return ledger.maxTokens
  }),
  histogram('vllm:time_to_first_token_seconds', 'Arrival to first token, in seconds.', (ledger) => {
    return ledger.ttft
  }),
  histogram('vllm:inter_token_latency_seconds', 'Gap between tokens, in seconds.', (ledger) => {
    return ledger.interTokenLatency
  }),
  histogram(
    'vllm:request_time_per_output_token_seconds',
    'Decode time for each further token of a request, in seconds.',
    (ledger) => ledger.timePerOutputToken,
  ),
  histogram('vllm:e2e_request_latency_seconds', 'Arrival to last token, in seconds.', (ledger) => {
    return ledger.e2e
  }),
  histogram('vllm:request_queue_time_seconds', 'Time in the queue, in seconds.', (ledger) => {
    return ledger.queue
  }),
  histogram('vllm:request_inference_time_seconds', 'Time in the batch, in seconds.', (ledger) => {
    return ledger.inference
  }),
  histogram('vllm:request_prefill_time_seconds', 'Time of prefill, in seconds.', (ledger) => {
    return ledger.prefill
  }),
  histogram('vllm:request_decode_time_seconds', 'Time of decode, in seconds.', (ledger) => {
    return ledger.decode
  }),
  histogram(
    'vllm:request_prefill_kv_computed_tokens',
    'Prompt tokens of a request that no cache held.',
    (ledger) => ledger.prefillComputedTokens,
  ),
]

/** What an engine exposes before all else that guesses so many tokens ahead; nothing for 0. */
export function speculationFamilies(draftTokens: number): readonly RankFamily[] {
  if (draftTokens === 0) return []
  return [
    counter('vllm:spec_decode_num_drafts', 'Guesses ahead.', ({ speculation }) => {
      return speculation.drafts
    }),
    counter('vllm:spec_decode_num_draft_tokens', 'Tokens guessed.', ({ speculation }) => {
      return speculation.draftTokens
    }),
    counter('vllm:spec_decode_num_accepted_tokens', 'Tokens guessed rightly.', (ledger) => {
      return ledger.speculation.acceptedTokens
    }),
    {
      type: 'counter',
      name: 'vllm:spec_decode_num_accepted_tokens_per_pos',
      help: 'Tokens guessed rightly by their place in the guess.',
      label: 'position',
      cells: Array.from({ length: draftTokens }, (_, position) => ({
        value: String(position),
        read: ({ speculation }: RankLedger) => speculation.acceptedAt[position] ?? 0,
      })),
    },
  ]
}

function zero(): number {
  return 0
}

type Read = (ledger: RankLedger) => number

function counter(name: string, help: string, read: Read): NumberFamily {
  return { type: 'counter', name, help, cells: [{ read }] }
}

function gauge(name: string, help: string, read: Read): NumberFamily {
  return { type: 'gauge', name, help, cells: [{ read }] }
}

function histogram(name: string, help: string, read: HistogramFamily['read']): HistogramFamily {
  return { type: 'histogram', name, help, read }
}
