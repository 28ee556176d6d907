import { createHash } from 'node:crypto'
import type { Alert } from '../rules/alert.ts'
import type { HealthStatus } from '../rules/health.ts'
import type { GpuSnapshot, Snapshot, TargetSnapshot } from '../snapshot.ts'
import { sourceBody } from './health.ts'

const style = `body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8886}
.healthy{color:#18794e}.degraded{color:#ad5700}.unhealthy{color:#ce2c31}.unknown{color:#60646c}`

const styleHash = createHash('sha256').update(style).digest('base64')

/** What the page may do: show itself, with its one style. No script, no frame, no form, no other origin. */
export const landingHeaders = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': `default-src 'none'; style-src 'sha256-${styleHash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  'referrer-policy': 'no-referrer',
  'x-frame-options': 'DENY',
} as const

const links = [
  ['/metrics', 'metrics for Prometheus'],
  ['/health', 'the condition of what is watched, with reasons'],
  ['/api/v1/status', 'everything that is known, as JSON'],
  ['/runbooks', 'what to do about each alert'],
  ['/livez', 'whether the daemon itself lives'],
  ['/readyz', 'whether every target has been tried'],
] as const

/** Returns the page at `/` as HTML, all of it escaped; without a snapshot it says so. */
export function landingPage(snapshot: Snapshot | undefined, version: string): string {
  const items = links.map(([path, what]) => `<li><a href="${path}">${path}</a>: ${what}</li>`)
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>vllm-vitals</title><style>${style}</style></head>
<body>
<h1>vllm-vitals</h1>
${snapshot === undefined ? '<p>Nothing has been evaluated yet.</p>' : verdict(snapshot)}
<ul>
${items.join('\n')}
</ul>
<p>Version ${escapeHtml(version)}</p>
</body>
</html>
`
}

function verdict(snapshot: Snapshot): string {
  const { targets, gpus, gpuSource } = snapshot
  return [
    `<p><strong class="${snapshot.status}">${sentence(snapshot)}</strong></p>`,
    targets.length === 0 ? '' : targetTable(snapshot),
    gpus.length === 0 ? '' : gpuTable(gpus),
    gpuSource === undefined || gpuSource.status === 'healthy'
      ? ''
      : sourceLine(snapshot, gpuSource),
  ].join('\n')
}

function sentence(snapshot: Snapshot): string {
  const firing = snapshot.alerts.filter((alert) => alert.state === 'firing').length
  const alerts =
    firing === 0 ? '' : `: ${firing} ${firing === 1 ? 'alert is' : 'alerts are'} firing`
  const sentences: Record<HealthStatus, string> = {
    healthy: 'All that is watched is healthy.',
    degraded: `What is watched is degraded${alerts}.`,
    unhealthy: `What is watched is unhealthy${alerts}.`,
    unknown: 'The condition of what is watched is unknown.',
  }
  return sentences[snapshot.status]
}

function targetTable(snapshot: Snapshot): string {
  const rows = snapshot.targets.map((target) => targetRow(snapshot, target))
  return `<h2>Targets</h2>
<table>
<tr><th>Name</th><th>Status</th><th>State</th><th>Models</th><th>Last scrape</th><th>Why</th></tr>
${rows.join('\n')}
</table>`
}

function targetRow(snapshot: Snapshot, target: TargetSnapshot): string {
  const { last_scrape_age_seconds: age, detail } = sourceBody(snapshot, target)
  return row([
    target.name,
    status(target.status),
    target.state,
    target.models.join(', '),
    age === null ? 'never' : `${age.toFixed(1)} s ago`,
    reasons(target.reasons, detail),
  ])
}

function gpuTable(gpus: readonly GpuSnapshot[]): string {
  const rows = gpus.map((gpu) =>
    row([String(gpu.index), status(gpu.status), gpu.name, gpu.uuid, reasons(gpu.reasons)]),
  )
  return `<h2>GPUs</h2>
<table>
<tr><th>GPU</th><th>Status</th><th>Name</th><th>UUID</th><th>Why</th></tr>
${rows.join('\n')}
</table>`
}

// Each row speaks of one GPU; what keeps all of them from being read has no row.
function sourceLine(snapshot: Snapshot, source: TargetSnapshot): string {
  const { detail } = sourceBody(snapshot, source)
  return `<p>The reading of the GPUs is ${status(source.status).html}: ${reasons(source.reasons, detail).html}</p>`
}

/** A cell's text, or HTML that was made here. */
type Cell = string | Html

interface Html {
  readonly html: string
}

function row(cells: readonly Cell[]): string {
  const inner = cells.map((cell) => (typeof cell === 'string' ? escapeHtml(cell) : cell.html))
  return `<tr>${inner.map((html) => `<td>${html}</td>`).join('')}</tr>`
}

function status(of: HealthStatus): Html {
  return { html: `<span class="${of}">${of}</span>` }
}

function reasons(alerts: readonly Alert[], detail?: string): Html {
  const lines = alerts.map((alert) => escapeHtml(`${alert.alert}: ${alert.summary}`))
  if (detail !== undefined) lines.push(escapeHtml(detail))
  return { html: lines.join('<br>') }
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? '')
}
