import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { parse } from 'yaml'
import { type ScrapedPage, storeScrapes } from '../../fakes/backfill.ts'
import { type Prometheus, startPrometheus } from '../../fakes/prometheus.ts'
import { findProgram } from '../../repository.ts'
import { folders } from '../checked-in.ts'
import { type Board, boardsOf, filledIn, type Panel } from './boards.ts'

const skip =
  findProgram('promtool') === undefined || findProgram('prometheus') === undefined
    ? 'promtool and prometheus are not on PATH'
    : false

const atSeconds = Date.UTC(2026, 10, 25) / 1_000
const gib = 2 ** 30

/** What one daemon says: no two numbers are equal, so that each can be told from all others. */
const page = `
vllm_vitals_health_status{target="vllm",status="healthy"} 0
vllm_vitals_health_status{target="vllm",status="degraded"} 1
vllm_vitals_health_status{target="vllm",status="unhealthy"} 0
vllm_vitals_health_status{target="vllm",status="unknown"} 0
vllm_vitals_up{target="vllm"} 1
vllm_vitals_up{target="gpu"} 0
vllm_vitals_last_success_timestamp_seconds{target="vllm"} ${atSeconds - 7}
vllm_vitals_alert_active{alertname="VllmLatencyP99High",severity="critical",target="vllm",model_name="llama",uuid="",state="firing"} 1
vllm_vitals_alert_active{alertname="VllmQueueWaitHigh",severity="warning",target="vllm",model_name="llama",uuid="",state="pending"} 1
${[50, 95, 99]
  .map((p) => {
    const labels = `target="vllm",model_name="llama",window="5m",quantile="${p / 100}"`
    return `vllm_vitals_e2e_latency_lower_bound_seconds{${labels}} ${p}.1
vllm_vitals_e2e_latency_seconds{${labels}} ${p}.2
vllm_vitals_e2e_latency_upper_bound_seconds{${labels}} ${p}.3`
  })
  .join('\n')}
vllm_vitals_requests_running{target="vllm",model_name="llama"} 12
vllm_vitals_requests_waiting{target="vllm",model_name="llama"} 34
vllm_vitals_requests_waiting_max{target="vllm",model_name="llama",window="5m"} 56
vllm_vitals_generation_tokens_per_second{target="vllm",model_name="llama",window="5m"} 700
vllm_vitals_prompt_tokens_per_second{target="vllm",model_name="llama",window="5m"} 800
vllm_vitals_error_ratio{target="vllm",window="5m"} 0.01
vllm_vitals_error_ratio_upper_bound{target="vllm",window="5m"} 0.02
vllm_vitals_gpu_memory_used_bytes{gpu="0",uuid="GPU-7"} ${70 * gib}
vllm_vitals_gpu_memory_planned_bytes{gpu="0",uuid="GPU-7"} ${72 * gib}
vllm_vitals_gpu_memory_total_bytes{gpu="0",uuid="GPU-7"} ${80 * gib}
vllm_vitals_gpu_temperature_celsius{gpu="0",uuid="GPU-7"} 61
vllm_vitals_gpu_power_draw_watts{gpu="0",uuid="GPU-7"} 400
vllm_vitals_gpu_power_limit_watts{gpu="0",uuid="GPU-7"} 700
vllm_vitals_gpus 1
vllm_vitals_gpu_lost{gpu="0",uuid="GPU-7"} 0
slo:vllm_vitals_latency_budget_remaining:ratio{model_name="llama"} 0.25
slo:vllm_vitals_latency_budget_remaining:ratio{model_name="qwen"} 0.75
`

/** A daemon that answers, and two that do not. */
const pages: readonly ScrapedPage[] = [
  { instance: 'gpu-1:19400', atMs: 1_000 * atSeconds, page },
  { instance: 'gpu-2:19400', atMs: 1_000 * atSeconds },
  { instance: 'gpu-3:19400', atMs: 1_000 * atSeconds },
]

/** What each panel shows: its values in the order of its queries, and of what a query finds. */
const shown: readonly (readonly [
  board: string,
  panel: string,
  unit: string,
  values: readonly number[],
])[] = [
  // Degraded is 1 of healthy, degraded, unknown and unhealthy.
  ['vllm-vitals-host', 'Health', 'short', [1]],
  // One of the three daemons answers.
  ['vllm-vitals-host', 'Daemon', 'short', [0, 0, 1]],
  ['vllm-vitals-host', 'Age of the data', 's', [7]],
  [
    'vllm-vitals-host',
    'End to end ($window)',
    's',
    // Lower bound, upper bound and estimate of p50, p95 and p99.
    [50.1, 50.3, 50.2, 95.1, 95.3, 95.2, 99.1, 99.3, 99.2],
  ],
  ['vllm-vitals-host', 'Requests running and waiting', 'short', [12, 34, 56]],
  ['vllm-vitals-host', 'Tokens per second ($window)', 'suffix: tok/s', [700, 800]],
  ['vllm-vitals-host', 'Share of failed requests ($window)', 'percentunit', [0.01, 0.02]],
  ['vllm-vitals-host', 'GPU memory: used, planned, total', 'bytes', [70 * gib, 72 * gib, 80 * gib]],
  ['vllm-vitals-host', 'GPU temperature', 'celsius', [61]],
  ['vllm-vitals-host', 'GPU power', 'watt', [400, 700]],
  ['vllm-vitals-host', 'GPUs seen and lost', 'short', [1, 0]],
  ['vllm-vitals-fleet', 'Daemons not scraped', 'short', [2]],
  ['vllm-vitals-fleet', 'Alerts firing', 'short', [1]],
  // The GPUs cannot be read.
  ['vllm-vitals-fleet', 'Targets not read', 'short', [1]],
  ['vllm-vitals-fleet', 'Requests running and waiting', 'short', [12, 34]],
  ['vllm-vitals-slo', 'Latency budget left', 'percentunit', [0.25, 0.75]],
]

