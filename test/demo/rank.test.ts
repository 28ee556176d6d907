import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { Incident } from '../../src/demo/incident.ts'
import { RankLedger } from '../../src/demo/ledger.ts'
import { enter, Patience } from '../../src/demo/live-request.ts'
import { Random } from '../../src/demo/random.ts'
import { type Departure, Rank } from '../../src/demo/rank.ts'
import type { RequestPlan } from '../../src/demo/requests.ts'
import type { EngineSpeed } from '../../src/demo/scenario.ts'
import { TruthLog } from '../../src/demo/truth.ts'

/** A step takes 10 ms, 1 ms more for each sequence in it and 0.1 ms for each prompt token but the first. */
const speed: EngineSpeed = {
  slots: 2,
  kvBlocks: 1000,
  blockTokens: 16,
  tokenBudget: 100,
  maxModelTokens: 32_768,
  stepMs: 10,
  sequenceMs: 1,
  promptTokenMs: 0.1,
}

/** Chance that never strikes, so that every time can be worked out by hand. */
class NoChance extends Random {
  override normal(): number {
    return 0
  }

  override chance(): boolean {
    return false
  }
}

function planOf(given: Partial<RequestPlan>): RequestPlan {
  return {
    arrivedMs: 0,
    handler: '/v1/completions',
    streamed: true,
    promptTokens: 1,
    cachedTokens: 0,
    outputTokens: 1,
    maxTokens: 1000,
    failsAfterTokens: undefined,
    leavesMs: 1_000_000,
    ...given,
  }
}

function rankWith(
  changes: Partial<EngineSpeed> = {},
  random: Random = new NoChance(1),
  incidents: readonly Incident[] = [],
) {
  const ledger = new RankLedger(32_768)
  const truth = new TruthLog(100_000)
  const departures: Departure[] = []
  const rank = new Rank({
    engine: 0,
    life: 0,
    speed: { ...speed, ...changes },
    incidents,
    random,
    ledger,
    truth,
    onDeparture: (_plan, departure) => departures.push(departure),
  })
  /** Lets everything happen up to and including `untilMs`. */
  const runTo = (untilMs: number) => {
    while (rank.nextMs <= untilMs + 1e-6) rank.proceed()
  }
  return { rank, ledger, truth, departures, runTo }
}

function near(found: number | undefined, expected: number): void {
  assert.ok(
    found !== undefined && Math.abs(found - expected) < 1e-9,
    `expected ${expected}, found ${found}`,
  )
}

