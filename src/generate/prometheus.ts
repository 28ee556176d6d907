import { stringify } from 'yaml'
import type { Config } from '../config/schema.ts'
import { configure } from '../rules/alert.ts'
import { builtinRules } from '../rules/builtin.ts'
import type { Rule } from '../rules/rule.ts'
import type { AlertName } from '../rules/settings.ts'
import { formatDuration } from '../units.ts'
import { summaryOf } from './alert-texts.ts'
import { annotations } from './annotations.ts'
import type { GeneratedFile } from './files.ts'
import { fleetGroup } from './fleet-rules.ts'
import { type AlertingRule, jobMatcher, type RuleGroup } from './rule-group.ts'
import { sloGroups } from './slo-rules.ts'

/** Every alert of the daemon, as a rule on its own verdict, and the one that says that the daemon is gone. */
export function alertingRules(config: Config): readonly AlertingRule[] {
  const rules = builtinRules.flatMap((rule) => configure(rule, config.alerts[rule.name]) ?? [])
  return [...rules.map((rule) => alertingRule(rule, config)), daemonDown(config)]
}

/** All rules for Prometheus, in groups. */
export function ruleGroups(config: Config): readonly RuleGroup[] {
  return [
    { name: 'vllm-vitals-alerts', interval: '15s', rules: alertingRules(config) },
    fleetGroup(config),
    ...sloGroups(config),
  ]
}

const introduction = `# Rules for Prometheus, written by \`vllm-vitals generate prometheus-rules\`. Changes made here are lost: change the
# configuration of vllm-vitals and write them again.
#
# The alerts in the first group are those of the daemon itself. It has weighed the evidence, held back what another alert
# explains, and waited for as long as each alert is to wait, at every scrape of vLLM; so the rules wait no
# longer (for: 0s), and agree with its /health. What rings goes on ringing while the daemon cannot be scraped. The jobs in which the daemons are scraped have vllm-vitals in their name.
`

export function prometheusFiles(config: Config): readonly GeneratedFile[] {
  const rules = stringify({ groups: ruleGroups(config) }, { lineWidth: 0 })
  return [{ path: 'vllm-vitals.rules.yaml', text: `${introduction}${rules}` }]
}

function alertingRule(rule: Rule, config: Config): AlertingRule {
  const { name, severity, forMs, windowMs, description } = rule
  return {
    alert: name,
    expr: firing(name),
    for: '0s',
    labels: { severity },
    annotations: annotations(name, config, {
      dashboard: 'host',
      rings: 'itself',
      summary: summaryOf(name, windowMs, config),
      description: `${description} It has held for ${formatDuration(forMs)} when the daemon rings.`,
    }),
  }
}

/**
 * The daemon's verdict, and while the daemon cannot be scraped the one before: silence is no recovery, and one scrape
 * that fails must not tell people that all is well.
 */
function firing(name: AlertName): string {
  const verdict = `max without (alertname, state, severity) (vllm_vitals_alert_active{alertname="${name}",state="firing"}) == 1`
  const before = `max without (alertname, alertstate, severity) (ALERTS{alertname="${name}",alertstate="firing"})`
  return `${verdict} or ${before} and on (instance, job) up == 0`
}

function daemonDown(config: Config): AlertingRule {
  return {
    alert: 'VllmVitalsDown',
    expr: `up{${jobMatcher}} == 0 or absent(up{${jobMatcher}})`,
    for: '2m',
    labels: { severity: 'critical' },
    annotations: annotations('VllmVitalsDown', config, {
      dashboard: 'host',
      summary:
        '{{ with $labels.instance }}the daemon on {{ . }} does not answer{{ else }}Prometheus scrapes no vllm-vitals{{ end }}: nobody watches vLLM',
      description:
        'Prometheus cannot scrape the daemon, or has no job with vllm-vitals in its name. vLLM may be well, but no alert of it would ring. On the host: systemctl status vllm-vitals, journalctl -u vllm-vitals.',
    }),
  }
}
