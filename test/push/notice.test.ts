import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import {
  bodyOf,
  instanceOf,
  type Notice,
  noticesOf,
  type Signature,
} from '../../src/push/notice.ts'
import type { Alert } from '../../src/rules/alert.ts'
import { alertOf, builtAtMs, builtWallMs, snapshotOf } from '../fakes/snapshots.ts'

const signature: Signature = {
  instance: 'gpu-host-1:19400',
  labels: {},
  links: { runbooks: '', grafana: '' },
}

const ringing = (alerts: readonly Alert[], given: Partial<Signature> = {}): readonly Notice[] => [
  ...noticesOf(snapshotOf({ alerts }), { ...signature, ...given }).values(),
]

const one = (alert: Partial<Alert> = {}, given: Partial<Signature> = {}): Notice => {
  const [notice, ...rest] = ringing([alertOf(alert)], given)
  assert.ok(notice !== undefined && rest.length === 0)
  return notice
}

describe('what rings', () => {
  const heldBack = { by: 'VllmDown', subject: { target: 'vllm' } }
  const rows: readonly (readonly [claim: string, alert: Partial<Alert>, rings: boolean])[] = [
    ['is an alert that fires', {}, true],
    ['is one that fires and is only suspected now', { certainty: 'suspected' }, true],
    ['is none that is pending', { state: 'pending' }, false],
    ['is none that another one explains, as in alert_active', { heldBack }, false],
    ['is none that is both', { state: 'pending', heldBack }, false],
  ]
  for (const [claim, alert, rings] of rows) {
    it(claim, () => assert.equal(ringing([alertOf(alert)]).length, rings ? 1 : 0))
  }
})

describe('the labels of an alert', () => {
  it('are those of the generated rules of Prometheus, without those that do not apply', () => {
    assert.deepEqual(one().labels, {
      alertname: 'VllmLatencyP99High',
      instance: 'gpu-host-1:19400',
      job: 'vllm-vitals',
      model_name: 'llama',
      severity: 'critical',
      target: 'vllm',
    })
    assert.deepEqual(one({ alert: 'VllmGpuLost', subject: { uuid: 'GPU-aaaa' } }).labels, {
      alertname: 'VllmGpuLost',
      instance: 'gpu-host-1:19400',
      job: 'vllm-vitals',
      severity: 'critical',
      uuid: 'GPU-aaaa',
    })
  })

  it('are absent rather than empty', () => {
    const { labels } = one({ subject: { target: 'vllm', model_name: '', uuid: '' } })
    assert.deepEqual(Object.keys(labels).sort(), [
      'alertname',
      'instance',
      'job',
      'severity',
      'target',
    ])
  })

  it('hold those of the configuration', () => {
    const { labels } = one({}, { labels: { cluster: 'berlin', rack: '7' } })
    assert.deepEqual([labels['cluster'], labels['rack']], ['berlin', '7'])
  })

  it('keep what the alert itself says, whatever the configuration may hold', () => {
    assert.equal(one({}, { labels: { severity: 'none' } }).labels['severity'], 'critical')
  })

  it('tell two hosts apart that are the same in everything else', () => {
    const [a, b] = ['a:19400', 'b:19400'].map((instance) => one({}, { instance }).key)
    assert.notEqual(a, b)
  })

  it('make the same alert again after a restart, with another summary and in another order', () => {
    const labels = { cluster: 'berlin', rack: '7' }
    const again = { sinceMs: 1, summary: 'other numbers', evidence: {} }
    assert.equal(
      one({}, { labels }).key,
      one(again, { labels: { rack: '7', cluster: 'berlin' } }).key,
    )
  })

  it('make another alert with another severity', () => {
    assert.notEqual(one().key, one({ severity: 'warning' }).key)
  })

  it('have names that Alertmanager takes', () => {
    for (const subject of [{ target: 'a', model_name: 'b' }, { uuid: 'c' }, {}]) {
      for (const name of Object.keys(one({ subject }).labels)) {
        assert.match(name, /^[a-zA-Z_][a-zA-Z0-9_]*$/)
      }
    }
  })
})

