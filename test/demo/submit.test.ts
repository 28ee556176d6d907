import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SimulatedEngine } from '../../src/demo/engine.ts'
import type { Incident } from '../../src/demo/incident.ts'
import type { Scenario } from '../../src/demo/scenario.ts'
import { findScenario } from '../../src/demo/scenarios.ts'
import { DemoPage } from './demo-page.ts'

const size = { promptTokens: 100, maxTokens: 1 }

/** A server that nobody calls but the test. */
function quiet(incidents: readonly Incident[] = []): SimulatedEngine {
  const steady = findScenario('steady')
  const traffic = { ...steady.traffic, arrivals: [] }
  const scenario: Scenario = { ...steady, traffic, incidents }
  return new SimulatedEngine({ scenario, seed: 1, startWallMs: 1_700_000_000_000 })
}

function completions(engine: SimulatedEngine, status: string): number {
  const page = new DemoPage(engine.page())
  return page.sum('http_requests_total', { handler: '/v1/completions', status })
}

const hang: Incident = {
  kind: 'hang',
  engines: 'all',
  onset: 'at-once',
  fromMs: 1000,
  untilMs: 60_000,
}

describe('a request sent to the simulated engine', () => {
  it('is done after the step that makes its token, and is counted like any other', () => {
    const engine = quiet()
    const submission = engine.submit(size)
    assert.equal(submission.state, 'pending')
    // 14 ms, 0.2 for the sequence and 0.1 for each of 99 tokens: 24 ms, with a little noise.
    engine.advance(15)
    assert.equal(submission.state, 'pending')
    engine.advance(40)
    assert.deepEqual([submission.state, submission.tokens], ['done', 1])
    assert.equal(completions(engine, '2xx'), 1)
    const page = new DemoPage(engine.page())
    assert.equal(page.sum('vllm:request_success_total', { finished_reason: 'length' }), 1)
    assert.equal(page.sum('vllm:prompt_tokens_total'), 100)
  })

  it('makes as many tokens as it asks for', () => {
    const engine = quiet()
    const submission = engine.submit({ promptTokens: 5, maxTokens: 20 })
    engine.advance(200)
    assert.equal(submission.state, 'pending')
    engine.advance(600)
    assert.deepEqual([submission.state, submission.tokens], ['done', 20])
  })

  it('stays without an answer as long as the engine hangs', () => {
    const engine = quiet([hang])
    engine.advance(2000)
    const submission = engine.submit(size)
    engine.advance(59_000)
    assert.equal(submission.state, 'pending')
    assert.equal(completions(engine, '2xx'), 0)
    engine.advance(61_000)
    assert.equal(submission.state, 'done')
  })

  it('can be taken back, and is counted as answered then', () => {
    const engine = quiet([hang])
    engine.advance(2000)
    const submission = engine.submit(size)
    engine.advance(5000)
    submission.withdraw()
    assert.equal(submission.state, 'failed')
    assert.equal(completions(engine, '2xx'), 1)
    assert.deepEqual(
      engine.drainTruth().lost.map(({ why, atMs }) => [why, atMs]),
      [['client', 5000]],
    )
    // A second time has no effect.
    submission.withdraw()
    assert.equal(completions(engine, '2xx'), 1)
  })

  it('makes stale gauges tell the truth', () => {
    const engine = quiet([
      { kind: 'call', atMs: 0, promptTokens: 400, maxTokens: 5000 },
      { kind: 'hang-up', atMs: 10_000 },
    ])
    engine.advance(20_000)
    const running = () => new DemoPage(engine.page()).sum('vllm:num_requests_running')
    assert.equal(running(), 1)
    engine.submit(size)
    engine.advance(20_100)
    assert.equal(running(), 0)
  })

  it('fails with an engine that dies, or is dead', () => {
    const engine = quiet([
      { kind: 'outage', fromMs: 10, untilMs: 9000, dyingForMs: 5000, loadMs: 0 },
    ])
    const caught = engine.submit(size)
    engine.advance(20)
    assert.equal(caught.state, 'failed')
    const late = engine.submit(size)
    assert.equal(late.state, 'failed')
    assert.equal(completions(engine, '5xx'), 2)
    engine.advance(6000)
    assert.throws(() => engine.submit(size), /expected a living server/)
  })

  it('waits for the event loop when that is busy, and can be taken back there', () => {
    const engine = quiet([
      {
        kind: 'busy-event-loop',
        fromMs: 0,
        untilMs: 60_000,
        requestMs: 1000,
        answerMs: [1500, 3000],
        cores: 1,
      },
    ])
    const [first, second, third] = [engine.submit(size), engine.submit(size), engine.submit(size)]
    engine.advance(900)
    assert.equal(first?.state, 'pending')
    engine.advance(1100)
    assert.deepEqual([first?.state, second?.state], ['done', 'pending'])
    second?.withdraw()
    assert.deepEqual([second?.state, engine.pending], ['failed', 1])
    engine.advance(3100)
    assert.equal(third?.state, 'done')
    assert.ok(engine.healthTookMs >= 1500 && engine.healthTookMs <= 3000)
    engine.advance(60_001)
    assert.equal(engine.healthTookMs, 0)
  })

  it('waits while the engine sleeps', () => {
    const engine = quiet([{ kind: 'sleep', fromMs: 1000, untilMs: 60_000, leftMiB: 2000 }])
    engine.advance(2000)
    const submission = engine.submit(size)
    engine.advance(59_000)
    assert.equal(submission.state, 'pending')
    engine.advance(60_100)
    assert.equal(submission.state, 'done')
  })
})
