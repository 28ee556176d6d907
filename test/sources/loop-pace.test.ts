import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { spread } from '../../src/sources/pace.ts'
import { ManualClock } from '../fakes/manual-clock.ts'
import { inTurn, LoopWorld, missing, reading, taking } from './loop-world.ts'

describe('a source with nothing to read', () => {
  for (const code of ['not_found', 'driver_unavailable', 'no_gpu'] as const) {
    it(`is asked ever more rarely and without complaint where that is wanted (${code})`, async () => {
      const world = new LoopWorld({ collect: inTurn(code), quietWhenAbsent: true })
      await world.clock.advance(20_000)
      // Left alone for at least 1, 2, 4 and 8 s, and then the next place on the grid.
      assert.deepEqual(world.startedMs, [0, 2_000, 5_000, 10_000, 19_000])
      assert.deepEqual([world.lines('warn'), world.lines('info')], [[], []])
      assert.deepEqual(world.lines('debug'), ['nothing to read here'])
      assert.deepEqual(world.skipped, [])
      await world.end()
    })
  }

  it('is asked at least every five minutes', async () => {
    const world = new LoopWorld({ collect: inTurn('not_found'), quietWhenAbsent: true })
    await world.clock.advance(7_200_000)
    const pauses = world.startedMs.map((atMs, i) => atMs - (world.startedMs[i - 1] ?? atMs))
    assert.equal(Math.max(...pauses), 301_000)
    assert.ok(world.startedMs.length > 2 * 12)
    await world.end()
  })

  it('comes back to its pace as soon as there is something, and complaints are made from then on', async () => {
    const ends = ['not_found', 'not_found', 'read', 'not_found', 'not_found', 'read'] as const
    const world = new LoopWorld({ collect: inTurn(...ends), quietWhenAbsent: true })
    await world.clock.advance(8_500)
    assert.deepEqual(world.startedMs, [0, 2_000, 5_000, 6_000, 7_000, 8_000])
    assert.deepEqual(world.lines('warn'), ['target went down'])
    assert.deepEqual(world.lines('info'), ['target is up', 'target is up again'])
    await world.end()
  })

  it('is complained of where it is wanted for certain, or fails in another way', async () => {
    const wanted = new LoopWorld({ collect: inTurn('not_found') })
    const broken = new LoopWorld({ collect: inTurn('malformed'), quietWhenAbsent: true })
    for (const world of [wanted, broken]) {
      await world.clock.advance(3_000)
      assert.deepEqual(world.startedMs, [0, 1_000, 2_000, 3_000])
      assert.deepEqual(world.lines('warn'), ['target went down'])
      await world.end()
    }
  })
})

describe('a process that was stopped for five minutes', () => {
  it('collects once when it goes on, and tells how many places went by', async () => {
    const world = new LoopWorld()
    await world.clock.advance(500)
    await world.clock.jump(300_000)
    assert.deepEqual(world.startedMs, [0, 300_500])
    await world.clock.advance(1_000)
    // The places at 2000 to 300 000 went by: 299 of them.
    assert.deepEqual(world.startedMs, [0, 300_500, 301_000])
    assert.deepEqual(world.skipped, [299])
    await world.end()
  })

  it('takes an answer that lies ready for one, and does not call the collection hung', async () => {
    const world = new LoopWorld({
      // As the HTTP source does it: timers run first, so what the sockets hold is looked at after them.
      collect: async (index, signal, clock) => {
        if (index > 0) return reading
        await clock.sleep(800, signal)
        await nextTurn()
        return reading
      },
    })
    await world.clock.advance(10)
    await world.clock.jump(300_000)
    await world.clock.settle()
    assert.deepEqual(world.told, [['read', 300_010]])
    assert.deepEqual(world.lines('warn'), [])
    await world.end()
  })
})

describe('many loops', () => {
  it('are spread over the interval, and one that hangs delays no other', async () => {
    const clock = new ManualClock()
    const stop = new AbortController()
    const warnings: Error[] = []
    const onWarning = (warning: Error) => warnings.push(warning)
    process.on('warning', onWarning)
    const worlds = Array.from({ length: 32 }, (_, index) => {
      return new LoopWorld({
        world: { clock, stop },
        offsetMs: spread(index, 32, 1_000),
        collect: index === 5 ? () => new Promise(() => {}) : taking(10),
      })
    })
    await clock.advance(2_999)
    for (const [index, { startedMs }] of worlds.entries()) {
      // 1000 / 32 = 31.25 ms from one to the next.
      const placeMs = 31.25 * index
      const expected = index === 5 ? [placeMs] : [placeMs, placeMs + 1_000, placeMs + 2_000]
      assert.deepEqual(startedMs, expected)
    }
    stop.abort()
    await clock.advance(500)
    assert.ok(worlds.every(({ ended }) => ended))
    process.off('warning', onWarning)
    assert.deepEqual(warnings, [])
  })
})

describe('the interval', () => {
  it('is stretched when every collection costs too much, and comes back, each told once', async () => {
    let costMs = 250
    const world = new LoopWorld({
      maxOverhead: 0.1,
      collect: (index, signal, clock) => taking(costMs)(index, signal, clock),
    })
    // The 20th collection ends at 19.25 s. 250 ms are a tenth of 2.5 s, so 3 s from place to place.
    await world.clock.advance(19_249)
    assert.deepEqual(world.intervals, [])
    await world.clock.advance(1)
    assert.deepEqual(world.intervals, [3_000])
    await world.clock.advance(6_000)
    assert.deepEqual(world.startedMs.slice(-2), [22_000, 25_000])
    assert.deepEqual(world.skipped, [])
    costMs = 50
    await world.clock.advance(120_000)
    assert.deepEqual(world.intervals, [3_000, 1_000])
    assert.deepEqual(world.lines('info'), [
      'target is up',
      'collection interval changed',
      'collection interval changed',
    ])
    const [last = 0, before = 0] = world.startedMs.slice(-2).reverse()
    assert.equal(last - before, 1_000)
    await world.end()
  })

  it('is not stretched by collections that fail', async () => {
    const world = new LoopWorld({
      maxOverhead: 0.1,
      collect: async (index, signal, clock) => {
        await taking(700)(index, signal, clock)
        throw missing('timeout')
      },
    })
    await world.clock.advance(60_000)
    assert.deepEqual(world.intervals, [])
    await world.end()
  })

  it('is stretched by pages that were read and refused for their size', async () => {
    const world = new LoopWorld({
      maxOverhead: 0.1,
      collect: async (index, signal, clock) => {
        await taking(700)(index, signal, clock)
        throw missing('limit')
      },
    })
    await world.clock.advance(60_000)
    // 0.7 s is a tenth of 7 s.
    assert.deepEqual(world.intervals, [7_000])
    await world.end()
  })
})
