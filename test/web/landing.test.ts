import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import { landingHeaders, landingPage } from '../../src/web/landing.ts'
import { alertOf, gpuOf, snapshotOf, targetOf } from '../fakes/snapshots.ts'

const hostile = `<script>alert(1)</script><img src=x onerror="a()">'&amp;`

/** What a browser shows of the page: tags taken out, entities put back. */
function shown(html: string): string {
  const entities: Readonly<Record<string, string>> = {
    '&amp;': '&',
    '&lt;': '<',
    '&gt;': '>',
    '&quot;': '"',
    '&#39;': "'",
  }
  return html.replace(/<[^>]*>/g, ' ').replace(/&[^;]+;/g, (entity) => entities[entity] ?? '?')
}

describe('the page at /', () => {
  it('escapes all that comes from outside', () => {
    const alert = alertOf({ summary: hostile })
    const html = landingPage(
      snapshotOf({
        status: 'degraded',
        targets: [
          targetOf({ name: hostile, models: [hostile], status: 'degraded', reasons: [alert] }),
        ],
        gpus: [gpuOf({ name: hostile, uuid: hostile, reasons: [alert] })],
        alerts: [alert],
      }),
      hostile,
    )
    assert.doesNotMatch(html, /<script|<img|onerror="/)
    // Name, model and reason of the target; name, uuid and reason of the GPU; the version.
    assert.equal(shown(html).split(hostile).length - 1, 7)
  })

  it('shows each target with status, state, models, age and reasons', () => {
    const target = targetOf({ status: 'degraded', models: ['a', 'b'], reasons: [alertOf()] })
    const text = shown(landingPage(snapshotOf({ targets: [target] }), '0.1.0')).replace(/\s+/g, ' ')
    assert.match(
      text,
      / vllm degraded serving a, b 1\.2 s ago VllmLatencyP99High: 2\.9 % of 412 requests/,
    )
  })

  it('says never for a target that was not read', () => {
    const target = targetOf({
      status: 'unknown',
      state: 'unknown',
      lastSuccessMs: undefined,
      up: undefined,
    })
    const text = shown(landingPage(snapshotOf({ targets: [target] }), '0.1.0'))
    assert.match(text, /never\s+unknown: it was not read yet/)
  })

  it('says why the GPUs cannot be read, which no row of a GPU does', () => {
    const blind = alertOf({ alert: 'VllmVitalsBlind', summary: 'cannot read gpu: too late' })
    const gpuSource = targetOf({ name: 'gpu', status: 'degraded', reasons: [blind] })
    const text = shown(landingPage(snapshotOf({ status: 'degraded', gpuSource }), '0.1.0'))
    assert.match(
      text,
      /reading of the GPUs is\s+degraded\s*: VllmVitalsBlind: cannot read gpu: too late/,
    )
    const well = shown(landingPage(snapshotOf({ gpuSource: targetOf({ name: 'gpu' }) }), '0.1.0'))
    assert.doesNotMatch(well, /reading of the GPUs/)
  })

  for (const [status, firing, sentence] of [
    ['healthy', 0, 'All that is watched is healthy.'],
    ['degraded', 1, 'What is watched is degraded: 1 alert is firing.'],
    ['unhealthy', 2, 'What is watched is unhealthy: 2 alerts are firing.'],
    ['unknown', 0, 'The condition of what is watched is unknown.'],
  ] as const) {
    it(`says it in a sentence when all is ${status}`, () => {
      const pending = alertOf({ state: 'pending' })
      const alerts = [pending, ...Array.from({ length: firing }, () => alertOf())]
      assert.ok(shown(landingPage(snapshotOf({ status, alerts }), '0.1.0')).includes(sentence))
    })
  }

  it('says so before the first evaluation', () => {
    assert.match(landingPage(undefined, '0.1.0'), /Nothing has been evaluated yet\./)
  })

  it('leaves out tables that would be empty', () => {
    assert.doesNotMatch(landingPage(snapshotOf({ targets: [] }), '0.1.0'), /<table>/)
  })

  it('needs nothing that its policy forbids', () => {
    const html = landingPage(snapshotOf({ gpus: [gpuOf()] }), '0.1.0')
    const policy = landingHeaders['content-security-policy']
    const [, style = ''] = /<style>([\s\S]*?)<\/style>/.exec(html) ?? []
    const hash = createHash('sha256').update(style).digest('base64')
    assert.ok(policy.includes(`style-src 'sha256-${hash}'`))
    assert.ok(policy.startsWith(`default-src 'none'`))
    assert.doesNotMatch(html, /<script|<form|<iframe| style=| on\w+=| src=|https?:/)
  })
})
