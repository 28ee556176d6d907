/**
 * Reads pages of one server whose values change from one to the next, and prints how many megabytes of
 * text a second that makes: with the parser that read the page before, with a new parser for each page,
 * where every page has another shape than the one before, and with the npm package
 * parse-prometheus-text-format, which is spared the decoding: it is given strings. The four take turns
 * in each round, and what is printed is the median of the rounds' medians.
 *
 * Data: 32 pages of a simulated vLLM with eight engines. Recorded pages of vLLM in Prometheus' multiprocess
 * mode would not do: the package throws for them.
 *
 * `node dist/test/bench/parse.bench.js [ROUNDS]` (7 by default).
 */
import { createRequire } from 'node:module'
import { do_not_optimize, measure } from 'mitata'
import { SimulatedEngine } from '../../src/demo/engine.ts'
import { findScenario } from '../../src/demo/scenarios.ts'
import type { ParseLimits } from '../../src/exposition/exposition.ts'
import { ExpositionParser } from '../../src/exposition/parse.ts'

const limits: ParseLimits = { maxSamples: 50_000, maxLabels: 64, maxLabelBytes: 4096 }
const options = { min_cpu_time: 300e6, min_samples: 40, batch_samples: 1, inner_gc: false }
const rounds = Number(process.argv[2] ?? 7)

interface Candidate {
  readonly name: string
  read(index: number): unknown
}

function simulatedPages(): readonly string[] {
  const engine = new SimulatedEngine({
    scenario: findScenario('steady'),
    seed: 7,
    startWallMs: Date.UTC(2026, 0, 1),
    engines: 8,
  })
  return Array.from({ length: 32 }, (_, index) => {
    engine.advance(60_000 + 5000 * index)
    return engine.page()
  })
}

function candidatesFor(pages: readonly string[]): readonly Candidate[] {
  const bodies = pages.map((page) => Buffer.from(page))
  // As a string comes from the network. One that was put together of pieces is slower to read.
  const texts = bodies.map((body) => body.toString())
  const shifted = pages.map((page, index) => Buffer.from(`shape_${index} 1\n${page}`))
  const again = new ExpositionParser(limits)
  const changing = new ExpositionParser(limits)
  const package_: unknown = createRequire(import.meta.url)('parse-prometheus-text-format')
  if (typeof package_ !== 'function') throw new TypeError('expected the package to be a function')
  const at = <T>(list: readonly T[], index: number): T => {
    const value = list[index % list.length]
    if (value === undefined) throw new RangeError('expected a page, found none')
    return value
  }
  return [
    { name: 'parse-prometheus-text-format', read: (index) => package_(at(texts, index)) },
    { name: 'ours, page like the last', read: (index) => again.parse(at(bodies, index), 'text') },
    {
      name: 'ours, other shape than the last',
      read: (index) => changing.parse(at(shifted, index), 'text'),
    },
    {
      name: 'ours, new parser for each page',
      read: (index) => new ExpositionParser(limits).parse(at(bodies, index), 'text'),
    },
  ]
}

async function compare(title: string, pages: readonly string[]): Promise<void> {
  const bytes = pages.reduce((sum, page) => sum + Buffer.byteLength(page), 0) / pages.length
  const samples = new ExpositionParser(limits).parse(Buffer.from(pages[0] ?? ''), 'text').series
  console.log(`${title}: ${pages.length} pages of ${(bytes / 1000).toFixed(0)} kB`)
  console.log(`with ${samples.length} samples each; ${rounds} rounds`)
  const candidates = candidatesFor(pages)
  const medians = candidates.map((): number[] => [])
  for (let round = 0; round < rounds; round += 1) {
    for (const [which, candidate] of candidates.entries()) {
      let index = 0
      const stats = await measure(() => {
        index += 1
        do_not_optimize(candidate.read(index))
      }, options)
      medians[which]?.push(stats.p50)
    }
  }
  const nanoseconds = medians.map(medianOf)
  const reference = nanoseconds[0] ?? Number.NaN
  for (const [which, { name }] of candidates.entries()) {
    const each = nanoseconds[which] ?? Number.NaN
    const speed = ((bytes / each) * 1000).toFixed(0).padStart(6)
    const ratio = (reference / each).toFixed(1).padStart(6)
    console.log(
      `  ${name.padEnd(34)}${(each / 1e6).toFixed(3).padStart(8)} ms${speed} MB/s${ratio} ×`,
    )
  }
}

function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

console.log(`Node.js ${process.version}, ${process.arch}`)
await compare('Simulated vLLM, 8 engines', simulatedPages())