describe('one engine of the simulator', () => {
  it('takes the time of a prefill to the first token and that of a step to each further one', () => {
    const { rank, truth, runTo } = rankWith()
    // 5 ms of tokenizing; 10 + 1 + 40 × 0.1 = 15 ms of prefill; two steps of 10 + 1 ms.
    rank.enqueue(planOf({ promptTokens: 41, outputTokens: 3 }), 5)
    runTo(1000)
    const { finished, firstTokens, gaps } = truth.drain()
    const [request] = finished
    near(request?.e2eSeconds, 0.042)
    near(request?.ttftSeconds, 0.02)
    near(request?.queueSeconds, 0)
    near(request?.prefillSeconds, 0.015)
    near(request?.decodeSeconds, 0.022)
    near(request?.inferenceSeconds, 0.037)
    near(request?.timePerOutputTokenSeconds, 0.011)
    assert.equal(request?.generationTokens, 3)
    assert.equal(request?.reason, 'stop')
    near(firstTokens[0]?.ttftSeconds, 0.02)
    assert.equal(gaps.length, 2)
    for (const gap of gaps) near(gap.seconds, 0.011)
  })

  it('lets requests wait for a slot', () => {
    const { rank, truth, ledger, runTo } = rankWith()
    for (const outputTokens of [2, 2, 1]) rank.enqueue(planOf({ outputTokens }), 0)
    // The first step began with the first request alone: 11 ms. The others came too late for it, and a
    // report speaks of those that its step knew.
    assert.deepEqual([ledger.running, ledger.waiting], [0, 0])
    runTo(11)
    assert.deepEqual([ledger.running, ledger.waiting], [1, 0])
    // With two sequences 12 ms: at 23 ms the first is done, and the third takes its slot then.
    runTo(23)
    assert.deepEqual([ledger.running, ledger.waiting], [1, 1])
    runTo(35)
    assert.deepEqual([ledger.running, ledger.waiting, rank.load], [0, 0, 0])
    const waits = truth.drain().finished.map((request) => request.queueSeconds)
    for (const [index, wait] of [0, 0.011, 0.023].entries()) near(waits[index], wait)
  })

  it('computes a prompt above the budget of tokens in several steps', () => {
    const { rank, truth, runTo } = rankWith()
    rank.enqueue(planOf({ promptTokens: 150 }), 0)
    runTo(1000)
    // 10 + 1 + 99 × 0.1 = 20.9 ms, then 10 + 1 + 49 × 0.1 = 15.9 ms.
    near(truth.drain().finished[0]?.ttftSeconds, 0.0368)
  })

  it('makes those that decode wait longer beside a prompt', () => {
    const { rank, truth, runTo } = rankWith()
    rank.enqueue(planOf({ outputTokens: 3 }), 0)
    rank.enqueue(planOf({ promptTokens: 150 }), 5)
    runTo(1000)
    // 99 prompt tokens fit beside one decoded: 10 + 2 + 98 × 0.1 = 21.8 ms. The other 51: 17 ms.
    const { gaps } = truth.drain()
    near(gaps[0]?.seconds, 0.0218)
    near(gaps[1]?.seconds, 0.017)
  })

  it('does not compute what the prefix cache holds', () => {
    const { rank, truth, ledger, runTo } = rankWith()
    rank.enqueue(planOf({ promptTokens: 41, cachedTokens: 32 }), 0)
    runTo(1000)
    // 9 tokens are left: 10 + 1 + 8 × 0.1.
    near(truth.drain().finished[0]?.ttftSeconds, 0.0118)
    assert.deepEqual([ledger.prefixCacheQueries, ledger.prefixCacheHits], [41, 32])
    assert.deepEqual([ledger.promptTokens, ledger.promptTokensCached], [41, 32])
  })

  it('evicts the youngest request when the blocks run out and computes it again', () => {
    const { rank, truth, ledger, runTo } = rankWith({ kvBlocks: 4 })
    rank.enqueue(planOf({ promptTokens: 30, outputTokens: 6 }), 0)
    rank.enqueue(planOf({ promptTokens: 30, outputTokens: 5 }), 0)
    // A alone to 13.9; A and B's prompt, 10 + 2 + 2.9, to 28.8; both to 40.8. Then A's 33rd token needs a
    // third block, and B, with two tokens made, gives way. A goes on alone in steps of 11 ms to 73.8.
    runTo(41)
    assert.deepEqual([ledger.preemptions, ledger.running, ledger.waiting], [0, 2, 0])
    runTo(52)
    assert.deepEqual([ledger.preemptions, ledger.running, ledger.waiting], [1, 1, 1])
    near(ledger.kvCacheUsageRatio, 3 / 4)
    runTo(1000)
    // B computes 32 tokens again, 10 + 1 + 3.1 ms, to its third token at 87.9; the gap began at 40.8.
    const { gaps, firstTokens, finished } = truth.drain()
    assert.ok(gaps.some((gap) => Math.abs(gap.seconds - 0.0471) < 1e-9))
    near(finished[1]?.e2eSeconds, 0.1099)
    assert.equal(firstTokens.length, 2)
    assert.equal(ledger.promptTokens, 60)
    assert.equal(ledger.prefixCacheQueries, 60)
    assert.equal(ledger.kvCacheUsageRatio, 0)
  })

  it('answers a client that goes at once, drops its request with the next step, and tells it late', () => {
    const { rank, truth, ledger, departures, runTo } = rankWith()
    rank.enqueue(planOf({ outputTokens: 100, leavesMs: 15 }), 0)
    runTo(1000)
    const { finished, lost } = truth.drain()
    assert.equal(finished.length, 0)
    // A token at 11 ms; that of 22 ms is nobody's any more.
    assert.deepEqual(lost, [{ life: 0, atMs: 15, engine: 0, why: 'client', generationTokens: 1 }])
    assert.deepEqual(departures, ['hung-up'])
    assert.deepEqual([ledger.generationTokens, ledger.e2e.count, ledger.ttft.count], [1, 0, 1])
    // The step of 22 ms still had it, and no step comes after that: what it told stays.
    assert.deepEqual([rank.load, ledger.running, ledger.kvCacheUsageRatio], [0, 1, 1 / 1000])
    rank.enqueue(planOf({}), 2000)
    runTo(3000)
    assert.deepEqual([ledger.running, ledger.kvCacheUsageRatio], [0, 0])
  })

  const ends: readonly (readonly [string, Partial<RequestPlan>, Departure, number])[] = [
    ['stop, when the model is done', { outputTokens: 3 }, 'stop', 3],
    ['length, at the limit asked for', { outputTokens: 9, maxTokens: 4 }, 'length', 4],
    ['stop, when it is done at the limit', { outputTokens: 4, maxTokens: 4 }, 'stop', 4],
    ['error, when the engine fails', { outputTokens: 9, failsAfterTokens: 2 }, 'error', 2],
  ]
  for (const [what, given, reason, tokens] of ends) {
    it(`ends a request with the reason ${what}`, () => {
      const { rank, truth, ledger, departures, runTo } = rankWith()
      rank.enqueue(planOf(given), 0)
      runTo(1000)
      const [request] = truth.drain().finished
      assert.deepEqual([request?.reason, request?.generationTokens], [reason, tokens])
      assert.deepEqual(departures, [reason])
      assert.equal(ledger.e2e.count, 1)
    })
  }

  it('loses all that is inside when it dies, and its gauges stand still', () => {
    const { rank, truth, ledger, runTo } = rankWith()
    for (const outputTokens of [50, 50, 50]) rank.enqueue(planOf({ outputTokens }), 0)
    runTo(11)
    assert.equal(rank.die(15).length, 3)
    assert.equal(rank.nextMs, Number.POSITIVE_INFINITY)
    assert.deepEqual(
      truth.drain().lost.map(({ why, generationTokens }) => [why, generationTokens]),
      [
        ['death', 1],
        ['death', 0],
        ['death', 0],
      ],
    )
    assert.deepEqual([ledger.running, ledger.waiting], [1, 0])
    assert.equal(rank.busyUntil(15), 15)
  })
})

