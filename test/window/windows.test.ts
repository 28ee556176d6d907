import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Labels } from '../../src/reading.ts'
import { TargetWindows } from '../../src/window/target-windows.ts'
import { Windows } from '../../src/window/windows.ts'
import { missed, observe, read, readingOf, type Written } from './readings.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const bounds = [1, 2, 5]
const model: Labels = { model_name: 'm' }

function windowsOf(keepMs = hourMs): TargetWindows {
  return new TargetWindows('t', { keepMs })
}

function tokens(value: number, rest: Partial<Written> = {}): Written {
  return { instrument: 'generation_tokens', value, ...rest }
}

function latency(values: readonly number[], rest: Partial<Written> = {}): Written {
  return { instrument: 'e2e_latency', value: observe(bounds, values), ...rest }
}

function finished(reason: string, value: number, rest: Partial<Written> = {}): Written {
  return { instrument: 'requests_finished', value, labels: { reason }, ...rest }
}

/** Records pages each 5 s, beginning at 0. */
function recordAll(target: TargetWindows, pages: readonly (readonly Written[])[]): TargetWindows {
  for (const [index, page] of pages.entries()) target.record(read(index * 5000, readingOf(page)))
  return target
}

function plain(target: TargetWindows, spanMs: number, labels = model) {
  const found = target.view(spanMs)?.histogram('e2e_latency', labels)
  return found === undefined ? undefined : { ...found, counts: Array.from(found.counts) }
}

describe('a window', () => {
  it('is absent before the first reading and after it, when nothing could be gained yet', () => {
    const target = windowsOf()
    assert.equal(target.view(minuteMs), undefined)
    assert.equal(target.sinceStart(), undefined)
    target.record(missed(0))
    assert.equal(target.view(minuteMs), undefined)
    target.record(read(5000, readingOf([tokens(1_000_000)])))
    assert.equal(target.view(minuteMs), undefined)
    assert.equal(target.sinceStart()?.increase('generation_tokens', model), 0)
  })

  it('speaks from the first increment on, of the time it covers', () => {
    const target = recordAll(windowsOf(), [[tokens(1_000_000)], [tokens(1_000_100)]])
    const view = target.view(minuteMs)
    assert.equal(view?.coveredMs, 5000)
    assert.equal(view?.increase('generation_tokens', model), 100)
  })

  it('holds what was gained since its start, and nothing before', () => {
    const target = recordAll(
      windowsOf(),
      Array.from({ length: 100 }, (_, index) => [tokens(index * index)]),
    )
    // 12 intervals of 5 s back from 99: 99² − 87².
    assert.equal(target.view(minuteMs)?.increase('generation_tokens', model), 9801 - 7569)
    assert.equal(target.view(0)?.increase('generation_tokens', model), 9801 - 9604)
    assert.equal(target.sinceStart()?.increase('generation_tokens', model), 9801)
  })

  it('covers the time of failed scrapes too, so that a gap makes no rate', () => {
    const target = windowsOf()
    for (let index = 0; index <= 40; index += 1) {
      const atMs = index * 5000
      // 20 tokens a second; the scrapes from 110 s to 160 s fail.
      target.record(
        index >= 22 && index <= 32 ? missed(atMs) : read(atMs, readingOf([tokens(index * 100)])),
      )
    }
    const rate = (spanMs: number) => {
      const view = target.view(spanMs)
      return (view?.increase('generation_tokens', model) ?? 0) / ((view?.coveredMs ?? 0) / 1000)
    }
    for (const spanMs of [5000, 30_000, minuteMs, 75_000, 2 * minuteMs]) {
      assert.equal(rate(spanMs), 20)
    }
    // A minute reaches back to 140 s; of the good readings 165 s is 25 s away and 105 s is 35 s.
    assert.equal(target.view(minuteMs)?.coveredMs, 35_000)
  })

  it('covers a whole gap right after it, and not the span asked for', () => {
    const target = recordAll(windowsOf(), [[tokens(0)], [tokens(100)]])
    target.record(read(605_000, readingOf([tokens(700)])))
    assert.equal(target.view(minuteMs)?.coveredMs, 600_000)
    assert.equal(target.view(minuteMs)?.increase('generation_tokens', model), 600)
  })

  it('covers some time even when a clock stood still', () => {
    const target = windowsOf()
    for (const [atMs, value] of [
      [0, 5],
      [0, 6],
      [5000, 8],
      [5000, 9],
    ] as const) {
      target.record(read(atMs, readingOf([tokens(value)])))
    }
    assert.equal(target.view(minuteMs)?.coveredMs, 5000)
    assert.equal(target.view(minuteMs)?.increase('generation_tokens', model), 3)
    assert.equal(target.sinceStart()?.increase('generation_tokens', model), 4)
  })

  it('tells what was never read from what did not happen', () => {
    const target = recordAll(windowsOf(), [
      [tokens(5), latency([1])],
      [tokens(5), latency([1])],
    ])
    const view = target.view(minuteMs)
    assert.equal(view?.increase('generation_tokens', model), 0)
    assert.equal(view?.increase('prompt_tokens', model), undefined)
    assert.equal(view?.increase('generation_tokens', { model_name: 'other' }), undefined)
    assert.equal(view?.histogram('ttft', model), undefined)
    assert.deepEqual(plain(target, minuteMs), { bounds, counts: [0, 0, 0, 0], count: 0, sum: 0 })
    assert.deepEqual(view?.increases('preemptions', {}), [])
  })

  it('counts from zero what appears in it', () => {
    const target = recordAll(windowsOf(), [
      [finished('stop', 500)],
      [finished('stop', 510), finished('error', 2)],
      [finished('stop', 520), finished('error', 3)],
    ])
    const reason = (name: string) => ({ ...model, reason: name })
    assert.equal(target.view(minuteMs)?.increase('requests_finished', reason('error')), 3)
    assert.equal(target.view(minuteMs)?.increase('requests_finished', reason('stop')), 20)
  })
})

