import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { instruments } from '../../src/instruments.ts'
import { type Followed, Histories } from '../../src/window/history.ts'
import { TargetWindows } from '../../src/window/target-windows.ts'
import { counter, gauge, type MadeSeries, missed, read } from '../fakes/readings.ts'

const minuteMs = 60_000
const one: Followed = { key: 'a', instrument: 'gpu_memory_used', labels: { gpu: '0' } }

/** A series with a value of `valueAt` every `everyMs` for `forMs`. */
function followed(everyMs: number, forMs: number, valueAt = (atMs: number) => atMs) {
  const histories = new Histories()
  histories.list([one], { atMs: 0, fromStart: true })
  for (let atMs = 0; atMs <= forMs; atMs += everyMs) histories.push('a', valueAt(atMs), atMs)
  const found = histories.find('a')
  assert.ok(found !== undefined)
  return found
}

function gpus(...all: readonly MadeSeries[]) {
  return (atMs: number) => read(atMs, all, { target: 'gpu' })
}

const process = (pid: string, bytes: number) =>
  gauge('gpu_process_memory_used', bytes, { pid, process: 'python3' })

describe('a history', () => {
  it('keeps at most 96 values in order, the first and the newest among them', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 100_000 }), { maxLength: 400 }), (gaps) => {
        const histories = new Histories()
        histories.list([one], { atMs: 0, fromStart: true })
        let atMs = 0
        histories.push('a', 0, 0)
        for (const gap of gaps) {
          atMs += gap
          histories.push('a', 2 * atMs, atMs)
        }
        const { times, values, lastMs } = histories.find('a') ?? assert.fail()
        assert.ok(times.length <= 96 && times.length === values.length)
        assert.deepEqual([times[0], times.at(-1), lastMs], [0, atMs, atMs])
        for (const [index, time] of times.entries()) {
          assert.ok(index === 0 || time > (times[index - 1] ?? 0))
          assert.equal(values[index], 2 * time)
        }
      }),
    )
  })

  it('keeps every value of the first quarter of an hour', () => {
    // 95 intervals of 10 s are 950 s.
    assert.equal(followed(10_000, 950_000).times.length, 96)
  })

  it('keeps some dozens of values of any last stretch, after a week too', () => {
    const { times, lastMs } = followed(10_000, 7 * 24 * 60 * minuteMs)
    const kept = (lastMinutes: number) =>
      times.filter((time) => lastMs - time <= lastMinutes * minuteMs).length
    assert.ok(kept(20) >= 20 && kept(120) >= 40 && kept(24 * 60) >= 70, `${kept(20)} ${kept(120)}`)
    for (const [index, time] of times.entries()) {
      const gapMs = time - (times[index - 1] ?? 0)
      assert.ok(gapMs <= 0.15 * (lastMs - time + 5 * minuteMs) + 10_000, `${gapMs} at ${time}`)
    }
  })

  it('takes a second value of an instant in the place of the first', () => {
    const histories = new Histories()
    histories.list([one], { atMs: 0, fromStart: true })
    for (const [value, atMs] of [
      [1, 5],
      [2, 5],
      [3, 4],
    ] as const) {
      histories.push('a', value, atMs)
    }
    const { times, values } = histories.find('a') ?? assert.fail()
    assert.deepEqual([times, values], [[5], [3]])
  })

  it('settles at the highest level that it holds from 20 minutes to two hours on', () => {
    const level = (steps: (minute: number) => number, minutes: number) =>
      followed(10_000, minutes * minuteMs, (atMs) => steps(atMs / minuteMs)).settled
    assert.equal(
      level(() => 7, 19),
      undefined,
    )
    assert.equal(
      level((minute) => (minute < 5 ? minute : 70), 30),
      70,
    )
    // Asleep at first, and a spike that is no level: the median over 10 minutes leaves both out.
    assert.equal(
      level((minute) => (minute < 40 ? 2 : minute === 60 ? 500 : 70), 90),
      70,
    )
    assert.equal(
      level((minute) => (minute < 125 ? 70 : 90), 200),
      70,
    )
  })
})

