import {
  bucketLines,
  comments,
  head,
  type LabelSet,
  type Line,
  pythonNumber,
} from './client-text.ts'
import { type NumberFamily, rankFamilies, speculationFamilies } from './families.ts'
import type { AnswerCell, Ledger, RouteLedger } from './ledger.ts'
import type { EngineSpeed } from './scenario.ts'

export interface PageOptions {
  readonly ledger: Ledger
  readonly model: string
  readonly speed: EngineSpeed
  /** Whether the engine's own families are on it, or those of the process and of HTTP alone. */
  readonly whole: boolean
  /** CPU seconds of the process between two times of the wall clock, in Unix seconds. */
  readonly cpuSeconds: (fromSeconds: number, untilSeconds: number) => number
}

/**
 * The text of `/metrics` as the Python client writes it for one process (text format 1.0.0). Names
 * and labels are laid out once; a rendering only fills in the values. A page that no longer has the
 * shape of its ledger must be made anew.
 */
export class Page {
  /** The ledger's shape when the page was laid out. */
  readonly shape: number
  readonly whole: boolean
  readonly #lines: readonly Line[]

  constructor(options: PageOptions) {
    this.shape = options.ledger.shape
    this.whole = options.whole
    this.#lines = [
      ...processLines(options),
      ...(options.whole ? [...rankLines(options), ...cacheConfigLines(options)] : []),
      ...httpLines(options.ledger),
    ]
  }

  /** `nowSeconds` is the wall clock in Unix seconds. */
  render(nowSeconds: number): string {
    let text = ''
    for (const { head, read } of this.#lines) {
      text += read === undefined ? head : `${head}${pythonNumber(read(nowSeconds))}\n`
    }
    return text
  }
}

function plain(name: string, type: string, help: string, read: Line['read']): Line[] {
  const line = read === undefined ? { head: `${name} ` } : { head: `${name} `, read }
  return [comments(name, type, help), line]
}

function processLines({ ledger, cpuSeconds }: PageOptions): Line[] {
  const { processStartSeconds } = ledger
  const perGeneration = (name: string, help: string, counts: readonly number[]) => [
    comments(name, 'counter', help),
    ...counts.map((count, generation) => ({
      head: head(name, { generation: String(generation) }),
      read: () => count,
    })),
  ]
  const about = { implementation: 'CPython', major: '3', minor: '12', patchlevel: '12' }
  const bytes = 'Memory of the process, in bytes.'
  return [
    ...perGeneration('python_gc_objects_collected_total', 'Objects freed by gc.', [521, 227, 0]),
    ...perGeneration('python_gc_objects_uncollectable_total', 'Objects gc cannot free.', [0, 0, 0]),
    ...perGeneration('python_gc_collections_total', 'Runs of gc.', [155, 14, 1]),
    comments('python_info', 'gauge', 'The Python that runs this.'),
    { head: head('python_info', { ...about, version: '3.12.12' }), read: () => 1 },
    ...plain('process_virtual_memory_bytes', 'gauge', `Virtual. ${bytes}`, () => 25_513_246_720),
    ...plain('process_resident_memory_bytes', 'gauge', `Resident. ${bytes}`, () => 3_749_195_776),
    ...plain('process_start_time_seconds', 'gauge', 'Unix time of the start, in seconds.', () => {
      return processStartSeconds
    }),
    ...plain('process_cpu_seconds_total', 'counter', 'CPU time used, in seconds.', (nowSeconds) => {
      return Math.round(100 * cpuSeconds(processStartSeconds, nowSeconds)) / 100
    }),
    ...plain('process_open_fds', 'gauge', 'Open file descriptors.', () => 97),
    ...plain('process_max_fds', 'gauge', 'Most file descriptors allowed.', () => 1_048_576),
  ]
}

function rankLines({ ledger, model, speed }: PageOptions): Line[] {
  const ranks = ledger.ranks.map((rank, engine) => {
    return { rank, labels: { engine: String(engine), model_name: model } }
  })
  const lines: Line[] = []
  const { draftTokens = 0 } = speed.speculation ?? {}
  for (const family of [...speculationFamilies(draftTokens), ...rankFamilies]) {
    if (family.type === 'histogram') {
      const { name, help } = family
      const parts = ranks.map(({ rank, labels }) => ({ labels, histogram: family.read(rank) }))
      lines.push(comments(name, 'histogram', help))
      for (const { labels, histogram } of parts) lines.push(...bucketLines(name, labels, histogram))
      lines.push(comments(`${name}_created`, 'gauge', help))
      for (const { labels } of parts) {
        lines.push({ head: head(`${name}_created`, labels), read: () => ledger.createdSeconds })
      }
      continue
    }
    lines.push(...numberLines(family, ranks, ledger.createdSeconds))
  }
  return lines
}

