import type { LinksConfig } from '../rules/links.ts'
import { entry } from '../signals/context.ts'
import { type Family, type Measured, measured } from '../signals/signal.ts'
import type { Snapshot } from '../snapshot.ts'
import { Courier, type Tally, type World } from './courier.ts'
import { instanceOf, noticesOf, type Signature } from './notice.ts'
import type { AlertmanagerConfig } from './settings.ts'

/** Handing over what is owed takes the daemon's end no longer than this. */
const stopWithinMs = 1_000

/** What the push of alerts obeys. */
export interface PushConfig {
  readonly alertmanager: AlertmanagerConfig
  readonly links: LinksConfig
  /** The host that the daemon runs on, and what it listens on there. */
  readonly host: { readonly name: string; readonly urls: readonly string[] }
}

/** Pushes the daemon's own alerts to Alertmanagers, for hosts that no Prometheus scrapes. */
export class Pusher {
  readonly #world: World
  #couriers = new Map<string, Courier>()
  #signature: Signature | undefined
  #stopped = false

  constructor(world: World) {
    this.#world = world
  }

  /** Takes over whom to tell, and how. An Alertmanager that stays keeps what it is owed. */
  async configure({ alertmanager, links, host }: PushConfig): Promise<void> {
    if (this.#stopped) return
    const { labels, instance } = alertmanager
    this.#signature = { labels, links, instance: instanceOf(instance, host) }
    const before = this.#couriers
    const work: Promise<void>[] = []
    this.#couriers = new Map(
      alertmanager.urls.map((url) => {
        const known = before.get(url)
        if (known === undefined) return [url, new Courier(url, alertmanager, this.#world)]
        work.push(known.configure(alertmanager))
        return [url, known]
      }),
    )
    for (const [url, courier] of before) {
      if (!this.#couriers.has(url)) work.push(courier.end())
    }
    await Promise.all(work)
  }

  /** Takes in an evaluation; returns at once. */
  follow(snapshot: Pick<Snapshot, 'alerts' | 'atMs' | 'wallMs'>): void {
    if (this.#signature === undefined || this.#couriers.size === 0) return
    const ringing = noticesOf(snapshot, this.#signature)
    for (const courier of this.#couriers.values()) courier.follow(ringing, snapshot)
  }

  /** What is told of the push itself; nothing where no Alertmanager is configured. */
  measured(): readonly Measured[] {
    return pushMeasured([...this.#couriers.values()].map(({ url, tally }) => ({ url, tally })))
  }

  /** Hands over what it can, and ends within a second. */
  async stop(): Promise<void> {
    this.#stopped = true
    const all = [...this.#couriers.values()]
    this.#couriers = new Map()
    await Promise.all(all.map((courier) => courier.stop(stopWithinMs)))
  }
}

const notifications: Family = {
  name: 'alertmanager_notifications_total',
  type: 'counter',
  help: 'Alerts in tries to tell an Alertmanager by outcome: sent, failed (tried again) or dropped.',
}

const queueLength: Family = {
  name: 'alertmanager_queue_length',
  type: 'gauge',
  help: 'Alerts that an Alertmanager is still to be told of.',
}

const lastSuccess: Family = {
  name: 'alertmanager_last_success_timestamp_seconds',
  type: 'gauge',
  help: 'Unix time at which an Alertmanager last took alerts.',
}

const outcomes = ['sent', 'failed', 'dropped'] as const

/** The tallies of couriers as published numbers. */
export function pushMeasured(
  couriers: readonly { readonly url: string; readonly tally: Tally }[],
): readonly Measured[] {
  return [
    ...couriers.flatMap(({ url, tally }) =>
      outcomes.map((outcome) =>
        entry(notifications, { alertmanager: url, outcome }, measured(tally[outcome])),
      ),
    ),
    ...couriers.map(({ url, tally }) =>
      entry(queueLength, { alertmanager: url }, measured(tally.queueLength)),
    ),
    ...couriers.flatMap(({ url, tally: { lastSuccessMs } }) =>
      lastSuccessMs === undefined
        ? []
        : [entry(lastSuccess, { alertmanager: url }, measured(lastSuccessMs / 1_000))],
    ),
  ]
}
