import { VllmDialect } from '../../src/dialects/vllm.ts'
import type { ExpositionFormat } from '../../src/exposition/exposition.ts'
import { ExpositionParser } from '../../src/exposition/parse.ts'
import type { InstrumentId } from '../../src/instruments.ts'
import type { Labels, Reading } from '../../src/reading.ts'

const limits = { maxSamples: 50_000, maxLabels: 32, maxLabelBytes: 2_000 }

/** Reads the pages of one target one after the other, as the daemon does. */
export function pageReader(
  format: ExpositionFormat = 'text',
): (lines: readonly string[], version?: string) => Reading {
  const parser = new ExpositionParser(limits)
  const dialect = new VllmDialect()
  return (lines, version) => {
    const page = parser.parse(Buffer.from(`${lines.join('\n')}\n`), format)
    return dialect.translate(page, { version })
  }
}

/** Reads one page of a target that was never read before. */
export function readPage(lines: readonly string[], version?: string): Reading {
  return pageReader()(lines, version)
}

/** One counter or gauge of a reading. */
export interface Found {
  readonly labels: Labels
  readonly value: number | undefined
}

/** The counters or gauges that a reading has of an instrument, in the order of the page. */
export function found(reading: Reading, instrument: InstrumentId): readonly Found[] {
  return reading.channels
    .filter((channel) => channel.instrument === instrument)
    .map(({ labels, offset }) => ({ labels, value: reading.values[offset] }))
}

/** One histogram of a reading: its edges, then the cumulative counts, the count of all and the sum. */
export interface FoundHistogram {
  readonly bounds: readonly number[] | undefined
  readonly values: readonly number[]
}

export function foundHistograms(
  reading: Reading,
  instrument: InstrumentId,
): readonly FoundHistogram[] {
  return reading.channels
    .filter((channel) => channel.instrument === instrument)
    .map(({ bounds, offset }) => ({
      bounds,
      values: [...reading.values.subarray(offset, offset + (bounds?.length ?? 0) + 2)],
    }))
}

/** The lines of a family of which every sample is given as `labels value`. */
export function family(
  name: string,
  type: string,
  ...samples: readonly string[]
): readonly string[] {
  return [`# TYPE ${name} ${type}`, ...samples.map((sample) => `${name}${sample}`)]
}
