import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { SimulatedEngine, type SimulatedEngineOptions } from '../../src/demo/engine.ts'
import { Random } from '../../src/demo/random.ts'
import { findScenario, scenarioNames } from '../../src/demo/scenarios.ts'
import { arrivalsPerSecond } from '../../src/demo/traffic.ts'
import type { Truth } from '../../src/demo/truth.ts'
import { DemoPage } from './demo-page.ts'

const startWallMs = 1_700_000_000_000

function engineOf(name: string, rest: Partial<SimulatedEngineOptions> = {}): SimulatedEngine {
  return new SimulatedEngine({ scenario: findScenario(name), seed: 1, startWallMs, ...rest })
}

/** A page after `toMs` of a scenario, and what truly happened until then. */
function after(toMs: number, name: string, rest: Partial<SimulatedEngineOptions> = {}) {
  const engine = engineOf(name, { truthCapacity: 1_000_000, ...rest })
  engine.advance(toMs)
  return { engine, page: new DemoPage(engine.page()), truth: engine.drainTruth() }
}

/**
 * How many requests come to an open port until `toMs`: the arrivals drawn a second time, from the same
 * stream of chance and by nothing of the engine but its rate.
 */
function arrivals(
  toMs: number,
  name: string,
  seed: number,
  isOpen: (atMs: number) => boolean,
): number {
  const { traffic, engines, ageMs = 0 } = findScenario(name)
  const chance = new Random(seed).fork(1)
  const peak = Math.max(...traffic.arrivals.map((corner) => corner.perSecond)) * engines
  let count = 0
  let atMs = -ageMs + chance.exponential(1000 / peak)
  while (atMs <= toMs) {
    // The next one is drawn before it is decided whether this one is taken.
    const nextMs = atMs + chance.exponential(1000 / peak)
    const taken = chance.chance((arrivalsPerSecond(traffic, atMs) * engines) / peak)
    if (taken && isOpen(atMs)) count += 1
    atMs = nextMs
  }
  return count
}

function posts(truth: Truth, status?: string): number {
  return truth.answers.filter(
    (answer) => answer.method === 'POST' && (status === undefined || answer.status === status),
  ).length
}

describe('the simulated engine', () => {
  it('gives the same page and the same truth for the same seed, and others for another', () => {
    const [first, again] = [1, 2].map(() => {
      const engine = engineOf('errors', { seed: 7, prewarmMs: 20_000 })
      engine.advance(40_000)
      return { text: engine.page(), truth: engine.drainTruth() }
    })
    assert.ok(first !== undefined && first.truth.finished.length > 100)
    assert.deepEqual(again, first)
    const other = engineOf('errors', { seed: 8, prewarmMs: 20_000 })
    other.advance(40_000)
    assert.notEqual(other.page(), first.text)
  })

  it('does not depend on how time is cut into calls', () => {
    const whole = engineOf('restart', { engines: 2 })
    whole.advance(90_000)
    const expected = { text: whole.page(), truth: whole.drainTruth() }
    const cuts = fc.array(fc.integer({ min: 0, max: 89_999 }), { maxLength: 40 })
    fc.assert(
      fc.property(cuts, (times) => {
        const engine = engineOf('restart', { engines: 2 })
        for (const atMs of [...times].sort((a, b) => a - b)) engine.advance(atMs)
        engine.advance(90_000)
        assert.deepEqual({ text: engine.page(), truth: engine.drainTruth() }, expected)
      }),
      { numRuns: 10, seed: 1 },
    )
  })

  it('goes nowhere when it is told a time that is past', () => {
    const engine = engineOf('steady')
    engine.advance(10_000)
    const text = engine.page()
    engine.advance(5_000)
    assert.equal(engine.nowMs, 10_000)
    assert.equal(engine.page(), text)
  })

  it('receives requests at the rate of its scenario', () => {
    // 5 each second for 300 s: 1500, and 4 standard deviations of 1500^½ = 39 to either side.
    for (const seed of [1, 2, 3]) {
      const { truth, engine } = after(300_000, 'steady', { seed })
      assert.ok(Math.abs(posts(truth) + engine.pending - 1500) < 155)
    }
  })

  it('keeps only the newest of a truth that nobody asks for, and says how much it dropped', () => {
    const all = after(60_000, 'steady').truth
    const some = after(60_000, 'steady', { truthCapacity: 50 }).truth
    assert.equal(all.dropped, 0)
    assert.deepEqual(some.finished, all.finished.slice(-50))
    assert.deepEqual(some.gaps, all.gaps.slice(-50))
    const kept = Object.values(some).flatMap((list) => (Array.isArray(list) ? list.length : []))
    const had = Object.values(all).flatMap((list) => (Array.isArray(list) ? list.length : []))
    const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0)
    assert.equal(some.dropped, sum(had) - sum(kept))
  })
})

