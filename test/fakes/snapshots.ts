import { evaluate } from '../../src/evaluate.ts'
import { type InstrumentId, instruments } from '../../src/instruments.ts'
import type { Attempt, Channel, Labels, Reading } from '../../src/reading.ts'
import type { Alert } from '../../src/rules/alert.ts'
import { builtinRules } from '../../src/rules/builtin.ts'
import type { Measured, Measurement } from '../../src/signals/signal.ts'
import type { GpuSnapshot, Snapshot, TargetSnapshot } from '../../src/snapshot.ts'
import { Windows } from '../../src/window/windows.ts'

/** Times of a built snapshot unless a test gives others. */
export const builtAtMs = 200_000
export const builtWallMs = Date.UTC(2026, 10, 22, 10, 0, 0)

/** A snapshot of one idle target and nothing else, changed by what is given. */
export function snapshotOf(given: Partial<Snapshot> = {}): Snapshot {
  return {
    sequence: 1,
    atMs: builtAtMs,
    wallMs: builtWallMs,
    ready: true,
    status: 'healthy',
    targets: [targetOf()],
    gpus: [],
    gpuSource: undefined,
    probeWanted: [],
    probeKept: [],
    diagnosis: [],
    causes: [],
    alerts: [],
    measured: [],
    derived: new Map(),
    ...given,
  }
}

/** A target that serves and has nothing to complain of, read 1.2 s before the snapshot. */
export function targetOf(given: Partial<TargetSnapshot> = {}): TargetSnapshot {
  return {
    name: 'vllm',
    url: 'http://vllm:8000',
    status: 'healthy',
    state: 'serving',
    stall: undefined,
    loading: undefined,
    placement: { kind: 'unknown', why: 'nobody looked' },
    facts: undefined,
    up: true,
    models: ['llama'],
    version: '0.27.0',
    lastSuccessMs: builtAtMs - 1_200,
    lastFailure: undefined,
    health: undefined,
    reasons: [],
    suppressed: [],
    undecided: [],
    notes: [],
    thresholdNotes: [],
    ...given,
  }
}

/** A healthy GPU. */
export function gpuOf(given: Partial<GpuSnapshot> = {}): GpuSnapshot {
  return {
    uuid: 'GPU-aaaa',
    index: 0,
    name: 'NVIDIA H100 80GB HBM3',
    status: 'healthy',
    reasons: [],
    suppressed: [],
    runsEngine: true,
    targetsOnLost: [],
    ...given,
  }
}

/** The alert of the contract's example: firing about `vllm` for 110 s. */
export function alertOf(given: Partial<Alert> = {}): Alert {
  return {
    alert: 'VllmLatencyP99High',
    severity: 'critical',
    subject: { target: 'vllm', model_name: 'llama' },
    state: 'firing',
    certainty: 'certain',
    sinceMs: builtAtMs - 110_000,
    lastFailMs: builtAtMs,
    summary: '2.9 % of 412 requests took longer than 10 s in the last 5 m (allowed 1 %)',
    evidence: { over_ratio: 0.0291, observations: 412 },
    runbook: 'docs/runbooks/VllmLatencyP99High.md',
    ...given,
  }
}

/** A sample of a family, of value 1 and a gauge unless something else is given. */
export function measuredOf(given: {
  readonly name: string
  readonly value?: number
  readonly measurement?: Measurement
  readonly type?: Measured['family']['type']
  readonly suffix?: Measured['suffix']
  readonly labels?: Labels
  readonly help?: string
  readonly apiOnly?: true
}): Measured {
  const { name, value = 1, type = 'gauge', suffix = '', labels = {}, help = 'Some help.' } = given
  return {
    family: { name, type, help, ...(given.apiOnly === undefined ? {} : { apiOnly: true }) },
    suffix,
    labels,
    measurement: given.measurement ?? { kind: 'value', value, count: 1, atLeast: false },
  }
}

const windowsMs = [60_000, 300_000]
const thresholds = {
  e2eLatencyP99Seconds: 10,
  queueTimeP95Seconds: 5,
  ttftP99Seconds: 10,
  errorRatio: 0.01,
  gpuUtilizationRatio: 0.95,
  gpuMemoryRatio: 0.9,
  generationTokensPerSecondMin: 0,
}

