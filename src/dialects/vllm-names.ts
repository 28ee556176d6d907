import type { FamilyType } from '../exposition/exposition.ts'
import type { InstrumentId } from '../instruments.ts'

/** How one of our instruments is found on a vLLM page. */
export interface Row {
  readonly instrument: InstrumentId
  /** Families that carry it, the newest name first. The first one with series is read, and only that one. */
  readonly families: readonly string[]
  readonly type: FamilyType
  /** For each label that the instrument keeps, vLLM's name of it. */
  readonly by?: Readonly<Record<string, string>>
  /** Only series whose label has one of these values count. */
  readonly where?: { readonly label: string; readonly values: readonly string[] }
  /** The value is this label's text in place of the sample's number. */
  readonly valueLabel?: string
  /** Of a histogram only its observations are counted, and the series is a counter of ours. */
  readonly part?: 'count'
}

/**
 * vLLM's names for our instruments over all versions from 0.4 on. A rename is one row with two
 * families, so that a version which exposes both is never counted twice.
 */
export const vllmRows: readonly Row[] = [
  histogram('e2e_latency', 'vllm:e2e_request_latency_seconds'),
  histogram('ttft', 'vllm:time_to_first_token_seconds'),
  // Until 0.10.2 the gap between tokens went by the name of the time per output token.
  histogram('itl', 'vllm:inter_token_latency_seconds', 'vllm:time_per_output_token_seconds'),
  histogram('tpot', 'vllm:request_time_per_output_token_seconds'),
  histogram('queue_time', 'vllm:request_queue_time_seconds', 'vllm:time_in_queue_requests'),
  histogram('prefill_time', 'vllm:request_prefill_time_seconds'),
  histogram('decode_time', 'vllm:request_decode_time_seconds'),
  {
    instrument: 'requests_finished',
    families: ['vllm:request_success_total'],
    type: 'counter',
    by: { reason: 'finished_reason' },
  },
  counter('generation_tokens', 'vllm:generation_tokens_total'),
  counter('prompt_tokens', 'vllm:prompt_tokens_total'),
  counter('preemptions', 'vllm:num_preemptions_total'),
  // It moves with each step that puts a token out: the finest sign that the engine lives.
  {
    instrument: 'engine_steps',
    families: ['vllm:iteration_tokens_total'],
    type: 'histogram',
    part: 'count',
  },
  // The older pair counts blocks; only the ratio of the two is ever published.
  counter(
    'prefix_cache_queries',
    'vllm:prefix_cache_queries_total',
    'vllm:gpu_prefix_cache_queries_total',
  ),
  counter('prefix_cache_hits', 'vllm:prefix_cache_hits_total', 'vllm:gpu_prefix_cache_hits_total'),
  counter('spec_decode_draft_tokens', 'vllm:spec_decode_num_draft_tokens_total'),
  counter('spec_decode_accepted_tokens', 'vllm:spec_decode_num_accepted_tokens_total'),
  gauge('requests_running', 'vllm:num_requests_running'),
  gauge('requests_waiting', 'vllm:num_requests_waiting'),
  {
    instrument: 'requests_deferred',
    families: ['vllm:num_requests_waiting_by_reason'],
    type: 'gauge',
    where: { label: 'reason', values: ['deferred'] },
  },
  gauge('kv_cache_usage', 'vllm:kv_cache_usage_perc', 'vllm:gpu_cache_usage_perc'),
  {
    instrument: 'engine_asleep',
    families: ['vllm:engine_sleep_state'],
    type: 'gauge',
    where: { label: 'sleep_state', values: ['weights_offloaded', 'discard_all'] },
  },
  {
    instrument: 'planned_gpu_memory_ratio',
    families: ['vllm:cache_config_info'],
    type: 'gauge',
    valueLabel: 'gpu_memory_utilization',
  },
  // Where it is given, vLLM takes so much for the cache and what it needs beside it, whatever its share is.
  {
    instrument: 'planned_kv_cache_memory',
    families: ['vllm:cache_config_info'],
    type: 'gauge',
    valueLabel: 'kv_cache_memory_bytes',
  },
  // Of the API server alone: the engine's processes write no metrics of their own.
  counter('server_cpu_seconds', 'process_cpu_seconds_total'),
  gauge('server_resident_memory', 'process_resident_memory_bytes'),
]

/** The instrumentator's counter of answers; it stands apart because paths decide what counts. */
export const httpFamily = 'http_requests_total'

/** The label of data-parallel ranks: ranks merge, and are reset each on its own. */
export const rankLabel = 'engine'

/** The gauge by which a process tells when it started. */
export const processStartName = 'process_start_time_seconds'

const inferencePaths: ReadonlySet<string> = new Set([
  '/generate',
  '/pooling',
  '/score',
  '/rerank',
  '/classify',
  '/invocations',
  '/generative_scoring',
])

const inferencePrefixes: readonly string[] = ['/v1/', '/v2/', '/inference/', '/cohere/']

const administrativePaths: ReadonlySet<string> = new Set([
  '/v1/load_lora_adapter',
  '/v1/unload_lora_adapter',
])

/** What the last part of a path asks of the API server alone, whatever stands before it. */
const serverDeeds: ReadonlySet<string> = new Set([
  'tokenize',
  'detokenize',
  'count_tokens',
  'render',
  'cancel',
])

/** Tells whether a POST to `handler` asks the engine for work. */
export function isServingPath(handler: string): boolean {
  if (administrativePaths.has(handler)) return false
  if (serverDeeds.has(handler.slice(handler.lastIndexOf('/') + 1))) return false
  if (inferencePaths.has(handler)) return true
  return inferencePrefixes.some((prefix) => handler.startsWith(prefix))
}

function histogram(instrument: InstrumentId, ...families: readonly string[]): Row {
  return { instrument, families, type: 'histogram' }
}

function counter(instrument: InstrumentId, ...families: readonly string[]): Row {
  return { instrument, families, type: 'counter' }
}

function gauge(instrument: InstrumentId, ...families: readonly string[]): Row {
  return { instrument, families, type: 'gauge' }
}
