import { stringify } from 'yaml'
import type { Config } from '../config/schema.ts'
import { configure } from '../rules/alert.ts'
import { builtinRules } from '../rules/builtin.ts'
import { dashboardUrl, runbookUrl } from '../rules/links.ts'
import type { Rule } from '../rules/rule.ts'
import type { AlertName, Severity } from '../rules/settings.ts'
import { formatDuration } from '../units.ts'
import { summaryOf } from './alert-texts.ts'
import type { GeneratedFile } from './files.ts'

/** A rule of Prometheus that rings. */
export interface AlertingRule {
  readonly alert: string
  readonly expr: string
  readonly for: string
  readonly labels: Readonly<Record<string, string>> & { readonly severity: Severity }
  readonly annotations: Readonly<Record<string, string>>
}

/** Every alert of the daemon, as a rule on its own verdict. */
export function alertingRules(config: Config): readonly AlertingRule[] {
  return builtinRules
    .flatMap((rule) => configure(rule, config.alerts[rule.name]) ?? [])
    .map((rule) => alertingRule(rule, config))
}

export function prometheusFiles(config: Config): readonly GeneratedFile[] {
  const groups = [{ name: 'vllm-vitals-alerts', interval: '15s', rules: alertingRules(config) }]
  return [{ path: 'vllm-vitals.rules.yaml', text: stringify({ groups }, { lineWidth: 0 }) }]
}

/** The daemon has judged and waited already; what Prometheus adds is the way to whom it concerns. */
function alertingRule({ name, severity, forMs, windowMs, description }: Rule, config: Config) {
  return {
    alert: name,
    expr: firing(name),
    for: '0s',
    labels: { severity },
    annotations: annotationsOf(name, config, {
      summary: summaryOf(name, windowMs, config),
      description: `${description} The daemon rings once this has held for ${formatDuration(forMs)}.`,
    }),
  }
}

function firing(name: AlertName): string {
  return `max without (state, severity) (vllm_vitals_alert_active{alertname="${name}",state="firing"}) == 1`
}

/** The texts of an alert and its links; those to a dashboard only where a Grafana is known. */
export function annotationsOf(
  name: string,
  { links }: Config,
  texts: { readonly summary: string; readonly description: string },
): Readonly<Record<string, string>> {
  const dashboard = dashboardUrl(links, 'host', {
    instance: '{{ $labels.instance | urlquery }}',
  })
  return {
    ...texts,
    runbook_url: runbookUrl(links, name, '{{ $labels.instance }}'),
    ...(dashboard === undefined ? {} : { dashboard_url: dashboard }),
  }
}
