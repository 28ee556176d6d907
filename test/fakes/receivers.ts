import type { IncomingMessage, ServerResponse } from 'node:http'
import { httpServer } from './local-server.ts'

/** A message as Slack's incoming webhook takes it from Alertmanager. */
export interface SlackMessage {
  /** Wall clock at its arrival, Unix milliseconds. */
  readonly atMs: number
  readonly attachments: readonly SlackAttachment[]
}

export interface SlackAttachment {
  readonly title: string
  readonly title_link: string
  readonly text: string
  readonly fallback: string
  readonly color: string
  readonly actions?: readonly { readonly text: string; readonly url: string }[]
}

/** An event as PagerDuty's Events API v2 takes it. */
export interface PagerDutyEvent {
  /** Wall clock at its arrival, Unix milliseconds. */
  readonly atMs: number
  readonly routing_key: string
  readonly event_action: 'trigger' | 'acknowledge' | 'resolve'
  readonly dedup_key: string
  readonly client?: string
  readonly client_url?: string
  readonly links?: readonly { readonly href: string; readonly text: string }[]
  /** What happened; an event that resolves needs none. */
  readonly payload?: {
    readonly summary: string
    readonly source: string
    readonly severity: string
    readonly component?: string
    readonly group?: string
    readonly class?: string
    readonly custom_details?: Readonly<Record<string, string>>
  }
}

/** Slack and PagerDuty as Alertmanager meets them, on loopback. Both lists grow as messages arrive. */
export interface Receivers {
  /** The secret URL of an incoming webhook. */
  readonly slackUrl: string
  /** What `pagerduty_url` is set to. */
  readonly pagerdutyUrl: string
  readonly slack: readonly SlackMessage[]
  readonly pagerduty: readonly PagerDutyEvent[]
  /** What was refused, as the services say why; a test expects none. */
  readonly refused: readonly string[]
  /** Resolves once `holds` does; asked at each arrival. */
  readonly arrived: (holds: () => boolean, withinMs?: number) => Promise<void>
  readonly stop: () => Promise<void>
}

/** The key of a PagerDuty service, as long as theirs are. */
export const pagerdutyKey = '0123456789abcdef0123456789abcdef'

const slackPath = '/services/T00000000/B00000000/secret'
const pagerdutyPath = '/v2/enqueue'

/** Starts both on a port of the system's choice. */
export async function startReceivers(): Promise<Receivers> {
  const slack: SlackMessage[] = []
  const pagerduty: PagerDutyEvent[] = []
  const refused: string[] = []
  const waiting = new Set<() => void>()
  const server = await httpServer((request, response) => {
    void bodyOf(request).then((body) => {
      if (request.method === 'POST' && request.url === slackPath) {
        const wrong = takeSlack(body, slack)
        if (wrong !== undefined) refused.push(wrong)
        answer(response, wrong === undefined ? 200 : 400, 'text/html', wrong ?? 'ok')
      } else if (request.method === 'POST' && request.url === pagerdutyPath) {
        const wrong = takePagerDuty(body, pagerduty)
        if (wrong !== undefined) refused.push(wrong)
        const said = pagerdutySays(wrong, pagerduty.at(-1)?.dedup_key)
        answer(response, wrong === undefined ? 202 : 400, 'application/json', said)
      } else {
        refused.push(`${request.method} ${request.url}`)
        answer(response, 404, 'text/html', 'no_service')
      }
      for (const look of waiting) look()
    })
  })
  return {
    slackUrl: `${server.origin}${slackPath}`,
    pagerdutyUrl: `${server.origin}${pagerdutyPath}`,
    slack,
    pagerduty,
    refused,
    arrived: (holds, withinMs = 10_000) =>
      new Promise((resolve, reject) => {
        const settle = () => {
          clearTimeout(timer)
          waiting.delete(look)
        }
        const look = () => {
          if (!holds()) return
          settle()
          resolve()
        }
        const timer = setTimeout(() => {
          settle()
          const found = JSON.stringify({ slack, pagerduty, refused }, undefined, 1)
          reject(new Error(`expected ${holds} within ${withinMs} ms, found ${found}`))
        }, withinMs)
        waiting.add(look)
        look()
      }),
    stop: server.stop,
  }
}

/** Keeps the message in `body`, or returns what Slack says of one that it does not take. */
function takeSlack(body: string, slack: SlackMessage[]): string | undefined {
  const message = objectIn(body)
  const attachments = message?.['attachments']
  if (message === undefined) return 'invalid_payload'
  if (!Array.isArray(attachments) || attachments.length === 0) return 'no_text'
  slack.push({ ...(message as object as SlackMessage), atMs: Date.now() })
  return undefined
}

/** Keeps the event in `body`, or returns what PagerDuty says of one that it does not take. */
function takePagerDuty(body: string, pagerduty: PagerDutyEvent[]): string | undefined {
  const found = objectIn(body)
  if (found === undefined) return 'Event object is invalid'
  const event = found as object as PagerDutyEvent
  if (!/^\w{32}$/.test(event.routing_key)) return 'Length of routing_key is incorrect'
  if (!['trigger', 'acknowledge', 'resolve'].includes(event.event_action)) {
    return "'event_action' is invalid"
  }
  if (event.event_action === 'trigger') {
    const { summary = '', source = '', severity = '' } = event.payload ?? {}
    if (summary === '' || summary.length > 1_024) return "'payload.summary' is missing or too long"
    if (source === '') return "'payload.source' is missing or blank"
    if (!['critical', 'error', 'warning', 'info'].includes(severity)) {
      return "'payload.severity' is invalid"
    }
  }
  const badLink = event.links?.find(({ href }) => !URL.canParse(href))
  if (badLink !== undefined) return `'links' holds no URL: ${badLink.text}`
  pagerduty.push({ ...event, atMs: Date.now() })
  return undefined
}

function pagerdutySays(wrong: string | undefined, dedupKey: string | undefined): string {
  return JSON.stringify(
    wrong === undefined
      ? { status: 'success', message: 'Event processed', dedup_key: dedupKey }
      : { status: 'invalid event', message: 'Event object is invalid', errors: [wrong] },
  )
}

function objectIn(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const found: unknown = JSON.parse(text)
    return typeof found === 'object' && found !== null
      ? (found as Readonly<Record<string, unknown>>)
      : undefined
  } catch {
    return undefined
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = ''
  request.setEncoding('utf8')
  for await (const chunk of request) body += chunk
  return body
}

function answer(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type })
  response.end(body)
}
