import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { findScenario } from '../../../src/demo/scenarios.ts'
import { leaking } from '../../e2e/told-scenarios.ts'
import { startWholeDaemon } from '../../e2e/whole-daemon.ts'
import type { Prometheus } from '../../fakes/prometheus.ts'
import { findProgram } from '../../repository.ts'
import { type Board, boardsOf, type Chosen, filledIn, questionsOf, sourceOf } from './boards.ts'
import { seriesOf, startFilledPrometheus } from './filled-prometheus.ts'
import { asHistory, type Life, live, many } from './told-history.ts'

const isMissing = ['prometheus', 'promtool'].find((name) => findProgram(name) === undefined)
const skip = isMissing === undefined ? false : `${isMissing} is not on PATH`

const scenarios = (...names: readonly string[]) => names.map(findScenario)

/** Between them, something of everything that a panel can show happens to these three hosts. */
const watchHosts = () =>
  Promise.all([
    live({
      instance: 'host-a:19400',
      scenarios: scenarios('throttling', 'overload', 'errors'),
      from: -60,
      to: 240,
      every: 10,
    }),
    live({
      instance: 'host-b:19400',
      scenarios: scenarios('gpu-lost', 'restart', 'acceptance-collapse'),
      from: -60,
      to: 160,
      every: 10,
    }),
    live({
      instance: 'host-c:19400',
      scenarios: [leaking({ mib: 1_600, from: 0, until: 3_600 })],
      from: -120,
      to: 3_240,
      every: 120,
      windows: ['5m', '1h'],
    }),
  ])

let watched: ReturnType<typeof watchHosts> | undefined

/** They are watched once, for all tests. */
function hosts(): ReturnType<typeof watchHosts> {
  watched ??= watchHosts()
  return watched
}

/** Another process that is scraped in the same job as the daemons. */
const exporter: Life = {
  instance: 'exporter:9100',
  pages: [0, 10, 20].map((atSeconds) => ({
    atSeconds,
    text: `process_resident_memory_bytes 1e9\nprocess_cpu_seconds_total ${atSeconds}\nprocess_start_time_seconds ${atSeconds}`,
  })),
}

/** What an alert has to ring for, a card to run hot for or a server to die for: empty is good, and nothing to worry. */
const goodWhenEmpty = [
  'vllm-vitals-host: Reasons: alerts pending and firing: A',
  'vllm-vitals-host: Prefix cache hits and accepted guesses ($window): B',
  'vllm-vitals-host: GPU memory growth: A',
  'vllm-vitals-host: Time until the GPU memory is full: A',
  'vllm-vitals-host: Failed readings by code: A',
  'vllm-vitals-host: annotation Alerts',
  'vllm-vitals-host: annotation Restarts of vLLM',
  'vllm-vitals-host: annotation Restarts of the daemon',
  'vllm-vitals-fleet: Reasons: alerts pending and firing: A',
  'vllm-vitals-fleet: Daemons not scraped, by name: A',
  'vllm-vitals-fleet: Memory soonest full: A',
  'vllm-vitals-fleet: GPUs lost or throttled: A',
  'vllm-vitals-fleet: annotation Restarts of vLLM',
  'vllm-vitals-fleet: annotation Restarts of the daemon',
  'vllm-vitals-slo: annotation Restarts of vLLM',
  'vllm-vitals-slo: annotation Restarts of the daemon',
]

describe('the queries of the dashboards, at a real Prometheus', { skip, timeout: 120_000 }, () => {
  it('return something, of hosts in trouble and of the demonstration that is scraped', async () => {
    const boards = await boardsOf()
    const [whole, lives] = await Promise.all([
      startWholeDaemon(
        { scenario: 'steady' },
        { 'scrape.interval': '1s', 'scrape.timeout': '900ms' },
      ),
      hosts(),
    ])
    const address = new URL(whole.url).host
    const endSeconds = Math.floor(Date.now() / 1_000) - 2
    const prometheus = await startFilledPrometheus({
      history: asHistory([...lives, exporter], {
        endSeconds,
        restarted: ['host-b:19400', exporter.instance],
      }),
      // Nobody listens at the second.
      addresses: [address, '127.0.0.1:1'],
    })
    try {
      await untilRecorded(prometheus)
      assert.deepEqual(await emptyOnes(prometheus, boards, {}), [])
      await assertFull(prometheus, boards, address)
      const [up] = await prometheus.query(`vllm_vitals_up{instance="${address}",target="vllm"}`)
      assert.equal(up?.value, 1)
      await assertOnlyDaemons(prometheus, boards)
      await assertVariables(prometheus, boards, address)
    } finally {
      await prometheus.stop()
      await whole.stop()
    }
  })
})

