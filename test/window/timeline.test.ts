import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { type Entry, Timeline } from '../../src/window/timeline.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs

/** An entry whose total is its own time: a difference of totals then is a difference of times. */
function entryAt(atMs: number, high = Number.NEGATIVE_INFINITY): Entry {
  return { atMs, totals: Float64Array.of(atMs), highs: Float64Array.of(high) }
}

function timelineOf(timesMs: Iterable<number>, keepMs: number): Timeline {
  const timeline = new Timeline({ keepMs })
  for (const atMs of timesMs) timeline.push(entryAt(atMs))
  return timeline
}

function* every(intervalMs: number, fromMs: number, toMs: number): Generator<number> {
  for (let atMs = fromMs; atMs <= toMs; atMs += intervalMs) yield atMs
}

function nearest(timesMs: readonly number[], edgeMs: number): number {
  return Math.min(...timesMs.map((atMs) => Math.abs(atMs - edgeMs)))
}

describe('the kept past', () => {
  it('holds every entry of the recent past', () => {
    // At the age of 100 intervals a gap of two is 2 % of the age: nothing younger is left out.
    const timeline = timelineOf(every(1000, 0, 500_000), hourMs)
    const recent = timeline.entries.filter(({ atMs }) => atMs >= 402_000)
    assert.deepEqual(
      recent.map(({ atMs }) => atMs),
      Array.from({ length: 99 }, (_, index) => 402_000 + index * 1000),
    )
    assert.ok(timeline.entries.length < 501)
  })

  it('keeps one entry beyond the longest span and lets go of the others', () => {
    const timeline = timelineOf([0, 10_000, 20_000, 70_000, 80_000], minuteMs)
    // At 80 s a minute reaches back to 20 s, where an entry lies; those before it are of no use.
    assert.deepEqual(
      timeline.entries.map(({ atMs }) => atMs),
      [20_000, 70_000, 80_000],
    )
    timeline.push(entryAt(85_000))
    assert.equal(timeline.first?.atMs, 20_000)
  })

  it('keeps less once it is told to, and more from then on', () => {
    const timeline = timelineOf(every(1000, 0, 100_000), hourMs)
    timeline.keepMs = 10_000
    timeline.push(entryAt(101_000))
    assert.equal(timeline.first?.atMs, 91_000)
    timeline.keepMs = hourMs
    for (const atMs of every(1000, 102_000, 150_000)) timeline.push(entryAt(atMs))
    assert.equal(timeline.first?.atMs, 91_000)
  })

  it('keeps the entry before a gap however long ago it is, and nothing older', () => {
    const timeline = timelineOf([0, 1000, 2000, 10 * hourMs], minuteMs)
    assert.deepEqual(
      timeline.entries.map(({ atMs }) => atMs),
      [2000, 10 * hourMs],
    )
  })

  it('lets an entry take the place of one of the same time, or of a later one', () => {
    for (const laterMs of [5000, 4000]) {
      const timeline = timelineOf([0], hourMs)
      timeline.push(entryAt(5000, 3))
      timeline.push({
        atMs: laterMs,
        totals: Float64Array.of(9),
        highs: Float64Array.of(2),
      })
      assert.equal(timeline.entries.length, 2)
      assert.deepEqual(timeline.last, {
        atMs: 5000,
        totals: Float64Array.of(9),
        highs: Float64Array.of(3),
      })
    }
  })

  it('changes every entry when told to', () => {
    const timeline = timelineOf([0, 1000], hourMs)
    timeline.rewrite((entry) => ({ ...entry, totals: Float64Array.of(0, entry.atMs) }))
    assert.deepEqual(timeline.last?.totals, Float64Array.of(0, 1000))
    assert.deepEqual(timeline.first?.totals, Float64Array.of(0, 0))
  })
})

describe('the entry nearest to a time', () => {
  const timeline = timelineOf([0, 1000, 4000, 9000], hourMs)
  const rows: readonly [name: string, atMs: number, found: number][] = [
    ['is the one at that time', 1000, 1000],
    ['is the nearer of its neighbours', 2400, 1000],
    ['is the nearer of its neighbours, though it is the later', 2600, 4000],
    ['is the older of two that are as near', 2500, 1000],
    ['is the first for any time before it', -1e9, 0],
    ['is never the last, for nothing was gained since', 9000, 4000],
  ]
  for (const [name, atMs, found] of rows) {
    it(name, () => assert.equal(timeline.nearestBeforeLast(atMs)?.atMs, found))
  }

  it('is absent while there is only one', () => {
    assert.equal(timelineOf([], hourMs).nearestBeforeLast(0), undefined)
    assert.equal(timelineOf([5], hourMs).nearestBeforeLast(5), undefined)
  })
})

describe('highs', () => {
  it('of an entry that is left out go to the one after it', () => {
    const timeline = new Timeline({ keepMs: dayMs })
    // One peak each 7 s; whatever is thinned, the highest of all and their order must remain.
    for (const atMs of every(1000, 0, 2_000_000)) {
      timeline.push(entryAt(atMs, atMs === 777_000 ? 50 : atMs % 7000 === 0 ? 9 : 1))
    }
    const peak = timeline.entries.find(({ highs }) => highs[0] === 50)
    assert.ok(peak !== undefined && peak.atMs >= 777_000)
    const before = timeline.entries[timeline.entries.indexOf(peak) - 1]
    assert.ok(before !== undefined && before.atMs < 777_000)
  })

  it('of places that an entry did not have yet count as none', () => {
    const timeline = new Timeline({ keepMs: hourMs })
    const long = Float64Array.of(Number.NEGATIVE_INFINITY, 5)
    timeline.push({ atMs: 1000, totals: new Float64Array(0), highs: Float64Array.of(4) })
    timeline.push({ atMs: 1000, totals: new Float64Array(0), highs: long })
    assert.deepEqual(timeline.last?.highs, Float64Array.of(4, 5))
  })
})

