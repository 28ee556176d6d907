import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { Ledger } from '../../src/push/ledger.ts'
import type { Notice } from '../../src/push/notice.ts'

const noticeOf = (key: string, summary = 'something'): Notice => ({
  key,
  labels: { alertname: key },
  annotations: { summary },
  startsAtMs: 0,
  generatorUrl: 'http://h/health',
})

const ringing = (...notices: readonly (string | Notice)[]): ReadonlyMap<string, Notice> =>
  new Map(
    notices.map((one) => {
      const notice = typeof one === 'string' ? noticeOf(one) : one
      return [notice.key, notice]
    }),
  )

/** A ledger in told time whose Alertmanager takes everything, or nothing. */
class Told {
  readonly ledger: Ledger
  atMs = 0
  resendMs = 60_000

  constructor(limit?: number) {
    this.ledger = new Ledger(limit)
  }

  /** Follows what rings at `seconds`; returns how many notices were lost. */
  at(seconds: number, ...notices: readonly (string | Notice)[]): number {
    this.atMs = seconds * 1_000
    const { atMs, resendMs } = this
    return this.ledger.follow(ringing(...notices), { atMs, resendMs, wallMs: atMs + 1e12 })
  }

  /** What a try would tell now, as `alert state`. */
  try(most = 64) {
    return this.ledger.take(this, most)
  }

  /** What an accepted try tells now. */
  send(most = 64): readonly string[] {
    const owed = this.try(most)
    this.ledger.settle(owed, this.atMs)
    return owed.map(({ notice, standing }) => `${notice.key} ${standing.kind}`)
  }

  get length(): number {
    return this.ledger.length(this)
  }
}

describe('what an Alertmanager is owed', () => {
  it('is the end of an alert that it may know of, though it fired and ended again since', () => {
    const told = new Told()
    told.at(0, 'a')
    // Whether that try arrived is not known.
    told.try()
    told.at(10)
    told.at(20, 'a')
    told.at(30)
    assert.deepEqual(told.send(), ['a resolved'])
  })

  it('is an alert that has begun to fire, once', () => {
    const told = new Told()
    told.at(0, 'a')
    assert.deepEqual(told.send(), ['a firing'])
    told.at(1, 'a')
    assert.deepEqual(told.send(), [])
  })

  it('is what goes on firing again after a resend, with the newest words', () => {
    const told = new Told()
    told.at(0, 'a')
    told.send()
    told.at(59, noticeOf('a', 'newer'))
    assert.deepEqual(told.send(), [])
    told.at(60, noticeOf('a', 'newest'))
    const [owed] = told.try()
    assert.equal(owed?.notice.annotations['summary'], 'newest')
    told.send()
    told.at(61, 'a')
    assert.deepEqual(told.send(), [])
  })

  it('is the end of what was told, once', () => {
    const told = new Told()
    told.at(0, 'a', 'b')
    told.send()
    told.at(30, 'b')
    assert.deepEqual(told.send(), ['a resolved'])
    told.at(31, 'b')
    assert.deepEqual(told.send(), [])
  })

  it('is the end at the moment at which it ended, however late it is told', () => {
    const told = new Told()
    told.at(0, 'a')
    told.send()
    told.at(30)
    told.at(90)
    const [owed] = told.try()
    assert.deepEqual(owed?.standing, {
      kind: 'resolved',
      endedMs: 30_000,
      endedWallMs: 1e12 + 30_000,
    })
  })

  it('is nothing of what ended before any try was made to tell of it', () => {
    const told = new Told()
    told.at(0, 'a')
    told.at(1)
    assert.deepEqual(told.send(), [])
  })

  it('is the end of what a failed try may have told', () => {
    const told = new Told()
    told.at(0, 'a')
    told.try()
    told.at(1)
    assert.deepEqual(told.send(), ['a resolved'])
  })

  it('is what rings again in place of an end that was not told yet', () => {
    const told = new Told()
    told.at(0, 'a')
    told.send()
    told.at(10)
    told.at(20, 'a')
    assert.deepEqual(told.send(), ['a firing'])
    told.at(21)
    assert.deepEqual(told.send(), ['a resolved'])
  })

  it('is the end of what ended while a try to tell that it fires was under way', () => {
    const told = new Told()
    told.at(0, 'a')
    const underWay = told.try()
    told.at(1)
    told.ledger.settle(underWay, 1_500)
    assert.deepEqual(told.send(), ['a resolved'])
  })

  it('is, with another severity, the end of the one and the begin of the other', () => {
    const told = new Told()
    told.at(0, 'a critical')
    told.send()
    told.at(1, 'a warning')
    assert.deepEqual(told.send(), ['a critical resolved', 'a warning firing'])
  })

  it('is no more than asked for at a time, and the rest next', () => {
    const told = new Told()
    told.at(0, 'a', 'b', 'c')
    assert.deepEqual(told.send(2), ['a firing', 'b firing'])
    assert.deepEqual(told.send(2), ['c firing'])
  })

  it('is one notice for each alert after an outage, however often it came and went', () => {
    const told = new Told()
    for (let second = 0; second < 600; second += 2) {
      told.at(second, 'a', 'b')
      told.try()
      told.at(second + 1, 'b')
      told.try()
    }
    assert.equal(told.length, 2)
    assert.deepEqual(told.send().toSorted(), ['a resolved', 'b firing'])
  })
})

describe('what is lost', () => {
  it('is an end that could not be told for a quarter of an hour', () => {
    const told = new Told()
    told.at(0, 'a')
    told.try()
    assert.equal(told.at(10), 0)
    assert.equal(told.at(909), 0)
    assert.equal(told.at(910), 1)
    assert.deepEqual(told.send(), [])
    assert.equal(told.at(911), 0)
  })

  it('is no end before the alert has expired by itself, four resends after it was told', () => {
    const told = new Told()
    told.resendMs = 600_000
    told.at(0, 'a')
    told.try()
    told.at(10)
    assert.equal(told.at(2_409), 0)
    assert.equal(told.at(2_410), 1)
  })

  it('is an alert beyond the limit, counted once for as long as it rings', () => {
    const told = new Told(2)
    assert.equal(told.at(0, 'a', 'b', 'c', 'd'), 2)
    assert.equal(told.at(1, 'a', 'b', 'c', 'd'), 0)
    assert.deepEqual(told.send(), ['a firing', 'b firing'])
    assert.equal(told.at(2, 'a', 'b', 'd'), 0)
    assert.equal(told.at(3, 'a', 'b', 'c', 'd'), 1)
  })

  it('is nothing of what finds room later', () => {
    const told = new Told(1)
    told.at(0, 'a', 'b')
    told.send()
    told.at(1, 'b')
    assert.deepEqual(told.send(), ['a resolved'])
    told.at(2, 'b')
    assert.deepEqual(told.send(), ['b firing'])
  })

  it('is nothing else, and never is more kept than the limit, whatever rings', () => {
    const step = fc.record({
      rings: fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e')),
      reached: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const told = new Told(3)
        const known = new Set<string>()
        for (const [second, { rings, reached }] of steps.entries()) {
          told.at(second, ...rings)
          assert.ok(told.length <= 3)
          for (const line of reached ? told.send() : []) {
            const [key = '', state] = line.split(' ')
            if (state === 'firing') known.add(key)
            else known.delete(key)
          }
          if (!reached) told.try()
          // Whoever was reached knows of nothing that has ended.
          if (reached)
            assert.deepEqual(
              [...known].filter((key) => !rings.includes(key as 'a')),
              [],
            )
        }
      }),
    )
  })
})
