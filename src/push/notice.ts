import type { Alert } from '../rules/alert.ts'
import { builtinRules } from '../rules/builtin.ts'
import { dashboardUrl, type LinksConfig, runbookUrl } from '../rules/links.ts'
import type { Snapshot } from '../snapshot.ts'

/** Value of the label `job`: the same as that of the scrape configuration in the documentation. */
const job = 'vllm-vitals'

/** An alert that is not renewed for so many resends ends by itself, as when the daemon is gone. */
export const expiresAfterResends = 4

/** What the daemon signs its alerts with. */
export interface Signature {
  /** `HOST:PORT` at which people reach the daemon. */
  readonly instance: string
  readonly labels: Readonly<Record<string, string>>
  readonly links: LinksConfig
}

/** An alert as Alertmanager is told of it. */
export interface Notice {
  /** Equal for alerts that Alertmanager takes for the same one: those with equal labels. */
  readonly key: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  /** Wall clock, Unix milliseconds. */
  readonly startsAtMs: number
  readonly generatorUrl: string
}

/** Whether an alert goes on, or since when it does not. */
export type Standing =
  | { readonly kind: 'firing' }
  | { readonly kind: 'resolved'; readonly endedMs: number; readonly endedWallMs: number }

/**
 * Returns what rings now, by key.
 *
 * What is pending rings nobody. Nor does what is held back, since its cause rings: it is left out here as it is
 * among the firing series of `alert_active`, so that both ways to Alertmanager tell the same.
 */
export function noticesOf(
  { alerts, atMs, wallMs }: Pick<Snapshot, 'alerts' | 'atMs' | 'wallMs'>,
  signature: Signature,
): ReadonlyMap<string, Notice> {
  const notices = new Map<string, Notice>()
  for (const alert of alerts) {
    if (alert.state !== 'firing' || alert.heldBack !== undefined) continue
    const startsAtMs = alert.sinceWallMs ?? wallMs - (atMs - alert.sinceMs)
    const notice = noticeOf(alert, startsAtMs, signature)
    notices.set(notice.key, notice)
  }
  return notices
}

/** Returns the body of Alertmanager's `POST /api/v2/alerts`. */
export function bodyOf(
  owed: readonly { readonly notice: Notice; readonly standing: Standing }[],
  { nowMs, resendMs }: { readonly nowMs: number; readonly resendMs: number },
): string {
  const alerts = owed.map(({ notice, standing }) => {
    const { labels, annotations, startsAtMs, generatorUrl } = notice
    const endsAtMs =
      standing.kind === 'firing' ? nowMs + expiresAfterResends * resendMs : standing.endedWallMs
    return {
      labels,
      annotations,
      // A wall clock that was set back would have it end before it starts, which is refused.
      startsAt: isoTime(Math.min(startsAtMs, endsAtMs)),
      endsAt: isoTime(endsAtMs),
      generatorURL: generatorUrl,
    }
  })
  return JSON.stringify(alerts)
}

/** Returns what stands for the daemon in labels and links, where the configuration does not say. */
export function instanceOf(
  configured: string,
  host: { readonly name: string; readonly urls: readonly string[] },
): string {
  if (configured !== '') return configured
  const [url] = host.urls
  if (url === undefined) return host.name
  const { port } = new URL(url)
  return `${host.name}:${port === '' ? '80' : port}`
}

function noticeOf(alert: Alert, startsAtMs: number, signature: Signature): Notice {
  const { instance, links } = signature
  const { target, model_name, uuid } = alert.subject
  const labels = present({
    ...signature.labels,
    alertname: alert.alert,
    severity: alert.severity,
    instance,
    job,
    target,
    model_name,
    uuid,
  })
  const dashboard = dashboardUrl(links, 'host', { instance: encodeURIComponent(instance) })
  const asked = target ?? (uuid === undefined ? undefined : 'gpu')
  const query = asked === undefined ? '' : `?target=${encodeURIComponent(asked)}`
  return {
    key: JSON.stringify(Object.entries(labels)),
    labels,
    annotations: present({
      summary: alert.summary,
      description: descriptions.get(alert.alert),
      runbook_url: runbookUrl(links, alert.alert, instance),
      dashboard_url: dashboard,
    }),
    startsAtMs,
    generatorUrl: `http://${instance}/health${query}`,
  }
}

const descriptions: ReadonlyMap<string, string> = new Map(
  builtinRules.map(({ name, description }) => [name, description]),
)

/** The entries that say something, in the order of their names. */
function present(
  entries: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string>> {
  const found: [string, string][] = []
  for (const [name, value] of Object.entries(entries)) {
    if (value !== undefined && value !== '') found.push([name, value])
  }
  return Object.fromEntries(found.sort(([a], [b]) => (a < b ? -1 : 1)))
}

const lastIsoMs = Date.UTC(9999, 11, 31)

// A wall clock that was set to nonsense must not have all alerts refused.
function isoTime(wallMs: number): string {
  const ms = Number.isNaN(wallMs) ? 0 : Math.min(Math.max(Math.round(wallMs), 0), lastIsoMs)
  return new Date(ms).toISOString()
}
