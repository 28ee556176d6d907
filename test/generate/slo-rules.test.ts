import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ruleGroups } from '../../src/generate/prometheus.ts'
import { burnWindows } from '../../src/generate/slo-rules.ts'
import { configOf } from '../config/with-file.ts'
import { findProgram } from '../repository.ts'
import { complaintsOf, type RuleTest, rulesOf } from './rule-tests.ts'

const skip = findProgram('promtool') === undefined ? 'promtool is not on PATH' : false

const config = await configOf({})

const at = 'instance="gpu-1:19400",job="vllm-vitals",target="vllm"'
const up = { series: `up{instance="gpu-1:19400",job="vllm-vitals"}`, values: '1+0x9000' }
const slow = `vllm_vitals_e2e_latency_over_threshold_requests_total{${at},model_name="llama",threshold="10"}`
const all = `vllm_vitals_e2e_latency_merged_seconds_count{${at},model_name="llama"}`
const failed = (reason: string) =>
  `vllm_vitals_requests_failed_certain_total{${at},reason="${reason}"}`
const ended = `vllm_vitals_requests_ended_total{${at}}`

/** Counters that grow by `perMinute` for `minutes`, one step after the other. */
function growth(...steps: readonly (readonly [perMinute: number, minutes: number])[]): string {
  let from = 0
  const parts = steps.map(([perMinute, minutes]) => {
    const part = `${from}+${perMinute}x${minutes - 1}`
    from += perMinute * minutes
    return part
  })
  return parts.join(' ')
}

const latency = (bad: string, count: string) => [
  { series: slow, values: bad },
  { series: all, values: count },
]

function alert(
  alertname: 'VllmLatencyBudgetBurn' | 'VllmErrorBudgetBurn',
  window: string,
  summary: string,
) {
  const rule = rulesOf(config, alertname).find(({ labels }) => labels['long_window'] === window)
  const who = alertname === 'VllmErrorBudgetBurn' ? { target: 'vllm' } : { model_name: 'llama' }
  return {
    exp_labels: {
      severity: window.endsWith('h') ? 'critical' : 'warning',
      long_window: window,
      job: 'vllm-vitals',
      ...who,
    },
    exp_annotations: {
      summary,
      description: rule?.annotations['description'] ?? '',
      runbook_url: `http://gpu-1:19400/runbooks/${alertname}`,
    },
  }
}

/** Which alerts of a budget ring, by their long windows. */
function ringing(
  eval_time: string,
  windows: readonly string[],
  alertname = 'VllmLatencyBudgetBurn',
) {
  return {
    expr: `sum by (long_window) (ALERTS{alertname="${alertname}",alertstate="firing"})`,
    eval_time,
    exp_samples: windows.map((window) => ({ labels: `{long_window="${window}"}`, value: 1 })),
  }
}

const latencyTests: readonly RuleTest[] = [
  {
    // After a good day 20 of 100 requests a minute are slow for an hour. That is 20 % over five minutes soon; over an
    // hour it is 10 % after 30 minutes and 18 % after 55, above 14.4 %. Over six hours it never exceeds 1,200 of
    // 36,000, 3.3 %, and over a day 0.8 %.
    name: 'latency: pages once both windows burn, and ends soon after the trouble',
    interval: '1m',
    input_series: [up, ...latency(growth([0, 1_440], [20, 60], [0, 60]), growth([100, 1_560]))],
    promql_expr_test: [
      ringing('1430m', []),
      ringing('1470m', []),
      ringing('1495m', ['1h']),
      // Over the hour it is 20 % still, over five minutes there is nothing any more.
      ringing('1507m', []),
    ],
  },
  {
    // All nine requests of an hour are slow: 100 %, and too few. Three more are too many.
    name: 'latency: lets low traffic be, up to ten bad requests',
    interval: '1m',
    input_series: [
      up,
      ...latency(
        growth([0, 60], [1, 9], [0, 11], [1, 3], [0, 60]),
        growth([0, 60], [1, 9], [0, 11], [1, 3], [0, 60]),
      ),
    ],
    promql_expr_test: [
      ringing('71m', []),
      {
        // Nine are counted, and the ratio says that all of them are bad.
        expr: 'round(sum_over_time(slo:vllm_vitals_latency_bad:rate5m[1h]) * 30) * slo:vllm_vitals_latency_bad:ratio_rate1h',
        eval_time: '78m',
        exp_samples: [{ labels: '{job="vllm-vitals",model_name="llama"}', value: 9 }],
      },
      ringing('79m', []),
      ringing('86m', ['1h']),
    ],
  },
  {
    // Of a server whose edges do not enclose the threshold nobody can tell who was slow.
    name: 'latency: leaves out who cannot tell',
    interval: '1m',
    input_series: [
      up,
      ...latency(growth([20, 120]), growth([100, 120])),
      { series: all.replace('gpu-1', 'gpu-2'), values: growth([1_900, 120]) },
    ],
    promql_expr_test: [
      {
        expr: 'round(slo:vllm_vitals_latency_bad:ratio_rate1h, 0.001)',
        eval_time: '110m',
        exp_samples: [{ labels: '{job="vllm-vitals",model_name="llama"}', value: 0.2 }],
      },
    ],
  },
  {
    name: 'latency: has no ratio, and no alert, without requests',
    interval: '1m',
    input_series: [up, ...latency(growth([0, 120]), growth([0, 120]))],
    alert_rule_test: [{ eval_time: '110m', alertname: 'VllmLatencyBudgetBurn' }],
    promql_expr_test: [
      {
        expr: 'slo:vllm_vitals_latency_bad:ratio_rate1h or slo:vllm_vitals_latency_budget_remaining:ratio',
        eval_time: '110m',
        exp_samples: [],
      },
    ],
  },
  {
    name: 'latency: has no alert without data',
    interval: '1m',
    input_series: [up],
    alert_rule_test: [{ eval_time: '110m', alertname: 'VllmLatencyBudgetBurn' }],
  },
  {
    // 2 of 100 are slow for 20 hours: twice the budget, too slow to page and below the 3 % of a day. Over three days
    // it is the 2 % of all that was asked.
    name: 'latency: opens a ticket for a slow burn',
    interval: '1m',
    input_series: [up, ...latency(growth([2, 1200], [0, 420]), growth([100, 1620]))],
    alert_rule_test: [
      {
        eval_time: '1190m',
        alertname: 'VllmLatencyBudgetBurn',
        exp_alerts: [
          alert(
            'VllmLatencyBudgetBurn',
            '3d',
            '2% of the requests to llama took longer than 10 s in 3d, allowed are 1 %',
          ),
        ],
      },
      // Three days hold more than the budget still, and six hours nothing any more.
      { eval_time: '1600m', alertname: 'VllmLatencyBudgetBurn' },
    ],
    promql_expr_test: [
      // A budget of 1 % and 2 % spent: 1 − 2.
      {
        expr: 'round(slo:vllm_vitals_latency_budget_remaining:ratio, 0.001)',
        eval_time: '1190m',
        exp_samples: [{ labels: '{job="vllm-vitals",model_name="llama"}', value: -1 }],
      },
    ],
  },
]

