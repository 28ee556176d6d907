import type { Config } from '../config/schema.ts'
import { configure } from '../rules/alert.ts'
import { builtinRules } from '../rules/builtin.ts'
import { consequences } from '../rules/hold-back.ts'
import type { Severity } from '../rules/settings.ts'
import { messageTemplates } from './alertmanager-templates.ts'
import type { GeneratedFile } from './files.ts'
import { budgetAlertNames } from './slo-rules.ts'

/** A rule of Alertmanager by which some alerts silence others. */
interface InhibitRule {
  /** Why, as a comment. */
  readonly why: string
  readonly source: readonly string[]
  readonly target: readonly string[]
  readonly equal: readonly string[]
}

export function alertmanagerFiles(config: Config): readonly GeneratedFile[] {
  return [
    { path: 'alertmanager.yaml', text: `${head}\n${inhibition(config)}` },
    { path: 'templates/vllm-vitals.tmpl', text: messageTemplates },
  ]
}

/** What speaks of GPUs and names no target: it is explained by whatever befell the host. */
const ofTheHost: ReadonlySet<string> = new Set(['VllmGpuLost', 'VllmGpuUtilizationHigh'])

/** Looks busy while an engine hangs, for a kernel that waits in vain keeps its GPU at 100 %, and requests wait. */
const besides: ReadonlyMap<string, readonly string[]> = new Map(
  ['VllmDown', 'VllmEngineStalled', 'VllmGpuLost'].map((cause) => [
    cause,
    ['VllmGpuUtilizationHigh'],
  ]),
)

/** The rules of inhibition: what the daemon holds back, and the page of a budget that holds back its ticket. */
function inhibitRules(config: Config): readonly InhibitRule[] {
  const severityOf = severities(config)
  const rules = [...consequences].flatMap(([cause, held]) => {
    const severity = severityOf.get(cause)
    const silenced = [...held, ...(besides.get(cause) ?? [])].filter((name) => severityOf.has(name))
    if (severity === undefined) return []
    const isOfHost = (name: string) => ofTheHost.has(cause) || ofTheHost.has(name)
    return [
      ofTarget({ cause, severity, silenced: silenced.filter((name) => !isOfHost(name)) }),
      ofHost({ cause, severity, silenced: silenced.filter(isOfHost) }, config),
    ].flatMap((rule) => rule ?? [])
  })
  return [...rules, burnRule]
}

interface Inhibited {
  readonly cause: string
  readonly severity: Severity
  readonly silenced: readonly string[]
}

/** Both alerts name their target. */
function ofTarget({ cause, severity, silenced }: Inhibited): InhibitRule | undefined {
  if (silenced.length === 0) return undefined
  return {
    why: `${cause} explains these of the same target.`,
    source: [named([cause]), ...present(['instance', 'target'])],
    target: [named(silenced), ...(severity === 'critical' ? [] : [onlyWarnings])],
    equal: ['instance', 'target'],
  }
}

/** One of the two alerts speaks of a GPU, and names the host alone. */
function ofHost(
  { cause, severity, silenced }: Inhibited,
  { targets }: Config,
): InhibitRule | undefined {
  if (silenced.length === 0) return undefined
  const isSole = targets.length === 1
  const why = isSole
    ? `${cause} explains these on the same host; alerts of GPUs name no target.`
    : `${cause} explains these on the same host, where several targets run: what pages may be of another one, and is not silenced.`
  return {
    why,
    source: [named([cause]), ...present(['instance'])],
    target: [named(silenced), ...(isSole && severity === 'critical' ? [] : [onlyWarnings])],
    equal: ['instance'],
  }
}

const burnRule: InhibitRule = {
  why: 'A budget that burns fast enough for a page needs no ticket beside it. Hosts silence neither: the users of the whole fleet are hurt.',
  source: [named(budgetAlertNames), 'severity = "critical"'],
  target: [named(budgetAlertNames), 'severity = "warning"'],
  // Of the last two each alert has one; the one that both lack compares as equal.
  equal: ['alertname', 'job', 'model_name', 'target'],
}

const onlyWarnings = 'severity = "warning"'

function named(names: readonly string[]): string {
  return names.length === 1 ? `alertname = "${names[0]}"` : `alertname =~ "${names.join('|')}"`
}

/** Two labels that are both missing count as equal, so a cause has to have what it is compared by. */
function present(labels: readonly string[]): readonly string[] {
  return labels.map((label) => `${label} != ""`)
}

/** The severity of each alert that the configuration has not switched off. */
function severities({ alerts }: Config): ReadonlyMap<string, Severity> {
  return new Map(
    builtinRules.flatMap((rule) => {
      const configured = configure(rule, alerts[rule.name])
      return configured === undefined ? [] : [[rule.name, configured.severity]]
    }),
  )
}

function inhibition(config: Config): string {
  return `# One cause, one message. The daemon holds back what another alert explains; these rules do the same where alerts of
# several daemons meet, and in the moments between. A cause never silences itself: no rule lists it on both sides.
# A cause that is a warning silences warnings alone. Where several clusters with addresses in common send here, add the
# label that tells them apart (external_labels of Prometheus) to every equal, and to group_by.
inhibit_rules:
${inhibitRules(config).map(inhibitText).join('')}`
}

