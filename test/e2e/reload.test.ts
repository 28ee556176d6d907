import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/schema.ts'
import { startWholeDaemon, type WholeDaemon } from './whole-daemon.ts'

let whole: WholeDaemon | undefined

afterEach(async () => {
  await whole?.stop()
  whole = undefined
})

/** A configuration with the given targets, and the simulator's pace. */
async function configOf(targets: unknown, more: Readonly<Record<string, unknown>> = {}) {
  const settings = {
    targets,
    'scrape.interval': '200ms',
    'scrape.timeout': '200ms',
    'scrape.max_overhead': 0,
    'gpu.enabled': false,
    ...more,
  }
  const flags = Object.entries(settings).map(([path, value]) => ({
    path: path.split('.'),
    value,
    origin: path,
  }))
  return (await loadConfig({ flags })).config
}

async function started(): Promise<{ whole: WholeDaemon; config: Config; url: string }> {
  const running = await startWholeDaemon({ scenario: 'steady' }, { 'gpu.enabled': false })
  whole = running
  const url = running.demo.targets[0]?.url ?? ''
  return { whole: running, config: await configOf(running.demo.targets), url }
}

async function totals(running: WholeDaemon, target: string): Promise<number | undefined> {
  const page = await (await fetch(`${running.url}/metrics`)).text()
  const name = `vllm_vitals_ttft_seconds_count{target="${target}"`
  const line = page.split('\n').find((one) => one.startsWith(name))
  return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ')))
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const lastMs = performance.now() + 10_000
  while (!(await condition())) {
    assert.ok(performance.now() < lastMs, 'expected the condition to come within 10 s')
    await delay(50)
  }
}

describe('a new configuration', () => {
  it('leaves a target that stays what it was its windows', async () => {
    const { whole: running, config } = await started()
    await until(async () => ((await totals(running, 'vllm')) ?? 0) >= 3)
    const before = (await totals(running, 'vllm')) ?? 0
    const notes = await running.daemon.apply({ ...config, windowsMs: [30_000] })
    assert.deepEqual(notes, [])
    await until(async () => {
      const page = await (await fetch(`${running.url}/metrics`)).text()
      return /window_observations\{[^}]*window="30s"\}/.test(page) && !page.includes('window="5m"')
    })
    assert.ok(((await totals(running, 'vllm')) ?? 0) >= before)
  })

  it('adds a target and takes one away with all that was known of it', async () => {
    const { whole: running, url } = await started()
    await until(async () => (await totals(running, 'vllm')) !== undefined)
    const other = url.replace('127.0.0.1', 'localhost')
    await running.daemon.apply(await configOf([{ name: 'second', url: other }]))
    await until(async () => (await totals(running, 'second')) !== undefined)
    assert.equal(await totals(running, 'vllm'), undefined)
    assert.equal((await fetch(`${running.url}/health?target=vllm`)).status, 404)
  })

  it('begins anew where a name is given to another server', async () => {
    const { whole: running, url } = await started()
    await until(async () => ((await totals(running, 'vllm')) ?? 0) >= 3)
    const other = url.replace('127.0.0.1', 'localhost')
    await running.daemon.apply(await configOf([{ name: 'vllm', url: other }]))
    await until(async () => ((await totals(running, 'vllm')) ?? 99) < 3)
  })

  it('is held against the bucket edges of the targets that go on', async () => {
    const { whole: running, config } = await started()
    const warnings = () =>
      running.logged().filter(({ msg }) => msg === 'threshold is no bucket edge')
    await until(async () => (await totals(running, 'vllm')) !== undefined)
    assert.deepEqual(warnings(), [])
    const thresholds = { ...config.thresholds, e2eLatencyP99Seconds: 3 }
    await running.daemon.apply({ ...config, thresholds })
    await until(async () => warnings().length > 0)
    assert.match(
      String(warnings()[0]?.['note']),
      /^thresholds\.e2e_latency_p99: 3 s is no bucket edge/,
    )
    await delay(500)
    assert.equal(warnings().length, 1)
  })

  it('says what takes a restart', async () => {
    const { whole: running, config } = await started()
    const listen = [{ host: '127.0.0.1', port: 1, text: '127.0.0.1:1' }]
    const changed = { ...config, web: { listen, enableLifecycle: true } }
    const notes = await running.daemon.apply(changed)
    assert.equal(notes.length, 2)
    assert.match(notes[0] ?? '', /^web\.listen has changed/)
    assert.match(notes[1] ?? '', /^web\.enable_lifecycle has changed/)
  })

  it('can come a thousand times, and the last one counts', async () => {
    const { whole: running, config, url } = await started()
    const other = url.replace('127.0.0.1', 'localhost')
    for (let round = 0; round < 1_000; round += 1) {
      const names = round % 2 === 0 ? [{ name: 'b', url: other }] : []
      const targets = [
        ...config.targets,
        ...names.map((one) => ({
          ...one,
          auth: config.targets[0]?.auth ?? { kind: 'none' as const },
        })),
      ]
      await running.daemon.apply({ ...config, targets })
    }
    await until(async () => (await totals(running, 'vllm')) !== undefined)
    assert.equal(await totals(running, 'b'), undefined)
    assert.equal(running.daemon.alive(), true)
  })

  it('shows in a metric when it was refused', async () => {
    const { whole: running } = await started()
    running.daemon.reloadFailed()
    await until(async () => {
      const page = await (await fetch(`${running.url}/metrics`)).text()
      return page.includes('vllm_vitals_config_last_reload_successful 0')
    })
  })
})