describe('an engine that hangs', () => {
  const endless = { kind: 'hang', engines: 'all', untilMs: Number.POSITIVE_INFINITY } as const

  it('ends no step and shows what it showed before, whoever comes or goes', () => {
    const hang: Incident = { ...endless, onset: 'at-once', fromMs: 30 }
    const { rank, ledger, truth, departures, runTo } = rankWith({}, new NoChance(1), [hang])
    rank.enqueue(planOf({ outputTokens: 100 }), 0)
    // Steps of 11 ms end at 11 and 22 ms; that of 33 ms never does.
    runTo(30)
    const shown = () => [ledger.running, ledger.waiting, ledger.kvCacheUsageRatio]
    assert.deepEqual(shown(), [1, 0, 1 / 1000])
    rank.enqueue(planOf({ leavesMs: 500 }), 40)
    rank.enqueue(planOf({ leavesMs: 400 }), 50)
    runTo(1000)
    assert.deepEqual(shown(), [1, 0, 1 / 1000])
    assert.equal(ledger.generationTokens, 2)
    assert.deepEqual(departures, ['hung-up', 'hung-up'])
    const lost = truth.drain().lost.map(({ atMs }) => atMs)
    assert.deepEqual(lost, [400, 500])
    // What it had seen it cannot drop; who came later never got to it.
    assert.deepEqual([rank.load, rank.pending, rank.nextMs], [1, 1, 1_000_000])
    assert.equal(rank.busyUntil(1000), 30)
  })

  it('goes on where it stood, and those in the batch have waited', () => {
    const hang: Incident = { ...endless, onset: 'at-once', fromMs: 15, untilMs: 115 }
    const { rank, truth, runTo } = rankWith({}, new NoChance(1), [hang])
    rank.enqueue(planOf({ outputTokens: 3 }), 0)
    runTo(1000)
    // 4 of 11 ms were done at 15 ms: the step ends at 122 ms, the next one at 133.
    near(truth.drain().finished[0]?.e2eSeconds, 0.133)
  })

  it('waits for a moment without work where it is to show nothing', () => {
    const hang: Incident = { ...endless, onset: 'idle', fromMs: 5 }
    const { rank, ledger, runTo } = rankWith({}, new NoChance(1), [hang])
    rank.enqueue(planOf({ outputTokens: 3 }), 0)
    runTo(100)
    assert.equal(ledger.finished.stop, 1)
    rank.enqueue(planOf({}), 200)
    runTo(10_000)
    assert.deepEqual([ledger.running, ledger.waiting, ledger.promptTokens], [0, 0, 1])
    assert.deepEqual([ledger.prefixCacheQueries, rank.pending], [1, 1])
  })

  it('waits for a moment in which it shows requests where it is to be seen', () => {
    const hang: Incident = { ...endless, onset: 'busy', fromMs: 5 }
    const { rank, ledger, runTo } = rankWith({}, new NoChance(1), [hang])
    rank.enqueue(planOf({}), 0)
    runTo(100)
    assert.equal(ledger.finished.stop, 1)
    rank.enqueue(planOf({ outputTokens: 3 }), 200)
    runTo(10_000)
    assert.deepEqual([ledger.running, ledger.generationTokens], [1, 2])
  })

  it('keeps its GPU busy at the power of a spin where kernels spin', () => {
    const hang: Incident = { ...endless, onset: 'at-once', fromMs: 30, spinWatts: 120 }
    const { rank, runTo } = rankWith({}, new NoChance(1), [hang])
    rank.enqueue(planOf({ outputTokens: 100 }), 0)
    runTo(1000)
    assert.deepEqual([rank.spinWatts(29), rank.spinWatts(30)], [undefined, 120])
    assert.equal(rank.busyUntil(1000), 1000)
  })
})

