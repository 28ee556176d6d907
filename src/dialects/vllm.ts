import { CollectError } from '../errors.ts'
import type { Exposition, Series } from '../exposition/exposition.ts'
import { type InstrumentId, instruments } from '../instruments.ts'
import type { Labels, Reading } from '../reading.ts'
import { type Choice, fill, HistogramGatherer, keyOf, layOut, type Plan } from './plan.ts'
import {
  httpFamily,
  isServingPath,
  processStartName,
  type Row,
  rankLabel,
  vllmRows,
} from './vllm-names.ts'
import { type Sight, sightOf } from './vllm-sight.ts'

/**
 * Turns pages of one vLLM server into readings, whatever its version: `Exposition` in its words in,
 * `Reading` in ours out. What depends on a page's shape and the version alone is worked out once. A page with
 * more series of vLLM or more models than can be followed throws `CollectError` `limit`.
 */
export class VllmDialect {
  #known: Known | undefined
  /** The edges of the histograms of the last page of which no line was lost. */
  #edges: Edges = new Map()

  translate(page: Exposition, context: { readonly version: string | undefined }): Reading {
    const { plan, sight } = this.#know(page, context.version)
    const { channels, values, leftOut, faults } = fill(plan, page)
    const start = page.values[plan.processStartFrom]
    return {
      channels,
      values,
      processStartSeconds: start !== undefined && Number.isFinite(start) ? start : undefined,
      version: context.version,
      capabilities: sight.capabilities,
      declared: plan.declared,
      blindSpots: sight.blindSpots,
      malformedLines: page.malformedLines + plan.broken.length + faults,
      leftOut: leftOut.length === 0 ? plan.broken : [...plan.broken, ...leftOut],
      limitHits: page.limitHits,
      notes: [],
    }
  }

  #know(page: Exposition, version: string | undefined): Known {
    const { series, families } = page
    const before = this.#known
    const isSameShape =
      before !== undefined && before.series === series && before.families === families
    if (isSameShape && before.version === version) return before
    const plan = isSameShape ? before.plan : this.#planFor(page)
    this.#known = { series, families, version, plan, sight: sightOf(page, plan, version) }
    return this.#known
  }

  #planFor(page: Exposition): Plan {
    const plan = planFor(page, this.#edges)
    if (page.malformedLines === 0) this.#edges = edgesOf(plan)
    return plan
  }
}

/** What was worked out of a page's shape and the version of its server. */
interface Known extends Pick<Exposition, 'series' | 'families'> {
  readonly version: string | undefined
  readonly plan: Plan
  readonly sight: Sight
}

/**
 * What one page may hold of ours. A router in front of some dozens of models stays far below; beyond, work
 * and memory for what can be derived would grow without bound.
 */
const limits = { maxSeries: 20_000, maxModels: 200 } as const

/** Throws `CollectError` `limit` for a page with more series, or more models, than can be followed. */
function refuseTooMany(choices: readonly Choice[]): void {
  const models = new Set(choices.map(({ labels }) => labels['model_name']))
  models.delete(undefined)
  const found = (max: number, what: string, count: number) =>
    new CollectError('limit', `expected at most ${max} ${what} on a page of vLLM, found ${count}`, {
      limit: 'series',
    })
  if (choices.length > limits.maxSeries) throw found(limits.maxSeries, 'series', choices.length)
  if (models.size > limits.maxModels) throw found(limits.maxModels, 'models', models.size)
}

/** Edges of histograms by the keys of their channels. */
type Edges = ReadonlyMap<string, readonly number[]>

function edgesOf({ channels }: Plan): Edges {
  const edges = new Map<string, readonly number[]>()
  for (const { key, bounds } of channels) if (bounds !== undefined) edges.set(key, bounds)
  return edges
}

function planFor(page: Exposition, known: Edges): Plan {
  const index = indexSeries(page)
  const choices: Choice[] = []
  const broken: string[] = []
  for (const row of vllmRows) {
    const found = chooseRow(row, index)
    for (const identity of found.broken) broken.push(keyOf(row.instrument, identity))
    for (const choice of found.choices) {
      const key = keyOf(choice.instrument, choice.identity)
      if (page.malformedLines > 0 && lacksEdges(choice, known.get(key))) broken.push(key)
      else choices.push(choice)
    }
  }
  choices.push(...chooseHttp(index))
  refuseTooMany(choices)
  const processStartFrom = page.series.findIndex(({ name }) => name === processStartName)
  return layOut(choices, { processStartFrom, broken, declared: declaredBy(page) })
}

/** The instruments of which a page declares a family in the type that ours has. */
function declaredBy({ families }: Exposition): ReadonlySet<InstrumentId> {
  const declared = new Set<InstrumentId>()
  for (const { instrument, families: names, type } of vllmRows) {
    if (names.some((name) => families.get(name) === type)) declared.add(instrument)
  }
  if (families.get(httpFamily) === 'counter') declared.add('http_answers')
  return declared
}

/**
 * Tells whether a histogram has some of its known edges and no others. On a page that lost a line it
 * was a bucket that was lost: edges that change mean another process, which counts from zero.
 */
function lacksEdges({ source }: Choice, known: readonly number[] | undefined): boolean {
  if (source.kind !== 'histogram' || known === undefined) return false
  const { bounds } = source
  return bounds.length < known.length && bounds.every((edge) => known.includes(edge))
}

interface Placed {
  readonly series: Series
  readonly position: number
}

