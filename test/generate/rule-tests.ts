import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { stringify } from 'yaml'
import type { Config } from '../../src/config/schema.ts'
import { prometheusFiles, ruleGroups } from '../../src/generate/prometheus.ts'
import type { AlertingRule } from '../../src/generate/rule-group.ts'

/** A test of `promtool test rules`, whose interval is the one at which most of the rules are evaluated. */
export interface RuleTest {
  readonly name: string
  readonly interval?: string
  readonly input_series: readonly { readonly series: string; readonly values: string }[]
  readonly alert_rule_test?: readonly {
    readonly eval_time: string
    readonly alertname: string
    readonly exp_alerts?: readonly {
      readonly exp_labels: Readonly<Record<string, string>>
      readonly exp_annotations: Readonly<Record<string, string>>
    }[]
  }[]
  readonly promql_expr_test?: readonly {
    readonly expr: string
    readonly eval_time: string
    readonly exp_samples: readonly { readonly labels?: string; readonly value: number }[]
  }[]
}

/** The alerting rules called `name`, of all groups. */
export function rulesOf(config: Config, name: string): readonly AlertingRule[] {
  return ruleGroups(config)
    .flatMap(({ rules }) => rules)
    .filter((rule): rule is AlertingRule => 'alert' in rule && rule.alert === name)
}

/** Runs promtool's tests of the rules for `config`. Returns what it complains of; nothing when all pass. */
export async function complaintsOf(config: Config, tests: readonly RuleTest[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-rules-'))
  try {
    for (const { path, text } of prometheusFiles(config)) {
      await writeFile(join(folder, path), text)
    }
    const file = join(folder, 'tests.yaml')
    const all = { rule_files: ['*.rules.yaml'], evaluation_interval: '30s', tests }
    await writeFile(file, stringify(all, { aliasDuplicateObjects: false }))
    await promisify(execFile)('promtool', ['test', 'rules', file], { maxBuffer: 1 << 24 })
    return ''
  } catch (error) {
    if (typeof error !== 'object' || error === null || !('stderr' in error)) throw error
    return `${String(error.stderr)}${'stdout' in error ? String(error.stdout) : ''}`
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