describe('the dashboards of 200 targets that are all in trouble', {
  skip,
  timeout: 120_000,
}, () => {
  it('draw no more than can be told apart, on every board', async () => {
    const [busy, , leak] = await hosts()
    const more = (leak?.pages.at(-1)?.text ?? '')
      .split('\n')
      .filter((line) => /^vllm_vitals_gpu_memory_(growth|seconds)/.test(line))
    assert.equal(more.length, 2)
    assert.ok(busy !== undefined)
    const endSeconds = Math.floor(Date.now() / 1_000) - 2
    const lives = many(200, busy, { target: 'target="b"', more })
    const prometheus = await startFilledPrometheus({
      history: asHistory(lives, { endSeconds, restarted: [] }),
      addresses: [],
    })
    try {
      await until(prometheus, 'count(slo:vllm_vitals_errors_budget_remaining:ratio) == 200')
      await until(prometheus, 'count(model:vllm_vitals_requests:rate5m) == 200')
      const toSeconds = Date.now() / 1_000
      const span = { fromSeconds: toSeconds - 3_600, toSeconds }
      const drawn = new Map<string, number>()
      for (const board of await boardsOf()) {
        for (const question of questionsOf(board)) {
          const filled = { ...question, expr: filledIn(question.expr, board, {}) }
          const { length: count } = await seriesOf(prometheus, filled, span)
          assert.ok(count <= 20, `${question.where}: ${count}`)
          drawn.set(question.panel, (drawn.get(question.panel) ?? 0) + count)
        }
      }
      // A panel of a host has as many as three lines for each of its GPUs.
      const crowded = [...drawn].filter(([panel, count]) => !panel.includes('host') && count > 50)
      assert.deepEqual(crowded, [])
      assert.equal(drawn.get('vllm-vitals-fleet: Least healthy'), 20)
      assert.equal(drawn.get('vllm-vitals-fleet: End to end, all targets'), 30)
      const alerts = await prometheus.query('count(vllm_vitals_alert_active{state="firing"})')
      assert.ok((alerts[0]?.value ?? 0) >= 400)
    } finally {
      await prometheus.stop()
    }
  })
})

/** Waits until the last of the rules has been evaluated on the first scrape of the demonstration. */
async function untilRecorded(prometheus: Prometheus): Promise<void> {
  const wanted = [
    'vllm_vitals_e2e_latency_seconds{target="vllm",window="5m"}',
    'slo:vllm_vitals_errors_budget_remaining:ratio{target="vllm"}',
    'model:vllm_vitals_e2e_latency_seconds:quantile_rate5m',
    'ALERTS{alertname="VllmLatencyBudgetBurn"}',
    'up == 0',
    // A rate is taken between two scrapes.
    'count_over_time(up[1m]) > 2 and up{instance!~"host-.*"} == 1',
  ]
  for (const expression of wanted) await until(prometheus, expression)
}

async function until(prometheus: Prometheus, expression: string): Promise<void> {
  const lastMs = performance.now() + 40_000
  while ((await prometheus.query(expression)).length === 0) {
    assert.ok(performance.now() < lastMs, `expected ${expression} within 40 s, found nothing`)
    await delay(200)
  }
}

/** The demonstration alone fills every panel but those that are empty where all is well. */
async function assertFull(
  prometheus: Prometheus,
  boards: readonly Board[],
  address: string,
): Promise<void> {
  const lastMs = performance.now() + 15_000
  for (;;) {
    const empty = await emptyOnes(prometheus, boards, { instance: [address] })
    const wrong = empty.filter((where) => !goodWhenEmpty.includes(where))
    if (wrong.length === 0) return
    // On a busy machine a reading may fail, and with it go the gauges of that instant.
    if (performance.now() > lastMs) assert.deepEqual(wrong, [])
    await delay(500)
  }
}

/** Which queries answer with nothing when `chosen` is, at what time soever of the last hour. */
async function emptyOnes(
  prometheus: Prometheus,
  boards: readonly Board[],
  chosen: Chosen,
): Promise<readonly string[]> {
  const toSeconds = Date.now() / 1_000
  const span = { fromSeconds: toSeconds - 3_600, toSeconds }
  const empty: string[] = []
  for (const board of boards) {
    for (const question of questionsOf(board)) {
      const filled = { ...question, expr: filledIn(question.expr, board, chosen) }
      if ((await seriesOf(prometheus, filled, span)).length === 0) empty.push(question.where)
    }
  }
  return empty
}

/** Nothing is shown of what else is scraped, in the same job or in others. */
async function assertOnlyDaemons(prometheus: Prometheus, boards: readonly Board[]): Promise<void> {
  const toSeconds = Date.now() / 1_000
  const span = { fromSeconds: toSeconds - 3_600, toSeconds }
  for (const board of boards) {
    for (const question of questionsOf(board)) {
      const filled = { ...question, expr: filledIn(question.expr, board, {}) }
      const instances = (await seriesOf(prometheus, filled, span)).map(({ instance }) => instance)
      const isOfUp = question.expr.includes('(up{')
      if (!isOfUp) assert.ok(!instances.includes('exporter:9100'), question.where)
      assert.ok(!instances.includes('127.0.0.1:2'), question.where)
    }
  }
}

/** Each variable offers what there is, narrowed by those before it. */
async function assertVariables(
  prometheus: Prometheus,
  boards: readonly Board[],
  address: string,
): Promise<void> {
  for (const board of boards) {
    const offered = async (name: string, chosen: Chosen) => {
      const variable = board.templating.list.find((one) => one.name === name)
      assert.ok(variable !== undefined)
      const { series, label } = sourceOf(variable)
      const found = await prometheus.query(filledIn(series, board, chosen))
      return [...new Set(found.map(({ metric }) => metric[label]))].sort()
    }
    const all = [address, 'host-a:19400', 'host-b:19400', 'host-c:19400'].sort()
    assert.deepEqual(await offered('job', {}), ['vllm-vitals'], board.uid)
    assert.deepEqual(await offered('instance', { job: ['vllm-vitals'] }), all, board.uid)
    assert.deepEqual(await offered('instance', { job: ['vllm'] }), [], board.uid)
    assert.deepEqual(await offered('target', { instance: [address] }), ['vllm'], board.uid)
    assert.deepEqual(await offered('target', { instance: ['host-a:19400'] }), ['a', 'b', 'c'])
    const models = await offered('model', { instance: ['host-a:19400'], target: ['a'] })
    assert.deepEqual(models, ['Qwen/Qwen2.5-32B-Instruct'])
  }
}
