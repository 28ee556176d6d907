import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { Random } from '../../src/demo/random.ts'
import { wilsonInterval } from '../../src/signals/wilson.ts'

/** z², for the normal quantile that leaves 2.5 % on either side. */
const zSquared = 3.841458820694124

function assertClose(found: number, wanted: number, within = 1e-9): void {
  assert.ok(Math.abs(found - wanted) <= within, `expected ${wanted}, found ${found}`)
}

const trials = fc
  .integer({ min: 1, max: 1_000_000 })
  .chain((count) => fc.record({ count: fc.constant(count), hits: fc.nat({ max: count }) }))

describe('the interval of Wilson', () => {
  it('holds the ratio and lies within [0, 1]', () => {
    const property = fc.property(trials, ({ hits, count }) => {
      const { low, high } = wilsonInterval(hits, count)
      const ratio = hits / count
      assert.ok(0 <= low && low <= ratio && ratio <= high && high <= 1, `${low} ${ratio} ${high}`)
    })
    fc.assert(property, { numRuns: 1_000 })
  })

  it('ends where the ratio is as unlikely as 1.96 deviations: (ratio − p)² = z²·p·(1 − p) ÷ n', () => {
    const property = fc.property(trials, ({ hits, count }) => {
      const { low, high } = wilsonInterval(hits, count)
      for (const end of [low, high]) {
        assertClose((hits / count - end) ** 2, (zSquared * end * (1 - end)) / count)
      }
    })
    fc.assert(property, { numRuns: 1_000 })
  })

  it('narrows with each time as many trials at the same ratio, and tends to the ratio', () => {
    const property = fc.property(trials, fc.integer({ min: 2, max: 50 }), (few, times) => {
      const narrow = wilsonInterval(few.hits * times, few.count * times)
      const wide = wilsonInterval(few.hits, few.count)
      assert.ok(narrow.high - narrow.low < wide.high - wide.low)
    })
    fc.assert(property, { numRuns: 1_000 })
    for (const [hits, count] of [
      [1, 100],
      [1, 2],
    ] as const) {
      const { low, high } = wilsonInterval(hits * 1e10, count * 1e10)
      // At 10¹² trials and more half the width is 1.96·√(p·(1 − p) ÷ n) < 10⁻⁵.
      assertClose(low, hits / count, 1e-5)
      assertClose(high, hits / count, 1e-5)
    }
  })

  it('rises at both ends with each hit more', () => {
    const property = fc.property(trials, ({ hits, count }) => {
      fc.pre(hits < count)
      const less = wilsonInterval(hits, count)
      const more = wilsonInterval(hits + 1, count)
      assert.ok(more.low > less.low && more.high > less.high)
    })
    fc.assert(property, { numRuns: 1_000 })
  })

  it('of the misses mirrors that of the hits', () => {
    const property = fc.property(trials, ({ hits, count }) => {
      const { low, high } = wilsonInterval(hits, count)
      const mirrored = wilsonInterval(count - hits, count)
      assertClose(mirrored.low, 1 - high)
      assertClose(mirrored.high, 1 - low)
    })
    fc.assert(property, { numRuns: 500 })
  })

  const worked: readonly (readonly [string, number, number, number, number])[] = [
    // Without a trial nothing is known.
    ['of no trials is everything', 0, 0, 0, 1],
    // Without a hit (p − 0)² = z²·p·(1 − p) ÷ n gives p = 0 and z² ÷ (n + z²) = 3.8415 ÷ 13.8415.
    ['of none of 10 ends at 0.2775', 0, 10, 0, 0.27753],
    // And with hits alone the same from above.
    ['of 10 of 10 begins at 0.7225', 10, 10, 0.72247, 1],
    // Middle 0.5; half is 1.96·√(0.25 ÷ 10 + 3.8415 ÷ 400) ÷ 1.38415 = 1.96·0.18602 ÷ 1.38415 = 0.26341.
    ['of 5 of 10 is 0.2366 to 0.7634', 5, 10, 0.23659, 0.76341],
    // Scale 1.038415; middle (0.03 + 0.019207) ÷ 1.038415 = 0.047387;
    // half is 1.96·√(0.000291 + 0.000096036) ÷ 1.038415 = 1.96·0.019673 ÷ 1.038415 = 0.037133.
    ['of 3 of 100 is 0.0103 to 0.0845', 3, 100, 0.010254, 0.08452],
  ]
  for (const [claim, hits, count, low, high] of worked) {
    it(claim, () => {
      const found = wilsonInterval(hits, count)
      assertClose(found.low, low, 1.5e-5)
      assertClose(found.high, high, 1.5e-5)
    })
  }

  it('holds the true probability in 95 of 100 draws, whatever it is and however few trials', () => {
    const random = new Random(1)
    const draws = 20_000
    let held = 0
    for (let draw = 0; draw < draws; draw += 1) {
      const probability = random.between(0.02, 0.98)
      const count = Math.floor(random.between(10, 200))
      let hits = 0
      for (let trial = 0; trial < count; trial += 1) if (random.chance(probability)) hits += 1
      const { low, high } = wilsonInterval(hits, count)
      if (low <= probability && probability <= high) held += 1
    }
    // The deviation of the share among 20 000 draws is √(0.95·0.05 ÷ 20 000) = 0.0015; 0.01 are six of them.
    assertClose(held / draws, 0.95, 0.01)
  })
})