/** Half of the requests are slow from the start. */
const fresh: RuleTest = {
  name: 'latency: does not take the first minutes of a Prometheus for a whole window',
  interval: '1m',
  input_series: [up, ...latency(growth([50, 120]), growth([100, 120]))],
  // A quarter of an hour, and of six hours: 15 and 90 minutes, beside two minutes of the rule's own.
  promql_expr_test: [
    ringing('13m', []),
    ringing('19m', ['1h']),
    ringing('88m', ['1h']),
    ringing('95m', ['1h', '6h']),
  ],
}

const errorTests: readonly RuleTest[] = [
  {
    // One request may be told by both: of 2 and 3 a minute the larger counts, 3 of 100.
    name: 'errors: count the larger of the two counts',
    interval: '1m',
    input_series: [
      up,
      { series: failed('engine_error'), values: growth([2, 120]) },
      { series: failed('http_5xx'), values: growth([3, 120]) },
      { series: ended, values: growth([100, 120]) },
    ],
    alert_rule_test: [
      {
        eval_time: '115m',
        alertname: 'VllmErrorBudgetBurn',
        // 3 % is 30 times the budget of 0.1 %: every pair burns, and of a quarter of an hour and of six hours there is
        // data, of six hours and eighteen there is not.
        exp_alerts: ['1h', '6h'].map((window) =>
          alert(
            'VllmErrorBudgetBurn',
            window,
            `3% of the requests to vLLM vllm failed in ${window}, allowed are 0.1 %`,
          ),
        ),
      },
    ],
    promql_expr_test: [
      {
        expr: 'round(job:vllm_vitals_error:ratio_rate5m, 0.0001)',
        eval_time: '115m',
        exp_samples: [{ labels: '{job="vllm-vitals"}', value: 0.03 }],
      },
    ],
  },
  {
    // Nobody can tell failures of the other server: its requests are no successes.
    name: 'errors: leave out who cannot tell',
    interval: '1m',
    input_series: [
      up,
      { series: failed('engine_error'), values: growth([3, 120]) },
      { series: ended, values: growth([100, 120]) },
      {
        series:
          'vllm_vitals_requests_ended_total{instance="gpu-2:19400",job="vllm-vitals",target="vllm"}',
        values: growth([900, 120]),
      },
    ],
    promql_expr_test: [
      {
        expr: 'round(slo:vllm_vitals_errors_bad:ratio_rate1h, 0.0001)',
        eval_time: '115m',
        exp_samples: [{ labels: '{job="vllm-vitals",target="vllm"}', value: 0.03 }],
      },
    ],
  },
  {
    name: 'errors: are no alert where nothing fails',
    interval: '1m',
    input_series: [
      up,
      { series: failed('engine_error'), values: growth([0, 120]) },
      { series: ended, values: growth([100, 120]) },
    ],
    alert_rule_test: [{ eval_time: '110m', alertname: 'VllmErrorBudgetBurn' }],
    promql_expr_test: [
      {
        expr: 'slo:vllm_vitals_errors_budget_remaining:ratio',
        eval_time: '110m',
        exp_samples: [
          {
            labels:
              'slo:vllm_vitals_errors_budget_remaining:ratio{job="vllm-vitals",target="vllm"}',
            value: 1,
          },
        ],
      },
    ],
  },
  {
    // After half a day half of the requests fail for 30 minutes: 50 % over five minutes and 25 % over the hour, and 30
    // minutes of six hours are 4.2 %. Over a day it is 50 × 30 of 75,000, 2 %, and of three days the same.
    name: 'errors: page, and end when they end',
    interval: '1m',
    input_series: [
      up,
      { series: failed('http_5xx'), values: growth([0, 720], [50, 30], [0, 120]) },
      { series: ended, values: growth([100, 870]) },
    ],
    promql_expr_test: [
      ringing('715m', [], 'VllmErrorBudgetBurn'),
      ringing('748m', ['1h', '6h', '1d'], 'VllmErrorBudgetBurn'),
      // Over five minutes there is nothing any more, over half an hour and two hours there is.
      ringing('765m', ['6h', '1d'], 'VllmErrorBudgetBurn'),
      ringing('800m', ['1d'], 'VllmErrorBudgetBurn'),
    ],
  },
  {
    name: 'errors: are no alert without data',
    interval: '1m',
    input_series: [up],
    alert_rule_test: [{ eval_time: '110m', alertname: 'VllmErrorBudgetBurn' }],
  },
  {
    // In one half hour the engine tells of 3 a minute, in the next the server of 3: over the hour 90 each, of 6,000.
    name: 'errors: take the larger count over the whole window, and not piece by piece',
    interval: '1m',
    input_series: [
      up,
      { series: failed('engine_error'), values: growth([0, 60], [3, 30], [0, 60]) },
      { series: failed('http_5xx'), values: growth([0, 90], [3, 30], [0, 30]) },
      { series: ended, values: growth([100, 150]) },
    ],
    promql_expr_test: [
      {
        expr: 'round(slo:vllm_vitals_errors_bad:ratio_rate1h, 0.001)',
        eval_time: '123m',
        exp_samples: [{ labels: '{job="vllm-vitals",target="vllm"}', value: 0.015 }],
      },
    ],
  },
]

