import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import { startDaemon } from '../../src/daemon.ts'
import { createLogger } from '../../src/log.ts'
import { configOf } from '../config/with-file.ts'
import { closedPort } from '../fakes/local-server.ts'
import { putAway, startReceiver, until } from '../push/receiver.ts'

describe('the whole daemon', () => {
  it('pushes its alerts, tells of it in /metrics, and takes other Alertmanagers from a reload', {
    timeout: 30_000,
  }, async () => {
    const [first, second] = [await startReceiver(), await startReceiver()]
    const settings = {
      targets: [{ name: 'vllm', url: `http://127.0.0.1:${await closedPort()}` }],
      'scrape.interval': '200ms',
      'scrape.max_overhead': 0,
      'gpu.enabled': false,
      'alerts.VllmDown.for': '0s',
    }
    const daemon = await startDaemon({
      config: await configOf({ ...settings, 'alertmanager.urls': [first.origin] }),
      log: createLogger({ level: 'info', format: 'json' }, (bytes, done) =>
        done(null, bytes.length),
      ).log,
      clock: systemClock,
      about: { version: '0.0.0-test', revision: 'unknown', nodeVersion: process.version },
      reload: async () => {},
      listen: [{ host: '127.0.0.1', port: 0 }],
    })
    const [url = ''] = daemon.urls
    const { port } = new URL(url)
    try {
      await until(() => first.posts.length > 0)
      const [alert] = first.posts[0]?.alerts ?? []
      assert.equal(alert?.labels['alertname'], 'VllmDown')
      // The port is the one that is really listened on; the host is whatever this one is called.
      assert.match(alert.labels['instance'] ?? '', new RegExp(`^[^:]+:${port}$`))
      assert.equal(
        alert.annotations['runbook_url'],
        `http://${alert.labels['instance']}/runbooks/VllmDown`,
      )
      const page = async () => await (await fetch(`${url}/metrics`)).text()
      assert.ok((await page()).includes(`{alertmanager="${first.origin}",outcome="dropped"} 0`))
      await daemon.apply(await configOf({ ...settings, 'alertmanager.urls': [second.origin] }))
      await until(() => second.posts.length > 0)
      assert.equal(second.posts[0]?.alerts[0]?.labels['alertname'], 'VllmDown')
      const { sequence } = daemon.snapshot ?? {}
      await until(() => daemon.snapshot?.sequence !== sequence)
      const after = await page()
      assert.ok(!after.includes(first.origin) && after.includes(second.origin))
    } finally {
      await daemon.stop()
      await putAway()
    }
  })
})
