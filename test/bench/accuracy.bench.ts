/**
 * Draws requests from seeded loads, keeps of each window only what vLLM exposes (bucket counts, count and
 * sum), and prints how far the estimates of its quantiles are from the exact ones. A cell is a load, a
 * number of requests and a quantile; its error is the median of the relative errors over all repetitions.
 * The table by load takes all numbers of requests together.
 *
 * `node dist/test/bench/accuracy.bench.js [REPETITIONS]` (101 by default).
 */
import { readQuantile } from '../../src/window/estimate.ts'
import { type HistogramDelta, mean, rankOf } from '../../src/window/histogram.ts'
import { spreadOf } from '../../src/window/spread.ts'
import { straightLine } from '../../src/window/straight-line.ts'
import { tiltToMean } from '../../src/window/tilt.ts'
import { exposed, loads, seeded } from './loads.ts'

const sizes = [30, 100, 300, 1000, 3000, 10_000]
const quantiles = [0.5, 0.95, 0.99]
/** Below this an error counts as this: a hundredth of a percent. */
const LEAST_ERROR = 1e-4
/** A cell is worse than the straight line when its error is larger by more than one point. */
const ONE_POINT = 0.01

interface Method {
  readonly name: string
  estimate(delta: HistogramDelta): (q: number) => number
}

const methods: readonly Method[] = [
  {
    name: 'straight line (histogram_quantile)',
    estimate: (delta) => (q) => straightLine(delta, q) ?? Number.NaN,
  },
  { name: 'log-linear', estimate: (delta) => (q) => logLinear(delta, q) },
  {
    name: 'PCHIP over log x',
    estimate: (delta) => {
      const spread = spreadOf(delta)
      return (q) => readQuantile(delta, spread, q, delta.count).value
    },
  },
  {
    name: 'PCHIP, tilted to the exact mean (ours)',
    estimate: (delta) => {
      const base = spreadOf(delta)
      const exactMean = mean(delta)
      const spread = base && exactMean !== undefined ? tiltToMean(base, exactMean) : base
      return (q) => readQuantile(delta, spread, q, delta.count).value
    },
  },
]

interface Cell {
  readonly load: string
  readonly n: number
  readonly q: number
  /** Medians, by method. */
  readonly errors: readonly number[]
  /** The errors of all repetitions, by method. */
  readonly all: readonly Float64Array[]
}

const repetitions = Number(process.argv[2] ?? 101)
const startedMs = performance.now()
const cells = loads.flatMap((_, index) => sizes.flatMap((n) => measure(index, n)))
print(cells)

function measure(index: number, n: number): readonly Cell[] {
  const load = loads[index]
  if (load === undefined) return []
  const errors = quantiles.map(() => methods.map(() => new Float64Array(repetitions)))
  for (let repetition = 0; repetition < repetitions; repetition++) {
    const random = seeded((index * 100_000 + n) * 1009 + repetition)
    const { seconds } = load.draw(random, n)
    const delta = exposed(load.bounds, seconds)
    const sorted = seconds.slice().sort()
    methods.forEach((method, m) => {
      const estimate = method.estimate(delta)
      quantiles.forEach((q, i) => {
        const exact = sorted[rankOf(q, n) - 1] ?? Number.NaN
        const row = errors[i]?.[m]
        if (row) row[repetition] = Math.abs(estimate(q) - exact) / exact
      })
    })
  }
  return quantiles.map((q, i) => {
    const all = errors[i] ?? []
    return { load: load.name, n, q, errors: all.map((row) => shareOf(row, 0.5)), all }
  })
}

/** Linear in the logarithm inside the bucket; the first begins at a twentieth of its edge. */
function logLinear(delta: HistogramDelta, q: number): number {
  const { bounds, counts } = delta
  const rank = q * delta.count
  let below = 0
  for (let bucket = 0; bucket < bounds.length; bucket++) {
    const count = counts[bucket] ?? 0
    const upper = bounds[bucket] ?? Number.NaN
    const lower = bounds[bucket - 1] ?? upper / 20
    if (below + count >= rank) return lower * (upper / lower) ** ((rank - below) / count)
    below += count
  }
  return bounds.at(-1) ?? Number.NaN
}

function print(all: readonly Cell[]): void {
  const tookSeconds = (performance.now() - startedMs) / 1000
  const line = geometricMean(all, 0)
  const rows = methods.map((method, m) => [
    method.name,
    percent(geometricMean(all, m)),
    (geometricMean(all, m) / line).toFixed(2),
    String(all.filter((cell) => isWorse(cell, m)).length),
  ])
  console.log(
    `${all.length} cells (${loads.length} loads, ${sizes.join(' ')} requests, ${quantiles.join(' ')}), ` +
      `${repetitions} repetitions, ${tookSeconds.toFixed(1)} s\n`,
  )
  table(['estimate', 'error', 'ratio', 'worse by > 1 point'], rows)

  const ours = methods.length - 1
  console.log('\nRelative error, median / p90: ours, and the straight line of PromQL\n')
  table(
    ['load', ...quantiles.flatMap((q) => [`p${q * 100} ours`, 'straight line'])],
    loads.map(({ name }) => [
      name,
      ...quantiles.flatMap((q) => {
        const own = all.filter((cell) => cell.load === name && cell.q === q)
        return [ours, 0].map((m) => {
          const errors = Float64Array.from(own.flatMap((cell) => Array.from(cell.all[m] ?? [])))
          return `${percent(shareOf(errors, 0.5))} / ${percent(shareOf(errors, 0.9))}`
        })
      }),
    ]),
  )

  console.log(
    '\nRatio to the straight line by load, and our cells worse than it by more than a point\n',
  )
  table(
    ['load', ...methods.slice(1).map(({ name }) => name), 'worse'],
    loads.map(({ name }) => {
      const own = all.filter((cell) => cell.load === name)
      const ratios = methods
        .slice(1)
        .map((_, m) => geometricMean(own, m + 1) / geometricMean(own, 0))
      const worse = own.filter((cell) => isWorse(cell, ours))
      const named = worse.map(({ n, q, errors }) => {
        return `p${q * 100} of ${n}: ${percent(errors[ours] ?? 0)} for ${percent(errors[0] ?? 0)}`
      })
      return [name, ...ratios.map((ratio) => ratio.toFixed(2)), named.join('; ')]
    }),
  )
}

function isWorse(cell: Cell, method: number): boolean {
  return (cell.errors[method] ?? 0) > (cell.errors[0] ?? 0) + ONE_POINT
}

function geometricMean(some: readonly Cell[], method: number): number {
  let logs = 0
  for (const { errors } of some) logs += Math.log(Math.max(errors[method] ?? 0, LEAST_ERROR))
  return Math.exp(logs / some.length)
}

/** The error that a share of them does not exceed. */
function shareOf(errors: Float64Array, share: number): number {
  const sorted = errors.slice().sort()
  return sorted[Math.floor(share * sorted.length)] ?? Number.NaN
}

function percent(ratio: number): string {
  return `${(ratio * 100).toFixed(1)} %`
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = head.map((title, i) =>
    Math.max(...[head, ...rows].map((row) => row[i]?.length ?? 0), title.length),
  )
  for (const row of [head, ...rows]) {
    console.log(
      row
        .map((text, i) => text.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
  }
}
