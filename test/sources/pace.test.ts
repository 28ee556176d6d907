import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { Pace, spread } from '../../src/sources/pace.ts'

function paceOf(given: Partial<ConstructorParameters<typeof Pace>[0]> = {}): Pace {
  return new Pace({ startMs: 0, intervalMs: 1_000, offsetMs: 0, maxOverhead: 0.1, ...given })
}

/** Tells `pace` of `count` collections that each took `tookMs`; returns whether the last changed it. */
function take(pace: Pace, tookMs: number, count: number): boolean {
  let changed = false
  for (let index = 0; index < count; index += 1) changed = pace.took(tookMs)
  return changed
}

describe('the spread of targets', () => {
  const rows = [
    ['one target begins at the start', 0, 1, 0],
    ['the third of four is half an interval away', 2, 4, 500],
    ['the last of 32 is one place before the next interval', 31, 32, 968.75],
    ['no target at all is at the start', 0, 0, 0],
  ] as const
  for (const [name, index, count, placeMs] of rows) {
    it(name, () => assert.equal(spread(index, count, 1_000), placeMs))
  }
})

describe('the first collection', () => {
  const rows = [
    ['is at its place', 1_000, 250, 250],
    ['is at its place within the first second', 200, 150, 150],
    // A share of 1 / 60 of its place: half of an hour's spread is half of a second.
    ['does not wait for a place that is far away', 60_000, 30_000, 500],
    ['comes within a second whatever the interval', 3_600_000, 3_599_999, 999.999_722],
  ] as const
  for (const [name, intervalMs, offsetMs, dueMs] of rows) {
    it(name, () => {
      const first = paceOf({ startMs: 7_000, intervalMs, offsetMs }).first()
      assert.ok(Math.abs(first - 7_000 - dueMs) < 1e-5, `${first}`)
    })
  }

  it('is followed by its place where that is more than half an interval away', () => {
    const pace = paceOf({ intervalMs: 60_000, offsetMs: 45_000 })
    assert.equal(pace.first(), 750)
    assert.deepEqual(pace.next(760), { dueMs: 45_000, skipped: 0 })
  })

  it('stands for its place where that is near', () => {
    const pace = paceOf({ intervalMs: 60_000, offsetMs: 15_000 })
    assert.equal(pace.first(), 250)
    assert.deepEqual(pace.next(260), { dueMs: 75_000, skipped: 0 })
  })
})

describe('the next collection', () => {
  const rows = [
    ['is on the next place', 0, 400, 0, { dueMs: 1_000, skipped: 0 }],
    ['does not repeat a place where a wait ended early', 0, -0.3, 0, { dueMs: 1_000, skipped: 0 }],
    [
      'is on the first place to come, the late ones skipped',
      0,
      2_500,
      0,
      { dueMs: 3_000, skipped: 2 },
    ],
    ['comes after a place that is just now', 0, 1_000, 0, { dueMs: 2_000, skipped: 1 }],
    [
      'is at least a pause away, and that skips nothing',
      0,
      400,
      2_000,
      { dueMs: 3_000, skipped: 0 },
    ],
    ['keeps its offset', 300, 5_299, 0, { dueMs: 5_300, skipped: 4 }],
  ] as const
  for (const [name, offsetMs, nowMs, pauseMs, expected] of rows) {
    it(name, () => {
      const pace = paceOf({ offsetMs })
      pace.first()
      assert.deepEqual(pace.next(nowMs, pauseMs), expected)
    })
  }

  it('is always later than now and than the one before, and always on the grid', () => {
    const steps = fc.array(fc.double({ min: 0, max: 20_000, noNaN: true }), { minLength: 1 })
    fc.assert(
      fc.property(steps, fc.nat(999), (waits, offsetMs) => {
        const pace = paceOf({ offsetMs, maxOverhead: 0 })
        let dueMs = pace.first()
        let places = 0
        for (const wait of waits) {
          const nowMs = dueMs + wait
          const next = pace.next(nowMs)
          assert.ok(next.dueMs > nowMs && next.dueMs <= nowMs + 1_000)
          assert.equal((next.dueMs - offsetMs) % 1_000, 0)
          places += 1 + next.skipped
          assert.equal(next.dueMs, offsetMs + 1_000 * places)
          dueMs = next.dueMs
        }
      }),
    )
  })
})

describe('the stretch of the interval', () => {
  const rows = [
    // A tenth of the interval may be spent: the cost times ten, rounded up to whole intervals.
    ['none at a cost that is allowed', 1_000, 100, 1_000],
    ['twice at a cost just above', 1_000, 101, 2_000],
    ['three times', 1_000, 250, 3_000],
    ['15 s at most', 1_000, 4_000, 15_000],
    ['a whole multiple of the interval where 15 s is one', 5_000, 1_200, 15_000],
    ['15 s, though that is no multiple of the interval', 4_000, 1_500, 15_000],
    ['none of an interval of 15 s or more', 20_000, 9_000, 20_000],
  ] as const
  for (const [name, intervalMs, tookMs, expectedMs] of rows) {
    it(`is ${name}`, () => {
      const pace = paceOf({ intervalMs })
      pace.first()
      assert.equal(take(pace, tookMs, 20), expectedMs !== intervalMs)
      assert.equal(pace.intervalMs, expectedMs)
    })
  }

  it('does not begin before 20 collections are known', () => {
    const pace = paceOf()
    assert.equal(take(pace, 500, 19), false)
    assert.equal(pace.intervalMs, 1_000)
    assert.equal(pace.took(500), true)
  })

  it('is not caused by slow ones while one of 20 is fast', () => {
    const pace = paceOf()
    for (let index = 0; index < 200; index += 1) pace.took(index % 20 === 0 ? 20 : 900)
    assert.equal(pace.intervalMs, 1_000)
  })

  it('does not happen where any share is allowed', () => {
    const pace = paceOf({ maxOverhead: 0 })
    assert.equal(take(pace, 5_000, 100), false)
  })

  it('goes on from the place of the last collection', () => {
    const pace = paceOf({ offsetMs: 200 })
    pace.first()
    assert.equal(pace.next(300).dueMs, 1_200)
    take(pace, 250, 20)
    assert.deepEqual(pace.next(1_450), { dueMs: 4_200, skipped: 0 })
    assert.deepEqual(pace.next(4_450), { dueMs: 7_200, skipped: 0 })
  })

  it('comes back as collecting becomes cheaper, and to the interval in the end', () => {
    const pace = paceOf()
    take(pace, 1_000, 20)
    assert.equal(pace.intervalMs, 10_000)
    // 320 ms need 3.2 s, which are 0.8 of 4 s.
    take(pace, 320, 20)
    assert.equal(pace.intervalMs, 4_000)
    take(pace, 10, 20)
    assert.equal(pace.intervalMs, 1_000)
  })

  it('is not changed to and fro by a cost on the border', () => {
    const pace = paceOf()
    assert.equal(take(pace, 101, 20), true)
    assert.equal(pace.intervalMs, 2_000)
    for (const tookMs of [99, 101, 95, 100, 81]) assert.equal(take(pace, tookMs, 20), false)
    take(pace, 80, 20)
    assert.equal(pace.intervalMs, 1_000)
  })
})
