import type { CollectErrorCode, LimitHits } from '../../src/errors.ts'
import {
  type CounterId,
  type GaugeId,
  type HistogramId,
  type InstrumentId,
  instruments,
} from '../../src/instruments.ts'
import type { Attempt, Channel, HealthProbe, Labels, Reading } from '../../src/reading.ts'

/** One series of a made reading. */
export interface MadeSeries {
  readonly instrument: InstrumentId
  readonly labels: Labels
  /** As a channel lays them out: one number, or cumulative counts, count and sum. */
  readonly numbers: readonly number[]
  readonly bounds?: readonly number[]
  /** The rank of the engine that has it. */
  readonly engine: string
}

export interface MadeReading {
  readonly version?: string
  /**
   * Unless given, those of the newest vLLM: `engine` where anything but GPUs is measured, `http`,
   * `http-certain` and `http-at-end` where answers are counted, `engine-errors` where finished requests are.
   */
  readonly capabilities?: readonly string[]
  /** Unless given, the instruments of the series. */
  readonly declared?: readonly InstrumentId[]
  readonly blindSpots?: readonly string[]
  readonly malformedLines?: number
  readonly limitHits?: LimitHits
  readonly notes?: readonly string[]
}

export interface MadeAttempt extends MadeReading {
  /** Unless given, the target is called `vllm`. */
  readonly target?: string
  readonly health?: HealthProbe
}

interface Place {
  readonly engine?: string
}

/** The wall clock of made attempts at monotonic time 0. */
export const wallAtZeroMs = Date.UTC(2026, 0, 1)

/** The uuid of the GPU that made series speak of unless they say another. */
export const gpuUuid = 'GPU-a'

/** What a made series speaks of, where its labels do not say it. */
const subjects = {
  model: { model_name: 'llama' },
  target: {},
  gpu: { gpu: '0', uuid: gpuUuid },
  host: {},
} as const

function series(
  instrument: InstrumentId,
  numbers: readonly number[],
  labels: Labels,
  place: Place,
): MadeSeries {
  const all = { ...subjects[instruments[instrument].of], ...labels }
  return { instrument, labels: all, numbers, engine: place.engine ?? '0' }
}

export function counter(
  instrument: CounterId,
  value: number,
  labels: Labels = {},
  place: Place = {},
): MadeSeries {
  return series(instrument, [value], labels, place)
}

export function gauge(
  instrument: GaugeId,
  value: number,
  labels: Labels = {},
  place: Place = {},
): MadeSeries {
  return series(instrument, [value], labels, place)
}

/** A histogram; `counts` are by bucket, not cumulative, the last one that of +Inf. */
export function histogram(
  instrument: HistogramId,
  { bounds, counts, sum }: Held,
  labels: Labels = {},
  place: Place = {},
): MadeSeries {
  let upTo = 0
  const cumulative = counts.map((held) => {
    upTo += held
    return upTo
  })
  return { ...series(instrument, [...cumulative, sum], labels, place), bounds }
}

interface Held {
  readonly bounds: readonly number[]
  readonly counts: readonly number[]
  readonly sum: number
}

/** A reading of the given series. */
export function reading(all: readonly MadeSeries[], rest: MadeReading = {}): Reading {
  const channels: Channel[] = []
  const values: number[] = []
  for (const { instrument, labels, numbers, bounds, engine } of all) {
    channels.push({
      instrument,
      key: `${instrument} ${JSON.stringify(labels)} ${engine}`,
      labels,
      group: instrument === 'http_answers' ? 'http' : `engine ${engine}`,
      ...(instruments[instrument].of === 'model' ? { rank: engine } : {}),
      offset: values.length,
      ...(bounds === undefined ? {} : { bounds }),
    })
    values.push(...numbers)
  }
  const made = all.map(({ instrument }) => instrument)
  const told: string[] = []
  const ofGpus = (instrument: InstrumentId) => ['gpu', 'host'].includes(instruments[instrument].of)
  if (made.some((instrument) => !ofGpus(instrument))) told.push('engine')
  if (made.includes('http_answers')) told.push('http', 'http-certain', 'http-at-end')
  if (made.includes('requests_finished')) told.push('engine-errors')
  return {
    channels,
    values: Float64Array.from(values),
    processStartSeconds: undefined,
    version: rest.version,
    capabilities: new Set(rest.capabilities ?? told),
    declared: new Set(rest.declared ?? made),
    blindSpots: rest.blindSpots ?? [],
    malformedLines: rest.malformedLines ?? 0,
    limitHits: rest.limitHits ?? {},
    notes: rest.notes ?? [],
  }
}

/** A collection that ended well at `atMs`, having taken 20 ms. */
export function read(
  atMs: number,
  all: readonly MadeSeries[],
  { target = 'vllm', health, ...rest }: MadeAttempt = {},
): Attempt {
  return {
    kind: 'read',
    target,
    atMs,
    wallMs: wallAtZeroMs + atMs,
    tookMs: 20,
    health,
    reading: reading(all, rest),
  }
}

/** A collection that failed at `atMs`, having taken 20 ms. */
export function missed(
  atMs: number,
  code: CollectErrorCode,
  rest: {
    readonly target?: string
    readonly status?: number
    readonly message?: string
    readonly health?: HealthProbe
  } = {},
): Attempt {
  const { target = 'vllm', status, message = `made to fail with ${code}`, health } = rest
  const wallMs = wallAtZeroMs + atMs
  return { kind: 'missed', target, atMs, wallMs, tookMs: 20, health, code, message, status }
}
