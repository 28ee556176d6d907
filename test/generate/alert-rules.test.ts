import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ruleGroups } from '../../src/generate/prometheus.ts'
import { builtinRules } from '../../src/rules/builtin.ts'
import { configOf } from '../config/with-file.ts'
import { findProgram } from '../repository.ts'
import { type AlertCase, alertCases, others } from './alert-cases.ts'
import { complaintsOf, type RuleTest, rulesOf } from './rule-tests.ts'

const skip = findProgram('promtool') === undefined ? 'promtool is not on PATH' : false

/** Every rule is switched on. */
const config = await configOf({
  'thresholds.ttft_p99': '2s',
  'thresholds.generation_tokens_per_second_min': 200,
})

const instance = { instance: 'gpu-1:19400', job: 'vllm-vitals' }

function labelText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${value}"`)
    .join(',')
}

/** A series as it is once it has been scraped. */
function scraped(series: string): string {
  return series.replace(/\}$/, `,${labelText(instance)}}`)
}

function verdict(one: AlertCase, state: 'pending' | 'firing'): string {
  const { alert, severity, labels } = one
  return `vllm_vitals_alert_active{${labelText({ alertname: alert, severity, ...labels, state, ...instance })}}`
}

function expected(one: AlertCase, summary: string) {
  const [rule] = rulesOf(config, one.alert)
  return {
    exp_labels: { severity: one.severity, ...one.labels, ...instance },
    exp_annotations: {
      summary,
      description: rule?.annotations['description'] ?? '',
      runbook_url: `http://gpu-1:19400/runbooks/${one.alert}`,
    },
  }
}

/** Pending for ten minutes, firing for ten, and then over; beside it another alert all the time. */
function course(one: AlertCase, summary: string, series: AlertCase['series']): RuleTest {
  const at = (eval_time: string, rings: boolean) => ({
    eval_time,
    alertname: one.alert,
    ...(rings ? { exp_alerts: [expected(one, summary)] } : {}),
  })
  return {
    name: `${one.alert}: ${summary}`,
    interval: '30s',
    input_series: [
      // promtool's stale is what Prometheus writes when a series is missing from a scrape.
      { series: verdict(one, 'pending'), values: '1+0x19 stale' },
      { series: verdict(one, 'firing'), values: '_x20 1+0x19 stale' },
      { series: verdict({ ...one, alert: `${one.alert}Not` }, 'firing'), values: '1+0x120' },
      ...[...others, ...series].map(([name, values]) => ({ series: scraped(name), values })),
      // The same on another host, which is never to be shown.
      ...series.map(([name]) => ({
        series: scraped(name).replace(instance.instance, 'gpu-0:19400'),
        values: '0.0123+0x120',
      })),
    ],
    // Pending and no alert, at once with the verdict, to its end, and over with it.
    alert_rule_test: [
      at('5m', false),
      at('9m30s', false),
      at('10m', true),
      at('19m30s', true),
      at('20m', false),
      at('40m', false),
    ],
  }
}

