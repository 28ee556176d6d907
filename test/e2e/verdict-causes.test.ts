import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type Sight, startToldDaemon } from './told-daemon.ts'
import { forever, overload, steadyBut } from './told-scenarios.ts'
import {
  activeIn,
  assertOneVoice,
  names,
  reasonsIn,
  seenAt,
  statesIn,
  suppressedIn,
  watch,
} from './told-sights.ts'

/** What is held back, each with its cause. */
function heldIn({ health }: Sight): readonly string[] {
  return suppressedIn(health)
    .map(({ alert, suppressed_by: by }) => `${alert} by ${by}`)
    .sort()
}

/** The alerts of one target that are firing in `vllm_vitals_alert_active`. */
function firingOf(sight: Sight, target: string): readonly string[] {
  return activeIn(sight)
    .filter((labels) => labels['target'] === target && labels['state'] === 'firing')
    .map(({ alertname = '' }) => alertname)
    .sort()
}

describe('one cause, seen over HTTP', () => {
  it('is one page: a stall holds back the slowness that an overload had told of', async () => {
    const sights = await watch({
      scenario: {
        ...overload(forever),
        incidents: [
          { kind: 'hang', engines: 'all', onset: 'busy', fromMs: 200_000, untilMs: 300_000 },
        ],
      },
      from: -30,
      to: 330,
    })
    for (const sight of sights) assertOneVoice(sight)
    const slow = ['VllmLatencyP99High', 'VllmQueueWaitHigh']
    const held = slow.map((alert) => `${alert} by VllmEngineStalled`)
    // An overload alone keeps the server in service.
    const before = seenAt(sights, 195)
    assert.deepEqual([before.code, before.health.status], [200, 'degraded'])
    assert.deepEqual(names(reasonsIn(before.health)), slow)
    assert.deepEqual(heldIn(before), [])
    // From the moment at which the stall is certain, its alert may still be pending.
    const [, stalled, again] = statesIn(sights)
    assert.deepEqual(stalled?.[0], 'stalled')
    const during = sights.filter(({ at }) => at >= stalled[1] && at < (again?.[1] ?? forever))
    assert.ok(during.length > 10)
    for (const sight of during) {
      assert.equal(sight.code, 503)
      assert.deepEqual(heldIn(sight), held, `at ${sight.at} s`)
      const shown = names(reasonsIn(sight.health))
      assert.ok(shown.every((alert) => alert === 'VllmEngineStalled'))
      assert.deepEqual(firingOf(sight, 'a'), shown)
      assert.equal(sight.status.diagnosis[0]?.pain, 'P1')
    }
    assert.deepEqual(names(reasonsIn(seenAt(sights, 280).health)), ['VllmEngineStalled'])
    // What the overload had told of before is told of again.
    const after = seenAt(sights, 330)
    assert.deepEqual([after.code, after.health.status, heldIn(after)], [200, 'degraded', []])
    assert.deepEqual(names(reasonsIn(after.health)), slow)
  })

  it('is one page: what a stall leaves in the windows rings nobody once it is over', async () => {
    const hang = {
      kind: 'hang',
      engines: 'all',
      onset: 'busy',
      fromMs: 60_000,
      untilMs: 160_000,
    } as const
    const sights = await watch({ scenario: steadyBut(hang), from: -60, to: 420 })
    for (const sight of sights) assertOneVoice(sight)
    assert.ok(sights.some(({ health }) => names(reasonsIn(health)).includes('VllmEngineStalled')))
    const shown = new Set(sights.flatMap(({ health }) => names(reasonsIn(health))))
    assert.deepEqual([...shown], ['VllmEngineStalled'])
    // Those who waited have answers of over a minute by now, and that is said to come of the stall.
    const after = seenAt(sights, 320)
    const slow = ['VllmLatencyP99High', 'VllmQueueWaitHigh']
    const held = slow.map((alert) => `${alert} by VllmEngineStalled`)
    assert.deepEqual([after.code, after.health.status, heldIn(after)], [200, 'degraded', held])
    assert.equal(
      after.health.targets[0]?.detail,
      `serving: what follows from VllmEngineStalled is held back: ${slow.join(', ')}`,
    )
  })

  it('is one page: without a driver nobody is told that the GPUs cannot be read, too', async () => {
    const sights = await watch({
      scenario: steadyBut(),
      from: -30,
      to: 240,
      settings: { 'gpu.enabled': true },
      failing: {
        from: 30,
        to: 220,
        as: {
          stdout:
            'NVIDIA-SMI has failed because it could not talk to the driver: driver not loaded\n',
          exitCode: 9,
        },
      },
    })
    for (const sight of sights) assertOneVoice(sight)
    const late = seenAt(sights, 200)
    assert.deepEqual(names(reasonsIn(late.health)), ['VllmNoGpu'])
    assert.deepEqual(heldIn(late), ['VllmVitalsBlind by VllmNoGpu'])
    assert.deepEqual(firingOf(late, 'gpu'), ['VllmNoGpu'])
    // GPUs that nobody can read keep no server from serving.
    assert.deepEqual([late.code, late.health.status], [200, 'degraded'])
    assert.equal(late.health.targets[0]?.status, 'healthy')
    assert.deepEqual(firingOf(seenAt(sights, 240), 'gpu'), [])
  })
})