describe('the histogram of a window', () => {
  it('holds the observations by bucket, not cumulative, with their count and sum', () => {
    const target = recordAll(windowsOf(), [
      [latency([1, 1, 9])],
      [latency([1, 1, 9, 0.5, 2, 3, 4, 7])],
    ])
    // New: 0.5 up to 1; 2 up to 2; 3 and 4 up to 5; 7 above. Sum 16.5.
    assert.deepEqual(plain(target, minuteMs), { bounds, counts: [1, 1, 2, 1], count: 5, sum: 16.5 })
  })

  it('adds up the engines, each with its own resets', () => {
    const both = (first: readonly number[], second: readonly number[]) => [
      latency(first),
      latency(second, { engine: '1' }),
    ]
    const target = windowsOf()
    target.record(read(0, readingOf(both([1, 1, 1, 3], [9, 9, 9]))))
    target.record(read(5000, readingOf(both([1, 1, 1, 3, 4], [3]))))
    // Engine 0 gained the 4, engine 1 began again and gained the 3.
    assert.deepEqual(plain(target, minuteMs), { bounds, counts: [0, 0, 2, 0], count: 2, sum: 7 })
    assert.equal(target.tally.resets, 1)
  })

  it('of ranks with different edges has the edges that all have, exactly', () => {
    const other = (values: readonly number[]): Written => ({
      instrument: 'e2e_latency',
      value: observe([0.5, 1, 5, 10], values),
      engine: '1',
    })
    const target = recordAll(windowsOf(), [
      [latency([]), other([])],
      [latency([0.7, 1.5, 3, 8]), other([0.2, 0.7, 4, 8, 20])],
    ])
    // Edges 1 and 5. Up to 1: 0.7, 0.2, 0.7. Up to 5: 1.5, 3, 4. Above: 8, 8, 20.
    const found = plain(target, minuteMs)
    assert.deepEqual(found?.bounds, [1, 5])
    assert.deepEqual(found?.counts, [3, 3, 3])
    assert.equal(found?.count, 9)
    assert.ok(Math.abs((found?.sum ?? 0) - 46.1) < 1e-9)
  })

  it('of ranks without a common edge has its count and its sum', () => {
    const other = (values: readonly number[]): Written => ({
      instrument: 'e2e_latency',
      value: observe([3], values),
      engine: '1',
    })
    const target = recordAll(windowsOf(), [
      [latency([]), other([])],
      [latency([1, 2]), other([4])],
    ])
    assert.deepEqual(plain(target, minuteMs), { bounds: [], counts: [3], count: 3, sum: 7 })
  })
})

