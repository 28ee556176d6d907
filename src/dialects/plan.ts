import type { Exposition, Series } from '../exposition/exposition.ts'
import { type InstrumentId, instruments } from '../instruments.ts'
import type { Channel, Labels } from '../reading.ts'

/**
 * How to turn a page of one shape into a reading. Made once for each shape; then a page costs a copy of
 * numbers: slot i of the reading takes `values[from[i]]`, or `constants[i]` where `from[i]` is -1.
 */
export interface Plan {
  readonly channels: readonly Channel[]
  readonly from: Int32Array
  readonly constants: Float64Array
  /** For each channel of a histogram, where the page has its `_count`; -1 for the others. */
  readonly countFrom: Int32Array
  readonly processStartFrom: number
  /** Keys of histograms of this shape that miss a line and so are left out whole. */
  readonly broken: readonly string[]
  /** Instruments whose family the page declares, whether or not it has samples. */
  readonly declared: ReadonlySet<InstrumentId>
}

/** One series, or the parts of one histogram, chosen for an instrument. */
export interface Choice {
  readonly instrument: InstrumentId
  readonly labels: Labels
  /** Everything that tells this series from others of the instrument. */
  readonly identity: string
  readonly group: string
  readonly rank?: string | undefined
  readonly createdFrom: number | undefined
  readonly source:
    | { readonly kind: 'sample'; readonly from: number }
    | { readonly kind: 'constant'; readonly value: number }
    | ({ readonly kind: 'histogram' } & HistogramParts)
}

/** Where a page has the parts of one histogram. */
export interface HistogramParts {
  readonly bounds: readonly number[]
  /** Positions of the finite buckets in the order of `bounds`. */
  readonly bucketsFrom: readonly number[]
  readonly infFrom: number
  readonly sumFrom: number
  readonly countFrom: number
}

/** Lays the chosen series out as channels. */
export function layOut(
  choices: readonly Choice[],
  rest: Pick<Plan, 'processStartFrom' | 'broken' | 'declared'>,
): Plan {
  const channels: Channel[] = []
  const from: number[] = []
  const constants: number[] = []
  const countFrom: number[] = []
  const put = (source: number, constant = 0): void => {
    from.push(source)
    constants.push(constant)
  }
  for (const choice of choices) {
    const offset = from.length
    const { source } = choice
    if (source.kind === 'histogram') {
      for (const bucket of source.bucketsFrom) put(bucket)
      put(source.infFrom)
      put(source.sumFrom)
    } else if (source.kind === 'constant') put(-1, source.value)
    else put(source.from)
    const start = choice.createdFrom === undefined ? undefined : from.length
    if (choice.createdFrom !== undefined) put(choice.createdFrom)
    countFrom.push(source.kind === 'histogram' ? source.countFrom : -1)
    channels.push({
      instrument: choice.instrument,
      key: keyOf(choice.instrument, choice.identity),
      labels: choice.labels,
      group: choice.group,
      ...(choice.rank === undefined ? {} : { rank: choice.rank }),
      offset,
      ...(source.kind === 'histogram' ? { bounds: source.bounds } : {}),
      ...(start === undefined ? {} : { startOffset: start }),
    })
  }
  return {
    channels,
    from: Int32Array.from(from),
    constants: Float64Array.from(constants),
    countFrom: Int32Array.from(countFrom),
    ...rest,
  }
}

/** The key of the series of an instrument that `identity` tells from its others. */
export function keyOf(instrument: InstrumentId, identity: string): string {
  return `${instrument} ${identity}`
}

/** Numbers of a page brought into a plan's slots, with the channels that hold usable ones. */
export interface Filled {
  readonly channels: readonly Channel[]
  readonly values: Float64Array
  /** Keys of the channels left out. */
  readonly leftOut: readonly string[]
  /** Channels left out, and histograms whose count contradicts their last bucket. */
  readonly faults: number
}

/**
 * Copies the page's numbers into the plan's slots and leaves out what no counter, gauge or histogram can
 * hold: NaN and infinities, negative counts, buckets that fall. `channels` is the plan's own array when
 * nothing had to be left out.
 */
