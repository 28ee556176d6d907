import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Reading } from '../../src/reading.ts'
import { type Growth, SeriesBook } from '../../src/window/series-book.ts'
import { type Cumulative, keyOf, readingOf, type Written } from './readings.ts'

const bounds = [1, 2]

/** Reads the pages in turn, 5 s apart, the first as a baseline. */
function advanceAll(
  pages: readonly Reading[],
  { maxSeries = 1000 }: { readonly maxSeries?: number } = {},
): readonly Growth[] {
  const book = new SeriesBook({ maxSeries })
  return pages.map((page, index) => {
    return book.advance(page, { atMs: index * 5000, baseline: index === 0 })
  })
}

function increments(growth: Growth | undefined): readonly number[] {
  return Array.from(growth?.increments ?? [])
}

function tokens(value: number, rest: Partial<Written> = {}): Written {
  return { instrument: 'generation_tokens', value, ...rest }
}

function latency(counts: readonly number[], sum: number, rest: Partial<Written> = {}): Written {
  return { instrument: 'e2e_latency', value: { bounds, counts, sum }, ...rest }
}

describe('the increments of a counter', () => {
  const rows: readonly [
    name: string,
    seen: readonly (number | 'missing')[],
    gained: readonly number[],
  ][] = [
    ['are none at the first reading', [500], [0]],
    ['are the differences while it grows', [500, 503, 510], [0, 3, 7]],
    ['are none while it stands still', [500, 500, 500], [0, 0, 0]],
    ['are fractions where it counts in fractions', [0.5, 0.75], [0, 0.25]],
    ['are its new value after it fell', [500, 2], [0, 2]],
    ['are none when it fell to zero, and count from there', [500, 0, 4], [0, 0, 4]],
    ['are new values after each of two resets', [500, 20, 7, 9], [0, 20, 7, 2]],
    ['count from zero when it is first seen later', ['missing', 4, 6], [4, 2]],
    ['count from zero when it began at zero later', ['missing', 0, 6], [0, 6]],
    ['go on from the last value after it was missing', [500, 'missing', 'missing', 507], [0, 7]],
    ['are the new value when it came back lower', [500, 'missing', 3], [0, 3]],
  ]
  for (const [name, seen, gained] of rows) {
    it(name, () => {
      // Another counter that stands still stays on the page, as it would.
      const rest = tokens(9, { model: 'other' })
      const growths = advanceAll(
        seen.map((value) => readingOf(value === 'missing' ? [rest] : [rest, tokens(value)])),
      )
      const found = growths.filter(({ increments }) => increments.length === 2)
      assert.deepEqual(
        found.map(({ increments }) => increments[1]),
        gained,
      )
    })
  }

  it('are the same when pages keep the array of their shape', () => {
    const first = readingOf([tokens(10)])
    const pages = [
      first,
      readingOf([tokens(12)], { like: first }),
      readingOf([tokens(15)], { like: first }),
      readingOf([tokens(4)], { like: first }),
      readingOf([tokens(4), tokens(7, { engine: '1' })]),
      readingOf([tokens(6)], { like: first }),
    ]
    // 2, 3, reset to 4, then nothing beside the 7 of a new rank, then 2.
    const found = advanceAll(pages).map(increments)
    assert.deepEqual(found, [[0], [2], [3], [4], [0, 7], [2]])
  })

  it('are found again when the page puts its series in another order', () => {
    const pages = [
      readingOf([tokens(10), tokens(200, { engine: '1' })]),
      readingOf([tokens(205, { engine: '1' }), tokens(11)]),
    ]
    assert.deepEqual(increments(advanceAll(pages)[1]), [5, 1])
  })

  it('are not taken of gauges', () => {
    const running = (value: number): Written => ({ instrument: 'requests_running', value })
    const growths = advanceAll([readingOf([running(7)]), readingOf([running(3)])])
    assert.deepEqual(increments(growths[1]), [0])
    assert.equal(growths[1]?.reset, false)
  })
})

