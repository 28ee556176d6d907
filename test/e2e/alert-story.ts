import type { PagerDutyEvent, SlackMessage } from '../fakes/receivers.ts'
import type { AlertPath, TroubledHost } from './alert-path.ts'

/** How alerts come to Alertmanager. */
export type Way = keyof AlertPath['receivers']

export const ways: readonly (readonly [Way, string])[] = [
  ['scraped', 'through Prometheus'],
  ['pushed', 'by push'],
]

/** What somebody on call is told of one trouble, and what he must read there. */
export interface Trouble {
  readonly alert: string
  readonly host: (path: AlertPath) => TroubledHost
  /** The sentence with its numbers; INSTANCE stands for the daemon. */
  readonly says: RegExp
  /** Critical ones go to PagerDuty as well. */
  readonly pages: boolean
}

export const troubles: Readonly<Record<'overload' | 'hang', Trouble>> = {
  overload: {
    alert: 'VllmQueueWaitHigh',
    host: ({ overloaded }) => overloaded,
    says: /\d+(\.\d+)?\s?% of \d+ requests.* waited longer than 5 s|has waited for \d+/,
    pages: false,
  },
  hang: {
    alert: 'VllmEngineStalled',
    host: ({ hanging }) => hanging,
    says: /no progress for \d+ s with \d+/,
    pages: true,
  },
}

/** How one trouble was told. */
export interface Story {
  /** Seconds from the beginning of the trouble to the message about it, and to the one that it is over. */
  readonly toldAfterSeconds: number
  readonly overAfterSeconds: number
  readonly told: SlackMessage
  readonly over: SlackMessage
  /** The page, and its end; absent for what pages nobody. */
  readonly page: PagerDutyEvent | undefined
  readonly pageEnd: PagerDutyEvent | undefined
}

/** Waits for the messages about `trouble` and for those that it is over. Rejects where they do not come in time. */
export async function storyOf(
  { alert, host, pages }: Trouble,
  path: AlertPath,
  { way, withinMs }: { readonly way: Way; readonly withinMs: number },
): Promise<Story> {
  const { instances, beginsMs } = host(path)
  const instance = instances[way]
  const receivers = path.receivers[way]
  const { slack, pagerduty } = receivers
  const titled = (message: SlackMessage, state: RegExp) => {
    const title = message.attachments[0]?.title ?? ''
    return state.test(title) && title.includes(instance)
  }
  const about = (message: SlackMessage) =>
    titled(message, /^\[(CRITICAL|WARNING)\]/) &&
    message.attachments.some(({ title, text }) => `${title}\n${text}`.includes(alert))
  const told = () => slack.find(about)
  const over = () => slack.findLast((message) => titled(message, /^\[RESOLVED\]/))
  const page = () =>
    pagerduty.find(
      ({ event_action, payload }) =>
        event_action === 'trigger' &&
        JSON.stringify(payload).includes(instance) &&
        JSON.stringify(payload).includes(alert),
    )
  const pageEnd = () =>
    pagerduty.find(
      ({ event_action, dedup_key }) =>
        event_action === 'resolve' && dedup_key === page()?.dedup_key,
    )
  await receivers.arrived(() => told() !== undefined && over() !== undefined, withinMs)
  if (pages) await receivers.arrived(() => pageEnd() !== undefined, withinMs)
  const [first, last] = [told(), over()]
  if (first === undefined || last === undefined) throw new Error('expected both messages')
  const after = ({ atMs }: SlackMessage) => (atMs - beginsMs) / 1_000
  return {
    toldAfterSeconds: after(first),
    overAfterSeconds: after(last),
    told: first,
    over: last,
    page: pages ? page() : undefined,
    pageEnd: pages ? pageEnd() : undefined,
  }
}
