import { type InstrumentId, instruments } from '../../src/instruments.ts'
import type { Attempt, Channel, Labels, Reading } from '../../src/reading.ts'

/** A histogram as a page has it: cumulative counts at the edges, then of all observations. */
export interface Cumulative {
  readonly bounds: readonly number[]
  readonly counts: readonly number[]
  readonly sum: number
}

/** One series of a made-up page. */
export interface Written {
  readonly instrument: InstrumentId
  readonly value: number | Cumulative
  /** The rank it belongs to: merged away, and reset as a whole. `0` by default. */
  readonly engine?: string
  /** Labels beyond `model_name`. */
  readonly labels?: Labels
  readonly model?: string
  /** Unix seconds at which the series says it began. */
  readonly created?: number
}

/** The key of a series in the readings that `readingOf` makes. */
export function keyOf({ instrument, engine = '0', labels = {}, model = 'm' }: Written): string {
  return JSON.stringify([instrument, engine, model, Object.entries(labels)])
}

/** Makes a reading of `series`; `like` lends its channels, as a page that keeps its shape does. */
export function readingOf(
  series: readonly Written[],
  rest: Partial<Reading> & { readonly like?: Reading | undefined } = {},
): Reading {
  const { like, ...others } = rest
  const channels: Channel[] = []
  const values: number[] = []
  for (const written of series) {
    const { instrument, value, engine = '0', labels = {}, model = 'm', created } = written
    const offset = values.length
    if (typeof value === 'number') values.push(value)
    else values.push(...value.counts, value.sum)
    const startOffset = values.length
    if (created !== undefined) values.push(created)
    channels.push({
      instrument,
      key: keyOf(written),
      labels: instruments[instrument].of === 'model' ? { model_name: model, ...labels } : labels,
      group: `engine ${engine}`,
      offset,
      ...(typeof value === 'number' ? {} : { bounds: value.bounds }),
      ...(created === undefined ? {} : { startOffset }),
    })
  }
  return {
    channels: like?.channels ?? channels,
    values: Float64Array.from(values),
    processStartSeconds: undefined,
    version: undefined,
    capabilities: new Set(),
    malformedLines: 0,
    limitHits: {},
    notes: [],
    ...others,
  }
}

/** An attempt of target `t` that read `reading`. */
export function read(atMs: number, reading: Reading): Attempt & { kind: 'read' } {
  return { target: 't', atMs, wallMs: 1.7e12 + atMs, tookMs: 5, kind: 'read', reading }
}

/** An attempt of target `t` that timed out. */
export function missed(atMs: number): Attempt & { kind: 'missed' } {
  const message = 'expected an answer within 4 s, found none'
  return {
    target: 't',
    atMs,
    wallMs: 1.7e12 + atMs,
    tookMs: 4000,
    kind: 'missed',
    code: 'timeout',
    message,
  }
}

/** What a page would have of `values`. */
export function observe(bounds: readonly number[], values: Iterable<number>): Cumulative {
  const counts = new Array<number>(bounds.length + 1).fill(0)
  let sum = 0
  for (const value of values) {
    sum += value
    for (let bucket = 0; bucket <= bounds.length; bucket += 1) {
      if (value <= (bounds[bucket] ?? Number.POSITIVE_INFINITY)) {
        counts[bucket] = (counts[bucket] ?? 0) + 1
      }
    }
  }
  return { bounds, counts, sum }
}