describe('the patience of clients', () => {
  it('ends in its order, whatever the order in which they came', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1000)), fc.nat(), (times, drop) => {
        const patience = new Patience()
        const requests = times.map((leavesMs) => enter(planOf({ leavesMs }), 0))
        for (const request of requests) patience.push(request)
        const done = requests[drop % (requests.length || 1)]
        if (done !== undefined) done.over = true
        const expected = requests.filter((one) => one !== done).map((one) => one.plan.leavesMs)
        const found: number[] = []
        while (patience.nextMs < Number.POSITIVE_INFINITY) {
          found.push(patience.pop()?.plan.leavesMs ?? Number.NaN)
        }
        assert.deepEqual(
          found,
          expected.sort((a, b) => a - b),
        )
      }),
      { seed: 1 },
    )
  })
})

const plans = fc.array(
  fc.record({
    afterMs: fc.integer({ min: 0, max: 60 }),
    promptTokens: fc.integer({ min: 1, max: 40 }),
    outputTokens: fc.integer({ min: 1, max: 20 }),
    patienceMs: fc.integer({ min: 5, max: 900 }),
  }),
  { minLength: 1, maxLength: 40 },
)

describe('whatever is asked of one engine', () => {
  it('every request is finished, lost, running or waiting, and every token is in one histogram', () => {
    // The longest request needs ⌈60 / 16⌉ = 4 blocks.
    const engine = fc.record({
      slots: fc.integer({ min: 1, max: 5 }),
      kvBlocks: fc.integer({ min: 4, max: 9 }),
      tokenBudget: fc.integer({ min: 5, max: 60 }),
    })
    fc.assert(
      fc.property(plans, engine, fc.nat(1000), (wanted, changes, seed) => {
        const { rank, ledger, truth, runTo } = rankWith(changes, new Random(seed))
        let finished = 0
        let lost = 0
        let firstTokens = 0
        let gaps = 0
        const check = (entered: number) => {
          const now = truth.drain()
          finished += now.finished.length
          lost += now.lost.length
          firstTokens += now.firstTokens.length
          for (const gap of now.gaps) gaps += gap.times
          assert.equal(finished + lost + rank.pending, entered)
          assert.ok(rank.load >= rank.pending)
          assert.ok(ledger.running <= changes.slots)
          assert.ok(ledger.kvCacheUsageRatio >= 0 && ledger.kvCacheUsageRatio <= 1)
          assert.equal(ledger.e2e.count, finished)
          assert.equal(ledger.ttft.count, firstTokens)
          assert.equal(ledger.interTokenLatency.count, gaps)
          assert.equal(ledger.generationTokens, firstTokens + gaps)
          for (const one of now.finished) {
            near(one.queueSeconds + one.prefillSeconds + one.decodeSeconds, one.e2eSeconds)
            near(one.prefillSeconds + one.decodeSeconds, one.inferenceSeconds)
            near(one.queueSeconds + one.prefillSeconds, one.ttftSeconds)
          }
        }
        let atMs = 0
        for (const [index, { afterMs, patienceMs, ...lengths }] of wanted.entries()) {
          atMs += afterMs
          runTo(atMs)
          const plan = planOf({ ...lengths, arrivedMs: atMs, leavesMs: atMs + patienceMs })
          rank.enqueue(plan, atMs)
          check(index + 1)
        }
        runTo(1_000_000)
        check(wanted.length)
        assert.equal(rank.load, 0)
        // One more step tells that nothing is left.
        rank.enqueue(planOf({ arrivedMs: 2_000_000, leavesMs: 3_000_000 }), 2_000_000)
        runTo(4_000_000)
        assert.deepEqual([ledger.running, ledger.waiting, ledger.kvCacheUsageRatio], [0, 0, 0])
      }),
      { numRuns: 150, seed: 20_260_101 },
    )
  })
})
