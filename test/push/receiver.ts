import assert from 'node:assert/strict'
import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { Pusher } from '../../src/push/pusher.ts'
import type { AlertmanagerConfig } from '../../src/push/settings.ts'
import type { Alert } from '../../src/rules/alert.ts'
import { type LocalServer, listen } from '../fakes/local-server.ts'
import { ManualClock } from '../fakes/manual-clock.ts'
import { alertOf, snapshotOf } from '../fakes/snapshots.ts'
import { keepingLog, type LoggedLine } from '../web/serving.ts'

/** An alert as a receiver was told of it. */
export interface Told {
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly startsAt: string
  readonly endsAt: string
  readonly generatorURL: string
}

/** Something that takes alerts as Alertmanager does, and keeps the books. */
export interface Receiver extends LocalServer {
  readonly posts: readonly {
    readonly url: string | undefined
    readonly headers: IncomingHttpHeaders
    readonly alerts: readonly Told[]
  }[]
}

/** Starts a receiver that answers with 200 unless `answer` does otherwise, on a port of the system's choice. */
export async function startReceiver(
  answer: (response: ServerResponse, count: number) => void = (response) => response.end(),
  port = 0,
): Promise<Receiver> {
  const posts: Receiver['posts'][number][] = []
  const server = createServer((request, response) => {
    let text = ''
    request.setEncoding('utf8').on('data', (part: string) => {
      text += part
    })
    request.on('end', () => {
      posts.push({ url: request.url, headers: request.headers, alerts: JSON.parse(text) })
      answer(response, posts.length)
    })
  })
  const running = await listen(server, port)
  afterwards(running.stop)
  return { ...running, posts }
}

const open: (() => Promise<unknown>)[] = []

/** Has `close` called after the test that is running, however it ends. */
export function afterwards(close: () => Promise<unknown>): void {
  open.push(close)
}

/** Puts away whatever the last test has started. */
export async function putAway(): Promise<void> {
  await Promise.all(open.splice(0).map((close) => close()))
}

/** Waits in real time, 5 s at most, until `condition` holds. */
export async function until(condition: () => boolean): Promise<void> {
  const lastMs = performance.now() + 5_000
  while (!condition()) {
    if (performance.now() > lastMs) throw new Error(`expected ${condition} within 5 s`)
    await delay(2)
  }
}

/** A pusher in told time, with the log that it writes. */
export class Desk {
  readonly clock = new ManualClock()
  readonly lines: LoggedLine[] = []
  readonly failures: unknown[] = []
  readonly pusher: Pusher

  constructor(given: { readonly maxAlerts?: number } = {}) {
    this.pusher = new Pusher({
      clock: this.clock,
      log: keepingLog(this.lines),
      random: () => 0.5,
      fail: (error) => this.failures.push(error),
      ...given,
    })
    afterwards(() => this.stop())
  }

  /** Ends the pusher, and the time that it may take for that. */
  async stop(): Promise<void> {
    await Promise.all([this.pusher.stop(), this.clock.jump(1_000)])
  }

  async configure(...given: readonly (string | Partial<AlertmanagerConfig>)[]): Promise<void> {
    const urls = given.filter((one) => typeof one === 'string')
    await this.pusher.configure({
      alertmanager: {
        urls,
        instance: '',
        timeoutMs: 5_000,
        resendMs: 60_000,
        labels: {},
        auth: { kind: 'none' },
        ...Object.assign({}, ...given.filter((one) => typeof one !== 'string')),
      },
      links: { runbooks: '', grafana: '' },
      host: { name: 'gpu-host-1', urls: ['http://0.0.0.0:19400'] },
    })
  }

  /** An evaluation finds that these fire now. */
  follow(...alerts: readonly Alert[]): void {
    const [atMs, wallMs] = [this.clock.monotonicMs(), this.clock.nowMs()]
    this.pusher.follow(snapshotOf({ alerts, atMs, wallMs }))
  }

  /** The value of a metric, by what is behind its common prefix; `undefined` where there is none. */
  metric(name: string, url: string, outcome?: string): number | undefined {
    const found = this.pusher
      .measured()
      .find(
        ({ family, labels }) =>
          family.name === `alertmanager_${name}` &&
          labels['alertmanager'] === url &&
          labels['outcome'] === outcome,
      )
    return found?.measurement.kind === 'value' ? found.measurement.value : undefined
  }

  count(url: string, outcome: 'sent' | 'failed' | 'dropped'): number | undefined {
    return this.metric('notifications_total', url, outcome)
  }

  get said(): readonly string[] {
    return this.lines.map(({ level, message }) => `${level}: ${message}`)
  }
}

/** Two alerts that fire, about the targets a and b. */
export const a = alertOf({ subject: { target: 'a' } })
export const b = alertOf({ subject: { target: 'b' } })

/** The targets that each post speaks of. */
export const targetsOf = ({ posts }: Receiver) =>
  posts.map(({ alerts }) => alerts.map(({ labels }) => labels['target']))

/** Whether each alert of each post was told to go on at `nowMs`. */
export const firingAt = ({ posts }: Receiver, nowMs: number) =>
  posts.map(({ alerts }) => alerts.map(({ endsAt }) => Date.parse(endsAt) > nowMs))

/** Runs `use` with a desk that is configured for `receivers`. */
export async function at(
  receivers: readonly Receiver[],
  use: (desk: Desk, ...urls: readonly string[]) => Promise<void>,
  given: Partial<AlertmanagerConfig> = {},
): Promise<void> {
  const desk = new Desk()
  const urls = receivers.map(({ origin }) => origin)
  await desk.configure(...urls, given)
  await use(desk, ...urls)
  assert.deepEqual(desk.failures, [])
}
