import type { Config } from '../config/schema.ts'
import { type Dashboard, dashboardUrl, type LinksConfig, runbookUrl } from '../rules/links.ts'
import { jobMatcher } from './rule-group.ts'

/** What the templates of Prometheus put in place of the daemon that rings. */
const itself = '{{ $labels.instance }}'

/** The runbook of any daemon that answers, for all have it; empty where none does, since a link to nowhere is none. */
function runbookAnywhere(links: LinksConfig, alert: string): string {
  if (links.runbooks !== '') return runbookUrl(links, alert, '')
  const url = runbookUrl(links, alert, '{{ . | first | label "instance" }}')
  return `{{ with query \`up{${jobMatcher}} == 1\` }}${url}{{ end }}`
}

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
    runbook_url:
      rings === undefined ? runbookAnywhere(links, alert) : runbookUrl(links, alert, itself),
    ...(board === undefined ? {} : { dashboard_url: board }),
  }
}
