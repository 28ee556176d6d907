import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { histogramQuantile, straightLine } from '../../src/window/straight-line.ts'
import { startPrometheus } from '../fakes/prometheus.ts'
import { findProgram } from '../repository.ts'

const infinity = Number.POSITIVE_INFINITY

describe('the straight line', () => {
  const bounds = [1, 2, 4, infinity]
  const rows: readonly [
    name: string,
    q: number,
    bounds: number[],
    cumulative: number[],
    value: number,
  ][] = [
    // Rank 5 of 10; 4 are below 2, 4 in (2, 4]: 2 + 2 × 1/4.
    ['interpolates inside the bucket that holds the rank', 0.5, bounds, [2, 4, 8, 10], 2.5],
    // Rank 1 of 10, half of the 2 in (0, 1].
    ['begins at 0 in the first bucket', 0.1, bounds, [2, 4, 8, 10], 0.5],
    ['gives the highest finite bound in the last bucket', 0.9, bounds, [2, 4, 8, 10], 4],
    ['gives minus infinity below 0', -0.1, bounds, [2, 4, 8, 10], -infinity],
    ['gives infinity above 1', 1.1, bounds, [2, 4, 8, 10], infinity],
    ['gives no number for no number', Number.NaN, bounds, [2, 4, 8, 10], Number.NaN],
    ['gives no number without observations', 0.5, bounds, [0, 0, 0, 0], Number.NaN],
    ['gives no number without a +Inf bucket', 0.5, [1, 2, 4], [2, 4, 8], Number.NaN],
    ['gives no number with the +Inf bucket alone', 0.5, [infinity], [10], Number.NaN],
    ['gives no number of no buckets', 0.5, [], [], Number.NaN],
    ['gives the first bound when it is not positive', 0.1, [-3, 2, infinity], [2, 4, 4], -3],
    // Rank 3 of 4, half of the 2 in (−3, 2]: −3 + 5 × 1/2.
    ['begins at a negative bound', 0.75, [-3, 2, infinity], [2, 4, 4], -0.5],
    // The counts become 6, 6, 8; rank 4 of 8 lies at 4/6 of (0, 1].
    ['lifts a count that falls to the one before', 0.5, [1, 2, infinity], [6, 3, 8], 4 / 6],
    // The counts become 6, 6: all lie in (0, 1].
    ['lifts the last count too', 0.5, [1, infinity], [6, 3], 0.5],
    // One bucket up to 1 with 1 + 3: rank 4 of 8 lies at its end.
    ['joins buckets of the same bound', 0.5, [1, 1, infinity], [1, 3, 8], 1],
    ['gives no number for 0 when the first bucket is empty', 0, bounds, [0, 4, 8, 10], Number.NaN],
    [
      'gives the first edge for 0 when its bucket holds nothing but is negative',
      0,
      [-1, 1, infinity],
      [0, 4, 4],
      -1,
    ],
  ]
  for (const [name, q, edges, cumulative, value] of rows) {
    it(name, () => assert.equal(histogramQuantile(q, edges, cumulative), value))
  }

  it('takes what a histogram gained, and has no value where PromQL gives no number', () => {
    const delta = { bounds: [1, 2, 4], counts: [2, 2, 4, 2], count: 10, sum: 25 }
    assert.equal(straightLine(delta, 0.5), 2.5)
    assert.equal(straightLine({ ...delta, counts: [0, 0, 0, 0] }, 0.5), undefined)
  })
})

const quantiles = [-0.5, 0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1, 1.5, Number.NaN]
const AT_SECONDS = 1_700_000_000

