import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { alertmanagerProgram } from '../fakes/alertmanager.ts'
import { findProgram } from '../repository.ts'
import { type AlertPath, quick, startAlertPath } from './alert-path.ts'
import { storyOf, troubles, ways } from './alert-story.ts'

const skip =
  findProgram('prometheus') === undefined || alertmanagerProgram === undefined
    ? 'prometheus and alertmanager are not on PATH'
    : false

const withinMs = 110_000

describe('the way from a trouble to whoever is on call', { skip, timeout: 180_000 }, () => {
  let path: AlertPath | undefined
  const whole = (): AlertPath => {
    assert.ok(path !== undefined)
    return path
  }
  before(async () => {
    path = await startAlertPath(quick)
  })
  after(async () => await path?.stop())

  for (const [way, called] of ways) {
    for (const [name, trouble] of Object.entries(troubles)) {
      it(`${called}: an injected ${name} arrives with its numbers, and so does its end`, async (context) => {
        const story = await storyOf(trouble, whole(), { way, withinMs })
        const { told, over, page, pageEnd, toldAfterSeconds, overAfterSeconds } = story
        const instance = trouble.host(whole()).instances[way]
        const [{ text = '' } = {}] = told.attachments
        assert.match(text, trouble.says)
        assert.match(text, /\d/)
        assert.ok(text.includes(`http://${instance}/runbooks/${trouble.alert}`), text)
        assert.ok(JSON.stringify(over.attachments).includes(instance))
        // Told in the trouble, and over after it has begun to be told.
        assert.ok(toldAfterSeconds > 5 && overAfterSeconds > toldAfterSeconds)
        assert.equal(page !== undefined && pageEnd !== undefined, trouble.pages)
        if (trouble.pages) {
          assert.match(page?.payload?.summary ?? '', new RegExp(trouble.alert))
          assert.equal(page?.payload?.severity, 'critical')
        }
        context.diagnostic(
          `${called}, ${name}: in Slack ${toldAfterSeconds.toFixed(1)} s after it began, over after ${overAfterSeconds.toFixed(1)} s (every wait cut down; npm run bench:alerting has those that are shipped)`,
        )
      })
    }

    it(`${called}: both services took every message`, () => {
      assert.deepEqual(whole().receivers[way].refused, [])
    })
  }
})