describe('every request that arrives', () => {
  const counted = scenarioNames.filter((name) => {
    const { traffic, incidents } = findScenario(name)
    // Where a router chooses, requests come by themselves or nothing listens for long, others count.
    const apart = incidents.some(({ kind }) => kind === 'call' || kind === 'outage')
    return name === 'restart' || (traffic.maxInside === undefined && !apart)
  })
  for (const name of counted) {
    it(`has been answered or is inside, in the scenario ${name}`, () => {
      // The scenario "restart" has no port from 33 s, 3 s after its death, to 78 s.
      const isOpen = (atMs: number) => name !== 'restart' || atMs < 33_000 || atMs > 78_000
      for (const seed of [1, 2, 3]) {
        const { truth, engine } = after(100_000, name, { seed })
        assert.equal(posts(truth) + engine.pending, arrivals(100_000, name, seed, isOpen))
      }
    })
  }

  it('has finished, been lost, been refused or is inside', () => {
    for (const name of ['steady', 'overload', 'gpu-lost']) {
      const { truth } = after(100_000, name)
      const refused = posts(truth, '4xx')
      assert.equal(posts(truth), truth.finished.length + truth.lost.length + refused)
      assert.ok(refused > 0 && truth.lost.length > 0)
    }
  })

  it('is answered with 500 before the engine or fails in it at the rates of the scenario "errors"', () => {
    const { truth, page } = after(600_000, 'errors')
    const failed = page.sum('vllm:request_success_total', { finished_reason: 'error' })
    // 3.5 % of about 3000: 105, with 4 standard deviations of 10 to either side.
    assert.ok(Math.abs(failed / truth.finished.length - 0.035) < 0.014)
    const atTheDoor = posts(truth) - truth.finished.length - truth.lost.length - posts(truth, '4xx')
    assert.ok(Math.abs(atTheDoor / posts(truth) - 0.02) < 0.011)
    // Of those that fail in the engine, the 70 % that stream have sent their 200 already.
    const answered500 = posts(truth, '5xx') - atTheDoor
    assert.ok(Math.abs(answered500 / failed - 0.3) < 0.2)
  })
})

describe('the scenarios', () => {
  it('queue in an overload and nowhere else', () => {
    const waitsAfter60s = (name: string) =>
      after(120_000, name).truth.finished.flatMap((request) =>
        request.atMs > 60_000 ? request.queueSeconds : [],
      )
    assert.ok(Math.max(...waitsAfter60s('steady')) < 1)
    const waits = waitsAfter60s('overload').sort((a, b) => a - b)
    assert.ok((waits[Math.floor(0.05 * waits.length)] ?? 0) > 5)
  })

  it('have the rates of their corners, a line between them, and are flat outside', () => {
    const { traffic } = findScenario('overload')
    // From 5 at 15 s to 22 at 20 s: half of the way after 2.5 s.
    const rows = [
      [-60_000, 5],
      [15_000, 5],
      [17_500, 13.5],
      [20_000, 22],
      [3_600_000, 22],
    ] as const
    for (const [atMs, perSecond] of rows) {
      assert.equal(arrivalsPerSecond(traffic, atMs), perSecond)
    }
    assert.equal(arrivalsPerSecond({ ...traffic, arrivals: [] }, 0), 0)
  })

  it('are told by name when an unknown one is asked for', () => {
    assert.throws(
      () => findScenario('steddy'),
      /steady, overload, errors, restart, gpu-lost.*"steddy"/,
    )
  })

  it('fill batch and cache in an overload, so that preemptions are seen after a while', () => {
    const { page } = after(300_000, 'overload')
    // Those that have just finished are not among the 32 any more, and their heirs not yet.
    const running = page.sum('vllm:num_requests_running')
    assert.ok(running >= 28 && running <= 32)
    assert.ok(page.sum('vllm:num_preemptions_total') > 0)
    const usage = page.sum('vllm:kv_cache_usage_perc')
    assert.ok(usage > 0.3 && usage <= 1)
  })
})