interface Index {
  readonly families: ReadonlyMap<string, readonly Placed[]>
  /** Positions of `_created` samples by the name they belong to and their labels. */
  readonly created: ReadonlyMap<string, number>
}

const createdSuffix = '_created'

function indexSeries(page: Exposition): Index {
  const families = new Map<string, Placed[]>()
  const created = new Map<string, number>()
  for (const [position, series] of page.series.entries()) {
    if (series.name.endsWith(createdSuffix)) {
      const stem = series.name.slice(0, -createdSuffix.length)
      created.set(stem + identityOf(series), position)
      continue
    }
    const placed = families.get(series.family)
    if (placed === undefined) families.set(series.family, [{ series, position }])
    else placed.push({ series, position })
  }
  return { families, created }
}

function chooseRow(
  row: Row,
  index: Index,
): { readonly choices: readonly Choice[]; readonly broken: readonly string[] } {
  for (const family of row.families) {
    const placed = index.families.get(family)?.filter((one) => isOf(row, one.series))
    if (placed === undefined || placed.length === 0) continue
    if (row.type === 'histogram' && row.part === undefined) {
      return chooseHistograms(row, family, placed, index)
    }
    const scalars =
      row.part === undefined
        ? placed
        : placed.filter(({ series }) => series.name === `${family}_${row.part}`)
    return { choices: scalars.flatMap((one) => chooseScalar(row, one, index)), broken: [] }
  }
  return { choices: [], broken: [] }
}

function isOf(row: Row, series: Series): boolean {
  if (series.type !== row.type) return false
  const { where } = row
  return where === undefined || where.values.includes(series.labels.get(where.label) ?? '')
}

function chooseScalar(row: Row, { series, position }: Placed, index: Index): Choice[] {
  const common = {
    instrument: row.instrument,
    labels: labelsOf(row.instrument, series, row.by),
    identity: identityOf(series),
    ...placeOf(row.instrument, series),
  }
  if (row.valueLabel !== undefined) {
    const text = series.labels.get(row.valueLabel) ?? ''
    const value = text === '' ? Number.NaN : Number(text)
    // vLLM writes Python's words into these labels; `None` is no number and so no value.
    if (!Number.isFinite(value)) return []
    return [{ ...common, createdFrom: undefined, source: { kind: 'constant', value } }]
  }
  const stem = row.part === undefined ? series.name.replace(/_total$/, '') : series.family
  const createdFrom = row.type === 'gauge' ? undefined : index.created.get(stem + common.identity)
  return [{ ...common, createdFrom, source: { kind: 'sample', from: position } }]
}

function chooseHistograms(
  row: Row,
  family: string,
  placed: readonly Placed[],
  index: Index,
): { readonly choices: readonly Choice[]; readonly broken: readonly string[] } {
  const gatherer = new HistogramGatherer()
  for (const { series, position } of placed) gatherer.add(series, position, identityOf(series))
  const { whole, broken } = gatherer.finish()
  const choices = [...whole].map(
    ([identity, { series, parts }]): Choice => ({
      instrument: row.instrument,
      labels: labelsOf(row.instrument, series, row.by),
      identity,
      ...placeOf(row.instrument, series),
      createdFrom: index.created.get(family + identity),
      source: { kind: 'histogram', ...parts },
    }),
  )
  return { choices, broken }
}

/**
 * Chooses the answers on serving paths. A server whose routes have no names writes `handler="none"` for
 * all of them; then every POST counts, since nothing better is known.
 */
function chooseHttp(index: Index): Choice[] {
  const placed = (index.families.get(httpFamily) ?? []).filter(
    ({ series }) => series.type === 'counter',
  )
  const nameless = placed.every(({ series }) => series.labels.get('handler') === 'none')
  const choices: Choice[] = []
  for (const { series, position } of placed) {
    const { labels } = series
    if (labels.get('method') !== 'POST') continue
    if (!nameless && !isServingPath(labels.get('handler') ?? '')) continue
    const identity = identityOf(series)
    choices.push({
      instrument: 'http_answers',
      labels: { status: statusClass(labels.get('status') ?? '') },
      identity,
      group: 'http',
      createdFrom: index.created.get(series.name.replace(/_total$/, '') + identity),
      source: { kind: 'sample', from: position },
    })
  }
  return choices
}

function statusClass(status: string): string {
  return /^[1-5]\d\d$/.test(status) ? `${status.charAt(0)}xx` : status
}

function labelsOf(id: InstrumentId, series: Series, by: Row['by']): Labels {
  const labels: Record<string, string> = {}
  const instrument = instruments[id]
  if (instrument.of === 'model') labels['model_name'] = series.labels.get('model_name') ?? ''
  for (const [ours, theirs] of Object.entries(by ?? {})) {
    labels[ours] = series.labels.get(theirs) ?? ''
  }
  return labels
}

/**
 * Which series are reset together with this one. A router shows several servers on one page, each with a
 * rank 0: the model tells them apart. What speaks of no model is the API server's own.
 */
function placeOf(id: InstrumentId, { labels }: Series): Pick<Choice, 'group' | 'rank'> {
  const rank = labels.get(rankLabel)
  if (instruments[id].of === 'target' && rank === undefined) return { group: 'server' }
  return { group: JSON.stringify(['engine', labels.get('model_name'), rank]), rank }
}

/** Every label but `le`, in an order that does not depend on the page's. */
function identityOf(series: Series): string {
  const pairs = [...series.labels].filter(([name]) => name !== 'le')
  pairs.sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify(pairs)
}
