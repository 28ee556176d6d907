import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type Prometheus, type Sample, startPrometheus } from '../fakes/prometheus.ts'
import { findProgram } from '../repository.ts'
import { startWholeDaemon, type WholeDaemon } from './whole-daemon.ts'

const scrapeConfig = (address: string) => `
global: { scrape_interval: 1s, scrape_timeout: 900ms }
scrape_configs:
  - job_name: vllm-vitals
    static_configs: [{ targets: ['${address}'] }]
`

describe('the whole daemon, scraped by a real Prometheus', () => {
  it('gives Prometheus every series that it serves, and numbers that agree', {
    skip: findProgram('prometheus') === undefined ? 'prometheus is not on PATH' : false,
    timeout: 60_000,
  }, async () => {
    const whole = await startWholeDaemon({ scenario: 'steady', engines: 2 })
    const prometheus = await startPrometheus(scrapeConfig(new URL(whole.url).host))
    try {
      // Values are there within 15 s of the start.
      const p99 = await eventually(prometheus, 'vllm_vitals_e2e_latency_seconds{quantile="0.99"}')
      assert.deepEqual(p99.map(({ metric }) => metric['window']).sort(), ['1h', '1m', '5m'])
      assert.deepEqual(await prometheus.query('scrape_samples_scraped == 0'), [])
      await assertSameSeries(prometheus, whole)
      await assertFleetQuantileWithinBounds(prometheus)
      await assertCountersGrow(prometheus)
    } finally {
      await prometheus.stop()
      await whole.stop()
    }
  })
})

async function eventually(prometheus: Prometheus, query: string): Promise<readonly Sample[]> {
  const lastMs = performance.now() + 15_000
  for (;;) {
    const found = await prometheus.query(query)
    if (found.length > 0) return found
    assert.ok(performance.now() < lastMs, `expected ${query} within 15 s, found nothing`)
    await delay(200)
  }
}

/** Each sample line of the page is a series in Prometheus, with the same labels and a known type. */
async function assertSameSeries(prometheus: Prometheus, whole: WholeDaemon): Promise<void> {
  const page = await (await fetch(`${whole.url}/metrics`)).text()
  await delay(1_500)
  const stored = await prometheus.query('{__name__=~"vllm_vitals_.+"}')
  const names = new Set(stored.map(({ metric }) => metric['__name__']))
  const lines = page.split('\n').filter((line) => line.startsWith('vllm_vitals_'))
  const served = new Set(lines.map((line) => /^[a-z0-9_]+/.exec(line)?.[0]))
  assert.ok(lines.length > 250, `expected more than 250 samples, found ${lines.length}`)
  assert.deepEqual([...served].filter((name) => !names.has(name)).sort(), [])
  assert.ok(Math.abs(stored.length - lines.length) <= 5, `${stored.length} of ${lines.length}`)
  const info = stored.filter(({ metric }) => metric['__name__'] === 'vllm_vitals_gpu_info')
  assert.equal(info.length, 2)
  assert.ok(stored.every(({ value }) => !Number.isNaN(value)))
}

/** What Prometheus makes of the merged histogram lies in the bucket that the daemon says holds the truth. */
async function assertFleetQuantileWithinBounds(prometheus: Prometheus): Promise<void> {
  const atSeconds = Date.now() / 1_000
  const one = async (query: string) => (await prometheus.query(query, atSeconds))[0]
  const merged = 'sum by (le) (vllm_vitals_ttft_merged_seconds_bucket)'
  const own = 'target="vllm",quantile="0.5",window="1h"'
  const theirs = await one(`histogram_quantile(0.5, ${merged})`)
  const lower = await one(`vllm_vitals_ttft_lower_bound_seconds{${own}}`)
  const upper = await one(`vllm_vitals_ttft_upper_bound_seconds{${own}}`)
  const estimate = await one(`vllm_vitals_ttft_seconds{${own}}`)
  assert.ok(theirs && lower && upper && estimate)
  // Both speak of everything since the start; the window is longer than the test.
  assert.ok(theirs.value >= lower.value && theirs.value <= upper.value, `${theirs.value}`)
  assert.ok(estimate.value >= lower.value && estimate.value <= upper.value, `${estimate.value}`)
}

async function assertCountersGrow(prometheus: Prometheus): Promise<void> {
  for (const counter of ['requests_finished_total', 'requests_ended_total']) {
    assert.deepEqual(await prometheus.query(`resets(vllm_vitals_${counter}[1m]) > 0`), [])
  }
  const finished = await prometheus.query('sum(increase(vllm_vitals_requests_finished_total[1m]))')
  assert.ok((finished[0]?.value ?? 0) > 0)
}
