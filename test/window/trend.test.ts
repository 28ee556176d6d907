import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { Random } from '../../src/demo/random.ts'
import {
  type Course,
  lastStep,
  levels,
  meanDistance,
  median,
  theilSen,
} from '../../src/window/trend.ts'

/** Values at the times 0, 1, 2 … */
function course(values: readonly number[]): Course {
  return { times: values.map((_, index) => index), values }
}

function assertClose(found: number | undefined, wanted: number, within = 1e-9): void {
  assert.ok(found !== undefined && Math.abs(found - wanted) <= within, `${found}, not ${wanted}`)
}

const noisy = fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: 3, maxLength: 40 })

describe('the median', () => {
  it('is the middle value, or the mean of the two in the middle', () => {
    assert.equal(median([9, 1, 4]), 4)
    assert.equal(median([9, 1, 4, 5]), 4.5)
    assert.equal(median([-10, 2, 100]), 2)
    assert.equal(median([]), Number.NaN)
  })
})

describe('the slope of Theil and Sen', () => {
  it('is the median of the slopes of all pairs, with Sen’s interval', () => {
    // Of 1, 3, 2, 5, 4 the ten slopes are −1 −1 ⅓ ½ ¾ 1 1 1⅓ 2 3: the median is (¾ + 1) / 2.
    // Kendall's variance is 5·4·15/18 = 16.67, so the interval reaches 1.96 × 4.08 = 8.0 of ten ranks: all.
    assert.deepEqual(theilSen(course([1, 3, 2, 5, 4])), { slope: 0.875, low: -1, high: 3 })
  })

  it('has a narrower interval where values tie', () => {
    // 12 pairs have slope 0, the others 1/7, 2 × 1/6, 3 × 1/5, 4 × 1/4, 3 × 1/3, 2 × 1/2 and 1: of 28 the 14th
    // and 15th are 1/6. The variance is (8·7·21 − 2·4·3·13)/18 = 48, the reach 13.58, so the interval goes from
    // rank ⌊(28 − 13.58)/2⌋ = 7, a 0, to rank ⌈(28 + 13.58)/2⌉ + 1 = 22, a 1/4. Without ties it would be 1/3.
    const found = theilSen(course([0, 0, 0, 0, 1, 1, 1, 1]))
    assert.deepEqual(found, { slope: 1 / 6, low: 0, high: 1 / 4 })
  })

  it('is not there without two different times', () => {
    assert.equal(theilSen(course([])), undefined)
    assert.equal(theilSen(course([7])), undefined)
    assert.equal(theilSen({ times: [5, 5, 5], values: [1, 2, 3] }), undefined)
    assert.deepEqual(theilSen({ times: [5, 5, 7], values: [1, 1, 3] }), {
      slope: 1,
      low: 1,
      high: 1,
    })
  })

  it('is exact on a line, whatever the times', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 0, max: 10_000 }), { minLength: 2, maxLength: 96 }),
        fc.integer({ min: -50, max: 50 }),
        (some, slope) => {
          const times = some.toSorted((a, b) => a - b)
          const found = theilSen({ times, values: times.map((time) => 3 + slope * time) })
          assert.deepEqual(found, { slope, low: slope, high: slope })
        },
      ),
    )
  })

  it('turns with the values: adding a line adds its slope, scaling scales it', () => {
    fc.assert(
      fc.property(
        noisy,
        fc.integer({ min: -20, max: 20 }),
        fc.constantFrom(-2, 0.5, 4),
        (values, tilt, scale) => {
          const plain = theilSen(course(values))
          const tilted = theilSen(course(values.map((value, index) => value + tilt * index)))
          const scaled = theilSen(course(values.map((value) => value * scale)))
          assert.ok(plain !== undefined)
          assertClose(tilted?.slope, plain.slope + tilt)
          assertClose(scaled?.slope, plain.slope * scale)
          assertClose(scaled?.low, (scale > 0 ? plain.low : plain.high) * scale, 4000)
        },
      ),
    )
  })

  it('lies inside its interval', () => {
    fc.assert(
      fc.property(noisy, (values) => {
        const { slope, low, high } = theilSen(course(values)) ?? { slope: 0, low: 0, high: 0 }
        assert.ok(low <= slope && slope <= high)
      }),
    )
  })

  it('is moved little by a quarter of wild values', () => {
    for (let seed = 1; seed <= 50; seed += 1) {
      const random = new Random(seed)
      const values = Array.from({ length: 40 }, (_, index) =>
        random.chance(0.25) ? random.between(-10_000, 10_000) : 5 * index + random.normal(),
      )
      assertClose(theilSen(course(values))?.slope, 5, 0.6)
    }
  })

  for (const length of [12, 30, 96]) {
    it(`of ${length} values with noise is inside its interval 95 times in a hundred`, () => {
      let held = 0
      const runs = 600
      for (let seed = 0; seed < runs; seed += 1) {
        const random = new Random(1000 * length + seed)
        const values = Array.from({ length }, (_, index) => 0.3 * index + 4 * random.normal())
        const found = theilSen(course(values))
        if (found !== undefined && found.low <= 0.3 && 0.3 <= found.high) held += 1
      }
      // Of 600 runs at 0.95 the standard deviation is 0.9 %; the ranks are rounded outwards.
      assert.ok(held / runs > 0.925 && held / runs < 0.99, `${held} of ${runs}`)
    })
  }
})