function numberLines(
  family: NumberFamily,
  ranks: readonly { readonly rank: Ledger['ranks'][number]; readonly labels: LabelSet }[],
  createdSeconds: number,
): Line[] {
  const { type, name, help, label, cells } = family
  const exposed = type === 'counter' ? `${name}_total` : name
  const values: Line[] = []
  const created: Line[] = []
  // The client's children were made reason by reason, so the engines alternate inside a family.
  for (const { value, read } of cells) {
    for (const { rank, labels } of ranks) {
      const all =
        label === undefined || value === undefined ? labels : { ...labels, [label]: value }
      values.push({ head: head(exposed, all), read: () => read(rank) })
      created.push({ head: head(`${name}_created`, all), read: () => createdSeconds })
    }
  }
  const lines = [comments(exposed, type, help), ...values]
  if (type === 'counter') lines.push(comments(`${name}_created`, 'gauge', help), ...created)
  return lines
}

function cacheConfigLines({ ledger, speed }: PageOptions): Line[] {
  const name = 'vllm:cache_config_info'
  const config = {
    block_size: String(speed.blockTokens),
    cache_dtype: 'auto',
    enable_prefix_caching: 'True',
    gpu_memory_utilization: '0.92',
    is_attention_free: 'False',
    kv_cache_max_concurrency: pythonNumber(
      (speed.kvBlocks * speed.blockTokens) / speed.maxModelTokens,
    ),
    kv_cache_memory_bytes: 'None',
    kv_cache_size_tokens: String(speed.kvBlocks * speed.blockTokens),
    kv_offloading_size: 'None',
    kv_sharing_fast_prefill: 'False',
    mamba_cache_mode: 'none',
    num_cpu_blocks: 'None',
    num_gpu_blocks: String(speed.kvBlocks),
    num_gpu_blocks_override: 'None',
    prefix_caching_hash_algo: 'sha256',
    sliding_window: 'None',
    user_specified_block_size: 'False',
  }
  return [
    comments(name, 'gauge', 'How the cache of the engine is set up.'),
    ...ledger.ranks.map((_, engine) => ({
      head: head(name, { ...config, engine: String(engine) }),
      read: () => 1,
    })),
  ]
}

function httpLines(ledger: Ledger): Line[] {
  const { answers, routes, httpDuration } = ledger
  const answered = 'HTTP answers by handler, method and class of status.'
  const sized = 'by handler, in bytes, as far as Content-Length says.'
  const fine = 'Time of HTTP answers, all together, in seconds.'
  const coarse = 'Time of HTTP answers by handler, in seconds.'
  const fineName = 'http_request_duration_highr_seconds'
  const coarseName = 'http_request_duration_seconds'
  const lines = [
    comments('http_requests_total', 'counter', answered),
    ...answers.map((cell) => ({
      head: head('http_requests_total', identity(cell)),
      read: () => cell.count,
    })),
    ...createdLines('http_requests', answered, answers, identity),
    ...sizeLines('http_request_size_bytes', `Requests ${sized}`, routes, 'requestBytes'),
    ...sizeLines('http_response_size_bytes', `Answers ${sized}`, routes, 'responseBytes'),
    comments(fineName, 'histogram', fine),
    ...bucketLines(fineName, {}, httpDuration),
    ...plain(`${fineName}_created`, 'gauge', fine, () => ledger.createdSeconds),
    comments(coarseName, 'histogram', coarse),
  ]
  const route = ({ handler, method }: RouteLedger) => ({ handler, method })
  for (const each of routes) lines.push(...bucketLines(coarseName, route(each), each.duration))
  lines.push(...createdLines(coarseName, coarse, routes, route))
  return lines
}

function identity({ handler, method, status }: AnswerCell): LabelSet {
  return { handler, method, status }
}

function sizeLines(
  name: string,
  help: string,
  routes: readonly RouteLedger[],
  field: 'requestBytes' | 'responseBytes',
): Line[] {
  const lines = [comments(name, 'summary', help)]
  for (const route of routes) {
    const { handler } = route
    lines.push({ head: head(`${name}_count`, { handler }), read: () => route.answers })
    lines.push({ head: head(`${name}_sum`, { handler }), read: () => route[field] })
  }
  return [...lines, ...createdLines(name, help, routes, ({ handler }) => ({ handler }))]
}

/** The client writes no heading over `_created` series of which there are none yet. */
function createdLines<T extends { readonly createdSeconds: number }>(
  name: string,
  help: string,
  cells: readonly T[],
  labels: (cell: T) => LabelSet,
): Line[] {
  if (cells.length === 0) return []
  return [
    comments(`${name}_created`, 'gauge', help),
    ...cells.map((cell) => ({
      head: head(`${name}_created`, labels(cell)),
      read: () => cell.createdSeconds,
    })),
  ]
}