/**
 * What an evaluation makes of a target and a GPU that expose every instrument there is, after one failed
 * collection and three good ones: every family that can be published has a sample.
 */
export function fullSnapshot(): Snapshot {
  const windows = new Windows({ keepMs: 300_000 })
  const engine = Object.keys(instruments).filter((id) => isInstrument(id) && !ofGpu(id))
  const gpu = Object.keys(instruments).filter((id) => isInstrument(id) && ofGpu(id))
  for (const [target, ids] of [
    ['vllm', engine],
    ['gpu', gpu],
  ] as const) {
    windows.record(missed(target, 1_000))
    const channels = channelsOf(ids.filter(isInstrument))
    windows.record(read(target, 6_000, readingOf(channels, 1)))
    windows.record(read(target, 11_000, readingOf(channels, 2)))
    windows.record(read(target, 16_000, readingOf(channels, 3)))
  }
  return evaluate(undefined, {
    windows,
    targets: [{ name: 'vllm', staleAfterMs: 15_000 }],
    gpu: { name: 'gpu', staleAfterMs: 15_000, quiet: false },
    settings: {
      windowsMs,
      quantiles: [0.5, 0.99],
      e2eLatencyThresholdSeconds: thresholds.e2eLatencyP99Seconds,
      queueTimeThresholdSeconds: thresholds.queueTimeP95Seconds,
      ttftThresholdSeconds: thresholds.ttftP99Seconds,
      probing: true,
    },
    thresholds,
    rules: builtinRules,
    atMs: 16_010,
    wallMs: builtWallMs,
  })
}

function isInstrument(id: string): id is InstrumentId {
  return id in instruments
}

function ofGpu(id: InstrumentId): boolean {
  return ['gpu', 'host'].includes(instruments[id].of)
}

function stamps(target: string, atMs: number) {
  return { target, atMs, wallMs: builtWallMs + atMs, tookMs: 3 }
}

function missed(target: string, atMs: number): Attempt {
  return { ...stamps(target, atMs), kind: 'missed', code: 'timeout', message: 'expected an answer' }
}

function read(target: string, atMs: number, reading: Reading): Attempt {
  return { ...stamps(target, atMs), kind: 'read', reading }
}

/** What labels beyond their subject's have to say for the families to arise. */
const labelValues: Readonly<Partial<Record<string, string>>> = { status: '5xx', reason: 'error' }

const bounds = [1, 5, 10, 20]

function channelsOf(ids: readonly InstrumentId[]): readonly Channel[] {
  let offset = 0
  return ids.map((id): Channel => {
    const { kind, of, by } = instruments[id]
    const labels: Record<string, string> = {}
    if (of === 'model') labels['model_name'] = 'llama'
    if (of === 'gpu') Object.assign(labels, { gpu: '0', uuid: 'GPU-aaaa' })
    for (const name of by) labels[name] = labelValues[name] ?? (name === 'process' ? 'vllm' : 'a')
    const channel = { instrument: id, key: id, labels, group: '0', offset }
    offset += kind === 'histogram' ? bounds.length + 2 : 1
    return kind === 'histogram' ? { ...channel, bounds } : channel
  })
}

/** Readings of the same channels whose counters all grow with `step`. */
function readingOf(channels: readonly Channel[], step: number): Reading {
  const values: number[] = []
  for (const { instrument, bounds: edges } of channels) {
    // Of each four observations two lie in the first bucket and one in each of the next two.
    if (edges !== undefined)
      values.push(2 * step, 3 * step, 4 * step, 4 * step, 4 * step, 12 * step)
    else values.push(instrument === 'gpu_lost' ? 0 : step)
  }
  return {
    channels,
    values: Float64Array.from(values),
    processStartSeconds: 1_000,
    version: '0.27.0',
    capabilities: new Set(['engine', 'engine-errors', 'http', 'http-certain', 'http-at-end']),
    declared: new Set(channels.map(({ instrument }) => instrument)),
    blindSpots: [],
    malformedLines: 1,
    limitHits: { samples: 1 },
    notes: [],
  }
}
