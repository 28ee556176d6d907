import { CollectError } from '../../src/errors.ts'
import type { ExpositionFormat, ParseLimits } from '../../src/exposition/exposition.ts'
import { ExpositionParser } from '../../src/exposition/parse.ts'

export const limits: ParseLimits = { maxSamples: 50_000, maxLabels: 32, maxLabelBytes: 1024 }

/** Name, labels in the order written, value. */
export type Sample = readonly [
  name: string,
  labels: readonly (readonly [string, string])[],
  value: number,
]

/** What a page came to, made of plain values so that two of them can be compared as a whole. */
export type Outcome =
  | {
      readonly kind: 'page'
      readonly samples: readonly Sample[]
      /** Family and type of each sample. */
      readonly owners: readonly string[]
      readonly families: readonly string[]
      readonly malformedLines: number
      readonly limitHits: Readonly<Record<string, number | undefined>>
    }
  | { readonly kind: 'refused'; readonly code: string; readonly message: string }

export function bytesOf(page: string | readonly number[]): Uint8Array {
  return typeof page === 'string' ? new TextEncoder().encode(page) : Uint8Array.from(page)
}

/** Returns what `parser` makes of a page; anything thrown but a `CollectError` goes on to the test. */
export function outcomeOf(
  parser: ExpositionParser,
  page: string | Uint8Array,
  format: ExpositionFormat = 'text',
): Outcome {
  try {
    const body = typeof page === 'string' ? bytesOf(page) : page
    const { series, values, families, malformedLines, limitHits } = parser.parse(body, format)
    return {
      kind: 'page',
      samples: series.map(({ name, labels }, index) => [name, [...labels], values[index] ?? 0]),
      owners: series.map(({ family, type }) => `${family} ${type}`),
      // The order of the TYPE lines says nothing, and a kept map keeps the order of its own page.
      families: [...families].map(([family, type]) => `${family} ${type}`).sort(),
      malformedLines,
      limitHits: { ...limitHits },
    }
  } catch (error) {
    if (!(error instanceof CollectError)) throw error
    return { kind: 'refused', code: error.code, message: error.message }
  }
}

/** Returns what a parser that has seen no page before makes of this one. */
export function freshOutcomeOf(
  page: string | Uint8Array,
  format: ExpositionFormat = 'text',
  within: ParseLimits = limits,
): Outcome {
  return outcomeOf(new ExpositionParser(within), page, format)
}
