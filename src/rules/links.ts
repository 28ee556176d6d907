import { z } from 'zod'

/** Where the links in alerts lead: what people read and look at beside the daemon. */
export interface LinksConfig {
  /** Base URL of the runbooks, without a slash at its end; empty: the daemon serves them itself. */
  readonly runbooks: string
  /** Base URL of Grafana, without a slash at its end; empty: alerts carry no link to a dashboard. */
  readonly grafana: string
}

/** The dashboards that the daemon can generate, by the name that is their `uid` in Grafana's paths. */
export const dashboardUids = {
  host: 'vllm-vitals-host',
  fleet: 'vllm-vitals-fleet',
  slo: 'vllm-vitals-slo',
} as const

export type Dashboard = keyof typeof dashboardUids

const urlMessage = 'expected an http or https URL without user name, query and fragment, or nothing'

const linkSchema = z
  .string({ error: urlMessage })
  .max(1_000, { error: urlMessage })
  .refine((text) => text === '' || isPlainUrl(text), { error: urlMessage })
  .transform((text) => text.replace(/\/+$/, ''))

export const linksSchema = z
  .strictObject({
    runbooks: linkSchema
      .prefault('')
      .describe(
        'Base URL of the runbooks, to which /NAME.md is added; empty: /runbooks/NAME of the daemon that rings.',
      ),
    grafana: linkSchema
      .prefault('')
      .describe('Base URL of Grafana; empty: alerts carry no link to a dashboard.'),
  })
  .transform((links): LinksConfig => links)

/**
 * Returns where the runbook of `alert` is read. `instance` is the daemon's `HOST:PORT`, or what stands for it
 * in a template; it is needed where the daemon serves the runbooks.
 */
export function runbookUrl(links: LinksConfig, alert: string, instance: string): string {
  if (links.runbooks !== '') return `${links.runbooks}/${alert}.md`
  return `http://${instance}/runbooks/${alert}`
}

/**
 * Returns where a dashboard is looked at, or nothing where no Grafana is known. `variables` are those of the
 * dashboard, such as `instance`, each URL-encoded or a template that becomes so.
 */
export function dashboardUrl(
  links: LinksConfig,
  dashboard: Dashboard,
  variables: Readonly<Record<string, string>>,
): string | undefined {
  if (links.grafana === '') return undefined
  const uid = dashboardUids[dashboard]
  const query = Object.entries(variables).map(([name, value]) => `var-${name}=${value}`)
  return `${links.grafana}/d/${uid}/${uid}${query.length === 0 ? '' : `?${query.join('&')}`}`
}

function isPlainUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, username, password, search, hash } = new URL(text)
  if (protocol !== 'http:' && protocol !== 'https:') return false
  return [username, password, search, hash].every((part) => part === '')
}