describe('the increments of a histogram', () => {
  const rows: readonly [name: string, pages: readonly Written[], gained: readonly number[]][] = [
    [
      'are the differences of its counts and its sum',
      [latency([1, 2, 4], 9), latency([2, 4, 7], 20)],
      [1, 2, 3, 11],
    ],
    [
      'are all of it when its count fell',
      [latency([1, 2, 4], 9), latency([0, 1, 2], 3)],
      [0, 1, 2, 3],
    ],
    [
      // (1, 2] went from 3 to 1, though every cumulative count grew.
      'are all of it when one bucket fell and its count did not',
      [latency([1, 4, 5], 9), latency([5, 6, 8], 12)],
      [5, 6, 8, 12],
    ],
    [
      // Above 2 it went from 3 to 1.
      'are all of it when the last bucket fell',
      [latency([0, 0, 3], 9), latency([4, 5, 6], 7)],
      [4, 5, 6, 7],
    ],
    ['are none when it stands still', [latency([1, 2, 4], 9), latency([1, 2, 4], 9)], [0, 0, 0, 0]],
    [
      // vLLM can observe a negative time; no bucket fell, so it was no reset.
      'fall with the sum when only the sum fell',
      [latency([1, 2, 4], 9), latency([2, 3, 5], 8)],
      [1, 1, 1, -1],
    ],
  ]
  for (const [name, [before, after], gained] of rows) {
    it(name, () => {
      assert.ok(before !== undefined && after !== undefined)
      const growths = advanceAll([readingOf([before]), readingOf([after])])
      assert.deepEqual(increments(growths[0]), [0, 0, 0, 0])
      assert.deepEqual(increments(growths[1]), gained)
    })
  }

  it('begin anew when its edges change, even if their number does not', () => {
    const value: Cumulative = { bounds: [1, 3], counts: [5, 7, 10], sum: 30 }
    const after: Written = { instrument: 'e2e_latency', value }
    const growths = advanceAll([readingOf([latency([1, 2, 4], 9)]), readingOf([after])])
    // Every number grew, and more from edge to edge; only the edges tell.
    assert.deepEqual(increments(growths[1]), [5, 7, 10, 30])
    assert.equal(growths[1]?.reset, true)
  })

  it('begin anew when edges are added, and go on from there', () => {
    const at = (counts: readonly number[], sum: number): Written => ({
      instrument: 'e2e_latency',
      value: { bounds: [1, 2, 3], counts, sum },
    })
    const pages = [latency([1, 2, 4], 9), at([1, 1, 2, 3], 4), at([1, 2, 3, 5], 8)]
    const growths = advanceAll(pages.map((page) => readingOf([page])))
    assert.deepEqual(increments(growths[1]), [1, 1, 2, 3, 4])
    assert.deepEqual(increments(growths[2]), [0, 1, 1, 2, 4])
  })

  it('sum up over the buckets to the increment of the count', () => {
    const growths = advanceAll([
      readingOf([latency([10, 20, 40], 90)]),
      readingOf([latency([12, 25, 48], 99)]),
    ])
    // Of 8 new ones 2 lie up to 1, 3 in (1, 2] and 3 above.
    assert.deepEqual(increments(growths[1]), [2, 5, 8, 9])
  })
})

