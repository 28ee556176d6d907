import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { estimateQuantiles, readQuantile } from '../../src/window/estimate.ts'
import { type HistogramDelta, mean } from '../../src/window/histogram.ts'
import { type Spread, spreadOf, valueAt } from '../../src/window/spread.ts'
import { straightLine } from '../../src/window/straight-line.ts'
import { tiltToMean } from '../../src/window/tilt.ts'
import { exposed, loads, seeded } from '../bench/loads.ts'

const bounds = [1, 2, 4, 8, 16, 32]
const infinity = Number.POSITIVE_INFINITY

function delta(counts: readonly number[], sum = Number.NaN, edges = bounds): HistogramDelta {
  return { bounds: edges, counts, count: counts.reduce((total, held) => total + held, 0), sum }
}

function spread(of: HistogramDelta): Spread {
  const found = spreadOf(of)
  assert.ok(found !== undefined)
  return found
}

function assertClose(actual: number | undefined, expected: number, tolerance = 1e-9): void {
  assert.ok(
    actual !== undefined && Math.abs(actual - expected) <= tolerance * Math.abs(expected),
    `expected ${expected}, found ${actual}`,
  )
}

/** What the cells of each bucket hold together. */
function heldByBucket({ grid, counts, masses }: Spread): number[] {
  return Array.from(counts, (_, bucket) => {
    return masses
      .subarray(grid.firstCell[bucket], grid.firstCell[bucket + 1])
      .reduce((total, mass) => total + mass, 0)
  })
}

function meanOf({ grid, masses }: Spread): number {
  let sum = 0
  let held = 0
  for (const [cell, mass] of masses.entries()) {
    sum += mass * (grid.middles[cell] ?? 0)
    held += mass
  }
  return sum / held
}

/** Observations over four decades, none in the last bucket. */
const observed = fc.array(
  fc.oneof(
    fc.double({ min: 1e-3, max: 32, noNaN: true }),
    fc.double({ min: -7, max: 3.4, noNaN: true }).map(Math.exp),
    fc.constantFrom(...bounds),
  ),
  { minLength: 1, maxLength: 150 },
)
const quantiles = fc
  .array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 8 })
  .map((some) => some.toSorted((a, b) => a - b))

describe('the spread', () => {
  it('is even on the scale of the logarithm where neighbours hold alike', () => {
    // Buckets twice as wide as the one before with the same count: the cumulative count is a straight
    // line over log x, and so is the cubic. Half of (4, 8] lies below 4·√2, a quarter below 4·2^¼.
    const base = spread(delta([0, 100, 100, 100, 100, 100, 0]))
    assertClose(valueAt(base, 3, 200, 250), 4 * Math.SQRT2, 1e-3)
    assertClose(valueAt(base, 3, 200, 225), 4 * 2 ** 0.25, 1e-3)
  })

  it('leans to the side of the fuller neighbour', () => {
    const up = spread(delta([0, 10, 50, 100, 500, 0, 0]))
    const down = spread(delta([0, 500, 100, 100, 10, 0, 0]))
    assert.ok(valueAt(up, 3, 60, 110) > 4 * Math.SQRT2)
    assert.ok(valueAt(down, 3, 600, 650) < 4 * Math.SQRT2)
  })

  it('gathers what stands alone in the middle of its bucket', () => {
    // Both slopes are zero, so the cubic is s²(3 − 2s), which is even about s = ½: 4·√2. At s = ¼ it is 5/32.
    const base = spread(delta([0, 0, 0, 320, 0, 0, 0]))
    assertClose(valueAt(base, 3, 0, 160), 4 * Math.SQRT2, 2e-3)
    assertClose(valueAt(base, 3, 0, 50), 4 * 2 ** 0.25, 2e-3)
  })

  it('begins at a twentieth of the first edge, but for a share of five hundredths below', () => {
    const base = spread(delta([100, 0, 0, 0, 0, 0, 0]))
    assertClose(valueAt(base, 0, 0, 5), 1 / 20, 1e-6)
    assert.ok(valueAt(base, 0, 0, 1) < 1 / 20)
    assert.equal(valueAt(base, 0, 0, 0), 0)
    assertClose(valueAt(base, 0, 0, 100), 1)
  })

  it('gives the nearer end of the bucket for ranks outside it', () => {
    const base = spread(delta([0, 0, 0, 320, 0, 0, 0]))
    assert.equal(valueAt(base, 3, 0, -1), 4)
    assert.equal(valueAt(base, 3, 0, 321), 8)
  })

  it('needs a first edge above zero', () => {
    for (const edges of [[], [0, 1], [-1, 1]]) {
      assert.equal(spreadOf(delta(new Array(edges.length + 1).fill(1), 1, edges)), undefined)
    }
  })

  it('holds in the cells of each bucket what the bucket holds, none of them negative', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1e9), { minLength: 7, maxLength: 7 }), (counts) => {
        const base = spread(delta(counts))
        for (const [bucket, held] of heldByBucket(base).entries()) {
          assertClose(held, counts[bucket] ?? 0)
        }
        assert.ok(base.masses.every((mass) => mass >= 0))
      }),
    )
  })
})

