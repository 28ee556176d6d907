import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { estimateQuantiles } from '../../src/window/estimate.ts'
import {
  type HistogramDelta,
  mean,
  merge,
  overThreshold,
  rankOf,
  sameBounds,
} from '../../src/window/histogram.ts'
import { exposed } from '../bench/loads.ts'

const bounds = [0.3, 0.5, 1, 2.5, 5, 10]

function delta(counts: readonly number[], sum = 0, edges: readonly number[] = bounds) {
  return { bounds: edges, counts, count: counts.reduce((total, held) => total + held, 0), sum }
}

/** The bounds of a quantile as they are published beside its estimate. */
function quantileBounds(held: HistogramDelta, q: number) {
  const [found] = estimateQuantiles(held, [q])
  return found === undefined ? undefined : { lower: found.lower, upper: found.upper }
}

/** Observations on both sides of every edge, and on the edges themselves. */
const values = fc.array(
  fc.oneof(fc.double({ min: 0, max: 20, noNaN: true }), fc.constantFrom(...bounds)),
  { minLength: 1, maxLength: 200 },
)

/** Histograms whose sums are multiples of 1/1024, so that adding them rounds nothing. */
const histograms = fc
  .tuple(
    fc.array(fc.nat(1_000_000), {
      minLength: bounds.length + 1,
      maxLength: bounds.length + 1,
    }),
    fc.nat(2 ** 30),
  )
  .map(([counts, sum]): HistogramDelta => delta(counts, sum / 1024))

function plain(histogram: HistogramDelta) {
  return { ...histogram, counts: Array.from(histogram.counts) }
}

describe('the rank of a quantile', () => {
  const rows: readonly [q: number, n: number, rank: number][] = [
    [0, 10, 1], // there is no observation before the first
    [0.5, 10, 5],
    [0.5, 11, 6], // 5.5 rounds up
    [0.07, 100, 7], // though 0.07 × 100 is 7.000000000000001 in doubles
    [0.99, 30, 30], // 29.7 rounds up
    [0.99, 1e12, 990_000_000_000],
    [1, 10, 10],
    [0.5, 1, 1],
  ]
  for (const [q, n, rank] of rows) {
    it(`is ${rank} for the ${q}-quantile of ${n}`, () => assert.equal(rankOf(q, n), rank))
  }

  it('is refused for a quantile that is no share', () => {
    for (const q of [-0.01, 1.01, Number.NaN, 99]) assert.throws(() => rankOf(q, 10), RangeError)
  })
})

describe('the bounds of a quantile', () => {
  it('are the edges of the bucket that holds the rank', () => {
    // Ranks 1 to 4 lie in (0.3, 0.5], ranks 5 to 10 in (1, 2.5].
    const held = delta([0, 4, 0, 6, 0, 0, 0])
    assert.deepEqual(quantileBounds(held, 0.4), { lower: 0.3, upper: 0.5 })
    assert.deepEqual(quantileBounds(held, 0.5), { lower: 1, upper: 2.5 })
  })

  it('begin at 0 in the first bucket, and nowhere when its edge is not positive', () => {
    assert.deepEqual(quantileBounds(delta([1, 0, 0, 0, 0, 0, 0]), 0.5), { lower: 0, upper: 0.3 })
    const found = quantileBounds(delta([1, 0, 0], -3, [-1, 1]), 0.5)
    assert.deepEqual(found, { lower: Number.NEGATIVE_INFINITY, upper: -1 })
  })

  it('end nowhere in the last bucket', () => {
    const found = quantileBounds(delta([1, 0, 0, 0, 0, 0, 1]), 0.99)
    assert.deepEqual(found, { lower: 10, upper: Number.POSITIVE_INFINITY })
  })

  it('are those of all latencies when there is no finite edge', () => {
    const found = quantileBounds(delta([3], 3, []), 0.5)
    assert.deepEqual(found, { lower: 0, upper: Number.POSITIVE_INFINITY })
  })

  it('are absent without observations', () => {
    assert.equal(quantileBounds(delta([0, 0, 0, 0, 0, 0, 0]), 0.5), undefined)
  })

  it('hold the true quantile of any observations', () => {
    fc.assert(
      fc.property(values, fc.nat(1000), (observed, permille) => {
        const sorted = observed.toSorted((a, b) => a - b)
        // ⌈q·n⌉ in whole numbers, so that no rounding is shared with the code.
        const rank = Math.max(Math.floor((permille * observed.length + 999) / 1000), 1)
        const exact = sorted[rank - 1] ?? Number.NaN
        const found = quantileBounds(exposed(bounds, observed), permille / 1000)
        assert.ok(found !== undefined && found.lower <= exact && exact <= found.upper)
      }),
    )
  })
})