function inhibitText({ why, source, target, equal }: InhibitRule): string {
  const list = (matchers: readonly string[]) => matchers.map((one) => `      - ${one}\n`).join('')
  return `  # ${why}
  - source_matchers:
${list(source)}    target_matchers:
${list(target)}    equal: [${equal.join(', ')}]
`
}

/** Everything that does not depend on the configuration. */
const head = `# Alertmanager for vllm-vitals: Slack and PagerDuty. Generated: vllm-vitals generate alertmanager.
# Needs Alertmanager 0.25 or newer, whose PagerDuty receivers read their key from a file.
#
# With a configuration of your own, take over the parts marked MERGE 1 to 4, and the file in templates/.

# MERGE 1: the messages. A relative path starts at the folder of this file.
templates:
  - templates/*.tmpl

route:
  # Whatever is not about vLLM. Put your own receiver here, or keep your own route and add the one below to its routes.
  receiver: default
  group_by: [alertname]
  routes:
    # MERGE 2: the route of vllm-vitals. Put it before routes that would catch the same alerts. It goes by the first
    # letters of the name, so that alerts which come with an upgrade or are switched on later have a way already.
    - matchers:
        - alertname =~ "Vllm.+"
      receiver: vllm-vitals-slack
      # One message for each host and model, so that a slow server is one message and two servers are two. Labels that
      # an alert does not have are left out: what befalls a whole server (VllmDown) is grouped by host and target, what
      # befalls GPUs by host, and the budget of a fleet, which has no host, by model. The target keeps servers on one
      # host apart, the job keeps fleets apart that serve the same model.
      group_by: [job, instance, target, model_name]
      # The daemon has waited before it rings. This is for the alerts of one incident to meet, and their cause.
      group_wait: 10s
      # How soon news of a group is told: one more alert, or that all is well.
      group_interval: 2m
      # How often a message that nobody acted upon comes again.
      repeat_interval: 4h
      routes:
        # Critical: page somebody, and go on to Slack.
        - matchers:
            - severity = "critical"
          receiver: vllm-vitals-pagerduty
          # One incident for each server. Latency alone has a model as well, and shares the incident of its server: a
          # server that is slow, then hangs, is one page. Alertmanager never says of an alert that ended while it was
          # inhibited that it is over (prometheus/alertmanager#2754), so a page of its own would stay open for ever.
          # The second server to fail on a host is another page, not a part of one that somebody has acknowledged.
          group_by: [job, instance, target]
          # The incident is to end soon after the trouble has.
          group_interval: 1m
          # PagerDuty folds repetitions into the open incident; one that was closed by hand too early opens again.
          repeat_interval: 1h
          continue: true
          routes:
            # A Prometheus that is cut off from a fleet misses all daemons at once: that is one incident.
            - matchers:
                - alertname = "VllmVitalsDown"
              receiver: vllm-vitals-pagerduty
              group_by: [job]
            # The budgets of a fleet have no host: one incident for each model.
            - matchers:
                - instance = ""
              receiver: vllm-vitals-pagerduty
              group_by: [job, target, model_name]
        # Critical and warning alike, in one message a group.
        - matchers:
            - severity =~ "critical|warning"
          receiver: vllm-vitals-slack
          routes:
            - matchers:
                - alertname = "VllmVitalsDown"
              receiver: vllm-vitals-slack
              group_by: [job]

# MERGE 3: the receivers. Secrets are files, which Alertmanager reads anew for each message: changing one needs no reload.
receivers:
  # Yours.
  - name: default

  - name: vllm-vitals-slack
    slack_configs:
      # The URL of an incoming webhook, which belongs to one channel.
      - api_url_file: /etc/alertmanager/secrets/slack_url
        send_resolved: true
        title: '{{ template "vllm_vitals.title" . }}'
        title_link: '{{ template "vllm_vitals.alerts_url" . }}'
        text: '{{ template "vllm_vitals.slack.text" . }}'
        fallback: '{{ template "vllm_vitals.slack.fallback" . }}'
        color: '{{ template "vllm_vitals.slack.color" . }}'

  - name: vllm-vitals-pagerduty
    pagerduty_configs:
      # The integration key of a service, type "Events API v2". Incidents are told apart by group.
      - routing_key_file: /etc/alertmanager/secrets/pagerduty_key
        send_resolved: true
        description: '{{ template "vllm_vitals.pagerduty.description" . }}'
        severity: '{{ template "vllm_vitals.pagerduty.severity" . }}'
        client: Alertmanager
        client_url: '{{ template "vllm_vitals.alerts_url" . }}'
        # PagerDuty refuses an event without a source, and the alerts of a fleet have no host.
        source: '{{ or .CommonLabels.instance .CommonLabels.job "vllm-vitals" }}'
        component: '{{ or .CommonLabels.model_name .CommonLabels.target }}'
        group: '{{ .CommonLabels.job }}'
        class: '{{ .CommonLabels.alertname }}'
        # Alertmanager leaves out a link without an address, as of a dashboard where no Grafana is known.
        links:
          - href: '{{ template "vllm_vitals.pagerduty.runbook" . }}'
            text: Runbook
          - href: '{{ template "vllm_vitals.pagerduty.dashboard" . }}'
            text: Dashboard
          - href: '{{ template "vllm_vitals.silence_url" . }}'
            text: Silence
        details:
          firing: '{{ template "vllm_vitals.pagerduty.list" .Alerts.Firing }}'
          resolved: '{{ template "vllm_vitals.pagerduty.list" .Alerts.Resolved }}'

# MERGE 4: the inhibition.`
