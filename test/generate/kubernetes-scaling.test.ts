import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { parse, stringify } from 'yaml'
import { kvCacheQuery, queueWaitQuery } from '../../src/generate/kubernetes/scaling.ts'
import { findProgram } from '../repository.ts'
import { defaultManifests } from './kustomize.ts'

const files = await defaultManifests()
const read = (path: string) => {
  const file = files.find((one) => one.path === `components/${path}`)
  assert.ok(file, path)
  return parse(file.text)
}

interface Trigger {
  readonly type: string
  readonly metricType: string
  readonly metadata: Readonly<Record<string, string>>
}

const hpa = read('scaling-hpa/hpa.yaml').spec
const values = read('scaling-hpa/prometheus-adapter-values.yaml')
const keda = read('scaling-keda/scaledobject.yaml').spec
const triggers: readonly Trigger[] = keda.triggers

describe('scaling', () => {
  it('asks the same of Prometheus by way of the adapter and by way of KEDA', () => {
    const asked = values.rules.external.map((rule: { readonly metricsQuery: string }) =>
      rule.metricsQuery.replaceAll('<<.LabelMatchers>>', 'namespace="vllm"'),
    )
    assert.deepEqual(
      asked,
      triggers.map(({ metadata }) => metadata['query']),
    )
  })

  it('compares with the same numbers: half of the 5 s of VllmQueueWaitHigh, and 80 % of the cache', () => {
    const targets = hpa.metrics.map(
      (one: { readonly external: { readonly target: object } }) => one.external.target,
    )
    assert.deepEqual(targets, [
      { type: 'Value', value: '2500m' },
      { type: 'Value', value: '800m' },
    ])
    assert.deepEqual(
      triggers.map(({ metricType, metadata }) => [metricType, metadata['threshold']]),
      [
        ['Value', '2.5'],
        ['Value', '0.8'],
      ],
    )
  })

  it('names the metrics of the HPA as the adapter does', () => {
    const wanted = hpa.metrics.map(
      (one: { readonly external: { readonly metric: { readonly name: string } } }) =>
        one.external.metric.name,
    )
    const given = values.rules.external.map(
      (rule: { readonly name: { readonly as: string } }) => rule.name.as,
    )
    assert.deepEqual(wanted, given)
    assert.deepEqual(Object.keys(values.rules.external[0]).sort(), [
      'metricsQuery',
      'name',
      'resources',
      'seriesQuery',
    ])
  })

  it('takes no replica away when nothing can be read', () => {
    for (const { type, metadata } of triggers) {
      assert.equal(type, 'prometheus')
      assert.equal(metadata['ignoreNullValues'], 'false')
      assert.deepEqual(Object.keys(metadata).sort(), [
        'ignoreNullValues',
        'query',
        'serverAddress',
        'threshold',
      ])
    }
    assert.equal(keda.minReplicaCount, 1)
  })

  it('goes one replica at a time, up in no less than a long load and down after half an hour', () => {
    const { behavior } = keda.advanced.horizontalPodAutoscalerConfig
    assert.deepEqual(behavior, hpa.behavior)
    const [up] = behavior.scaleUp.policies
    const [down] = behavior.scaleDown.policies
    // A cold start of 277 s is on record.
    assert.ok(up.value === 1 && up.periodSeconds >= 2 * 277)
    assert.ok(down.value === 1 && behavior.scaleDown.stabilizationWindowSeconds >= 1_800)
  })
})

const matchers = 'namespace="vllm"'
const of = (name: string, instance: string, more = '') =>
  `${name}{namespace="vllm",job="vllm-vitals",instance="${instance}",target="vllm"${more}}`

/** Two replicas; `b` hangs from the start: its gauges stand still, and nothing is scheduled. */
const replicas = [
  { series: of('vllm_vitals_up', 'a'), values: '1x40' },
  { series: of('vllm_vitals_up', 'b'), values: '1x40' },
  { series: of('vllm_vitals_kv_cache_usage_ratio', 'a'), values: '0.25x40' },
  { series: of('vllm_vitals_kv_cache_usage_ratio', 'b'), values: '0.75x40' },
  { series: of('vllm_vitals_engine_state', 'a', ',state="stalled"'), values: '0x40' },
  { series: of('vllm_vitals_engine_state', 'b', ',state="stalled"'), values: '1x40' },
]

/** So many requests a step in each bucket of one replica, below 1 s, 5 s and beyond. */
const waits = (instance: string, [below1, below5, all]: readonly [number, number, number]) =>
  [
    ['1.0', below1],
    ['5.0', below5],
    ['+Inf', all],
  ].map(([le, step]) => ({
    series: of('vllm_vitals_queue_time_merged_seconds_bucket', instance, `,le="${le}"`),
    values: `0+${step}x40`,
  }))

interface Case {
  readonly claim: string
  readonly series: readonly { readonly series: string; readonly values: string }[]
  readonly query: string
  readonly value: number | undefined
}

const cases: readonly Case[] = [
  {
    claim: 'the cache of a hung replica does not count',
    series: replicas,
    query: kvCacheQuery(matchers),
    value: 0.25,
  },
  {
    claim: 'the cache has no value when every replica hangs',
    series: replicas.filter(({ series }) => series.includes('"b"')),
    query: kvCacheQuery(matchers),
    value: undefined,
  },
  {
    claim: 'the cache is the mean over those that serve',
    series: replicas.map((one) =>
      one.series.includes('engine_state') ? { ...one, values: '0x40' } : one,
    ),
    query: kvCacheQuery(matchers),
    // (0.25 + 0.75) ÷ 2
    value: 0.5,
  },
  {
    claim: 'the wait is that of the requests of all replicas, and a hung one adds none',
    series: [...replicas, ...waits('a', [8, 10, 10]), ...waits('b', [0, 0, 0])],
    query: queueWaitQuery(matchers),
    // Of 10, rank 9.5 is 1.5 of the 2 in (1, 5]: 1 + 4 × 0.75.
    value: 4,
  },
  {
    claim: 'nobody waits where no request comes',
    series: [...replicas, ...waits('a', [0, 0, 0])],
    query: queueWaitQuery(matchers),
    value: 0,
  },
  {
    claim: 'the wait has no value where no replica can be read',
    series: [
      { series: of('vllm_vitals_up', 'a'), values: '0x40' },
      {
        series: 'vllm_vitals_up{namespace="vllm",job="vllm-vitals",instance="a",target="gpu"}',
        values: '1x40',
      },
    ],
    query: queueWaitQuery(matchers),
    value: undefined,
  },
]

describe('the queries of scaling, by promtool', {
  skip: findProgram('promtool') === undefined ? 'promtool is not on PATH' : false,
}, () => {
  for (const { claim, series, query, value } of cases) {
    it(`find that ${claim}`, () => {
      const samples = value === undefined ? [] : [{ labels: '{}', value }]
      // Rounded, since rates are not exact in binary.
      const test = { expr: `round(${query}, 0.25)`, eval_time: '10m', exp_samples: samples }
      const folder = mkdtempSync(join(tmpdir(), 'vllm-vitals-scaling-'))
      try {
        const file = join(folder, 'test.yaml')
        const tests = [{ interval: '15s', input_series: series, promql_expr_test: [test] }]
        writeFileSync(file, stringify({ rule_files: [], tests }, { lineWidth: 0 }))
        execFileSync('promtool', ['test', 'rules', file], { encoding: 'utf8' })
      } finally {
        rmSync(folder, { recursive: true, force: true })
      }
    })
  }
})