describe('the tilt', () => {
  it('meets the exact mean and keeps what each bucket holds', () => {
    fc.assert(
      fc.property(observed, (values) => {
        const held = exposed(bounds, values)
        const exact = mean(held)
        assert.ok(exact !== undefined)
        const tilted = tiltToMean(spread(held), exact)
        for (const [bucket, count] of heldByBucket(tilted).entries()) {
          assertClose(count, held.counts[bucket] ?? 0)
        }
        assert.ok(tilted.masses.every((mass) => mass >= 0))
        // Cells are a sixteenth of a bucket: at the very edge of what is possible half of one is off.
        const slack = values.reduce((sum, value) => sum + cellWidth(value), 0) / values.length
        assert.ok(Math.abs(meanOf(tilted) - exact) <= slack / 2 + 1e-9 * exact)
      }),
    )
  })

  /** The width of a cell of the bucket that `value` is in; those of the first one widen up to a sixth of it. */
  function cellWidth(value: number): number {
    const upper = bounds.find((bound) => value <= bound) ?? infinity
    return upper === 1 ? 0.18 : upper / 2 / 16
  }

  it('meets a mean inside what is possible to nine digits', () => {
    const base = spread(delta([0, 30, 100, 80, 5, 0, 0]))
    // Least 1·30 + 2·100 + 4·80 + 8·5 = 590 of 215, most twice that.
    for (const sum of [650, 800, 900, 1000, 1120]) {
      assertClose(meanOf(tiltToMean(base, sum / 215)), sum / 215)
    }
  })

  it('leaves a spread that has the mean already', () => {
    const base = spread(delta([0, 30, 100, 80, 5, 0, 0]))
    const again = tiltToMean(base, meanOf(base))
    assert.deepEqual(again.masses, base.masses)
  })

  it('lets the last bucket take what the others cannot hold', () => {
    const base = spread(delta([0, 10, 0, 0, 0, 0, 2]))
    // Two above 32 may be as slow as they like: a mean of 1000 says nothing of the other ten.
    assert.deepEqual(tiltToMean(base, 1000).masses, base.masses)
  })

  it('lets the first bucket take a spike near zero, and leaves the others right', () => {
    // 800 waits of 3 ms in a bucket up to 0.3 s, 200 lognormal ones: p95 is the 150th of the 200.
    const edges = [0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30]
    const random = seeded(7)
    const slow = Array.from({ length: 200 }, () => 1.5 * Math.exp(random() + random() - 1)).sort(
      (a, b) => a - b,
    )
    const held = exposed(edges, [...new Array<number>(800).fill(0.003), ...slow])
    const [p50, p95] = estimateQuantiles(held, [0.5, 0.95])
    const exact = slow[149] ?? Number.NaN
    const line = Math.abs((straightLine(held, 0.95) ?? Number.NaN) / exact - 1)
    assert.ok(Math.abs((p95?.value ?? Number.NaN) / exact - 1) <= line + 0.01)
    // The straight line says 0.19 s.
    assert.ok((p50?.value ?? infinity) < 0.01)
  })
})

