import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import type { Scenario } from '../../src/demo/scenario.ts'
import { findScenario } from '../../src/demo/scenarios.ts'
import { ruleGroups } from '../../src/generate/prometheus.ts'
import type { RecordingRule } from '../../src/generate/rule-group.ts'
import { configOf } from '../config/with-file.ts'
import { startToldDaemon } from '../e2e/told-daemon.ts'
import { type ScrapedPage, storeScrapes } from '../fakes/backfill.ts'
import { startPrometheus } from '../fakes/prometheus.ts'
import { findProgram } from '../repository.ts'
import { complaintsOf, type RuleTest } from './rule-tests.ts'

const skip =
  findProgram('promtool') === undefined || findProgram('prometheus') === undefined
    ? 'promtool and prometheus are not on PATH'
    : false

const config = await configOf({})

/** Requests each second: a host at night, one by day, and one that is asked for more than its eleven. */
const loads = { 'gpu-1:19400': 0.5, 'gpu-2:19400': 5, 'gpu-3:19400': 13 }

const watchedFor = 780
const spanSeconds = 300

interface Host {
  readonly pages: readonly ScrapedPage[]
  /** When each request ended, on the scenario's clock, and how long it had taken. */
  readonly finished: readonly { readonly at: number; readonly seconds: number }[]
}

/** Lets a host work under `perSecond` for a while, scraped every 15 seconds. */
async function hostUnder(perSecond: number, instance: string): Promise<Host> {
  const steady = findScenario('steady')
  const traffic = { ...steady.traffic, arrivals: [{ atSeconds: 0, perSecond }] }
  const scenario: Scenario = { ...steady, traffic }
  const daemon = await startToldDaemon({ scenarios: [scenario], from: 0, every: 15 })
  try {
    const sights = await daemon.passTo(watchedFor)
    const finished = daemon
      .drainTruth()
      .flatMap((truth) => truth.finished)
      .map(({ atMs, e2eSeconds }) => ({ at: atMs / 1_000, seconds: e2eSeconds }))
    return {
      pages: sights.map(({ wallMs, page }) => ({ instance, atMs: wallMs, page })),
      finished,
    }
  } finally {
    await daemon.stop()
  }
}

/** The expression of a recording rule in which every other record stands with its own expression. */
function expressionOf(record: string, quantile: string): string {
  const records = ruleGroups(config)
    .flatMap(({ rules }) => rules)
    .filter((rule): rule is RecordingRule => 'record' in rule)
  const found = records.find(
    (rule) => rule.record === record && rule.labels?.['quantile'] === quantile,
  )
  let expression = found?.expr ?? ''
  for (const other of records) expression = expression.replaceAll(other.record, `(${other.expr})`)
  return expression
}

/** The observation of rank ⌈q·n⌉. */
function quantileOf(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(Math.ceil(q * sorted.length), 1) - 1] ?? Number.NaN
}