describe('the share over a threshold', () => {
  // 10 observations: 1 up to 0.3, 2 in (0.3, 0.5], 3 in (2.5, 5], 4 above 10.
  const held = delta([1, 2, 0, 0, 3, 0, 4])

  it('is exact at an edge', () => {
    // 3 + 4 of 10 are above 0.5.
    const found = overThreshold(held, 0.5)
    assert.deepEqual(found, { ratio: 0.7, over: 7, count: 10, exact: true, edge: 0.5 })
  })

  it('counts from the edge below between two edges, and says so', () => {
    // 4 lies in (2.5, 5]; above 2.5 are 3 + 4 of 10.
    const found = overThreshold(held, 4)
    assert.deepEqual(found, { ratio: 0.7, over: 7, count: 10, exact: false, edge: 2.5 })
  })

  it('is exact at the last finite edge and absent above it', () => {
    assert.deepEqual(overThreshold(held, 10), {
      ratio: 0.4,
      over: 4,
      count: 10,
      exact: true,
      edge: 10,
    })
    assert.equal(overThreshold(held, 10.1), undefined)
  })

  it('is exact at the first edge and absent below it', () => {
    assert.equal(overThreshold(held, 0.3)?.over, 9)
    assert.equal(overThreshold(held, 0.29), undefined)
  })

  it('is absent without observations, without edges and for no number', () => {
    assert.equal(overThreshold(delta([0, 0, 0, 0, 0, 0, 0]), 0.5), undefined)
    assert.equal(overThreshold(delta([3], 3, []), 0.5), undefined)
    assert.equal(overThreshold(held, Number.NaN), undefined)
  })

  it('equals the share of the observations themselves at every edge, and never hides one between', () => {
    fc.assert(
      fc.property(values, fc.double({ min: 0.3, max: 10, noNaN: true }), (observed, threshold) => {
        const held = exposed(bounds, observed)
        for (const edge of bounds) {
          assert.equal(overThreshold(held, edge)?.over, observed.filter((v) => v > edge).length)
        }
        const found = overThreshold(held, threshold)
        assert.ok(found && found.over >= observed.filter((v) => v > threshold).length)
      }),
    )
  })
})

describe('merging', () => {
  it('adds counts bucket by bucket, and sums', () => {
    const merged = merge(delta([1, 2, 3], 4, [1, 2]), delta([10, 20, 30], 40, [1, 2]))
    assert.deepEqual(plain(merged), { bounds: [1, 2], counts: [11, 22, 33], count: 66, sum: 44 })
  })

  it('is commutative and associative', () => {
    fc.assert(
      fc.property(histograms, histograms, histograms, (a, b, c) => {
        assert.deepEqual(merge(a, b), merge(b, a))
        assert.deepEqual(merge(merge(a, b), c), merge(a, merge(b, c)))
      }),
    )
  })

  it('of two windows gives the bounds of all observations together', () => {
    fc.assert(
      fc.property(values, values, fc.double({ min: 0, max: 1, noNaN: true }), (a, b, q) => {
        const apart = merge(exposed(bounds, a), exposed(bounds, b))
        assert.deepEqual(quantileBounds(apart, q), quantileBounds(exposed(bounds, [...a, ...b]), q))
      }),
    )
  })

  it('is refused when the edges differ', () => {
    const other = delta([1, 2, 3], 4, [1, 3])
    assert.equal(sameBounds([1, 2], other.bounds), false)
    assert.throws(() => merge(delta([1, 2, 3], 4, [1, 2]), other), RangeError)
    assert.throws(() => merge(delta([1, 2], 4, [1]), other), RangeError)
  })
})

describe('the mean', () => {
  it('is the sum over the count', () => {
    assert.equal(mean(delta([0, 0, 0, 2, 2, 0, 0], 12)), 3)
  })

  it('is absent without observations', () => {
    assert.equal(mean(delta([0, 0, 0, 0, 0, 0, 0])), undefined)
  })

  // 2 observations in (1, 2.5] and 2 in (2.5, 5]: the sum lies from 2 + 5 = 7 to 5 + 10 = 15.
  const rows: readonly [name: string, sum: number, found: number | undefined][] = [
    ['is used at the least that the buckets allow', 7, 1.75],
    ['is used at the most that they allow', 15, 3.75],
    ['is used when rounding carries it just over', 15.000000000000002, 15.000000000000002 / 4],
    ['is not used below the least', 6.9, undefined],
    ['is not used above the most', 15.1, undefined],
    ['is not used when the sum fell', -3, undefined],
    ['is not used when the sum holds the uptime of the host', 4_000_000, undefined],
    ['is not used when the sum is no number', Number.NaN, undefined],
    ['is not used when the sum is infinite', Number.POSITIVE_INFINITY, undefined],
  ]
  for (const [name, sum, found] of rows) {
    it(name, () => assert.equal(mean(delta([0, 0, 0, 2, 2, 0, 0], sum)), found))
  }

  it('has no upper limit when the last bucket holds something', () => {
    assert.equal(mean(delta([1, 0, 0, 0, 0, 0, 1], 4_000_000)), 2_000_000)
    assert.equal(mean(delta([1, 0, 0, 0, 0, 0, 1], 9)), undefined) // one of them is above 10
  })

  it('may be anything below a first edge that is not positive', () => {
    assert.equal(mean(delta([2, 0, 0], -500, [-1, 1])), -250)
    assert.equal(mean(delta([2, 0, 0], 4, [-1, 1])), undefined) // both are at most −1
  })

  it('is always used when it is that of the observations', () => {
    fc.assert(
      fc.property(values, (observed) => {
        const held = exposed(bounds, observed)
        assert.equal(mean(held), held.sum / held.count)
      }),
    )
  })
})