describe('the last step', () => {
  const flat = (count: number, level: number) => new Array<number>(count).fill(level)
  const rise = (count: number, from: number, by: number) =>
    Array.from({ length: count }, (_, index) => from + by * index)
  const stairs = (steps: number, width: number, height: number) =>
    Array.from({ length: steps * width }, (_, index) => height * Math.floor(index / width))
  const rows: readonly (readonly [string, readonly number[], number])[] = [
    ['of a level is its beginning', flat(20, 5), 0],
    ['of nothing is its beginning', [], 0],
    ['is where a level leaps up', [...flat(10, 0), ...flat(10, 300)], 10],
    ['is where a level drops', [...flat(10, 300), ...flat(7, 0)], 10],
    ['is the second of two', [...flat(8, 0), ...flat(10, 900), ...flat(6, 100)], 18],
    ['is told after three values', [...flat(10, 0), ...flat(3, 300)], 10],
    ['is not told after two', [...flat(10, 0), ...flat(2, 300)], 0],
    ['is no step where it is small', [...flat(10, 0), ...flat(10, 99)], 0],
    ['is not one wild value', [...flat(10, 0), 500, ...flat(10, 0)], 0],
    ['is not in a steady rise', rise(40, 0, 150), 0],
    ['is where a rise leaps up and goes on', [...rise(10, 0, 10), ...rise(10, 500, 10)], 10],
    ['is not in a staircase of small steps', stairs(12, 4, 60), 0],
    ['is not in a staircase of five large steps', stairs(5, 6, 400), 0],
    ['is where a staircase begins', [...flat(20, 0), ...stairs(5, 6, 400).map((v) => v + 400)], 20],
  ]
  for (const [name, values, index] of rows) {
    it(name, () => {
      assert.equal(lastStep(course(values), 100), index)
    })
  }

  it('is found in noise, and noise alone has none', () => {
    for (let seed = 1; seed <= 30; seed += 1) {
      const random = new Random(seed)
      const noise = Array.from({ length: 60 }, () => 20 * random.normal())
      assert.equal(lastStep(course(noise), 100), 0)
      const stepped = noise.map((value, index) => (index < 35 ? value : value + 300))
      assert.equal(lastStep(course(stepped), 100), 35)
    }
  })
})

describe('the levels', () => {
  it('are the medians of equally long parts', () => {
    // Times 0 to 9 in three parts of 3: 0 1 2, 3 4 5 and 6 7 8 9.
    assert.deepEqual(levels(course([1, 2, 9, 4, 5, 6, 0, 7, 8, 9]), 3), [2, 5, 7.5])
  })

  it('are not there for parts with fewer than two values', () => {
    assert.deepEqual(levels({ times: [0, 1, 9, 10], values: [1, 3, 5, 7] }, 3), [2, undefined, 6])
    assert.deepEqual(levels({ times: [4], values: [1] }, 2), [undefined, undefined])
  })
})

describe('the mean distance', () => {
  it('is taken from the line of the slope that halves the values', () => {
    // With slope 1 the rests of 0, 2, 1, 4 are 0, 1, −1, 1: the line is at ½, the distances ½ ½ 1½ ½.
    assert.equal(meanDistance(course([0, 2, 1, 4]), 1), 0.75)
  })
})