describe('a lost GPU, seen over HTTP', () => {
  it('holds back the alerts of the target that ran on it, and those of no other', async () => {
    const told = await startToldDaemon({
      scenarios: [
        // Serves all along on the first GPU, and dies by itself when the second one is lost.
        steadyBut(
          { kind: 'gpu-lost', gpu: 1, fromMs: 150_000 },
          { kind: 'outage', fromMs: 155_000, untilMs: forever, dyingForMs: 0, loadMs: 0 },
        ),
        // Loads on the second GPU while it is watched, so that it is known where it runs.
        steadyBut(
          { kind: 'outage', fromMs: -forever, untilMs: 80_000, dyingForMs: 0, loadMs: 70_000 },
          { kind: 'hang', engines: 'all', onset: 'at-once', fromMs: 150_000, untilMs: forever },
          { kind: 'outage', fromMs: 180_000, untilMs: forever, dyingForMs: 0, loadMs: 0 },
        ),
      ],
      from: 0,
      settings: { 'gpu.enabled': true },
    })
    try {
      const early = await told.passTo(120)
      const onlyB = await (await fetch(`${told.url}/health?target=b`)).json()
      assert.deepEqual(
        Object(onlyB).gpus.map(({ index }: { readonly index: number }) => index),
        [1],
      )
      const sights = [...early, ...(await told.passTo(300))]
      for (const sight of sights) assertOneVoice(sight)
      const stateOf = (sight: Sight, name: string) =>
        sight.health.targets.find((target) => target.name === name)?.state
      assert.equal(stateOf(seenAt(sights, 60), 'b'), 'loading')
      assert.equal(stateOf(seenAt(sights, 120), 'b'), 'serving')
      const late = seenAt(sights, 300)
      assert.equal(late.code, 503)
      assert.deepEqual([stateOf(late, 'a'), stateOf(late, 'b')], ['down', 'down'])
      assert.deepEqual(names(reasonsIn(late.health)), ['VllmDown', 'VllmGpuLost'])
      assert.deepEqual(firingOf(late, 'a'), ['VllmDown'])
      assert.deepEqual(firingOf(late, 'b'), [])
      const [a, b] = late.health.targets
      assert.deepEqual(names(a?.suppressed ?? []), [])
      assert.deepEqual(
        b?.suppressed?.map((one) => [one.alert, one.suppressed_by]),
        [['VllmDown', 'VllmGpuLost']],
      )
      assert.deepEqual(
        late.health.gpus.map(({ index, reasons }) => [index, names(reasons)]),
        [
          [0, []],
          [1, ['VllmGpuLost']],
        ],
      )
    } finally {
      await told.stop()
    }
  })
})
