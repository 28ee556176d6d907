import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { CollectError } from '../../src/errors.ts'
import type { Reading } from '../../src/reading.ts'
import { ManualClock } from '../fakes/manual-clock.ts'
import { inTurn, LoopWorld, reading, taking } from './loop-world.ts'

/** A collection that ends when the test says so, whatever it is told. */
function inHand() {
  let resolve: (reading: Reading) => void = () => {}
  let reject: (error: unknown) => void = () => {}
  const promise = new Promise<Reading>((onRead, onError) => {
    resolve = onRead
    reject = onError
  })
  return { promise, read: () => resolve(reading), fail: (error: unknown) => reject(error) }
}

describe('the collect loop', () => {
  it('reads at its place on each interval and hands over what it read', async () => {
    const world = new LoopWorld({ offsetMs: 300 })
    await world.clock.advance(2_500)
    assert.deepEqual(world.told, [
      ['read', 300],
      ['read', 1_300],
      ['read', 2_300],
    ])
    const [attempt] = world.attempts
    assert.ok(attempt?.kind === 'read')
    assert.equal(attempt.reading, reading)
    assert.equal(attempt.target, 'vllm')
    assert.equal(attempt.wallMs, Date.UTC(2026, 0, 1) + 300)
    await world.end()
  })

  it('stamps an attempt with its end and with what it took', async () => {
    const world = new LoopWorld({ collect: taking(120) })
    await world.clock.advance(1_500)
    assert.deepEqual(world.told, [
      ['read', 120],
      ['read', 1_120],
    ])
    assert.equal(world.attempts[0]?.tookMs, 120)
    await world.end()
  })

  it('skips a late tick and never collects twice at a time', async () => {
    // Two and a half intervals: the places at 1000 and 2000 go by, the one at 3000 is used.
    const world = new LoopWorld({ collect: taking(2_500), timeoutMs: 5_000 })
    await world.clock.advance(6_000)
    assert.deepEqual(world.startedMs, [0, 3_000, 6_000])
    assert.deepEqual(world.skipped, [2, 2])
    assert.equal(world.mostAtOnce, 1)
    await world.end()
  })

  it('tells a failed collection by its code, its message and its status', async () => {
    const error = new CollectError('status', 'expected 200, found 503', { status: 503 })
    const world = new LoopWorld({ collect: () => Promise.reject(error) })
    await world.clock.advance(0)
    const [attempt] = world.attempts
    assert.ok(attempt?.kind === 'missed')
    assert.deepEqual(
      [attempt.code, attempt.message, attempt.status],
      ['status', 'expected 200, found 503', 503],
    )
    await world.end()
  })

  it('tells the answer of the health endpoint beside a good and beside a failed collection', async () => {
    const health = { kind: 'answered', status: 503, tookMs: 7 } as const
    const world = new LoopWorld({ collect: inTurn('read', 'refused'), probe: async () => health })
    await world.clock.advance(1_000)
    assert.deepEqual(
      world.attempts.map((attempt) => [attempt.kind, attempt.health]),
      [
        ['read', health],
        ['missed', health],
      ],
    )
    await world.end()
  })

  it('does not count what the health endpoint took as time of the collection', async () => {
    const clock = new ManualClock()
    const world = new LoopWorld({
      world: { clock, stop: new AbortController() },
      collect: taking(50),
      probe: async (signal) => {
        await clock.sleep(400, signal)
        return { kind: 'answered', status: 200, tookMs: 400 }
      },
    })
    await clock.advance(500)
    assert.equal(world.attempts[0]?.tookMs, 50)
    assert.deepEqual(world.told, [['read', 50]])
    await world.end()
  })

  it('tells the source of a new life of its producer', async () => {
    const world = new LoopWorld({ newLife: (attempt) => attempt.atMs === 3_000 })
    await world.clock.advance(1_999)
    assert.equal(world.newLives, 0)
    await world.clock.advance(1)
    assert.equal(world.newLives, 1)
    await world.clock.advance(5_000)
    assert.equal(world.newLives, 1)
    await world.end()
  })
})

