/**
 * The catalogue of what can be measured, in our words and in base units. A dialect fills it from a
 * producer's words; everything to the right of the dialects knows these names alone.
 */

export type InstrumentKind = 'counter' | 'gauge' | 'histogram'

export interface Instrument {
  readonly kind: InstrumentKind
  readonly unit:
    | 'seconds'
    | 'tokens'
    | 'requests'
    | 'ratio'
    | 'bytes'
    | 'preemptions'
    | 'state'
    | 'other'
  /** How series that differ only in labels not kept become one. Counters and histograms always add. */
  readonly merge: 'sum' | 'max'
  /** What a measurement of it speaks of: a model of a target, the target as a whole, one GPU, or their host. */
  readonly of: 'model' | 'target' | 'gpu' | 'host'
  /** Labels kept beyond those of its subject. */
  readonly by: readonly string[]
  /** Its values over a long time are kept, for what only time can tell; of gauges alone. */
  readonly history: boolean
  readonly help: string
}

function histogram(help: string): Instrument & { kind: 'histogram' } {
  return {
    kind: 'histogram',
    unit: 'seconds',
    merge: 'sum',
    of: 'model',
    by: [],
    history: false,
    help,
  }
}

function counter(
  unit: Instrument['unit'],
  help: string,
  rest: { readonly of?: Instrument['of']; readonly by?: readonly string[] } = {},
): Instrument & { kind: 'counter' } {
  const { of = 'model', by = [] } = rest
  return { kind: 'counter', unit, merge: 'sum', of, by, history: false, help }
}

function gauge(
  unit: Instrument['unit'],
  help: string,
  rest: {
    readonly of?: Instrument['of']
    readonly by?: readonly string[]
    readonly merge?: 'sum' | 'max'
    readonly history?: boolean
  } = {},
): Instrument & { kind: 'gauge' } {
  const { of = 'model', by = [], merge = 'sum', history = false } = rest
  return { kind: 'gauge', unit, merge, of, by, history, help }
}

