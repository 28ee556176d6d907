import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { startWholeDaemon, type WholeDaemon } from './whole-daemon.ts'

interface Health {
  readonly status: string
  readonly targets: readonly {
    readonly state: string
    readonly status: string
    readonly reasons: readonly Reason[]
  }[]
  readonly gpus: readonly { readonly status: string; readonly reasons: readonly Reason[] }[]
}

interface Reason {
  readonly alert: string
  readonly severity: string
  readonly summary: string
  readonly evidence: Readonly<Record<string, number>>
}

/** The incident of a scenario, seen from `/health`, with alerts that fire at once. */
async function during(
  scenario: string,
  alert: string,
  check: (whole: WholeDaemon) => Promise<void>,
): Promise<void> {
  const whole = await startWholeDaemon({ scenario }, { alerts: { [alert]: { for: '0s' } } })
  try {
    await check(whole)
  } finally {
    await whole.stop()
  }
}

/** Asks `/health` until it says what is wanted. */
async function healthWhere(
  whole: WholeDaemon,
  wanted: (health: Health) => boolean,
  withinMs: number,
): Promise<{ readonly code: number; readonly health: Health }> {
  const lastMs = performance.now() + withinMs
  for (;;) {
    const response = await fetch(`${whole.url}/health`)
    const health = (await response.json()) as Health
    if (wanted(health)) return { code: response.status, health }
    const shown = JSON.stringify(health)
    assert.ok(performance.now() < lastMs, `expected another answer in ${withinMs} ms: ${shown}`)
    await delay(100)
  }
}

async function metric(whole: WholeDaemon, name: string): Promise<readonly number[]> {
  const page = await (await fetch(`${whole.url}/metrics`)).text()
  const samples = page.split('\n').filter((line) => line.startsWith(name))
  return samples.map((line) => Number(line.slice(line.lastIndexOf(' '))))
}

describe('the whole daemon beside the simulator', { concurrency: true, timeout: 90_000 }, () => {
  it('tells failed requests, and stays in service', async () => {
    await during('errors', 'VllmErrorRatioHigh', async (whole) => {
      const { code, health } = await healthWhere(
        whole,
        ({ status }) => status === 'degraded',
        30_000,
      )
      assert.equal(code, 200)
      const [reason] = health.targets[0]?.reasons ?? []
      assert.equal(reason?.alert, 'VllmErrorRatioHigh')
      assert.match(reason?.summary ?? '', /^\d[\d.]* % of \d+ requests failed in the last 5 m/)
      const { error_ratio = 0, failed = 0, requests = 0 } = reason?.evidence ?? {}
      assert.equal(error_ratio, failed / requests)
      assert.equal((await fetch(`${whole.url}/health?fail_on=degraded`)).status, 503)
    })
  })

  it('tells a GPU that fell off the bus, and keeps the target in service', async () => {
    await during('gpu-lost', 'VllmGpuLost', async (whole) => {
      await healthWhere(whole, ({ gpus }) => gpus.length === 2, 10_000)
      const isLost = ({ gpus }: Health) => gpus.some(({ status }) => status === 'degraded')
      const { code, health } = await healthWhere(whole, isLost, 40_000)
      assert.equal(code, 200)
      assert.equal(health.status, 'degraded')
      assert.equal(health.targets[0]?.status, 'healthy')
      assert.deepEqual(
        health.gpus.flatMap(({ reasons }) => reasons.map(({ alert }) => alert)),
        ['VllmGpuLost'],
      )
      assert.deepEqual(await metric(whole, 'vllm_vitals_gpus '), [1])
    })
  })

  it('tells an engine that died, and lives on itself', async () => {
    await during('restart', 'VllmDown', async (whole) => {
      await healthWhere(whole, ({ status }) => status === 'healthy', 10_000)
      const { code, health } = await healthWhere(
        whole,
        ({ status }) => status === 'unhealthy',
        60_000,
      )
      assert.equal(code, 503)
      assert.equal(health.targets[0]?.state, 'down')
      assert.equal((await fetch(`${whole.url}/livez`)).status, 200)
      assert.equal((await fetch(`${whole.url}/readyz`)).status, 200)
      // The gauges of the instant are gone once it cannot be read; what was counted stays.
      await healthWhere(whole, ({ targets }) => targets[0]?.state === 'down', 1_000)
      const isRefused = async () => (await metric(whole, 'vllm_vitals_up{target="vllm"}'))[0] === 0
      while (!(await isRefused())) await delay(100)
      assert.deepEqual(await metric(whole, 'vllm_vitals_requests_running{'), [])
      const [finished = 0] = await metric(whole, 'vllm_vitals_requests_finished_total{')
      assert.ok(finished > 0)
      const alerts = whole.logged().filter(({ msg }) => msg === 'alert is firing')
      assert.equal(alerts.length, 1)
    })
  })
})
