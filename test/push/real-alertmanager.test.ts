import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { systemClock } from '../../src/clock.ts'
import { Pusher } from '../../src/push/pusher.ts'
import type { Alert } from '../../src/rules/alert.ts'
import { alertmanagerProgram, type ShownAlert, startAlertmanager } from '../fakes/alertmanager.ts'
import { alertOf, snapshotOf } from '../fakes/snapshots.ts'
import { findProgram } from '../repository.ts'
import { keepingLog } from '../web/serving.ts'

const config = 'route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n'

/** Runs `use` beside a real Alertmanager. */
async function withAlertmanager(use: (url: string) => Promise<void>): Promise<void> {
  const alertmanager = await startAlertmanager({ config })
  try {
    await use(alertmanager.url)
  } finally {
    await alertmanager.stop()
  }
}

function startPusher(url: string, instance: string) {
  const failures: unknown[] = []
  const pusher = new Pusher({
    clock: systemClock,
    log: keepingLog([]),
    random: Math.random,
    fail: (error) => failures.push(error),
  })
  const configured = pusher.configure({
    alertmanager: {
      urls: [url],
      instance,
      timeoutMs: 5_000,
      resendMs: 60_000,
      labels: { cluster: 'berlin' },
      auth: { kind: 'none' },
    },
    links: { runbooks: '', grafana: '' },
    host: { name: instance, urls: [] },
  })
  return {
    follow: async (...alerts: readonly Alert[]) => {
      await configured
      pusher.follow(snapshotOf({ alerts, wallMs: Date.now() }))
    },
    stop: async () => {
      await pusher.stop()
      assert.deepEqual(failures, [])
    },
  }
}

/** The alerts that Alertmanager holds for firing, once they are `count`. */
async function shown(url: string, count: number): Promise<readonly ShownAlert[]> {
  const lastMs = performance.now() + 10_000
  for (;;) {
    const response = await fetch(`${url}/api/v2/alerts`, { signal: AbortSignal.timeout(5_000) })
    const found = (await response.json()) as readonly ShownAlert[]
    if (found.length === count) return found
    assert.ok(performance.now() < lastMs, `expected ${count} alerts, found ${found.length}`)
    await delay(50)
  }
}

const sinceWallMs = Date.now() - 110_000
const alert = alertOf({ sinceWallMs })

describe('a real Alertmanager', () => {
  const skip = alertmanagerProgram === undefined ? 'alertmanager is not on PATH' : false
  it('shows what is pushed, ends what has ended, and keeps two hosts apart', {
    skip,
    timeout: 60_000,
  }, async () => {
    await withAlertmanager(async (url) => {
      const [one, two] = [startPusher(url, 'host-1:19400'), startPusher(url, 'host-2:19400')]
      await one.follow(alert)
      const [first] = await shown(url, 1)
      assert.deepEqual(first?.labels, {
        alertname: 'VllmLatencyP99High',
        severity: 'critical',
        instance: 'host-1:19400',
        job: 'vllm-vitals',
        target: 'vllm',
        model_name: 'llama',
        cluster: 'berlin',
      })
      assert.equal(Date.parse(first.startsAt), sinceWallMs)
      assert.equal(first.annotations['summary'], alert.summary)
      assert.equal(first.generatorURL, 'http://host-1:19400/health?target=vllm')
      await two.follow(alert)
      await shown(url, 2)
      await assertAmtoolShows(url, ['host-1:19400', 'host-2:19400'])
      // A daemon that is started again begins to count anew; the alert is the same one, since its first start.
      await one.stop()
      const again = startPusher(url, 'host-1:19400')
      await again.follow({ ...alert, sinceWallMs: Date.now(), summary: 'started again' })
      await again.stop()
      const both = await shown(url, 2)
      const same = both.find(({ labels }) => labels['instance'] === 'host-1:19400')
      assert.equal(same?.annotations['summary'], 'started again')
      assert.equal(Date.parse(same.startsAt), sinceWallMs)
      await two.follow()
      const [left] = await shown(url, 1)
      assert.equal(left?.labels['instance'], 'host-1:19400')
      await two.stop()
    })
  })
})

async function assertAmtoolShows(url: string, instances: readonly string[]): Promise<void> {
  if (findProgram('amtool') === undefined) return
  const words = ['alert', 'query', `--alertmanager.url=${url}`, '-o', 'json', 'cluster=berlin']
  const { stdout } = await promisify(execFile)('amtool', words)
  const found = JSON.parse(stdout) as readonly ShownAlert[]
  assert.deepEqual(found.map(({ labels }) => labels['instance']).toSorted(), instances)
}