describe('a reset', () => {
  it('of one engine is not hidden by another that grows', () => {
    const growths = advanceAll([
      readingOf([tokens(1000), tokens(1000, { engine: '1' })]),
      readingOf([tokens(3000), tokens(5, { engine: '1' })]),
    ])
    assert.deepEqual(increments(growths[1]), [2000, 5])
    assert.equal(growths[1]?.reset, true)
    assert.equal(growths[1]?.newLife, false)
  })

  it('of most series of an engine is one of all of them, those included that outgrew themselves', () => {
    const page = (generated: number, prompt: number, preempted: number) =>
      readingOf([
        tokens(generated),
        { instrument: 'prompt_tokens', value: prompt },
        { instrument: 'preemptions', value: preempted },
      ])
    const growths = advanceAll([page(1000, 800, 2), page(10, 8, 5)])
    // Preemptions went from 2 to 5, but began at zero between: all 5 are new.
    assert.deepEqual(increments(growths[1]), [10, 8, 5])
    assert.equal(growths[1]?.newLife, true)
  })

  it('of one odd counter leaves the others of its engine going on', () => {
    const page = (generated: number, prompt: number, preempted: number) =>
      readingOf([
        tokens(generated),
        { instrument: 'prompt_tokens', value: prompt },
        { instrument: 'preemptions', value: preempted },
      ])
    const growths = advanceAll([page(1000, 800, 9), page(1010, 808, 5)])
    assert.deepEqual(increments(growths[1]), [10, 8, 5])
    assert.equal(growths[1]?.newLife, false)
  })

  it('is not voted on by counters that stood at zero', () => {
    const zeros = ['abort', 'error', 'length'].map(
      (reason): Written => ({ instrument: 'requests_finished', value: 0, labels: { reason } }),
    )
    const growths = advanceAll([
      readingOf([tokens(1000), { instrument: 'prompt_tokens', value: 5 }, ...zeros]),
      readingOf([tokens(10), { instrument: 'prompt_tokens', value: 2 }, ...zeros]),
    ])
    assert.equal(growths[1]?.newLife, true)
  })

  it('is told by a later start of the process, though every counter outgrew itself', () => {
    const growths = advanceAll([
      readingOf([tokens(10), latency([1, 1, 1], 1)], { processStartSeconds: 100 }),
      readingOf([tokens(50), latency([2, 4, 6], 9)], { processStartSeconds: 160 }),
    ])
    assert.deepEqual(increments(growths[1]), [50, 2, 4, 6, 9])
    assert.deepEqual([growths[1]?.reset, growths[1]?.newLife], [true, true])
  })

  const starts: readonly [name: string, before: number | undefined, after: number | undefined][] = [
    ['the same', 100, 100],
    ['a rounding later', 100, 100.4],
    ['earlier', 100, 40],
    ['not said any more', 100, undefined],
    ['said for the first time', undefined, 100],
  ]
  for (const [name, before, after] of starts) {
    it(`is not told by a start of the process that is ${name}`, () => {
      const growths = advanceAll([
        readingOf([tokens(10)], { processStartSeconds: before }),
        readingOf([tokens(50)], { processStartSeconds: after }),
      ])
      assert.deepEqual(increments(growths[1]), [40])
      assert.deepEqual([growths[1]?.reset, growths[1]?.newLife], [false, false])
    })
  }

  it('is told by a start that was left out of a page between', () => {
    const growths = advanceAll([
      readingOf([tokens(10)], { processStartSeconds: 100 }),
      readingOf([tokens(50)]),
      readingOf([tokens(70)], { processStartSeconds: 160 }),
    ])
    assert.deepEqual(growths.map(increments), [[0], [40], [70]])
  })

  it('of one series is told by its own later start', () => {
    const growths = advanceAll([
      readingOf([tokens(10, { created: 100 }), tokens(10, { engine: '1', created: 100 })]),
      readingOf([tokens(50, { created: 160 }), tokens(30, { engine: '1', created: 100 })]),
      readingOf([tokens(51, { created: 160 }), tokens(30, { engine: '1', created: 100 })]),
    ])
    // The start stands behind each value; it gains nothing.
    assert.deepEqual(increments(growths[1]), [50, 0, 20, 0])
    assert.deepEqual(increments(growths[2]), [1, 0, 0, 0])
  })

  it('is not told by a series whose start is unknown', () => {
    const growths = advanceAll([
      readingOf([tokens(10, { created: 0 })]),
      readingOf([tokens(50, { created: 160 })]),
      readingOf([tokens(60, { created: 0 })]),
    ])
    assert.deepEqual(growths.map(increments), [
      [0, 0],
      [40, 0],
      [10, 0],
    ])
  })
})

describe('a series that was missing when its process began again', () => {
  it('counts from zero when it comes back', () => {
    const finished = (value: number): Written => ({
      instrument: 'requests_finished',
      value,
      labels: { reason: 'error' },
    })
    const growths = advanceAll([
      readingOf([tokens(1000), finished(3)], { processStartSeconds: 100 }),
      readingOf([tokens(10)], { processStartSeconds: 160 }),
      readingOf([tokens(20), finished(4)], { processStartSeconds: 160 }),
    ])
    // Four of the new life, and not one more than three of the old one.
    assert.deepEqual(increments(growths[2]), [10, 4])
  })

  it('counts from zero when its engine alone began again', () => {
    const growths = advanceAll([
      readingOf([tokens(1000), tokens(7, { model: 'lora' }), tokens(50, { engine: '1' })]),
      readingOf([tokens(10), tokens(60, { engine: '1' })]),
      readingOf([tokens(20), tokens(9, { model: 'lora' }), tokens(70, { engine: '1' })]),
    ])
    assert.deepEqual(increments(growths[2]), [10, 9, 10])
  })
})