describe('the histories of a target', () => {
  it('are kept of the gauges whose instruments ask for it', () => {
    const target = new TargetWindows('gpu', { keepMs: minuteMs })
    target.record(gpus(gauge('gpu_power_draw', 5), gauge('gpu_temperature', 6))(0))
    assert.equal(instruments.gpu_temperature.history, false)
    assert.deepEqual(target.histories('gpu_temperature'), [])
    const labels = { gpu: '0', uuid: 'GPU-a' }
    assert.deepEqual(target.history('gpu_power_draw', labels)?.values, [5])
    assert.equal(target.history('gpu_power_draw', { gpu: '1', uuid: 'GPU-b' }), undefined)
  })

  it('tell when a process came, and when it was gone', () => {
    const target = new TargetWindows('gpu', { keepMs: minuteMs })
    target.record(gpus(process('1', 10))(0))
    target.record(gpus(process('1', 11), process('2', 20))(10_000))
    target.record(missed(20_000, 'timeout', { target: 'gpu' }))
    target.record(gpus(process('2', 21))(30_000))
    const found = target.histories('gpu_process_memory_used')
    assert.deepEqual(
      found.map(({ labels, firstMs, lastMs, goneMs, fromStart, values }) => [
        labels['pid'],
        { firstMs, lastMs, goneMs, fromStart },
        values,
      ]),
      [
        ['2', { firstMs: 10_000, lastMs: 30_000, goneMs: undefined, fromStart: false }, [20, 21]],
        ['1', { firstMs: 0, lastMs: 10_000, goneMs: 30_000, fromStart: true }, [10, 11]],
      ],
    )
  })

  it('begin anew for a process that comes back, and forget one that is gone for an hour', () => {
    const target = new TargetWindows('gpu', { keepMs: minuteMs })
    target.record(gpus(process('1', 10))(0))
    target.record(gpus(process('2', 20))(10_000))
    target.record(gpus(process('1', 5))(20_000))
    const pids = () =>
      target
        .histories('gpu_process_memory_used')
        .map(({ labels, firstMs, values }) => [labels['pid'], firstMs, ...values])
    assert.deepEqual(pids(), [
      ['1', 20_000, 5],
      ['1', 0, 10],
      ['2', 10_000, 20],
    ])
    target.record(gpus(process('1', 5), process('3', 1))(20_000 + 60 * minuteMs))
    assert.deepEqual(pids(), [
      ['1', 20_000, 5, 5],
      ['3', 20_000 + 60 * minuteMs, 1],
    ])
  })

  it('have a limit, which is counted', () => {
    const target = new TargetWindows('gpu', { keepMs: minuteMs })
    const many = Array.from({ length: 515 }, (_, index) => process(String(index), 1))
    target.record(gpus(...many)(0))
    assert.equal(target.histories('gpu_process_memory_used').length, 512)
    assert.equal(target.tally.limitHits.get('series'), 3)
    // All of them go, and 64 are remembered.
    target.record(gpus(process('x', 1))(10_000))
    assert.equal(target.histories('gpu_process_memory_used').length, 65)
  })
})

describe('the life of a process', () => {
  const page = (made: number) => [gauge('requests_running', 0), counter('generation_tokens', made)]

  it('began when its page says so', () => {
    const target = new TargetWindows('vllm', { keepMs: minuteMs })
    const attempt = read(100_000, page(5))
    const { wallMs } = attempt
    assert.ok(attempt.kind === 'read')
    // A minute before the reading.
    const processStartSeconds = wallMs / 1000 - 60
    target.record({ ...attempt, reading: { ...attempt.reading, processStartSeconds } })
    assert.deepEqual(target.life, { sinceMs: 40_000, readMs: 100_000 })
  })

  it('began after the last good reading of the one before, where the page does not say', () => {
    const target = new TargetWindows('vllm', { keepMs: minuteMs })
    assert.equal(target.life, undefined)
    target.record(read(0, page(50)))
    target.record(read(5_000, page(60)))
    assert.deepEqual(target.life, { sinceMs: undefined, readMs: 0 })
    target.record(missed(10_000, 'refused'))
    target.record(read(90_000, page(2)))
    assert.deepEqual(target.life, { sinceMs: 5_000, readMs: 90_000 })
  })
})