describe('a hung collection', () => {
  it('is told as timeout one second after its deadline and at each tick, and none is started beside it', async () => {
    const hung = inHand()
    const world = new LoopWorld({ collect: () => hung.promise })
    // The deadline is 800 ms; the source itself is given until then and a second more.
    await world.clock.advance(1_799)
    assert.deepEqual(world.told, [])
    await world.clock.advance(2_201)
    assert.deepEqual(world.told, [
      ['timeout', 1_800],
      ['timeout', 2_000],
      ['timeout', 3_000],
      ['timeout', 4_000],
    ])
    assert.deepEqual(world.startedMs, [0])
    assert.deepEqual(
      world.attempts.map(({ tookMs }) => tookMs),
      [1_800, 2_000, 3_000, 4_000],
    )
    const [first] = world.attempts
    assert.ok(first?.kind === 'missed')
    assert.match(first.message, /within 800 ms, found it running after 1800 ms/)
    hung.read()
    await world.end()
  })

  it('yields nothing when it ends after all, and the next tick starts anew', async () => {
    const hung = inHand()
    const world = new LoopWorld({
      collect: (index) => (index === 0 ? hung.promise : Promise.resolve(reading)),
    })
    await world.clock.advance(2_500)
    hung.read()
    await world.clock.advance(400)
    assert.equal(world.attempts.length, 2)
    await world.clock.advance(100)
    assert.deepEqual(world.told.at(-1), ['read', 3_000])
    assert.equal(world.attempts.at(-1)?.tookMs, 0)
    assert.deepEqual(world.startedMs, [0, 3_000])
    assert.equal(world.mostAtOnce, 1)
    await world.end()
  })

  it('is also one whose health probe hangs', async () => {
    const world = new LoopWorld({ probe: () => new Promise(() => {}) })
    await world.clock.advance(2_000)
    assert.deepEqual(world.told, [
      ['timeout', 1_800],
      ['timeout', 2_000],
    ])
    world.stop.abort()
    await world.clock.advance(500)
    await world.done
  })

  it('that fails late by a mistake of the program ends the loop with it', async () => {
    const hung = inHand()
    const world = new LoopWorld({ collect: () => hung.promise })
    const failed = assert.rejects(world.done, /no such thing/)
    await world.clock.advance(2_500)
    hung.fail(new TypeError('no such thing'))
    await world.clock.advance(500)
    await failed
  })
})

describe('the end of the loop', () => {
  it('comes at once while it waits for its time', async () => {
    const world = new LoopWorld()
    await world.clock.advance(500)
    await world.end()
    assert.equal(world.attempts.length, 1)
    assert.equal(world.clock.sleeping, 0)
  })

  it('comes before the first collection where the signal has aborted already', async () => {
    const stop = new AbortController()
    stop.abort()
    const world = new LoopWorld({ world: { clock: new ManualClock(), stop } })
    await world.done
    assert.deepEqual(world.startedMs, [])
  })

  it('takes a collection along that minds the signal, and records nothing of it', async () => {
    const world = new LoopWorld({
      collect: (_index, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason))
        }),
    })
    await world.clock.advance(500)
    await world.end()
    assert.deepEqual(world.told, [])
    assert.equal(world.clock.sleeping, 0)
  })

  it('comes after half a second though a collection minds nothing', async () => {
    const world = new LoopWorld({ collect: () => new Promise(() => {}) })
    await world.clock.advance(300)
    world.stop.abort()
    await world.clock.advance(499)
    assert.equal(world.ended, false)
    await world.clock.advance(1)
    assert.equal(world.ended, true)
    await world.done
    assert.deepEqual(world.told, [])
    assert.equal(world.clock.sleeping, 0)
  })
})

describe('a mistake of the program', () => {
  it('in a collection ends the loop with it', async () => {
    const mistake = new TypeError('no such thing')
    const world = new LoopWorld({ collect: () => Promise.reject(mistake) })
    await assert.rejects(world.done, (error) => error === mistake)
    assert.deepEqual(world.told, [])
  })

  it('in a health probe ends the loop with it, also beside a failed collection', async () => {
    for (const collect of [inTurn('read'), inTurn('refused')]) {
      const mistake = new TypeError('no such thing')
      const world = new LoopWorld({ collect, probe: () => Promise.reject(mistake) })
      await assert.rejects(world.done, (error) => error === mistake)
    }
  })

  it('in the recording ends the loop with it', async () => {
    const world = new LoopWorld({
      newLife: () => {
        throw new RangeError('no room')
      },
    })
    await assert.rejects(world.done, /no room/)
  })
})

describe('the log of the loop', () => {
  it('has one line for each change of state and none for what stays', async () => {
    const ends = ['read', 'read', 'refused', 'refused', 'refused', 'read', 'read'] as const
    const world = new LoopWorld({ collect: inTurn(...ends) })
    await world.clock.advance(60_000)
    assert.deepEqual(
      world.log.map(({ level, message, fields }) => [level, message, fields]),
      [
        ['info', 'target is up', { tookMs: 0 }],
        [
          'warn',
          'target went down',
          { code: 'refused', status: undefined, reason: 'expected a page, found refused' },
        ],
        // Missed at 2, 3 and 4 s, read again at 5 s.
        ['info', 'target is up again', { missedCount: 3, downMs: 3_000, code: 'refused' }],
      ],
    )
    await world.end()
  })

  it('tells another reason while it lasts at the level of details alone', async () => {
    const world = new LoopWorld({ collect: inTurn('refused', 'timeout', 'timeout', 'read') })
    await world.clock.advance(10_000)
    assert.deepEqual(world.lines('warn'), ['target went down'])
    assert.deepEqual(world.lines('debug'), ['target is down for another reason'])
    assert.deepEqual(world.lines('info'), ['target is up again'])
    await world.end()
  })
})