describe('a restart', () => {
  /** Dies at 10 s, has a dead engine behind a live port for 3 s and no port for 5 s. */
  function dying(atMs: number): SimulatedEngine {
    const engine = engineOf('overload', { engines: 2 })
    engine.restart(10_000, 5_000, 3_000)
    engine.advance(atMs)
    return engine
  }

  it('leaves a live port with a dead engine: /health 503, frozen values, 500 for all who come', () => {
    const engine = dying(10_000)
    assert.deepEqual([engine.portOpen, engine.healthStatus], [true, 503])
    const before = new DemoPage(engine.page())
    engine.drainTruth()
    engine.advance(12_999)
    const now = new DemoPage(engine.page())
    for (const name of ['vllm:generation_tokens_total', 'vllm:num_requests_running']) {
      assert.equal(now.sum(name), before.sum(name))
    }
    const truth = engine.drainTruth()
    assert.ok(posts(truth, '5xx') > 0)
    assert.equal(posts(truth), posts(truth, '4xx') + posts(truth, '5xx'))
  })

  it('loses what was in flight, with 500 for those that had no answer yet', () => {
    const engine = dying(9_999)
    const inside = engine.pending
    engine.drainTruth()
    engine.advance(10_000)
    const truth = engine.drainTruth()
    assert.ok(inside > 0)
    assert.equal(truth.lost.filter(({ why }) => why === 'death').length, inside)
    assert.equal(posts(truth), inside)
  })

  it('closes the port and leaves nothing to ask', () => {
    const engine = dying(13_000)
    assert.equal(engine.portOpen, false)
    assert.deepEqual(engine.loads(), [])
    assert.throws(() => engine.page(), /expected a living server/)
    engine.drainTruth()
    engine.advance(17_999)
    assert.deepEqual(engine.drainTruth().answers, [])
  })

  it('comes back with every counter at zero and a later start', () => {
    const before = new DemoPage(dying(9_000).page())
    const engine = dying(18_000)
    assert.deepEqual([engine.portOpen, engine.healthStatus], [true, 200])
    const page = new DemoPage(engine.page())
    // The process began to load a minute before the scenario, and the new one a second before it serves.
    assert.equal(before.sum('process_start_time_seconds'), 1_700_000_000 - 61)
    assert.equal(page.sum('process_start_time_seconds'), 1_700_000_000 + 17)
    assert.ok(before.sum('vllm:generation_tokens_total') > 0)
    for (const [name, type] of page.types) {
      if (!name.startsWith('vllm:') || type !== 'counter') continue
      assert.equal(page.sum(name), 0, name)
    }
    assert.equal(page.sum('http_requests_total'), 0)
    assert.equal(page.sum('vllm:generation_tokens_created', { engine: '0' }), 1_700_000_018)
    assert.deepEqual(
      engine.loads().map(({ pid }) => pid),
      [4342, 4343],
    )
    engine.advance(30_000)
    assert.ok(engine.drainTruth().finished.some(({ life }) => life === 1))
    assert.ok(new DemoPage(engine.page()).sum('vllm:generation_tokens_total') > 0)
  })

  it('comes back at once, without a moment of death, where none is asked for', () => {
    const engine = engineOf('steady')
    engine.advance(5_000)
    engine.restart(5_000, 0)
    engine.advance(5_000)
    assert.deepEqual([engine.portOpen, engine.healthStatus], [true, 200])
    assert.equal(new DemoPage(engine.page()).sum('vllm:generation_tokens_total'), 0)
  })

  it('cannot be asked for in the past', () => {
    const engine = engineOf('steady')
    engine.advance(5_000)
    assert.throws(() => engine.restart(4_999, 0), RangeError)
  })

  it('happens again and again in the scenario of that name', () => {
    // At 30 s and each 90 s from then on; a process lives from 48 s after the death before.
    const engine = engineOf('restart')
    const starts = [29_000, 119_000, 209_000].map((atMs) => {
      engine.advance(atMs)
      return new DemoPage(engine.page()).sum('process_start_time_seconds') - 1_700_000_000
    })
    assert.deepEqual(starts, [-61, 77, 167])
  })
})