describe('the panels, over a history whose numbers are known', { skip, timeout: 60_000 }, () => {
  let folder = ''
  let boards: readonly Board[] = []
  let prometheus: Prometheus | undefined

  before(async () => {
    boards = await boardsOf()
    folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-values-'))
    const data = await storeScrapes(folder, pages)
    prometheus = await startPrometheus('global: { scrape_interval: 1h }\n', data)
  })

  after(async () => {
    await prometheus?.stop()
    await rm(folder, { recursive: true, force: true })
  })

  const find = (uid: string, title: string): readonly [Board, Panel] => {
    const board = boards.find((one) => one.uid === uid)
    const panel = board?.panels.find((one) => one.title === title)
    assert.ok(board !== undefined && panel !== undefined, `${uid}: ${title}`)
    return [board, panel]
  }

  for (const [uid, title, unit, values] of shown) {
    it(`${uid}: ${title} shows what it says`, async () => {
      const [board, panel] = find(uid, title)
      const found: number[] = []
      for (const { expr } of panel.targets ?? []) {
        const samples = await prometheus?.query(filledIn(expr, board, {}), atSeconds)
        found.push(...(samples ?? []).map(({ value }) => value).sort((a, b) => a - b))
      }
      assert.deepEqual(found, values)
      assert.equal(panel.fieldConfig?.defaults.unit, unit)
    })
  }

  it('name each status with its number, and the daemons that do not answer', async () => {
    const [fleet, panel] = find('vllm-vitals-fleet', 'Targets by status')
    const [target] = panel.targets ?? []
    const samples = await prometheus?.query(filledIn(target?.expr ?? '', fleet, {}), atSeconds)
    const counts = Object.fromEntries(
      (samples ?? []).map(({ metric, value }) => [metric['status'], value]),
    )
    assert.deepEqual(counts, { healthy: 0, degraded: 1, unhealthy: 0, unknown: 0 })
    const [, names] = find('vllm-vitals-fleet', 'Daemons not scraped, by name')
    const down = await prometheus?.query(
      filledIn(names.targets?.[0]?.expr ?? '', fleet, {}),
      atSeconds,
    )
    assert.deepEqual(down?.map(({ metric }) => metric['instance']).sort(), [
      'gpu-2:19400',
      'gpu-3:19400',
    ])
  })
})

describe('the thresholds of the panels', () => {
  it('follow every setting of the configuration that a panel shows', async () => {
    const unusual = {
      'thresholds.e2e_latency_p99': '41s',
      'thresholds.queue_time_p95': '42s',
      'thresholds.ttft_p99': '43s',
      'thresholds.error_ratio': 0.044,
      'thresholds.gpu_utilization_ratio': 0.45,
      'thresholds.gpu_memory_ratio': 0.46,
      'thresholds.generation_tokens_per_second_min': 47,
    }
    const boards = await boardsOf(unusual)
    const host = boards.find(({ uid }) => uid === 'vllm-vitals-host')
    const share = host?.panels.find(({ title }) => title === 'GPU memory in use, share')
    assert.deepEqual(
      share?.fieldConfig?.defaults.thresholds?.steps.map(({ value }) => value),
      [null, 0.46],
    )
    const text = JSON.stringify(boards)
    const steps = new Set(
      [...text.matchAll(/"value":(-?[\d.]+)/g)].map(([, value]) => Number(value)),
    )
    for (const value of [41, 42, 43, 0.044, 0.45, 0.46, 47]) assert.ok(steps.has(value), `${value}`)
  })
})

describe('the provisioning files', () => {
  const read = (path: string) => parse(readFileSync(join(folders.grafana, path), 'utf8'))

  it('have Grafana read the dashboards from a folder', () => {
    const { apiVersion, providers } = read('provisioning/dashboards/vllm-vitals.yaml')
    assert.equal(apiVersion, 1)
    assert.deepEqual(
      providers.map((one: { type: string; options: { path: string } }) => [
        one.type,
        one.options.path,
      ]),
      [['file', '/var/lib/grafana/dashboards/vllm-vitals']],
    )
  })

  it('have it ask a Prometheus whose address is not written down, nor its uid', () => {
    const { apiVersion, datasources } = read('provisioning/datasources/prometheus.yaml')
    assert.equal(apiVersion, 1)
    const [{ type, access, url, uid }, ...others] = datasources
    assert.deepEqual(
      [type, access, url, uid],
      ['prometheus', 'proxy', '$PROMETHEUS_URL', undefined],
    )
    assert.equal(others.length, 0)
  })
})
