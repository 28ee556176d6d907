import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { parse, stringify } from 'yaml'
import { configSchema } from '../src/config/schema.ts'
import { findProgram, repositoryRoot } from './repository.ts'

const page = readFileSync(join(repositoryRoot, 'docs/sla.md'), 'utf8')

const queries = [...page.matchAll(/^ *```promql\n([\s\S]*?)^ *```/gm)].map(([, query = '']) =>
  query.trim(),
)

/** The first query of the section below a heading, over an hour in place of a month. */
function queryOf(title: string, nth = 0): string {
  const [, section = ''] = page.split(`\n### ${title}\n`)
  const found = [...section.matchAll(/```promql\n(.*)\n/g)][nth]?.[1]
  assert.ok(found !== undefined, `expected query ${nth} of ${title}`)
  return found.replaceAll('30d', '1h')
}

interface Expected {
  readonly query: string
  readonly samples: readonly { readonly labels: string; readonly value: number }[]
}

const promtool = findProgram('promtool')
const needsPromtool = { skip: promtool === undefined && 'needs promtool' }

/** Has promtool evaluate queries over made-up series at one moment. Fails with what it says. */
function evaluate(
  series: Readonly<Record<string, string>>,
  evalTime: string,
  expected: readonly Expected[],
): void {
  const folder = mkdtempSync(join(tmpdir(), 'vllm-vitals-sla-'))
  try {
    const test = {
      interval: '1m',
      input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
      promql_expr_test: expected.map(({ query, samples }) => ({
        expr: query,
        eval_time: evalTime,
        exp_samples: samples,
      })),
    }
    const file = join(folder, 'test.yaml')
    writeFileSync(file, stringify({ rule_files: [], evaluation_interval: '1m', tests: [test] }))
    const run = spawnSync(promtool ?? '', ['test', 'rules', file], { encoding: 'utf8' })
    assert.equal(run.status, 0, run.stdout + run.stderr)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const host = 'instance="h:19400",job="vllm-vitals"'

describe('docs/sla.md', () => {
  it('shows a configuration that is valid', () => {
    const [, example] = /```yaml\n([\s\S]*?)```/.exec(page) ?? []
    const parsed = configSchema.safeParse(parse(example ?? ''))
    assert.deepEqual(parsed.error?.issues, undefined)
  })

  it('works out right how much may be bad', () => {
    const rows = [
      ...page.matchAll(/^\| ([\d.]+) % \| ((?:\d+ h )?\d+ min \d+ s) \| ([\d ]+) \|$/gm),
    ]
    assert.equal(rows.length, 5)
    for (const [, objective = '', time, requests = ''] of rows) {
      const budget = 1 - Number(objective) / 100
      const seconds = Math.round(30 * 86_400 * budget)
      const hours = Math.floor(seconds / 3_600)
      const rest = `${Math.floor((seconds % 3_600) / 60)} min ${seconds % 60} s`
      assert.equal(time, hours === 0 ? rest : `${hours} h ${rest}`)
      assert.equal(Number(requests.replaceAll(' ', '')), Math.round(1_000_000 * budget))
    }
  })

  it('works out right how much of a budget burns, and how long it would last', () => {
    const rows = [...page.matchAll(/^\| ([\d.]+) \| (\d+) h \| (\d+) % \| (\d+) h \|$/gm)]
    assert.equal(rows.length, 4)
    for (const [, rate, hours, share, lasts] of rows) {
      assert.equal(Math.round((100 * Number(rate) * Number(hours)) / 720), Number(share))
      assert.equal(720 / Number(rate), Number(lasts))
    }
  })

  it('adds up in its example', () => {
    const text = page.replaceAll(/\n>? ?/g, ' ')
    const rows = [...text.matchAll(/ ([\d ]+) of ([\d ]+?)(?: min)? = ([\d.]+) %/g)]
    assert.ok(rows.length >= 5)
    for (const [row, good = '', all = '', share = ''] of rows) {
      const numbers = [good, all].map((cell) => Number(cell.replaceAll(' ', '')))
      const [part = 0, whole = 1] = numbers
      const decimals = share.split('.')[1]?.length ?? 0
      assert.equal(((100 * part) / whole).toFixed(decimals), share, row)
    }
    // 43122 good, 31 bad, 12 excluded, 35 unknown.
    assert.match(text, /43 122 minutes good, 31 bad, 12 of .*, 35 unknown: together 43 200/)
    assert.equal(43_122 + 31 + 12 + 35, 43_200)
  })

  it('has queries that Prometheus takes', needsPromtool, () => {
    assert.ok(queries.length >= 9)
    const folder = mkdtempSync(join(tmpdir(), 'vllm-vitals-sla-'))
    const file = join(folder, 'rules.yaml')
    const rules = queries.map((expr, index) => ({ record: `sla:query_${index}`, expr }))
    writeFileSync(file, stringify({ groups: [{ name: 'sla', rules }] }))
    const run = spawnSync(promtool ?? '', ['check', 'rules', file], { encoding: 'utf8' })
    rmSync(folder, { recursive: true, force: true })
    assert.equal(run.status, 0, run.stdout + run.stderr)
  })

  it(
    'counts minutes as good, bad and not offered, and leaves the unknown to none',
    needsPromtool,
    () => {
      const state = (name: string) =>
        `vllm_vitals_engine_state{${host},target="vllm",state="${name}"}`
      const labels = `{${host},target="vllm"}`
      const blind = `vllm_vitals_alert_active{${host},alertname="VllmVitalsBlind",target="vllm",state="firing"}`
      // 30 minutes serving, 4 idle, 6 stalled, 3 loading, 7 down of which 5 blind, 10 without a daemon.
      const series = {
        [state('serving')]: '1x29 0x19 stale _x9',
        [state('idle')]: '0x29 1x3 0x15 stale _x9',
        [state('stalled')]: '0x33 1x5 0x9 stale _x9',
        [state('loading')]: '0x39 1x2 0x6 stale _x9',
        [state('down')]: '0x42 1x6 stale _x9',
        [blind]: '_x44 1x4 stale',
      }
      evaluate(series, '59m30s', [
        { query: queryOf('A. Availability', 0), samples: [{ labels, value: 34 }] },
        { query: queryOf('A. Availability', 1), samples: [{ labels, value: 8 }] },
        { query: queryOf('A. Availability', 2), samples: [{ labels, value: 3 }] },
      ])
    },
  )

  it('takes shares of what all replicas did, weighed by their loads', needsPromtool, () => {
    const on = (instance: string) =>
      `instance="${instance}",job="vllm-vitals",target="vllm",model_name="m"`
    const latency = 'vllm_vitals_e2e_latency_merged_seconds'
    // a: 100 a minute, 1 of them slow; b: 300 a minute, 9 of them slow. 10 of 400 are slow.
    const series = {
      [`${latency}_bucket{${on('a')},le="10.0"}`]: '0+99x60',
      [`${latency}_count{${on('a')}}`]: '0+100x60',
      [`${latency}_bucket{${on('b')},le="10.0"}`]: '0+291x60',
      [`${latency}_count{${on('b')}}`]: '0+300x60',
    }
    const labels = '{job="vllm-vitals",model_name="m"}'
    evaluate(series, '60m', [{ query: queryOf('B. Latency'), samples: [{ labels, value: 0.975 }] }])
  })

  it(
    'counts a failure that two reasons tell once, and twice in the upper bound',
    needsPromtool,
    () => {
      const failed = (labels: string) => `vllm_vitals_requests_failed_total{${host},${labels}}`
      // Of 64 a minute 8 fail by the engine's word and 4 by HTTP: 8 for certain, 12 possibly.
      const series = {
        [failed('target="vllm",model_name="m",reason="engine_error"')]: '0+8x60',
        [failed('target="vllm",reason="http_5xx"')]: '0+4x60',
        [`vllm_vitals_requests_ended_total{${host},target="vllm"}`]: '0+64x60',
      }
      const labels = '{job="vllm-vitals"}'
      evaluate(series, '60m', [
        { query: queryOf('D. Errors', 0), samples: [{ labels, value: 1 - 8 / 64 }] },
        { query: queryOf('D. Errors', 1), samples: [{ labels, value: 1 - 12 / 64 }] },
      ])
    },
  )
})