describe('the alerting rules', () => {
  it('are those of the catalogue, with its severities, and the daemon’s own end', () => {
    for (const { name, severity } of builtinRules) {
      const [rule, ...others] = rulesOf(config, name)
      assert.equal(rule?.labels['severity'], severity, name)
      assert.equal(others.length, 0, name)
    }
    const cases = new Set(alertCases.map(({ alert }) => alert))
    assert.deepEqual(
      [...cases],
      builtinRules.map(({ name }) => name),
    )
  })

  it('leave out what is switched off, and take the severity that was chosen', async () => {
    const changed = await configOf({
      'alerts.VllmGpuThrottled.enabled': false,
      'alerts.VllmLatencyP99High.severity': 'warning',
    })
    assert.deepEqual(rulesOf(changed, 'VllmGpuThrottled'), [])
    const [rule] = rulesOf(changed, 'VllmLatencyP99High')
    assert.equal(rule?.labels['severity'], 'warning')
  })

  it('speak of the window that the rule was given', async () => {
    const changed = await configOf({ 'alerts.VllmLatencyP99High.window': '15m' })
    const [rule] = rulesOf(changed, 'VllmLatencyP99High')
    assert.match(rule?.annotations['summary'] ?? '', /10 s\{\{ end \}\} in 15 m on /)
  })

  it('link to a dashboard only where a Grafana is known, and to runbooks where they are kept', async () => {
    const linked = await configOf({
      'links.grafana': 'https://grafana.example/',
      'links.runbooks': 'https://wiki.example/vllm',
    })
    const [rule] = rulesOf(linked, 'VllmDown')
    assert.equal(rule?.annotations['runbook_url'], 'https://wiki.example/vllm/VllmDown.md')
    assert.equal(
      rule?.annotations['dashboard_url'],
      'https://grafana.example/d/vllm-vitals-host/vllm-vitals-host?var-instance={{ $labels.instance | urlquery }}',
    )
    const [plain] = rulesOf(config, 'VllmDown')
    assert.equal(plain?.annotations['dashboard_url'], undefined)
  })

  it('ring with the daemon’s verdict, wait while it is pending, end with it, and tell the numbers', {
    skip,
  }, async () => {
    const tests = alertCases.map((one) => course(one, one.summary, one.series))
    assert.equal(await complaintsOf(config, tests), '')
  })

  it('go on while the daemon cannot be scraped, and end when it says so', { skip }, async () => {
    const [one] = alertCases.filter(({ alert }) => alert === 'VllmGpuLost')
    assert.ok(one !== undefined)
    const at = (eval_time: string, rings: boolean) => ({
      eval_time,
      alertname: one.alert,
      ...(rings ? { exp_alerts: [expected(one, one.summary)] } : {}),
    })
    const up = (values: string) => ({ series: scraped('up{}').replace('{,', '{'), values })
    const tests: readonly RuleTest[] = [
      {
        // Scraped for five minutes, then not for five; then it answers and says nothing of the alert any more.
        name: 'a host that dies and comes back',
        interval: '30s',
        input_series: [{ series: verdict(one, 'firing'), values: '1x9 stale' }, up('1x9 0x9 1x40')],
        alert_rule_test: [at('4m30s', true), at('5m', true), at('9m30s', true), at('10m', false)],
      },
      {
        // It was over before the daemon fell silent.
        name: 'an alert that has ended',
        interval: '30s',
        input_series: [{ series: verdict(one, 'firing'), values: '1x5 stale' }, up('1x9 0x40')],
        alert_rule_test: [at('2m', true), at('4m', false), at('6m', false)],
      },
      {
        name: 'a host that is taken out',
        interval: '30s',
        input_series: [
          { series: verdict(one, 'firing'), values: '1x9 stale' },
          up('1x9 0x9 stale'),
        ],
        alert_rule_test: [at('9m30s', true), at('10m', false)],
      },
    ]
    assert.equal(await complaintsOf(config, tests), '')
  })

  it('are asked as often as Prometheus scrapes', () => {
    const [alerts] = ruleGroups(config)
    assert.equal(alerts?.interval, '15s')
  })

  it('say that a number is missing, and ring all the same', { skip }, async () => {
    const tests = alertCases.map((one) => course(one, one.bare, []))
    assert.equal(await complaintsOf(config, tests), '')
  })

  it('do not ring without data', { skip }, async () => {
    const test: RuleTest = {
      name: 'no data',
      interval: '30s',
      input_series: [{ series: 'up{job="other",instance="h:1"}', values: '1+0x40' }],
      alert_rule_test: alertCases.map(({ alert }) => ({ eval_time: '10m', alertname: alert })),
    }
    assert.equal(await complaintsOf(config, [test]), '')
  })

  it('are refused by promtool where a number is another, so that this test can fail', {
    skip,
  }, async () => {
    const [one] = alertCases.filter(({ alert }) => alert === 'VllmErrorRatioHigh')
    assert.ok(one !== undefined)
    const wrong = course(one, one.summary.replace('3.4%', '3.5%'), one.series)
    assert.match(await complaintsOf(config, [wrong]), /3\.5%/)
  })
})