export function fill(plan: Plan, page: Exposition): Filled {
  const { channels, from, constants } = plan
  const values = new Float64Array(from.length)
  for (let slot = 0; slot < from.length; slot += 1) {
    const source = from[slot] ?? -1
    values[slot] = (source < 0 ? constants[slot] : page.values[source]) ?? Number.NaN
  }
  let faults = 0
  const leftOut: string[] = []
  let kept: Channel[] | undefined
  for (const [position, channel] of channels.entries()) {
    const { startOffset } = channel
    // A start that is no number is an unknown start, which a reading writes as 0.
    if (startOffset !== undefined && !Number.isFinite(values[startOffset])) values[startOffset] = 0
    if (isUsable(channel, values)) {
      kept?.push(channel)
      const count = page.values[plan.countFrom[position] ?? -1]
      const { bounds, offset } = channel
      // The +Inf bucket is what the other buckets lead up to; a differing _count is told, not used.
      if (bounds !== undefined && count !== values[offset + bounds.length]) faults += 1
    } else {
      kept ??= channels.slice(0, position)
      leftOut.push(channel.key)
      faults += 1
    }
  }
  return { channels: kept ?? channels, values, leftOut, faults }
}

function isUsable(channel: Channel, values: Float64Array): boolean {
  const { bounds, offset } = channel
  if (bounds === undefined) {
    const value = values[offset] ?? Number.NaN
    if (!Number.isFinite(value)) return false
    return value >= 0 || instruments[channel.instrument].kind === 'gauge'
  }
  let previous = 0
  for (let slot = offset; slot <= offset + bounds.length; slot += 1) {
    const count = values[slot] ?? Number.NaN
    // Written so that NaN fails it too.
    if (!(count >= previous && count < Number.POSITIVE_INFINITY)) return false
    previous = count
  }
  return Number.isFinite(values[offset + bounds.length + 1])
}

/** Gathers a histogram family's series by their labels without `le`. */
export class HistogramGatherer {
  readonly #parts = new Map<string, Parts>()

  /** Takes one series of a histogram family; `identity` leaves `le` out. */
  add(series: Series, position: number, identity: string): void {
    let parts = this.#parts.get(identity)
    if (parts === undefined) {
      parts = { first: series, buckets: new Map() }
      this.#parts.set(identity, parts)
    }
    const suffix = series.name.slice(series.family.length)
    if (suffix === '_sum') parts.sum = position
    else if (suffix === '_count') parts.count = position
    else if (suffix === '_bucket') {
      const le = series.labels.get('le')
      const edge =
        le === undefined || le === '' ? Number.NaN : Number(le.replace('Inf', 'Infinity'))
      if (Number.isNaN(edge) || parts.buckets.has(edge)) parts.spoilt = true
      else parts.buckets.set(edge, position)
    }
  }

  /** Returns the whole histograms by identity, and the identities of those with a line missing or bad. */
  finish(): { readonly whole: ReadonlyMap<string, Gathered>; readonly broken: readonly string[] } {
    const whole = new Map<string, Gathered>()
    const broken: string[] = []
    for (const [identity, parts] of this.#parts) {
      const infFrom = parts.buckets.get(Number.POSITIVE_INFINITY)
      const { sum, count } = parts
      if (parts.spoilt || infFrom === undefined || sum === undefined || count === undefined) {
        broken.push(identity)
        continue
      }
      const edges = [...parts.buckets].filter(([edge]) => Number.isFinite(edge))
      edges.sort(([a], [b]) => a - b)
      whole.set(identity, {
        series: parts.first,
        parts: {
          bounds: edges.map(([edge]) => edge),
          bucketsFrom: edges.map(([, position]) => position),
          infFrom,
          sumFrom: sum,
          countFrom: count,
        },
      })
    }
    return { whole, broken }
  }
}

export interface Gathered {
  readonly series: Series
  readonly parts: HistogramParts
}

interface Parts {
  readonly first: Series
  readonly buckets: Map<number, number>
  spoilt?: boolean
  sum?: number
  count?: number
}