describe('the estimate', () => {
  it('is absent without observations', () => {
    assert.deepEqual(estimateQuantiles(delta([0, 0, 0, 0, 0, 0, 0], 0), [0.5]), [])
  })

  it('reads a quantile at the middle of the observation that it is', () => {
    // The median of 4 is the 2nd: its middle is rank 1.5, three quarters into the 2 of (1, 2].
    const line = readQuantile(delta([0, 2, 0, 2, 0, 0, 0]), undefined, 0.5, 4)
    assert.deepEqual(line, { q: 0.5, value: 1.75, lower: 1, upper: 2, atLeast: false })
    // The 0.99-quantile of 4 is the 4th: rank 3.5, three quarters into (4, 8].
    assert.equal(readQuantile(delta([0, 2, 0, 2, 0, 0, 0]), undefined, 0.99, 4).value, 7)
  })

  it('in the last bucket is its lower edge, and says that it is at least that', () => {
    const found = estimateQuantiles(delta([0, 0, 0, 0, 0, 1, 9], 1000), [0.1, 0.11, 0.99])
    assert.deepEqual(found[0]?.atLeast, false)
    const last = { value: 32, lower: 32, upper: infinity, atLeast: true }
    assert.deepEqual(found.slice(1), [
      { q: 0.11, ...last },
      { q: 0.99, ...last },
    ])
  })

  it('uses the mean', () => {
    const [low, high] = [4.5, 7.5].map((each) => {
      return estimateQuantiles(delta([0, 0, 0, 100, 0, 0, 0], 100 * each), [0.5])[0]?.value
    })
    assert.ok(low !== undefined && low > 4 && low < 5)
    assert.ok(high !== undefined && high > 7 && high < 8)
  })

  it('does not use a mean that the buckets rule out', () => {
    const counts = [0, 5, 100, 20, 3, 0, 0]
    const without = estimateQuantiles(delta(counts), [0.5, 0.99])
    for (const sum of [-50, 100, 1e7, infinity]) {
      assert.deepEqual(estimateQuantiles(delta(counts, sum), [0.5, 0.99]), without)
    }
  })

  it('is a straight line where there is no logarithm', () => {
    // Rank 5, middle 4.5 of the 10 in (−1, 1].
    assert.equal(estimateQuantiles(delta([0, 10, 0], 0, [-1, 1]), [0.5])[0]?.value, -1 + 2 * 0.45)
    assert.equal(estimateQuantiles(delta([10, 0, 0], -50, [-1, 1]), [0.5])[0]?.value, -1)
    const none = estimateQuantiles(delta([3], 3, []), [0.5])
    assert.deepEqual(none, [{ q: 0.5, value: 0, lower: 0, upper: infinity, atLeast: true }])
  })

  it('is refused for a quantile that is no share', () => {
    for (const q of [-0.1, 1.1, Number.NaN]) {
      assert.throws(() => estimateQuantiles(delta([1, 1, 1, 1, 1, 1, 1], 40), [q]), RangeError)
    }
  })

  it('rises with the quantile and lies within its bounds', () => {
    const any = fc.tuple(
      fc.array(fc.oneof(fc.constant(0), fc.nat(5), fc.nat(1e9)), { minLength: 7, maxLength: 7 }),
      fc.oneof(fc.double(), fc.double({ min: 0, max: 1, noNaN: true })),
    )
    fc.assert(
      fc.property(any, quantiles, ([counts, share], qs) => {
        // Half of the sums are anywhere between the least and the most that the buckets allow.
        const [least, most] = [0, 1].map((upper) =>
          counts.reduce((sum, held, i) => sum + held * ([0, ...bounds, 64][i + upper] ?? 0), 0),
        )
        const sum = (least ?? 0) + share * ((most ?? 0) - (least ?? 0))
        let before = 0
        for (const found of estimateQuantiles(delta(counts, sum), qs)) {
          const { value, lower, upper } = found
          assert.ok(value >= before && value >= lower && value <= upper, JSON.stringify(found))
          before = value
        }
      }),
      { numRuns: 500 },
    )
  })

  it('lies with the true quantile in the same bounds', () => {
    fc.assert(
      fc.property(observed, fc.nat(1000), (values, permille) => {
        const [found] = estimateQuantiles(exposed(bounds, values), [permille / 1000])
        const rank = Math.max(Math.floor((permille * values.length + 999) / 1000), 1)
        const exact = values.toSorted((a, b) => a - b)[rank - 1] ?? Number.NaN
        assert.ok(found !== undefined && found.lower <= exact && exact <= found.upper)
        assert.ok(found.lower <= found.value && found.value <= found.upper)
      }),
    )
  })

  it('does not depend on the unit', () => {
    fc.assert(
      fc.property(observed, quantiles, (values, qs) => {
        const seconds = exposed(bounds, values)
        const scaled = { ...seconds, bounds: bounds.map((b) => b * 1024), sum: seconds.sum * 1024 }
        const ours = estimateQuantiles(seconds, qs)
        for (const [index, { value }] of estimateQuantiles(scaled, qs).entries()) {
          assertClose(value, 1024 * (ours[index]?.value ?? Number.NaN), 1e-6)
        }
      }),
    )
  })

  it('is much nearer than the straight line, over all loads of the benchmark', () => {
    // A small run of what the accuracy benchmark measures: geometric means of the median errors.
    let logOurs = 0
    let logLine = 0
    for (const [index, load] of loads.entries()) {
      for (const n of [100, 1000]) {
        const errors: { ours: number[]; line: number[] } = { ours: [], line: [] }
        for (let turn = 0; turn < 15; turn += 1) {
          const { seconds } = load.draw(seeded(index * 1000 + n + turn), n)
          const held = exposed(load.bounds, seconds)
          const exact = seconds.toSorted()[Math.ceil(0.95 * n) - 1] ?? Number.NaN
          const ours = estimateQuantiles(held, [0.95])[0]?.value ?? Number.NaN
          errors.ours.push(Math.abs(ours / exact - 1))
          errors.line.push(Math.abs((straightLine(held, 0.95) ?? Number.NaN) / exact - 1))
        }
        logOurs += Math.log(Math.max(median(errors.ours), 1e-4))
        logLine += Math.log(Math.max(median(errors.line), 1e-4))
      }
    }
    assert.ok(Math.exp((logOurs - logLine) / (2 * loads.length)) < 0.5)
  })
})

function median(some: number[]): number {
  return some.toSorted((a, b) => a - b)[some.length >> 1] ?? Number.NaN
}