describe('the annotations of an alert', () => {
  it('are its own sentence, what it means, and where to read on', () => {
    const { summary, description, ...links } = one().annotations
    assert.equal(
      summary,
      '2.9 % of 412 requests took longer than 10 s in the last 5 m (allowed 1 %)',
    )
    assert.match(description ?? '', /^\S.{20,}/)
    assert.deepEqual(links, {
      runbook_url: 'http://gpu-host-1:19400/runbooks/VllmLatencyP99High',
    })
  })

  it('lead to the runbooks and the Grafana of the configuration', () => {
    const links = { runbooks: 'https://h.example/r', grafana: 'https://g.example' }
    const { runbook_url, dashboard_url } = one({}, { links }).annotations
    assert.equal(runbook_url, 'https://h.example/r/VllmLatencyP99High.md')
    assert.equal(
      dashboard_url,
      'https://g.example/d/vllm-vitals-host/vllm-vitals-host?var-instance=gpu-host-1%3A19400',
    )
  })
})

describe('the source of an alert', () => {
  const rows: readonly (readonly [string, Alert['subject'], string])[] = [
    ['is the health of its target', { target: 'vllm' }, '?target=vllm'],
    ['is that of the GPU source for a GPU', { uuid: 'GPU-aaaa' }, '?target=gpu'],
    ['is that of everything where it speaks of no target', {}, ''],
  ]
  for (const [claim, subject, query] of rows) {
    it(claim, () => {
      assert.equal(one({ subject }).generatorUrl, `http://gpu-host-1:19400/health${query}`)
    })
  }
})

/** What Alertmanager is sent, as it reads it. */
interface Wire {
  readonly startsAt: string
  readonly endsAt: string
}

const wire = (...args: Parameters<typeof bodyOf>): Wire => {
  const [alert] = JSON.parse(bodyOf(...args)) as readonly Wire[]
  assert.ok(alert !== undefined)
  return alert
}

const now = { nowMs: builtWallMs, resendMs: 60_000 }
const firing = { kind: 'firing' } as const

describe('the times of an alert', () => {
  it('are when its condition began, and an end that comes by itself if nobody renews it', () => {
    const sinceWallMs = builtWallMs - 110_000
    // 10:00:00 less 1 min 50 s; 10:00:00 and four resends of a minute.
    assert.deepEqual(
      (({ startsAt, endsAt }) => [startsAt, endsAt])(
        wire([{ notice: one({ sinceWallMs }), standing: firing }], now),
      ),
      ['2026-11-22T09:58:10.000Z', '2026-11-22T10:04:00.000Z'],
    )
  })

  it('follow from the monotonic clock where no wall clock told them', () => {
    const sinceMs = builtAtMs - 5_000
    assert.equal(one({ sinceMs }).startsAtMs, builtWallMs - 5_000)
  })

  it('hold the end of what has ended, however late that is told', () => {
    const endedWallMs = builtWallMs - 600_000
    const standing = { kind: 'resolved', endedMs: 0, endedWallMs } as const
    const notice = one({ sinceWallMs: builtWallMs - 900_000 })
    assert.equal(wire([{ notice, standing }], now).endsAt, '2026-11-22T09:50:00.000Z')
  })

  it('never have the end before the start and can always be read, whatever the wall clock says', () => {
    const anyMs = fc.oneof(fc.double(), fc.integer({ min: -1e15, max: 1e15 }))
    fc.assert(
      fc.property(anyMs, anyMs, fc.boolean(), (startsAtMs, nowMs, ended) => {
        const standing = ended
          ? ({ kind: 'resolved', endedMs: 0, endedWallMs: nowMs } as const)
          : firing
        const notice = { ...one(), startsAtMs }
        const { startsAt, endsAt } = wire([{ notice, standing }], { nowMs, resendMs: 60_000 })
        for (const text of [startsAt, endsAt]) {
          assert.match(text, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
        }
        assert.ok(startsAt <= endsAt)
      }),
    )
  })
})

describe('the instance of a daemon', () => {
  const rows: readonly (readonly [string, string, readonly string[], string])[] = [
    ['is what is configured', 'h.example:1', ['http://0.0.0.0:19400'], 'h.example:1'],
    [
      'is the name of the host and the first port',
      '',
      ['http://0.0.0.0:2', 'http://[::]:3'],
      'h:2',
    ],
    ['has its port even where a URL would leave it out', '', ['http://0.0.0.0:80'], 'h:80'],
    ['is the name of the host where nothing is served', '', [], 'h'],
  ]
  for (const [claim, configured, urls, instance] of rows) {
    it(claim, () => assert.equal(instanceOf(configured, { name: 'h', urls }), instance))
  }
})