export const instruments = {
  e2e_latency: histogram('Arrival of a request to its last token, observed when it finished.'),
  ttft: histogram('Arrival of a request to its first output token.'),
  itl: histogram('Gap between two outputs of a request.'),
  tpot: histogram('Decode time divided by output tokens less one, once for each request.'),
  queue_time: histogram('Wait of a finished request before it was first scheduled.'),
  prefill_time: histogram('First scheduled to first token.'),
  decode_time: histogram('First token to last token.'),

  requests_finished: counter('requests', 'Requests the engine finished, by its reason.', {
    by: ['reason'],
  }),
  generation_tokens: counter('tokens', 'Output tokens made.'),
  prompt_tokens: counter('tokens', 'Prompt tokens prefilled, cached ones included.'),
  preemptions: counter('preemptions', 'Running requests evicted from the KV cache.'),
  engine_steps: counter('other', 'Steps of the engine that put out a token.'),
  prefix_cache_queries: counter('tokens', 'Prompt tokens looked up in the prefix cache.'),
  prefix_cache_hits: counter('tokens', 'Prompt tokens found in the prefix cache.'),
  spec_decode_draft_tokens: counter('tokens', 'Tokens proposed by the draft.'),
  spec_decode_accepted_tokens: counter('tokens', 'Proposed tokens that were accepted.'),
  http_answers: counter('requests', 'Answers on serving paths, by class of status.', {
    of: 'target',
    by: ['status'],
  }),

  requests_running: gauge('requests', 'Requests in the batch.'),
  requests_waiting: gauge('requests', 'Requests queued.'),
  requests_deferred: gauge(
    'requests',
    'Those of the queued requests that wait for something else than room in the batch.',
  ),
  kv_cache_usage: gauge('ratio', 'Used share of KV-cache blocks of the fullest engine.', {
    merge: 'max',
  }),
  server_cpu_seconds: counter('seconds', 'CPU time that the API server has used.', {
    of: 'target',
  }),
  server_resident_memory: gauge('bytes', 'Resident host memory of the API server.', {
    of: 'target',
    history: true,
  }),
  engine_asleep: gauge('state', '1 while any rank of the engine sleeps.', {
    of: 'target',
    merge: 'max',
  }),
  planned_gpu_memory_ratio: gauge(
    'ratio',
    'Share of each GPU that the running engine was told to take.',
    { of: 'target', merge: 'max' },
  ),
  planned_kv_cache_memory: gauge(
    'bytes',
    'Memory of each GPU that the running engine was told to give to its KV cache.',
    { of: 'target', merge: 'max' },
  ),

  gpu_info: gauge('other', 'Identity of a GPU.', {
    of: 'gpu',
    by: ['name', 'pci_bus_id', 'driver_version', 'cuda_version', 'mig'],
    merge: 'max',
  }),
  gpu_utilization: gauge('ratio', 'Share of the sample period in which a kernel ran.', {
    of: 'gpu',
    history: true,
  }),
  gpu_memory_activity: gauge('ratio', 'Share of time in which memory was read or written.', {
    of: 'gpu',
  }),
  gpu_memory_used: gauge('bytes', 'Device memory in use.', { of: 'gpu', history: true }),
  gpu_memory_total: gauge('bytes', 'Device memory.', { of: 'gpu' }),
  gpu_memory_reserved: gauge('bytes', 'Device memory kept by driver and firmware.', { of: 'gpu' }),
  gpu_temperature: gauge('other', 'Temperature of the GPU in degrees Celsius.', { of: 'gpu' }),
  gpu_power_draw: gauge('other', 'Power drawn in watts.', { of: 'gpu', history: true }),
  gpu_power_limit: gauge('other', 'Power limit in force in watts.', { of: 'gpu' }),
  gpu_clock: gauge('other', 'Clock in hertz.', { of: 'gpu', by: ['clock'] }),
  gpu_fan_speed: gauge('ratio', 'Fan speed as a share of its rated one; can exceed 1.', {
    of: 'gpu',
  }),
  gpu_performance_state: gauge('state', 'Performance state, 0 (highest) to 15.', { of: 'gpu' }),
  gpu_throttle: gauge('state', '1 while the driver names the reason for lower clocks.', {
    of: 'gpu',
    by: ['reason'],
  }),
  gpu_ecc_errors: gauge('other', 'ECC errors as the driver counts them.', {
    of: 'gpu',
    by: ['type', 'scope'],
  }),
  gpu_remapped_rows: gauge('other', 'Memory rows remapped.', { of: 'gpu', by: ['type'] }),
  gpu_row_remap_pending: gauge('state', '1 while a row remapping waits for a reset.', {
    of: 'gpu',
  }),
  gpu_recovery_action: gauge('state', '1 for the action that the driver asks for.', {
    of: 'gpu',
    by: ['action'],
  }),
  gpu_lost: gauge('state', '1 when a GPU that was there is gone, lost or unreadable.', {
    of: 'gpu',
  }),
  gpu_mig_memory_used: gauge('bytes', 'Memory in use in a MIG GPU instance.', {
    of: 'gpu',
    by: ['gpu_instance'],
    merge: 'max',
  }),
  gpu_mig_memory_total: gauge('bytes', 'Memory of a MIG GPU instance.', {
    of: 'gpu',
    by: ['gpu_instance'],
    merge: 'max',
  }),
  gpu_process_memory_used: gauge('bytes', 'Device memory held by a process.', {
    of: 'gpu',
    by: ['pid', 'process'],
    history: true,
  }),

  host_process_memory: gauge('bytes', 'Resident host memory of a process that is on a GPU.', {
    of: 'host',
    by: ['pid', 'process'],
    merge: 'max',
    history: true,
  }),
  host_process_start: gauge(
    'seconds',
    'Unix time at which a process on a GPU started, and its ancestors by their generation.',
    { of: 'host', by: ['pid', 'process', 'generation'], merge: 'max', history: true },
  ),
  host_memory_total: gauge('bytes', 'Memory of the host.', { of: 'host', merge: 'max' }),
  host_memory_available: gauge('bytes', 'Memory that the host could still give to processes.', {
    of: 'host',
    merge: 'max',
  }),
} as const satisfies Record<string, Instrument>

export type InstrumentId = keyof typeof instruments

type OfKind<K extends InstrumentKind> = {
  [Id in InstrumentId]: (typeof instruments)[Id]['kind'] extends K ? Id : never
}[InstrumentId]

export type CounterId = OfKind<'counter'>
export type GaugeId = OfKind<'gauge'>
export type HistogramId = OfKind<'histogram'>

/** The seven latency signals, in the order in which they are shown. */
export const latencyInstruments = [
  'e2e_latency',
  'ttft',
  'itl',
  'tpot',
  'queue_time',
  'prefill_time',
  'decode_time',
] as const satisfies readonly HistogramId[]
