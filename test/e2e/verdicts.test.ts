import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Scenario } from '../../src/demo/scenario.ts'
import { findScenario } from '../../src/demo/scenarios.ts'
import type { Sight } from './told-daemon.ts'
import {
  assertOneVoice,
  names,
  pendingIn,
  reasonsIn,
  seenAt,
  statesIn,
  watch,
} from './told-sights.ts'

/** What `/health` says of the first target, in a row: its code, status, state and why. */
function answerOf({ code, health }: Sight) {
  const [target] = health.targets
  return [code, target?.status, target?.state, target?.detail]
}

/** A server that loads its model for so many seconds from the start. */
function loading(seconds: number): Scenario {
  const untilMs = 1_000 * seconds
  const outage = { fromMs: Number.NEGATIVE_INFINITY, untilMs, dyingForMs: 0, loadMs: untilMs }
  return { ...findScenario('slow-load'), ageMs: 0, incidents: [{ kind: 'outage', ...outage }] }
}

describe('the state of a target, seen over HTTP', () => {
  it('is serving for as long as requests are served, and healthy', async () => {
    const sights = await watch({ scenario: findScenario('steady'), from: -60, to: 180 })
    assert.deepEqual(statesIn(sights), [['serving', -60]])
    for (const sight of sights) {
      assertOneVoice(sight)
      assert.deepEqual(answerOf(sight), [200, 'healthy', 'serving', undefined])
      assert.deepEqual([...reasonsIn(sight.health), ...pendingIn(sight)], [])
    }
    const [finding] = seenAt(sights, 180).status.diagnosis
    assert.equal(finding?.pain, 'none')
  })

  it('is idle without requests, sleeping when the engine was put to sleep, and serving again', async () => {
    const sights = await watch({
      // Requests end at 25 s; from 55 s to 355 s the engine sleeps.
      scenario: findScenario('sleep'),
      from: -30,
      to: 420,
      settings: { 'gpu.enabled': true, 'probe.enabled': true },
    })
    for (const sight of sights) {
      assertOneVoice(sight)
      // It is silent for minutes, and nobody takes that for a hang.
      assert.ok(!names(pendingIn(sight)).includes('VllmEngineStalled'), `at ${sight.at} s`)
    }
    assert.equal(sights.at(-1)?.posts, 0)
    const states = statesIn(sights).map(([state]) => state)
    assert.deepEqual(states, ['serving', 'idle', 'sleeping', 'idle', 'serving'])
    assert.deepEqual(answerOf(seenAt(sights, 50)), [200, 'healthy', 'idle', undefined])
    const asleep = [503, 'unknown', 'sleeping', 'sleeping: the engine was put to sleep']
    assert.deepEqual(answerOf(seenAt(sights, 60)), asleep)
    assert.deepEqual(answerOf(seenAt(sights, 350)), asleep)
    assert.deepEqual(answerOf(seenAt(sights, 420)), [200, 'healthy', 'serving', undefined])
    assert.deepEqual(
      sights.flatMap(({ health }) => reasonsIn(health)),
      [],
    )
  })

  it('is unknown before anything was read, then loading while a model comes to the GPU', async () => {
    const sights = await watch({
      scenario: loading(118),
      from: 10,
      to: 200,
      settings: { 'gpu.enabled': true },
    })
    for (const sight of sights) assertOneVoice(sight)
    assert.deepEqual(statesIn(sights), [
      ['unknown', 10],
      // The new process opens the GPU after 12 s of imports.
      ['loading', 15],
      ['serving', 120],
    ])
    const [first] = sights
    assert.ok(first)
    assert.deepEqual(answerOf(first).slice(0, 3), [503, 'unknown', 'unknown'])
    assert.match(first.health.targets[0]?.detail ?? '', /^unknown: .* connection refused/)
    const [code, status, state, detail] = answerOf(seenAt(sights, 60))
    assert.deepEqual([code, status, state], [503, 'unknown', 'loading'])
    const text = /^loading: the model is being loaded, for \d+ s so far: VLLM::EngineCore/
    assert.match(String(detail), text)
    assert.equal(seenAt(sights, 60).status.diagnosis[0]?.pain, 'P7')
    assert.deepEqual(
      sights.flatMap(({ health }) => reasonsIn(health)),
      [],
    )
  })

  it('is stalled from 25 s without progress, though /health of the server says 200', async () => {
    const sights = await watch({ scenario: findScenario('stall'), from: -30, to: 100 })
    for (const sight of sights) assertOneVoice(sight)
    // The engine hangs at 25 s or at its first step after that.
    assert.deepEqual(statesIn(sights), [
      ['serving', -30],
      ['stalled', 55],
    ])
    const [code, status, state, detail] = answerOf(seenAt(sights, 55))
    assert.deepEqual([code, status, state], [503, 'unhealthy', 'stalled'])
    assert.match(String(detail), /^stalled: no progress for 2\d s with \d+ running and \d+ waiting/)
    const [target] = seenAt(sights, 55).status.targets
    assert.ok(target?.health_probe && 'status' in target.health_probe)
    assert.equal(target.health_probe.status, 200)
    assert.equal(seenAt(sights, 55).status.diagnosis[0]?.pain, 'P1')
  })

  it('is down after two refused scrapes, and serving again after the first good one', async () => {
    const outage = { fromMs: 30_000, untilMs: 88_000, dyingForMs: 0, loadMs: 0 }
    const sights = await watch({
      scenario: { ...findScenario('steady'), incidents: [{ kind: 'outage', ...outage }] },
      from: -30,
      to: 120,
    })
    for (const sight of sights) assertOneVoice(sight)
    assert.deepEqual(statesIn(sights), [
      ['serving', -30],
      ['down', 35],
      ['serving', 90],
    ])
    const [code, status, state, detail] = answerOf(seenAt(sights, 40))
    assert.deepEqual([code, status, state], [503, 'unhealthy', 'down'])
    assert.match(String(detail), /^down: .*connection refused.* \(refused\)$/)
    // Once the alert says why, there is no need to say it twice.
    assert.deepEqual(answerOf(seenAt(sights, 80)), [503, 'unhealthy', 'down', undefined])
    assert.equal(seenAt(sights, 80).status.diagnosis[0]?.pain, 'P4')
  })

  it('is unknown where the page has nothing of vLLM', async () => {
    const sights = await watch({ scenario: findScenario('no-metrics'), from: -10, to: 30 })
    for (const sight of sights) {
      assertOneVoice(sight)
      const [code, status, state, detail] = answerOf(sight)
      assert.deepEqual([code, status, state], [503, 'unknown', 'unknown'])
      assert.match(String(detail), /holds no metrics of vLLM \(started with --disable-log-stats/)
      assert.equal(sight.status.diagnosis[0]?.pain, 'P22')
    }
  })
})