describe('a change of bucket edges', () => {
  const wider = (values: readonly number[]): Written => ({
    instrument: 'e2e_latency',
    value: observe([1, 2, 5, 60], values),
  })

  it('is told once, and begins windows and totals of that histogram anew', () => {
    const target = recordAll(windowsOf(), [
      [latency([1]), tokens(10)],
      [latency([1, 3, 7]), tokens(20)],
    ])
    const changed = target.record(read(10_000, readingOf([wider([4, 50]), tokens(5)])))
    assert.deepEqual(changed.rebound, ['e2e_latency'])
    const now = { bounds: [1, 2, 5, 60], counts: [0, 0, 1, 1, 0], count: 2, sum: 54 }
    assert.deepEqual(plain(target, minuteMs), now)
    const whole = target.sinceStart()?.histogram('e2e_latency', model)
    assert.deepEqual({ ...whole, counts: Array.from(whole?.counts ?? []) }, now)
    // Counters go on: 10, then the 5 of the new life.
    assert.equal(target.sinceStart()?.increase('generation_tokens', model), 15)

    const after = target.record(read(15_000, readingOf([wider([4, 50, 70]), tokens(6)])))
    assert.deepEqual(after.rebound, [])
    assert.equal(plain(target, minuteMs)?.count, 3)
  })

  it('is not told when the same edges come in another array', () => {
    const target = recordAll(windowsOf(), [[latency([1])]])
    const value = observe([...bounds], [1, 2])
    const again = target.record(read(5000, readingOf([{ instrument: 'e2e_latency', value }])))
    assert.deepEqual(again.rebound, [])
    assert.equal(plain(target, minuteMs)?.count, 1)
  })

  it('back and forth never mixes layouts, and gives memory back', () => {
    const target = recordAll(windowsOf(), [[latency([1])]])
    for (let turn = 1; turn <= 200; turn += 1) {
      const page = (extra: readonly number[]) => [
        turn % 2 === 1 ? wider([4, 50, ...extra]) : latency([4, 4, 7, ...extra]),
        tokens(turn),
      ]
      const changed = readingOf(page([]))
      target.record(read(turn * 10_000, changed))
      target.record(read(turn * 10_000 + 5000, readingOf(page([0.5]), { like: changed })))
      // Only what the last layout has gained: all of its page.
      assert.deepEqual(
        plain(target, hourMs)?.counts,
        turn % 2 === 1 ? [1, 0, 1, 1, 0] : [1, 0, 2, 1],
      )
      assert.equal(target.view(hourMs)?.increase('generation_tokens', model), turn)
    }
  })
})

describe('a process that began again', () => {
  it('is told, counts from zero and does not show in the totals', () => {
    const target = windowsOf()
    const at = (atMs: number, value: number, processStartSeconds: number) =>
      target.record(
        read(atMs, readingOf([tokens(value), latency([1, 3])], { processStartSeconds })),
      )
    assert.equal(at(0, 100, 7000).newLife, false)
    assert.equal(at(5000, 150, 7000).newLife, false)
    assert.equal(at(10_000, 160, 7060).newLife, true)
    assert.equal(at(15_000, 180, 7060).newLife, false)
    // 50 before, 160 of the new life up to the first reading of it, then 20.
    assert.equal(target.sinceStart()?.increase('generation_tokens', model), 230)
    assert.equal(plain(target, minuteMs)?.count, 2)
    assert.equal(target.tally.resets, 1)
  })
})

describe('the windows of all targets', () => {
  it('are apart, and one that is forgotten begins anew', () => {
    const windows = new Windows({ keepMs: hourMs })
    const record = (target: string, atMs: number, value: number) =>
      windows.record({ ...read(atMs, readingOf([tokens(value)])), target })
    record('a', 0, 10)
    record('b', 1000, 1000)
    record('a', 5000, 12)
    assert.equal(windows.target('a').view(minuteMs)?.increase('generation_tokens', model), 2)
    assert.equal(windows.target('b').view(minuteMs), undefined)
    windows.forget('a')
    assert.equal(windows.target('a').lastRead, undefined)
    record('a', 10_000, 20)
    assert.equal(windows.target('a').view(minuteMs), undefined)
  })

  it('reach further back once they are told to', () => {
    const windows = new Windows({ keepMs: minuteMs })
    const record = (seconds: number) =>
      windows.record({ ...read(seconds * 1000, readingOf([tokens(seconds)])), target: 'a' })
    for (let seconds = 0; seconds <= 300; seconds += 5) record(seconds)
    assert.equal(windows.target('a').view(hourMs)?.coveredMs, minuteMs)
    windows.keep(hourMs)
    for (let seconds = 305; seconds <= 600; seconds += 5) record(seconds)
    // What was let go of does not come back: 240 s is the oldest.
    assert.equal(windows.target('a').view(hourMs)?.coveredMs, 360_000)
  })
})
