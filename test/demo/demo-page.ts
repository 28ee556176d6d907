import assert from 'node:assert/strict'
import type { Exposition, Series } from '../../src/exposition/exposition.ts'
import { ExpositionParser } from '../../src/exposition/parse.ts'

type Wanted = Readonly<Record<string, string>>

/** A page of the simulator, to be asked by names and labels. */
export class DemoPage {
  readonly #page: Exposition

  constructor(text: string) {
    const limits = { maxSamples: 100_000, maxLabels: 64, maxLabelBytes: 4096 }
    this.#page = new ExpositionParser(limits).parse(Buffer.from(text), 'text')
    assert.equal(this.#page.malformedLines, 0)
  }

  get series(): readonly Series[] {
    return this.#page.series
  }

  get types(): Exposition['families'] {
    return this.#page.families
  }

  /** The sum of all samples of `name` with at least the labels `wanted`. */
  sum(name: string, wanted: Wanted = {}): number {
    let total = 0
    for (const [index, series] of this.#page.series.entries()) {
      if (series.name !== name || !matches(series, wanted)) continue
      total += this.#page.values[index] ?? Number.NaN
    }
    return total
  }

  /** The cumulative counts of a histogram's buckets, by their edges as written. */
  buckets(name: string, wanted: Wanted = {}): ReadonlyMap<string, number> {
    const found = new Map<string, number>()
    for (const [index, series] of this.#page.series.entries()) {
      if (series.name !== `${name}_bucket` || !matches(series, wanted)) continue
      found.set(series.labels.get('le') ?? '', this.#page.values[index] ?? Number.NaN)
    }
    return found
  }
}

function matches({ labels }: Series, wanted: Wanted): boolean {
  for (const [name, value] of Object.entries(wanted)) {
    if (labels.get(name) !== value) return false
  }
  return true
}