describe('the rules of an error budget', () => {
  for (const test of [...latencyTests, fresh, ...errorTests]) {
    it(test.name, { skip }, async () => assert.equal(await complaintsOf(config, [test]), ''))
  }

  it('have the windows of the SRE workbook for 30 days', () => {
    assert.deepEqual(
      burnWindows(config.slo).map(({ long, short, factor }) => [
        long,
        short,
        Math.round(10 * factor) / 10,
      ]),
      [
        ['1h', '5m', 14.4],
        ['6h', '30m', 6],
        ['1d', '2h', 3],
        ['3d', '6h', 1],
      ],
    )
  })

  it('have the same shares of another period, in whole minutes', async () => {
    const week = await configOf({ 'slo.period': '7d' })
    // 7 d ÷ 720 = 14 m, ÷ 120 = 1 h 24 m, ÷ 30 = 5 h 36 m, ÷ 10 = 16 h 48 m; a twelfth of each, 2 m at least.
    assert.deepEqual(
      burnWindows(week.slo).map(({ long, short }) => [long, short]),
      [
        ['14m', '2m'],
        ['1h24m', '7m'],
        ['5h36m', '28m'],
        ['16h48m', '1h24m'],
      ],
    )
    assert.match(rulesOf(week, 'VllmErrorBudgetBurn')[0]?.expr ?? '', /:ratio_rate14m > 0\.0144 /)
  })

  it('ring in a total outage, however large the budget', async () => {
    const loose = await configOf({ 'slo.latency': 0.9 })
    // 14.4 times 10 % would be more than everything; 95 % are 9.5 times 10 %.
    const [page] = rulesOf(loose, 'VllmLatencyBudgetBurn')
    assert.match(page?.expr ?? '', / > 0\.95 and /)
    assert.match(page?.annotations['description'] ?? '', / more than 9\.5 times its even pace/)
  })

  it('record and do not ring where nobody wants to be rung', async () => {
    const quiet = await configOf({ 'slo.alerts': false })
    assert.deepEqual(rulesOf(quiet, 'VllmLatencyBudgetBurn'), [])
    assert.deepEqual(rulesOf(quiet, 'VllmErrorBudgetBurn'), [])
    const records = ruleGroups(quiet).flatMap(({ rules }) => rules)
    assert.ok(records.some((rule) => 'record' in rule && rule.record.endsWith(':ratio_rate1h')))
  })

  it('name a budget however small it is', async () => {
    const strict = await configOf({ 'slo.errors': 0.99999 })
    const [page] = rulesOf(strict, 'VllmErrorBudgetBurn')
    assert.match(page?.annotations['summary'] ?? '', /allowed are 0\.001 %$/)
    assert.match(page?.expr ?? '', / > 0\.000144 and /)
  })
})