describe('a series that could not be used', () => {
  const series = tokens(0, { model: 'spoilt' })
  const spoilt = { leftOut: [keyOf(series)] }

  it('at the first reading adds nothing when it is first usable, and goes on from there', () => {
    const growths = advanceAll([
      readingOf([tokens(10)], spoilt),
      readingOf([tokens(10)], spoilt),
      readingOf([tokens(10), { ...series, value: 4000 }]),
      readingOf([tokens(10), { ...series, value: 4003 }]),
    ])
    assert.deepEqual(growths.slice(2).map(increments), [
      [0, 0],
      [0, 3],
    ])
  })

  it('when it first appeared, later on, counts from zero all the same', () => {
    const growths = advanceAll([
      readingOf([tokens(10)]),
      readingOf([tokens(10)], spoilt),
      readingOf([tokens(10), { ...series, value: 4 }]),
    ])
    assert.deepEqual(increments(growths[2]), [0, 4])
  })

  it('for a while goes on from its last value', () => {
    const growths = advanceAll([
      readingOf([tokens(10), { ...series, value: 4000 }]),
      readingOf([tokens(10)], spoilt),
      readingOf([tokens(10), { ...series, value: 4003 }]),
    ])
    assert.deepEqual(increments(growths[2]), [0, 3])
  })

  it('before its process began again counts from zero after it', () => {
    const growths = advanceAll([
      readingOf([tokens(10)], { ...spoilt, processStartSeconds: 100 }),
      readingOf([tokens(5), { ...series, value: 8 }], { processStartSeconds: 160 }),
    ])
    assert.deepEqual(increments(growths[1]), [5, 8])
  })

  it('because its line at the first reading was unreadable adds nothing at the second', () => {
    const growths = advanceAll([
      readingOf([tokens(10)], { malformedLines: 1 }),
      readingOf([tokens(11), { ...series, value: 4_000_000 }]),
      readingOf([tokens(12), { ...series, value: 4_000_003 }, tokens(1, { model: 'new' })]),
    ])
    assert.deepEqual(growths.slice(1).map(increments), [
      [1, 0],
      [1, 3, 1],
    ])
  })
})

describe('the number of series remembered', () => {
  it('is bounded when labels churn, and the page at hand is always remembered', () => {
    const maxSeries = 4
    const book = new SeriesBook({ maxSeries })
    const page = (turn: number) =>
      readingOf([
        tokens(100 + turn),
        tokens(50, { model: `a${turn}` }),
        tokens(50, { model: `b${turn}` }),
      ])
    for (let turn = 0; turn < 100; turn += 1) {
      const { increments } = book.advance(page(turn), { atMs: turn * 5000, baseline: turn === 0 })
      if (turn > 0) assert.deepEqual(Array.from(increments), [1, 50, 50])
    }
    // Those that were forgotten count from zero again, the others stand still at 50.
    const seen = Array.from({ length: 100 }, (_, turn) => tokens(50, { model: `a${turn}` }))
    const back = book.advance(readingOf(seen), { atMs: 500_000, baseline: false })
    const kept = Array.from(back.increments).filter((gained) => gained === 0)
    assert.ok(kept.length >= 1 && kept.length <= maxSeries)
  })

  it('lets go of what was missing for long only when there is no room', () => {
    const book = new SeriesBook({ maxSeries: 2 })
    const advance = (atMs: number, series: readonly Written[]) =>
      Array.from(book.advance(readingOf(series), { atMs, baseline: atMs === 0 }).increments)
    advance(0, [tokens(10), tokens(7, { model: 'rare' })])
    advance(1_000_000, [tokens(10)])
    // There is room for two, and so `rare` was kept though it was away for 33 minutes.
    assert.deepEqual(advance(2_000_000, [tokens(10), tokens(9, { model: 'rare' })]), [0, 2])
  })
})
