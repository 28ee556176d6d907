import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { judgeAnswer, type Outcome, retryWaitMs } from '../../src/push/answer.ts'

const url = 'http://am:9093/api/v2/alerts'
const nowMs = Date.UTC(2026, 10, 22, 10, 0, 0)

const judge = (status: number, given: { location?: string; retryAfter?: string } = {}): Outcome =>
  judgeAnswer({ status, location: given.location, retryAfter: given.retryAfter }, { url, nowMs })

describe('an answer', () => {
  const rows: readonly (readonly [status: number, kind: Outcome['kind']])[] = [
    [200, 'accepted'],
    [202, 'accepted'],
    [204, 'accepted'],
    [301, 'refused'],
    [307, 'refused'],
    [400, 'refused'],
    [401, 'refused'],
    [403, 'refused'],
    [404, 'refused'],
    [413, 'refused'],
    [429, 'failed'],
    [500, 'failed'],
    [502, 'failed'],
    [503, 'failed'],
  ]
  for (const [status, kind] of rows) {
    it(`of ${status} is ${kind}`, () => assert.equal(judge(status).kind, kind))
  }

  it('that leads elsewhere says where', () => {
    assert.deepEqual(judge(302, { location: 'https://am/login' }), {
      kind: 'refused',
      code: 'redirect',
      reason: 'expected 200 from http://am:9093/api/v2/alerts, found 302 to https://am/login',
    })
  })

  const times: readonly (readonly [string | undefined, number | undefined])[] = [
    ['7', 7_000],
    ['Sun, 22 Nov 2026 10:00:30 GMT', 30_000],
    ['Sun, 22 Nov 2026 09:00:00 GMT', 0],
    ['soon', undefined],
    [undefined, undefined],
  ]
  for (const [retryAfter, afterMs] of times) {
    it(`of 429 with Retry-After: ${retryAfter} asks for ${afterMs} ms`, () => {
      const outcome = judge(429, retryAfter === undefined ? {} : { retryAfter })
      assert.equal(outcome.kind === 'failed' ? outcome.afterMs : 'none', afterMs)
    })
  }
})

describe('the wait before the next try', () => {
  it('grows from a second to a minute', () => {
    const most = [1, 2, 3, 4, 5, 6, 7, 8, 2_000].map((failures) =>
      retryWaitMs(failures, { random: 1 }),
    )
    assert.deepEqual(most, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000])
  })

  it('is spread evenly over all of that, but never is none', () => {
    assert.equal(retryWaitMs(4, { random: 0.25 }), 2_000)
    assert.equal(retryWaitMs(4, { random: 0 }), 100)
  })

  it('comes after what the server asks for, of which 5 min are heeded', () => {
    assert.equal(retryWaitMs(1, { random: 0.5, afterMs: 7_000 }), 7_500)
    assert.equal(retryWaitMs(1, { random: 0, afterMs: 86_400_000 }), 300_000)
  })

  it('lies between its bounds, whatever was asked for', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5_000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.option(fc.double({ min: 0, max: 1e15, noNaN: true }), { nil: undefined }),
        (failures, random, afterMs) => {
          const waitMs = retryWaitMs(failures, { random, afterMs })
          const askedMs = Math.min(afterMs ?? 0, 300_000)
          assert.ok(waitMs >= Math.max(100, askedMs))
          assert.ok(
            waitMs <= askedMs + Math.max(100, Math.min(60_000, 1_000 * 2 ** (failures - 1))),
          )
        },
      ),
    )
  })
})
