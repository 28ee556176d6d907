import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Sight } from './told-daemon.ts'
import { type Expected, runs } from './told-runs.ts'
import { forever } from './told-scenarios.ts'
import { assertOneVoice, names, pendingIn, reasonsIn, storyOf, watch } from './told-sights.ts'

function assertStory(
  { alert, severity, forSeconds, begins, summary, evidence, ends }: Expected,
  sights: readonly Sight[],
  every: number,
): void {
  const story = storyOf(sights, alert)
  assert.ok(story.pending >= begins, `${alert} was pending at ${story.pending} s`)
  const heldSeconds = story.firing - story.pending
  assert.ok(heldSeconds >= forSeconds && heldSeconds <= forSeconds + every, `${heldSeconds} s`)
  if (ends === undefined) assert.equal(story.over, undefined)
  else assert.ok((story.over ?? forever) <= ends, `${alert} was over at ${story.over} s`)
  const during = (from: number, until: number) =>
    sights.filter(({ at }) => at >= from && at < until)
  for (const sight of during(story.pending, story.firing)) {
    const pending = pendingIn(sight).find((one) => one.alert === alert)
    assert.equal(pending?.severity, severity)
    assert.ok(!names(reasonsIn(sight.health)).includes(alert))
  }
  for (const sight of during(story.firing, story.over ?? forever)) {
    const reason = reasonsIn(sight.health).find((one) => one.alert === alert)
    assert.ok(reason, `expected the reason ${alert} at ${sight.at} s`)
    assert.equal(reason.severity, severity)
    assert.equal(reason.certainty, undefined)
    assert.match(reason.summary, summary)
    for (const key of evidence) assert.ok(key in reason.evidence, `${key} of ${alert}`)
    // It is told since when, and that is when it was first pending.
    const ageSeconds = (Date.parse(sight.health.time) - Date.parse(reason.since)) / 1_000
    assert.ok(Math.abs(ageSeconds - (sight.at - story.pending)) < 0.1, `${ageSeconds} s`)
    assert.notEqual(sight.health.status, 'healthy')
  }
  for (const sight of during(story.over ?? forever, forever)) {
    assert.ok(!names(reasonsIn(sight.health)).includes(alert), `${alert} at ${sight.at} s`)
  }
}

describe('an alert, seen over HTTP', { concurrency: false }, () => {
  for (const { claim, expected, also = [], pain, serves, ...watching } of runs) {
    const alerts = expected.map(({ alert }) => alert)
    it(`is pending, fires after its time and is over again: ${alerts.join(', ')}, for ${claim}`, async () => {
      const sights = await watch(watching)
      for (const sight of sights) assertOneVoice(sight)
      for (const one of expected) assertStory(one, sights, watching.every ?? 5)
      const all = (sight: Sight) =>
        alerts.every((alert) => names(reasonsIn(sight.health)).includes(alert))
      const height = sights.find(all)
      assert.ok(height, 'expected all of them to fire at one time')
      assert.equal(height.status.diagnosis[0]?.pain, pain)
      const fired = new Set(sights.flatMap(({ health }) => names(reasonsIn(health))))
      const right: readonly string[] = [...alerts, ...also]
      assert.deepEqual(
        [...fired].filter((alert) => !right.includes(alert)),
        [],
      )
      if (serves === true) assert.ok(sights.every(({ code }) => code === 200))
      assert.equal(sights.at(-1)?.posts, 0)
    })
  }
})
