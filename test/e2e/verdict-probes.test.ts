import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { findScenario } from '../../src/demo/scenarios.ts'
import type { Sight } from './told-daemon.ts'
import { overload } from './told-scenarios.ts'
import {
  activeIn,
  assertOneVoice,
  names,
  pendingIn,
  reasonsIn,
  seenAt,
  storyOf,
  suppressedIn,
  watch,
} from './told-sights.ts'

const probing = { 'probe.enabled': true }

/** What `/api/v1/status` says of a stall that is pending; nothing where none is. */
function pendingStall(sight: Sight) {
  return pendingIn(sight).find(({ alert }) => alert === 'VllmEngineStalled')
}

/** The times of the looks that found a further probe sent. */
function sentAt(sights: readonly Sight[]): readonly number[] {
  return sights.flatMap(({ at, posts }, index) => {
    const before = sights[index - 1]?.posts ?? 0
    assert.ok(posts - before <= 1, `${posts - before} probes in one interval`)
    return posts > before ? [at] : []
  })
}

describe('a hang behind gauges that show nothing, seen over HTTP', () => {
  it('is suspected, which is pending and never fires, until requests in vain prove it', async () => {
    // The engine hangs without work at its first request after 25 s; each client gives up in the end.
    const sights = await watch({ scenario: findScenario('stall-hidden'), from: -120, to: 180 })
    for (const sight of sights) assertOneVoice(sight)
    const suspected = sights.filter((sight) => pendingStall(sight)?.certainty === 'suspected')
    assert.ok(suspected.length >= 5, `${suspected.length} looks`)
    for (const sight of suspected) {
      const { code, health, status } = sight
      assert.deepEqual([code, health.status, health.targets[0]?.state], [200, 'healthy', 'idle'])
      assert.match(
        pendingStall(sight)?.summary ?? '',
        /^no progress for \d+ s, no request is shown/,
      )
      assert.equal(activeIn(sight, 'VllmEngineStalled')[0]?.['state'], 'pending')
      const [finding] = status.diagnosis
      assert.deepEqual([finding?.pain, finding?.confidence], ['P1', 'suspected'])
      assert.match(sight.text, /^a diagnosis P1 suspected: /m)
    }
    const { firing } = storyOf(sights, 'VllmEngineStalled')
    const [reason] = reasonsIn(seenAt(sights, firing).health)
    assert.equal(reason?.certainty, undefined)
    assert.match(reason?.summary ?? '', /and yet \d+ requests ended without a token/)
    assert.equal(seenAt(sights, firing).code, 503)
    assert.equal(sights.at(-1)?.posts, 0)
  })

  it('is decided by one probe that gets no token, and no second one is sent within a minute', async () => {
    const scenario = findScenario('stall-hidden')
    const sights = await watch({ scenario, from: -120, to: 150, settings: probing })
    for (const sight of sights) assertOneVoice(sight)
    const [sent = 0, ...more] = sentAt(sights)
    assert.deepEqual(more, [])
    assert.equal(pendingStall(seenAt(sights, sent))?.certainty, 'suspected')
    const decided = sights.find(({ status }) => status.targets[0]?.probe?.outcome === 'unanswered')
    assert.ok(decided !== undefined && decided.at <= sent + 35)
    const stall = pendingStall(decided)
    assert.equal(stall?.certainty, undefined)
    assert.match(stall?.summary ?? '', /; a probe got no token in \d+ s$/)
    assert.deepEqual([decided.code, decided.health.targets[0]?.state], [503, 'stalled'])
    storyOf(sights, 'VllmEngineStalled')
  })
})

describe('stale gauges after a mass abort, seen over HTTP', () => {
  const scenario = findScenario('mass-abort')

  it('are suspected of a hang while nobody asks, and the server stays in service', async () => {
    const sights = await watch({ scenario, from: -60, to: 180 })
    for (const sight of sights) {
      assertOneVoice(sight)
      assert.deepEqual([sight.code, sight.health.status], [200, 'healthy'])
    }
    const [finding] = seenAt(sights, 170).status.diagnosis
    assert.deepEqual([finding?.pain, finding?.confidence], ['P2', 'suspected'])
    assert.equal(pendingStall(seenAt(sights, 170))?.certainty, 'suspected')
  })

  it('are cleared by one probe that is answered', async () => {
    const sights = await watch({ scenario, from: -60, to: 180, settings: probing })
    for (const sight of sights) assertOneVoice(sight)
    const [sent = 0, ...more] = sentAt(sights)
    assert.ok(sent > 25)
    assert.deepEqual(more, [])
    const after = sights.filter(({ at }) => at > sent + 5)
    assert.ok(after.length > 10)
    for (const sight of after) {
      assert.equal(sight.status.targets[0]?.probe?.outcome, 'answered')
      assert.deepEqual(pendingIn(sight), [])
      assert.equal(sight.health.targets[0]?.state, 'idle')
    }
  })
})

describe('a daemon that may probe', () => {
  it('sends none to a server that serves, and none to one that has too much to do', async () => {
    for (const scenario of [findScenario('steady'), overload(200)]) {
      const sights = await watch({ scenario, from: -60, to: 240, settings: probing })
      for (const sight of sights) assertOneVoice(sight)
      assert.deepEqual(sentAt(sights), [])
      assert.equal(sights.at(-1)?.status.targets[0]?.probe, null)
    }
  })
})

describe('what the configuration says of an alert', () => {
  it('is obeyed: one is switched off, another one is critical and takes three minutes', async () => {
    const sights = await watch({
      scenario: overload(300),
      from: -30,
      to: 300,
      settings: {
        alerts: {
          VllmLatencyP99High: { enabled: false },
          VllmQueueWaitHigh: { severity: 'critical', for: '3m' },
        },
      },
    })
    for (const sight of sights) {
      assertOneVoice(sight)
      const { health } = sight
      const all = [...reasonsIn(health), ...suppressedIn(health), ...pendingIn(sight)]
      assert.ok(!names(all).includes('VllmLatencyP99High'))
      assert.equal(sight.code, 200)
    }
    const { pending, firing } = storyOf(sights, 'VllmQueueWaitHigh')
    assert.ok(firing - pending >= 180 && firing - pending <= 185, `${firing - pending} s`)
    const [reason] = reasonsIn(seenAt(sights, firing).health)
    assert.deepEqual([reason?.alert, reason?.severity], ['VllmQueueWaitHigh', 'critical'])
    assert.match(seenAt(sights, firing).text, /^a VllmQueueWaitHigh critical since /m)
  })
})
