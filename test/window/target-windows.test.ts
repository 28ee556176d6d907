import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Labels, ProbeResult, Reading } from '../../src/reading.ts'
import { TargetWindows } from '../../src/window/target-windows.ts'
import { missed, read, readingOf, type Written } from './readings.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const model: Labels = { model_name: 'm' }

function windowsOf(keepMs = hourMs): TargetWindows {
  return new TargetWindows('t', { keepMs })
}

function tokens(value: number, rest: Partial<Written> = {}): Written {
  return { instrument: 'generation_tokens', value, ...rest }
}

function finished(reason: string, value: number, rest: Partial<Written> = {}): Written {
  return { instrument: 'requests_finished', value, labels: { reason }, ...rest }
}

function running(value: number, rest: Partial<Written> = {}): Written {
  return { instrument: 'requests_running', value, ...rest }
}

/** Records pages each 5 s, beginning at 0. */
function recordAll(target: TargetWindows, pages: readonly (readonly Written[])[]): TargetWindows {
  for (const [index, page] of pages.entries()) target.record(read(index * 5000, readingOf(page)))
  return target
}

describe('labels', () => {
  it('that an instrument keeps tell its counters apart, others merge away', () => {
    const page = (factor: number) => [
      finished('stop', 10 * factor),
      finished('stop', factor, { engine: '1' }),
      finished('length', 2 * factor),
      finished('stop', 100 * factor, { model: 'lora' }),
    ]
    const view = recordAll(windowsOf(), [page(1), page(2)]).view(minuteMs)
    assert.deepEqual(view?.increases('requests_finished', model), [
      { labels: { model_name: 'm', reason: 'stop' }, value: 11 },
      { labels: { model_name: 'm', reason: 'length' }, value: 2 },
    ])
    const all = view?.increases('requests_finished', { reason: 'stop' }) ?? []
    assert.deepEqual(
      all.map(({ value }) => value),
      [11, 100],
    )
  })

  it('name the models in the order in which they appeared', () => {
    const target = recordAll(windowsOf(), [
      [tokens(1), running(1, { model: 'b' })],
      [tokens(1), running(1, { model: 'b' }), tokens(1, { model: 'a' })],
    ])
    assert.deepEqual(target.models, ['m', 'a', 'b'])
  })
})

describe('gauges', () => {
  const usage = (value: number, engine: string): Written => ({
    instrument: 'kv_cache_usage',
    value,
    engine,
  })

  it('merge by sum or by maximum, as their instrument says', () => {
    const page = [running(3), running(4, { engine: '1' }), usage(0.2, '0'), usage(0.9, '1')]
    const target = recordAll(windowsOf(), [page])
    assert.deepEqual(target.gauges, [
      { instrument: 'requests_running', labels: model, value: 7 },
      { instrument: 'kv_cache_usage', labels: model, value: 0.9 },
    ])
  })

  it('of the instant vanish when a scrape fails and come back with the next good one', () => {
    const target = recordAll(windowsOf(), [[running(3)]])
    target.record(missed(5000))
    assert.equal(target.gauges.length, 0)
    assert.equal(target.lastGauges[0]?.value, 3)
    target.record(read(10_000, readingOf([running(0)])))
    assert.equal(target.gauges[0]?.value, 0)
  })

  it('have their highest value in a window, but not that of the reading it begins at', () => {
    const values = [90, 1, 5, 2, 70, 3, 4, 3]
    const target = recordAll(
      windowsOf(),
      values.map((value) => [running(value)]),
    )
    const high = (spanMs: number) => target.view(spanMs)?.high('requests_running', model)
    assert.equal(high(0), 3)
    assert.equal(high(10_000), 4)
    assert.equal(high(15_000), 4) // begins at the reading of 70
    assert.equal(high(20_000), 70)
    assert.equal(high(hourMs), 70) // begins at the reading of 90
    assert.equal(target.view(hourMs)?.high('requests_waiting', model), undefined)
    assert.equal(target.view(hourMs)?.high('requests_running', {}), undefined)
  })

  it('keep their highest value though the reading that had it was thinned out', () => {
    const target = windowsOf(24 * hourMs)
    for (let atMs = 0; atMs <= 3 * hourMs; atMs += 5000) {
      target.record(read(atMs, readingOf([running(atMs === 25 * 5000 ? 99 : 1)])))
    }
    assert.equal(target.view(3 * hourMs)?.high('requests_running', model), 99)
    assert.equal(target.view(2 * hourMs)?.high('requests_running', model), 1)
  })
})

describe('the watching of a target', () => {
  it('counts attempts, failures by code, malformed lines and limits that were hit', () => {
    const target = windowsOf()
    const rest: Partial<Reading> = { malformedLines: 2, limitHits: { labels: 3 } }
    target.record(read(0, readingOf([tokens(1)], rest)))
    target.record(missed(5000))
    target.record({ ...missed(10_000), code: 'refused' })
    target.record(missed(15_000))
    assert.deepEqual([target.missedInARow, target.version], [3, 4])
    target.record(read(20_000, readingOf([tokens(1)], rest)))
    assert.deepEqual([target.missedInARow, target.version], [0, 5])
    assert.deepEqual(target.tally, {
      attempts: 5,
      failures: new Map([
        ['timeout', 2],
        ['refused', 1],
      ]),
      resets: 0,
      malformedLines: 4,
      probes: new Map(),
      limitHits: new Map([['labels', 6]]),
    })
  })

  it('counts answers of 5xx in a row, which no answer does not end', () => {
    const target = windowsOf()
    const sick = { kind: 'answered', status: 503, tookMs: 1 } as const
    const late = { kind: 'unanswered', code: 'timeout', tookMs: 1 } as const
    for (const [health, inARow] of [
      [sick, 1],
      [late, 1],
      [sick, 2],
      [{ ...sick, status: 200 }, 0],
    ] as const) {
      target.record({ ...missed(0), health })
      assert.equal(target.sickInARow, inARow)
      assert.equal(target.health, health)
    }
  })
})