describe('thinning', () => {
  /**
   * Two neighbours of a kept entry lie more than 2 % of the later one's age apart, so that ages grow by 2 % with every
   * two entries from the age of 100 intervals on; below it there are 100.
   */
  function mostEntries(keepMs: number, shortestMs: number): number {
    const old = Math.max(Math.log(keepMs / (100 * shortestMs)), 0) / Math.log(1.02)
    return Math.ceil(100 + 2 * old + 4)
  }

  /** The start of each window is within 1 % of it, or no reading was any nearer. */
  function assertEdges(
    timeline: Timeline,
    timesMs: readonly number[],
    windowsMs: readonly number[],
  ) {
    const nowMs = timesMs.at(-1) ?? 0
    for (const windowMs of windowsMs) {
      const found = timeline.nearestBeforeLast(nowMs - windowMs)
      assert.ok(found !== undefined)
      const errorMs = Math.abs(found.atMs - (nowMs - windowMs))
      const unavoidableMs = nearest(timesMs.slice(0, -1), nowMs - windowMs)
      assert.ok(
        errorMs <= Math.max(unavoidableMs, 0.01 * windowMs),
        `window of ${windowMs} ms is ${errorMs} ms off, ${unavoidableMs} ms at best`,
      )
    }
  }

  const rows: readonly [intervalMs: number, keepMs: number][] = [
    [200, minuteMs],
    [200, hourMs],
    [1000, 6 * hourMs],
    [5000, hourMs],
    [5000, dayMs],
    [15_000, 5 * minuteMs],
    [15_000, 3 * dayMs],
  ]
  for (const [intervalMs, keepMs] of rows) {
    it(`keeps the edges of windows up to ${keepMs / minuteMs} min within 2 % at ${intervalMs} ms`, () => {
      const timesMs = [...every(intervalMs, 0, Math.min(1.2 * keepMs, keepMs + 25 * hourMs))]
      const timeline = timelineOf(timesMs, keepMs)
      // All windows that the configuration allows: at least two intervals, up to what is kept.
      const windowsMs = Array.from({ length: 60 }, (_, index) => {
        return Math.max(2 * intervalMs, minuteMs) * (keepMs / minuteMs) ** (index / 59)
      }).filter((windowMs) => windowMs <= keepMs)
      assertEdges(timeline, timesMs.slice(-Math.ceil(1.1 * (keepMs / intervalMs))), windowsMs)
      for (const windowMs of windowsMs) {
        const found = timeline.nearestBeforeLast((timesMs.at(-1) ?? 0) - windowMs)
        const off = Math.abs((timesMs.at(-1) ?? 0) - windowMs - (found?.atMs ?? 0))
        // Half an interval is lost where no reading lies on the edge.
        assert.ok(off <= Math.max(0.02 * windowMs, intervalMs / 2))
      }
      const most = mostEntries(keepMs, intervalMs)
      assert.ok(
        timeline.entries.length <= most,
        `${timeline.entries.length} kept, ${most} expected`,
      )
    })
  }

  it('keeps seven days in little more than a thousand entries, scraped each 200 ms at the end', () => {
    const timesMs = [
      ...every(15_000, 0, 7 * dayMs),
      ...every(200, 7 * dayMs + 200, 7 * dayMs + 20 * minuteMs),
    ]
    const timeline = timelineOf(timesMs, 7 * dayMs)
    const windowsMs = [minuteMs, 5 * minuteMs, hourMs, 6 * hourMs, dayMs, 3 * dayMs, 7 * dayMs]
    assertEdges(timeline, timesMs, windowsMs)
    // 100 + 2 × ln(604,800 s / 20 s) / ln 1.02 + 4 = 1145.97.
    assert.equal(mostEntries(7 * dayMs, 200), 1146)
    assert.ok(timeline.entries.length <= 1146)
  })

  it('holds its promise for any times of readings', () => {
    const gaps = fc.array(
      fc.oneof(
        { weight: 30, arbitrary: fc.integer({ min: 190, max: 15_500 }) },
        { weight: 1, arbitrary: fc.integer({ min: 60_000, max: 4_000_000 }) },
      ),
      { minLength: 2, maxLength: 2000, size: 'max' },
    )
    fc.assert(
      fc.property(gaps, fc.integer({ min: minuteMs, max: 2 * hourMs }), (steps, keepMs) => {
        const timesMs = [0]
        for (const step of steps) timesMs.push((timesMs.at(-1) ?? 0) + step)
        const timeline = timelineOf(timesMs, keepMs)
        assertEdges(timeline, timesMs, [0.3 * keepMs, 0.77 * keepMs, keepMs])
        assert.ok(timeline.entries.length <= mostEntries(keepMs, 190))
      }),
      { numRuns: 60, endOnFailure: true },
    )
  })
})
