import type { Config } from '../config/schema.ts'
import { type Dashboard, dashboardUrl, runbookUrl } from '../rules/links.ts'
import { jobMatcher } from './rule-group.ts'

/** What the templates of Prometheus put in place of the daemon that rings. */
const itself = '{{ $labels.instance }}'

/** A daemon that answers, where the one concerned does not or there is none: any has all runbooks. */
const another = `{{ with query \`up{${jobMatcher}} == 1\` }}{{ . | first | label "instance" }}{{ end }}`

/**
 * Returns the annotations of an alert: its texts, the link to its runbook, and the link to a dashboard where a
 * Grafana is known. Those that ring for a fleet, or for a daemon that is gone, have the runbook of another daemon.
 */
export function annotations(
  alert: string,
  { links }: Config,
  about: {
    readonly summary: string
    readonly description: string
    readonly dashboard: Dashboard
    /** Whether the daemon that the alert speaks of answers. */
    readonly rings?: 'itself'
  },
): Readonly<Record<string, string>> {
  const { summary, description, dashboard, rings } = about
  const variables: Readonly<Record<string, string>> =
    dashboard === 'host' ? { instance: '{{ $labels.instance | urlquery }}' } : {}
  const board = dashboardUrl(links, dashboard, variables)
  return {
    summary,
    description,
    runbook_url: runbookUrl(links, alert, rings === undefined ? another : itself),
    ...(board === undefined ? {} : { dashboard_url: board }),
  }
}