describe('memory', () => {
  const answers = (status: string, value: number): Written => ({
    instrument: 'http_answers',
    value,
    labels: { status },
  })

  it('of a model that was away for longer than any window is taken back', () => {
    const target = recordAll(windowsOf(minuteMs), [
      [tokens(5), tokens(50, { model: 'old' })],
      [tokens(6), tokens(60, { model: 'old' })],
    ])
    for (let atMs = 10_000; atMs <= 64_000; atMs += 6000) {
      target.record(read(atMs, readingOf([tokens(6)])))
    }
    assert.deepEqual(target.models, ['m', 'old'])
    target.record(read(66_000, readingOf([tokens(6)])))
    assert.deepEqual(target.models, ['m'])
    const whole = target.sinceStart()
    assert.equal(whole?.increase('generation_tokens', { model_name: 'old' }), undefined)
    assert.equal(whole?.increase('generation_tokens', model), 1)
    // Its series was only missing, so it goes on from 60.
    target.record(read(72_000, readingOf([tokens(6), tokens(63, { model: 'old' })])))
    assert.equal(target.sinceStart()?.increase('generation_tokens', { model_name: 'old' }), 3)
  })

  it('of a label that is away is kept, so that sums over labels never fall', () => {
    const target = windowsOf(minuteMs)
    const page = (atMs: number, series: readonly Written[]) =>
      target.record(read(atMs, readingOf(series, { processStartSeconds: atMs < 5e5 ? 1 : 900 })))
    page(0, [answers('2xx', 1000)])
    page(5000, [answers('2xx', 1100), answers('5xx', 10), finished('error', 10)])
    for (let atMs = 500_000; atMs <= 900_000; atMs += 5000)
      page(atMs, [answers('2xx', 0), tokens(1)])
    const found = target.sinceStart()?.increases('http_answers', {}) ?? []
    assert.deepEqual(
      found.map(({ value }) => value),
      [100, 10],
    )
  })

  it('is bounded when labels churn: what is gone makes room for what comes', () => {
    const target = windowsOf(minuteMs)
    for (let turn = 0; turn < 5; turn += 1) {
      const page = Array.from({ length: 900 }, (_, index) => finished(`${turn}-${index}`, 1))
      target.record(read(turn * 5000, readingOf([tokens(1), ...page])))
    }
    // With the second page 1,801 of the 2,000 places are used, so that the first page's 900 go; and so on.
    const found = target.sinceStart()?.increases('requests_finished', {}) ?? []
    assert.equal(found.length, 900)
    assert.equal(target.tally.limitHits.get('series'), undefined)
  })

  it('counts a page that was refused for a limit under its name', () => {
    const target = windowsOf(minuteMs)
    const refused = { ...missed(0), code: 'limit', limit: 'samples' } as const
    target.record(refused)
    target.record({ ...missed(5_000), code: 'limit' })
    assert.deepEqual([...target.tally.limitHits], [['samples', 1]])
    assert.equal(target.tally.failures.get('limit'), 2)
  })

  it('has no room for more than 2,000 series at once, and counts what found none', () => {
    const target = windowsOf(minuteMs)
    const page = Array.from({ length: 2_100 }, (_, index) => finished(`${index}`, 1))
    target.record(read(0, readingOf([tokens(1), ...page])))
    // One of the places is for tokens.
    const found = target.sinceStart()?.increases('requests_finished', {}) ?? []
    assert.equal(found.length, 1_999)
    assert.equal(target.tally.limitHits.get('series'), 101)
    // Once those are gone there is room for new ones.
    target.record(read(5_000, readingOf([tokens(1)])))
    target.record(read(10_000, readingOf([finished('new', 7), tokens(1)])))
    const again = target.sinceStart()?.increases('requests_finished', {}) ?? []
    assert.deepEqual(
      again.map(({ value }) => value),
      [7],
    )
  })
})

describe('what came of a probe', () => {
  const answered = (startMs: number): ProbeResult => {
    return { kind: 'answered', target: 't', startMs, atMs: startMs + 50, tookMs: 50 }
  }
  const life = (atMs: number, processStartSeconds: number) =>
    read(atMs, readingOf([tokens(1)], { processStartSeconds }))

  it('is that of the last one, and each is counted', () => {
    const target = windowsOf()
    const before = target.version
    target.recordProbe(answered(1_000))
    const failed: ProbeResult = { ...answered(7_000), kind: 'failed', status: 500 }
    target.recordProbe(failed)
    assert.equal(target.probe, failed)
    assert.deepEqual(
      [...target.tally.probes],
      [
        ['answered', 1],
        ['failed', 1],
      ],
    )
    // What was derived before has to be derived anew.
    assert.notEqual(target.version, before)
  })

  it('says nothing of another life of the process, though it may come late', () => {
    const target = windowsOf()
    const shown: (number | undefined)[] = []
    const recordProbe = (startMs: number) => {
      target.recordProbe(answered(startMs))
      shown.push(target.probe?.startMs)
    }
    target.record(life(0, 1))
    recordProbe(1_000)
    target.record(life(10_000, 90))
    shown.push(target.probe?.startMs)
    recordProbe(9_999)
    recordProbe(10_000)
    assert.deepEqual(shown, [1_000, undefined, undefined, 10_000])
    assert.equal(target.tally.probes.get('answered'), 3)
  })
})