describe('the quantiles of a fleet', () => {
  it('come near the truth of three hosts under different loads, where the average of their p99s does not', {
    skip,
    timeout: 120_000,
  }, async (context: TestContext) => {
    const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-fleet-'))
    try {
      const hosts = await Promise.all(
        Object.entries(loads).map(([instance, load]) => hostUnder(load, instance)),
      )
      const pages = hosts.flatMap((host) => host.pages)
      const data = await storeScrapes(folder, pages)
      const prometheus = await startPrometheus('global: { scrape_interval: 1h }\n', data)
      try {
        const last = Math.max(...pages.map(({ atMs }) => atMs)) / 1_000
        const one = async (query: string) => (await prometheus.query(query, last))[0]?.value ?? -1
        const truth = quantileOf(
          hosts
            .flatMap(({ finished }) => finished)
            .filter(({ at }) => at > watchedFor - spanSeconds && at <= watchedFor)
            .map(({ seconds }) => seconds),
          0.99,
        )
        const fleet = await one(
          expressionOf('model:vllm_vitals_e2e_latency_seconds:quantile_rate5m', '0.99'),
        )
        const averaged = await one(
          'avg(vllm_vitals_e2e_latency_seconds{window="5m",quantile="0.99"})',
        )
        const figure = (seconds: number) =>
          `${seconds.toFixed(1)} s (${(100 * (seconds / truth - 1)).toFixed(0)} %)`
        context.diagnostic(
          `p99 of three hosts: truth ${truth.toFixed(1)} s, fleet rule ${figure(fleet)}, average of p99s ${figure(averaged)}`,
        )
        // A straight line inside one bucket cannot leave it: 40 to 50 s, and the truth lies in it too.
        assert.ok(truth > 40 && truth <= 50, `${truth}`)
        assert.ok(fleet > 40 && fleet <= 50, `${fleet}`)
        assert.ok(averaged < 30, `${averaged}`)
      } finally {
        await prometheus.stop()
      }
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })

  it('are left out without requests, and sums are 0', { skip }, async () => {
    const at = 'instance="gpu-1:19400",job="vllm-vitals",target="vllm",model_name="llama"'
    const test: RuleTest = {
      name: 'idle',
      interval: '30s',
      input_series: [
        { series: `vllm_vitals_ttft_merged_seconds_bucket{${at},le="1.0"}`, values: '7+0x20' },
        { series: `vllm_vitals_ttft_merged_seconds_bucket{${at},le="+Inf"}`, values: '7+0x20' },
        { series: `vllm_vitals_generation_tokens_total{${at}}`, values: '7+0x20' },
      ],
      promql_expr_test: [
        {
          expr: 'model:vllm_vitals_ttft_seconds:quantile_rate5m',
          eval_time: '10m',
          exp_samples: [],
        },
        {
          expr: 'model:vllm_vitals_generation_tokens:rate5m',
          eval_time: '10m',
          exp_samples: [
            {
              labels:
                'model:vllm_vitals_generation_tokens:rate5m{job="vllm-vitals",model_name="llama"}',
              value: 0,
            },
          ],
        },
      ],
    }
    assert.equal(await complaintsOf(config, [test]), '')
  })

  it('add up hosts by model, and never average', { skip }, async () => {
    const of = (host: string, le: string) =>
      `vllm_vitals_e2e_latency_merged_seconds_bucket{instance="${host}",job="vllm-vitals",target="vllm",model_name="llama",le="${le}"}`
    // In a minute one host has 99 requests of at most 1 s, the other 1 above 10 s and at most 20 s: rank 99 of 100 is the
    // upper end of the first bucket.
    const test: RuleTest = {
      name: 'two hosts',
      interval: '30s',
      input_series: [
        ...['1.0', '10.0', '20.0', '+Inf'].map((le) => ({
          series: of('a', le),
          values: '0+49.5x20',
        })),
        { series: of('b', '1.0'), values: '0+0x20' },
        { series: of('b', '10.0'), values: '0+0x20' },
        { series: of('b', '20.0'), values: '0+0.5x20' },
        { series: of('b', '+Inf'), values: '0+0.5x20' },
      ],
      promql_expr_test: [
        {
          expr: 'round(model:vllm_vitals_e2e_latency_seconds:quantile_rate5m{quantile="0.99"}, 0.001)',
          eval_time: '8m',
          exp_samples: [
            {
              labels: '{job="vllm-vitals",model_name="llama",quantile="0.99"}',
              value: 1,
            },
          ],
        },
      ],
    }
    assert.equal(await complaintsOf(config, [test]), '')
  })

  it('take only the edges that all servers of a model have', { skip }, async () => {
    const of = (host: string, le: string) =>
      `vllm_vitals_e2e_latency_merged_seconds_bucket{instance="${host}",job="vllm-vitals",target="vllm",model_name="llama",le="${le}"}`
    const series = (host: string, counts: Readonly<Record<string, number>>) =>
      Object.entries(counts).map(([le, count]) => ({
        series: of(host, le),
        values: `0+${count}x20`,
      }))
    // An old server knows nothing between 10 and 60 s, a new one does: 98 of its 100 requests took 4 s and 2 took 25 s. In
    // what both have, ranks 99 and 100 lie between 10 and 60 s, and rank 99 is half of the way.
    const test: RuleTest = {
      name: 'two versions',
      interval: '30s',
      input_series: [
        ...series('old', { '10.0': 0, '60.0': 0, '+Inf': 0 }),
        ...series('new', { '5.0': 49, '10.0': 49, '30.0': 50, '60.0': 50, '+Inf': 50 }),
      ],
      promql_expr_test: [
        {
          expr: 'round(model:vllm_vitals_e2e_latency_seconds:quantile_rate5m{quantile="0.99"}, 0.001)',
          eval_time: '8m',
          exp_samples: [
            { labels: '{job="vllm-vitals",model_name="llama",quantile="0.99"}', value: 35 },
          ],
        },
        {
          expr: 'count by (le) (model_le:vllm_vitals_e2e_latency_merged_seconds_bucket:rate5m)',
          eval_time: '8m',
          exp_samples: ['10.0', '60.0', '+Inf'].map((le) => ({
            labels: `{le="${le}"}`,
            value: 1,
          })),
        },
      ],
    }
    assert.equal(await complaintsOf(config, [test]), '')
  })

  it('add up the requests, tokens and failures of two hosts', { skip }, async () => {
    const of = (family: string, host: string, more = '') =>
      `vllm_vitals_${family}{instance="${host}",job="vllm-vitals",target="vllm"${more}}`
    const llama = ',model_name="llama"'
    // Each half minute: 30 and 60 requests, 300 and 900 tokens out, 1,500 and 3,000 in; 3 of 30 and, the larger of two
    // counts, 6 of 60 failed. Nobody can tell failures of a third host.
    const counters: readonly (readonly [string, number])[] = [
      [of('requests_finished_total', 'a', `${llama},reason="stop"`), 30],
      [of('requests_finished_total', 'b', `${llama},reason="stop"`), 60],
      [of('generation_tokens_total', 'a', llama), 300],
      [of('generation_tokens_total', 'b', llama), 900],
      [of('prompt_tokens_total', 'a', llama), 1_500],
      [of('prompt_tokens_total', 'b', llama), 3_000],
      [of('requests_ended_total', 'a'), 30],
      [of('requests_ended_total', 'b'), 60],
      [of('requests_ended_total', 'c'), 900],
      [of('requests_failed_certain_total', 'a', ',reason="engine_error"'), 3],
      [of('requests_failed_certain_total', 'b', ',reason="engine_error"'), 2],
      [of('requests_failed_certain_total', 'b', ',reason="http_5xx"'), 6],
    ]
    const model = '{job="vllm-vitals",model_name="llama"}'
    // Each second: 90 ÷ 30, 1,200 ÷ 30 and 4,500 ÷ 30; 9 of 90 failed.
    const records: readonly (readonly [string, string, number])[] = [
      ['model:vllm_vitals_requests:rate5m', model, 3],
      ['model:vllm_vitals_generation_tokens:rate5m', model, 40],
      ['model:vllm_vitals_prompt_tokens:rate5m', model, 150],
      ['job:vllm_vitals_error:ratio_rate5m', '{job="vllm-vitals"}', 0.1],
    ]
    const test: RuleTest = {
      name: 'sums',
      interval: '30s',
      input_series: counters.map(([series, step]) => ({ series, values: `0+${step}x20` })),
      promql_expr_test: records.map(([record, labels, value]) => ({
        expr: `round(${record}, 0.0001)`,
        eval_time: '8m',
        exp_samples: [{ labels, value }],
      })),
    }
    assert.equal(await complaintsOf(config, [test]), '')
  })
})

describe('VllmVitalsDown', () => {
  const down = (instance: string) => ({
    exp_labels: { severity: 'critical', job: 'vllm-vitals', instance },
    exp_annotations: {
      summary: `the daemon on ${instance} does not answer: nobody watches vLLM`,
      description:
        'Prometheus cannot scrape the daemon, or has no job with vllm-vitals in its name. vLLM may be well, but no alert of it would ring. On the host: systemctl status vllm-vitals, journalctl -u vllm-vitals.',
      runbook_url: 'http://gpu-2:19400/runbooks/VllmVitalsDown',
    },
  })

  it('rings after two minutes without a scrape, with the runbook of another daemon, and ends', {
    skip,
  }, async () => {
    const at = (eval_time: string, rings: boolean) => ({
      eval_time,
      alertname: 'VllmVitalsDown',
      ...(rings ? { exp_alerts: [down('gpu-1:19400')] } : {}),
    })
    const test: RuleTest = {
      name: 'down',
      interval: '30s',
      input_series: [
        { series: 'up{job="vllm-vitals",instance="gpu-1:19400"}', values: '1x9 0x9 1x20' },
        { series: 'up{job="vllm-vitals",instance="gpu-2:19400"}', values: '1x60' },
        { series: 'up{job="node",instance="gpu-3:9100"}', values: '0x60' },
      ],
      // Down from 5 m on, up again from 10 m on.
      alert_rule_test: [
        at('4m30s', false),
        at('6m30s', false),
        at('7m', true),
        at('9m30s', true),
        at('10m', false),
      ],
    }
    assert.equal(await complaintsOf(config, [test]), '')
  })

  it('rings when no daemon is scraped at all, and takes the job of a monitor in Kubernetes for one', {
    skip,
  }, async () => {
    const absent = {
      exp_labels: { severity: 'critical' },
      exp_annotations: {
        ...down('').exp_annotations,
        summary: 'Prometheus scrapes no vllm-vitals: nobody watches vLLM',
        // A link to nowhere is none.
        runbook_url: '',
      },
    }
    const series = (job: string) => [{ series: `up{job="${job}",instance="h:1"}`, values: '1x20' }]
    const at = { eval_time: '5m', alertname: 'VllmVitalsDown' }
    const tests: readonly RuleTest[] = [
      {
        name: 'nobody',
        interval: '30s',
        input_series: series('node'),
        alert_rule_test: [{ ...at, exp_alerts: [absent] }],
      },
      {
        name: 'kubernetes',
        interval: '30s',
        input_series: series('monitoring/vllm-vitals'),
        alert_rule_test: [at],
      },
    ]
    assert.equal(await complaintsOf(config, tests), '')
  })
})
