import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { parse, stringify } from 'yaml'
import { type Config, configSchema } from '../../src/config/schema.ts'
import { alertmanagerFiles } from '../../src/generate/alertmanager.ts'
import { writeFiles } from '../../src/generate/files.ts'
import { alertNames } from '../../src/rules/settings.ts'
import { findProgram, repositoryRoot } from '../repository.ts'
import { folders } from './checked-in.ts'

interface Inhibit {
  readonly source_matchers: readonly string[]
  readonly target_matchers: readonly string[]
  readonly equal: readonly string[]
}

interface Generated {
  readonly templates: readonly string[]
  readonly route: { readonly routes: readonly unknown[] }
  readonly inhibit_rules: readonly Inhibit[]
  readonly receivers: readonly { readonly name: string }[]
}

const amtool = findProgram('amtool')
const scratch = mkdtempSync(join(tmpdir(), 'vllm-vitals-amtool-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

function configOf(yaml: string): Config {
  return configSchema.parse(parse(yaml) ?? {})
}

function textOf(yaml: string): string {
  return alertmanagerFiles(configOf(yaml))[0]?.text ?? ''
}

function rulesOf(yaml: string): readonly Inhibit[] {
  return (parse(textOf(yaml)) as Generated).inhibit_rules
}

/** The names that matchers ask for. */
function namesIn(matchers: readonly string[]): readonly string[] {
  const [, names = ''] = /^alertname =~? "(.*)"$/.exec(matchers[0] ?? '') ?? []
  return names.split('|')
}

/** What `cause` silences, by the labels that have to be equal. */
function silencedBy(cause: string, yaml = ''): Readonly<Record<string, readonly string[]>> {
  return Object.fromEntries(
    rulesOf(yaml)
      .filter(({ source_matchers: source }) => namesIn(source).includes(cause))
      .map((rule) => [rule.equal.join(','), [...namesIn(rule.target_matchers)].sort()]),
  )
}

/** Each rule whose cause is `cause`: whether it spares what pages. */
function sparesPages(cause: string, yaml: string): readonly boolean[] {
  return rulesOf(yaml)
    .filter(({ source_matchers: source }) => namesIn(source).includes(cause))
    .map((rule) => rule.target_matchers.includes('severity = "warning"'))
}

const severalTargets = `
targets:
  - { name: a, url: http://127.0.0.1:8000 }
  - { name: b, url: http://127.0.0.1:8001 }`

describe('the configuration of Alertmanager', { skip: needs(amtool) }, () => {
  const variants: readonly (readonly [string, string])[] = [
    ['the default configuration', ''],
    ['several targets', severalTargets],
    ['every alert switched off', everyAlert('{ enabled: false }')],
    ['every alert a warning', everyAlert('{ severity: warning }')],
  ]
  for (const [index, [name, yaml]] of variants.entries()) {
    it(`is valid for ${name}, with its templates`, async () => {
      const folder = join(scratch, String(index))
      await writeFiles(alertmanagerFiles(configOf(yaml)), folder)
      const said = ask('check-config', join(folder, 'alertmanager.yaml'))
      assert.match(said, / 3 receivers\n - 1 templates\n {2}SUCCESS/)
    })
  }

  it('is valid where it is checked in', () => {
    const said = ask('check-config', join(folders.alertmanager, 'alertmanager.yaml'))
    assert.match(said, / - 1 templates\n {2}SUCCESS/)
  })
})

describe('the routes', { skip: needs(amtool) }, () => {
  const pager = 'vllm-vitals-pagerduty,vllm-vitals-slack'
  const slack = 'vllm-vitals-slack'
  const host = { job: 'vllm-vitals', instance: 'gpu-01:19400' }
  const target = { ...host, target: 'vllm' }
  const model = { ...target, model_name: 'llama' }
  const gpu = { ...host, uuid: 'GPU-1' }
  const rows: readonly (readonly [string, 'critical' | 'warning', Record<string, string>])[] = [
    ['VllmDown', 'critical', target],
    ['VllmEngineStalled', 'critical', target],
    ['VllmLatencyP99High', 'critical', model],
    ['VllmTtftP99High', 'warning', model],
    ['VllmQueueWaitHigh', 'warning', model],
    ['VllmErrorRatioHigh', 'critical', target],
    ['VllmThroughputLow', 'warning', target],
    ['VllmKvCachePressure', 'warning', model],
    ['VllmGpuUtilizationHigh', 'warning', gpu],
    ['VllmGpuMemoryHigh', 'warning', gpu],
    ['VllmGpuMemoryLeak', 'warning', gpu],
    ['VllmGpuLost', 'critical', gpu],
    ['VllmGpuThrottled', 'warning', gpu],
    ['VllmNoGpu', 'critical', { ...host, target: 'gpu' }],
    ['VllmVitalsBlind', 'warning', target],
    ['VllmVitalsDown', 'critical', host],
    ['VllmLatencyBudgetBurn', 'critical', { job: 'vllm-vitals', model_name: 'llama' }],
    ['VllmLatencyBudgetBurn', 'warning', { job: 'vllm-vitals', model_name: 'llama' }],
    ['VllmErrorBudgetBurn', 'critical', { job: 'vllm-vitals', target: 'vllm' }],
    ['VllmErrorBudgetBurn', 'warning', { job: 'vllm-vitals', target: 'vllm' }],
  ]
  for (const [alertname, severity, labels] of rows) {
    it(`send ${alertname}, when ${severity}, to ${severity === 'critical' ? 'PagerDuty and Slack' : 'Slack alone'}`, () => {
      const receivers = severity === 'critical' ? pager : slack
      assert.equal(receiversOf({ alertname, severity, ...labels }), receivers)
    })
  }

  it('are tried with every alert of the catalogue', () => {
    const tried = new Set(rows.map(([name]) => name))
    assert.deepEqual(
      alertNames.filter((name) => !tried.has(name)),
      [],
    )
  })

  it('send an alert that is not about vLLM to the default receiver, however bad it is', () => {
    const labels = { alertname: 'DiskFull', severity: 'critical', instance: 'gpu-01:9100' }
    assert.equal(receiversOf(labels), 'default')
  })

  it('go where the examples of the documentation say', () => {
    const text = readFileSync(join(repositoryRoot, 'docs', 'alertmanager.md'), 'utf8')
    const examples = [...text.matchAll(/^amtool config routes test \S+ (.*)\n# (.*)$/gm)]
    assert.equal(examples.length, 3)
    for (const [, labels = '', receivers] of examples) {
      const pairs = labels.split(' ').map((pair) => pair.split('='))
      assert.equal(receiversOf(Object.fromEntries(pairs)), receivers)
    }
  })

  it('lose no alert of ours whose severity is unknown', () => {
    assert.equal(receiversOf({ alertname: 'VllmSomethingNew', severity: 'info' }), slack)
  })
})

describe('a configuration of somebody else', { skip: needs(amtool) }, () => {
  it('takes over the four parts that are marked, and keeps its own alerts', () => {
    const ours = parse(textOf('')) as Generated
    const file = join(scratch, 'merged.yaml')
    const merged = {
      templates: [...ours.templates, '/etc/alertmanager/own/*.tmpl'],
      route: {
        receiver: 'team',
        group_by: ['...'],
        routes: [
          ...ours.route.routes,
          { matchers: ['severity = "critical"'], receiver: 'team-pager' },
        ],
      },
      receivers: [
        { name: 'team' },
        { name: 'team-pager' },
        ...ours.receivers.filter(({ name }) => name !== 'default'),
      ],
      inhibit_rules: [
        {
          source_matchers: ['alertname = "NodeDown"'],
          target_matchers: ['severity = "warning"'],
          equal: ['node'],
        },
        ...ours.inhibit_rules,
      ],
    }
    writeFileSync(file, stringify(merged, { lineWidth: 0 }))
    assert.match(ask('check-config', file), /SUCCESS/)
    const down = { alertname: 'VllmDown', severity: 'critical', instance: 'gpu-01:19400' }
    assert.equal(receiversOf(down, file), 'vllm-vitals-pagerduty,vllm-vitals-slack')
    const foreign = { alertname: 'DiskFull', severity: 'critical' }
    assert.equal(receiversOf(foreign, file), 'team-pager')
  })

  it('finds four marked parts', () => {
    const marks = [...textOf('').matchAll(/# MERGE (\d): /g)].map(([, number]) => number)
    assert.deepEqual(marks, ['1', '2', '3', '4'])
  })
})

describe('the inhibition', () => {
  const requests = [
    'VllmKvCachePressure',
    'VllmLatencyP99High',
    'VllmQueueWaitHigh',
    'VllmThroughputLow',
    'VllmTtftP99High',
  ]

  it('lets a server that is down silence what follows on the same target, and its GPUs', () => {
    const ofTarget = [...requests, 'VllmEngineStalled', 'VllmErrorRatioHigh'].sort()
    assert.deepEqual(silencedBy('VllmDown'), {
      'instance,target': ofTarget,
      instance: ['VllmGpuUtilizationHigh'],
    })
  })

  it('lets an engine that hangs silence what follows on the same target, and its GPUs', () => {
    assert.deepEqual(silencedBy('VllmEngineStalled'), {
      'instance,target': requests,
      instance: ['VllmGpuUtilizationHigh'],
    })
  })

  it('lets a lost GPU, which names no target, silence what follows on the same host', () => {
    const ofHost = [
      ...requests,
      'VllmDown',
      'VllmEngineStalled',
      'VllmErrorRatioHigh',
      'VllmGpuUtilizationHigh',
    ].sort()
    assert.deepEqual(silencedBy('VllmGpuLost'), { instance: ofHost })
  })

  it('compares the GPU source by its target, and a lost GPU by its host', () => {
    assert.deepEqual(silencedBy('VllmNoGpu'), {
      'instance,target': ['VllmVitalsBlind'],
      instance: ['VllmGpuLost'],
    })
  })

  it('never lists an alert on both sides of a rule, but for the page and the ticket of a budget', () => {
    for (const { source_matchers: source, target_matchers: target } of rulesOf('')) {
      const both = namesIn(source).filter((name) => namesIn(target).includes(name))
      const severities = [source[1], target[1]]
      if (both.length > 0) {
        assert.deepEqual(severities, ['severity = "critical"', 'severity = "warning"'])
      }
    }
  })

  it('asks of each cause that it has the labels by which it is compared', () => {
    for (const { source_matchers: source, equal } of rulesOf('').slice(0, -1)) {
      assert.deepEqual(
        source.slice(1),
        equal.map((label) => `${label} != ""`),
      )
    }
  })

  it('spares what pages on a host where several targets run, since a lost GPU names none of them', () => {
    assert.deepEqual(sparesPages('VllmGpuLost', ''), [false])
    assert.deepEqual(sparesPages('VllmGpuLost', severalTargets), [true])
    // Of the same target there is no doubt.
    assert.deepEqual(sparesPages('VllmDown', severalTargets), [false, true])
  })

  it('lets a cause that is a warning silence warnings alone', () => {
    const yaml = 'alerts: { VllmEngineStalled: { severity: warning } }'
    assert.deepEqual(sparesPages('VllmEngineStalled', yaml), [true, true])
    assert.deepEqual(sparesPages('VllmDown', yaml), [false, false])
  })

  it('names no alert that is switched off', () => {
    const yaml =
      'alerts: { VllmEngineStalled: { enabled: false }, VllmKvCachePressure: { enabled: false } }'
    const names = rulesOf(yaml).flatMap((rule) => [
      ...namesIn(rule.source_matchers),
      ...namesIn(rule.target_matchers),
    ])
    assert.ok(names.includes('VllmQueueWaitHigh'))
    assert.ok(!names.includes('VllmEngineStalled') && !names.includes('VllmKvCachePressure'))
  })
})

describe('the receivers', () => {
  it('hold no secret, but name the files that do', () => {
    const text = textOf('')
    const secrets = [...text.matchAll(/^ +-? *(\w*(?:url|key|token|password)\w*): (\/\S+)$/gm)]
    assert.deepEqual(
      secrets.map(([, name, file]) => [name, file]),
      [
        ['api_url_file', '/etc/alertmanager/secrets/slack_url'],
        ['routing_key_file', '/etc/alertmanager/secrets/pagerduty_key'],
      ],
    )
    assert.doesNotMatch(text, /\b(api_url|routing_key|service_key): /)
  })
})

function needs(program: string | undefined): string | false {
  return program === undefined ? 'needs amtool' : false
}

function ask(...words: readonly string[]): string {
  return execFileSync(amtool ?? '', words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** The receivers of an alert with `labels`, in the order in which they are told. */
function receiversOf(
  labels: Readonly<Record<string, string>>,
  file = join(folders.alertmanager, 'alertmanager.yaml'),
): string {
  const words = Object.entries(labels).map(([name, value]) => `${name}=${value}`)
  return ask('config', 'routes', 'test', `--config.file=${file}`, ...words).trim()
}

function everyAlert(settings: string): string {
  return `alerts:\n${alertNames.map((name) => `  ${name}: ${settings}\n`).join('')}`
}