/** Classic histograms of all kinds, well formed or not. */
const histograms = fc
  .record({
    edges: fc.uniqueArray(
      fc.oneof(fc.integer({ min: -4, max: 40 }), fc.double({ min: 0, max: 9000, noNaN: true })),
      { maxLength: 12 },
    ),
    growth: fc.array(fc.oneof(fc.constant(0), fc.nat(9), fc.nat(1_000_000)), {
      minLength: 14,
      maxLength: 14,
    }),
    falls: fc.array(fc.nat(13), { maxLength: 2 }),
    positive: fc.boolean(),
    divisor: fc.constantFrom(1, 1, 300),
    hasInfinity: fc.integer({ min: 0, max: 9 }).map((draw) => draw > 0),
    isEmpty: fc.integer({ min: 0, max: 19 }).map((draw) => draw === 0),
    repeats: fc.boolean(),
  })
  .map(({ edges, growth, falls, positive, divisor, hasInfinity, isEmpty, repeats }) => {
    const upperBounds = edges.filter((edge) => !positive || edge > 0).sort((a, b) => a - b)
    const whole = upperBounds.findIndex(Number.isInteger)
    if (repeats && whole >= 0) upperBounds.splice(whole, 0, upperBounds[whole] ?? 0)
    if (hasInfinity || upperBounds.length === 0) upperBounds.push(infinity)
    let upTo = 0
    const cumulative = upperBounds.map((_, i) => {
      upTo += isEmpty ? 0 : (growth[i] ?? 0)
      return (falls.includes(i) ? Math.floor(upTo / 2) : upTo) / divisor
    })
    return { upperBounds, cumulative }
  })

describe('the straight line beside real Prometheus', () => {
  it('equals its histogram_quantile on random classic histograms', async (t) => {
    for (const program of ['prometheus', 'promtool']) {
      if (findProgram(program) === undefined) {
        t.skip(`${program} is not on PATH`)
        return
      }
    }
    const drawn = fc.sample(histograms, { seed: 20_261_122, numRuns: 600 })
    const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-straight-line-'))
    try {
      await storeBlock(folder, drawn)
      const found = await askPrometheus(folder)
      let compared = 0
      for (const [id, { upperBounds, cumulative }] of drawn.entries()) {
        for (const q of quantiles) {
          const theirs = found.get(`${q} ${id}`)
          assert.ok(theirs !== undefined, `expected an answer for q ${q} of histogram ${id}`)
          const ours = histogramQuantile(q, upperBounds, cumulative)
          const message = `q ${q} of ${upperBounds} with ${cumulative}`
          if (Number.isFinite(theirs)) {
            const miss = Math.abs(ours - theirs)
            assert.ok(miss <= 1e-12 * Math.abs(theirs), `${message}: ${ours}, theirs ${theirs}`)
            compared++
          } else assert.equal(ours, theirs, message)
        }
      }
      // A test that compared nothing but special values would say little.
      assert.ok(compared > 3000, `expected more than 3000 numbers, found ${compared}`)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})

interface Classic {
  readonly upperBounds: readonly number[]
  readonly cumulative: readonly number[]
}

/** Writes the histograms into a block of Prometheus' storage. */
async function storeBlock(folder: string, drawn: readonly Classic[]): Promise<void> {
  const lines = ['# TYPE h histogram']
  for (const [id, { upperBounds, cumulative }] of drawn.entries()) {
    for (const [i, bound] of upperBounds.entries()) {
      // A bound that comes again is spelled another way, or it would be the same series.
      const spelled = `${bound}${upperBounds[i - 1] === bound ? '.0' : ''}`
      const le = bound === infinity ? '+Inf' : spelled
      lines.push(`h_bucket{id="${id}",le="${le}"} ${cumulative[i]} ${AT_SECONDS}`)
    }
  }
  const page = join(folder, 'page.txt')
  await writeFile(page, `${lines.join('\n')}\n# EOF\n`)
  const made = spawnSync(
    'promtool',
    ['tsdb', 'create-blocks-from', 'openmetrics', page, join(folder, 'data')],
    { encoding: 'utf8' },
  )
  assert.equal(made.status, 0, made.stderr)
}

/** Starts Prometheus on the stored block and returns its answers by `quantile id`. */
async function askPrometheus(folder: string): Promise<ReadonlyMap<string, number>> {
  const config = 'global: { scrape_interval: 1h }\n'
  const prometheus = await startPrometheus(config, join(folder, 'data'))
  try {
    const found = new Map<string, number>()
    for (const q of quantiles) {
      const samples = await prometheus.query(`histogram_quantile(${q}, h_bucket)`, AT_SECONDS)
      for (const { metric, value } of samples) found.set(`${q} ${metric['id']}`, value)
    }
    return found
  } finally {
    await prometheus.stop()
  }
}
