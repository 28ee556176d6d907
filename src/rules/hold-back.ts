import { type Alert, alertKey } from './alert.ts'
import type { Watched } from './rule.ts'

/** What follows from a server that does not serve: it says nothing that its cause does not say. */
const requestAlerts: readonly string[] = [
  'VllmLatencyP99High',
  'VllmTtftP99High',
  'VllmQueueWaitHigh',
  'VllmThroughputLow',
  'VllmKvCachePressure',
]

/** Which alerts each alert holds back, of the targets that it speaks of. */
export const consequences: ReadonlyMap<string, readonly string[]> = new Map([
  ['VllmDown', [...requestAlerts, 'VllmErrorRatioHigh', 'VllmEngineStalled']],
  ['VllmEngineStalled', requestAlerts],
  // A lost GPU explains whatever befalls the targets that run on it.
  ['VllmGpuLost', [...requestAlerts, 'VllmErrorRatioHigh', 'VllmEngineStalled', 'VllmDown']],
  ['VllmNoGpu', ['VllmVitalsBlind', 'VllmGpuLost']],
])

/** What explains other alerts, while it holds and for some time after. */
export interface Cause {
  /** The name of its alert. */
  readonly by: string
  readonly subject: Alert['subject']
  /** The targets whose alerts it explains. */
  readonly targets: readonly string[]
  /** Monotonic time: since when it explains what begins, and when it last held. */
  readonly beganMs: number
  readonly lastMs: number
}

/** A consequence may be noticed so much sooner than its cause, which has to be sure. */
const earlierMs = 20_000

/** What holding back is told of an evaluation. */
export interface Circumstances {
  readonly targets: readonly Watched[]
  /** Which targets run on a lost GPU. */
  readonly runsOn: (uuid: string) => ReadonlySet<string>
  /** The window that a rule looks at. */
  readonly windowOf: (alert: string) => number
  /** The causes of the evaluation before. */
  readonly before: readonly Cause[]
  readonly atMs: number
}

/**
 * Marks the alerts that are consequences of others: one cause, one page. A cause holds from the moment at
 * which its alert fires or its state is certain. After it has ended, what began with it is held back for as
 * long as its own window goes on to hold the time of the cause; what had begun before is not.
 */
export function holdBack(
  alerts: readonly Alert[],
  circumstances: Circumstances,
): { readonly alerts: readonly Alert[]; readonly causes: readonly Cause[] } {
  const { atMs, windowOf } = circumstances
  const causes = rememberCauses(presentCauses(alerts, circumstances), circumstances)
  const marked = alerts.map((alert) => {
    const cause = causes.find(
      (one) =>
        explains(one, alert) &&
        (one.lastMs === atMs ||
          (atMs - one.lastMs < windowOf(alert.alert) && alert.sinceMs >= one.beganMs)),
    )
    if (cause === undefined) return alert
    return { ...alert, heldBack: { by: cause.by, subject: cause.subject } }
  })
  return { alerts: marked, causes }
}

function explains({ by, targets }: Cause, { alert, subject }: Alert): boolean {
  const held = consequences.get(by) ?? []
  if (!held.includes(alert)) return false
  // The alerts of GPUs name no target; only the one that says that no GPU can be read explains any of them.
  return subject.uuid !== undefined || targets.includes(subject.target ?? '')
}

/** The causes of now, each since it began, and those of before that may still explain something. */
function rememberCauses(
  present: readonly Cause[],
  { before, windowOf, atMs }: Circumstances,
): readonly Cause[] {
  const keyOf = ({ by, subject }: Cause) => alertKey(by, subject)
  const known = new Map(before.map((cause) => [keyOf(cause), cause]))
  const now = present.map((cause) => {
    const beganMs = known.get(keyOf(cause))?.beganMs ?? cause.beganMs
    known.delete(keyOf(cause))
    return { ...cause, beganMs: Math.min(beganMs, cause.beganMs) }
  })
  const past = [...known.values()].filter(({ by, lastMs }) =>
    consequences.get(by)?.some((alert) => atMs - lastMs < windowOf(alert)),
  )
  return [...now, ...past]
}

function presentCauses(
  alerts: readonly Alert[],
  { targets, runsOn, atMs }: Circumstances,
): readonly Cause[] {
  const causes: Cause[] = []
  const add = (by: string, subject: Alert['subject'], on: Iterable<string>, sinceMs: number) => {
    const beganMs = Math.min(sinceMs, atMs) - earlierMs
    causes.push({ by, subject, targets: [...on], beganMs, lastMs: atMs })
  }
  const firing = alerts.filter(
    ({ state, certainty }) => state === 'firing' && certainty === 'certain',
  )
  // The root first: a GPU that is gone explains an engine that hangs, which explains a queue that grows.
  for (const { alert, subject, sinceMs } of firing) {
    if (alert === 'VllmGpuLost' && subject.uuid !== undefined) {
      add(alert, subject, runsOn(subject.uuid), sinceMs)
    }
  }
  for (const { target, state } of targets) {
    const by = state === 'down' ? 'VllmDown' : state === 'stalled' ? 'VllmEngineStalled' : undefined
    if (by === undefined) continue
    // A state without its alert, as of a server whose pages are late, tells nobody the cause.
    const own = alerts.find(({ alert, subject }) => alert === by && subject.target === target.name)
    if (own !== undefined) add(by, { target: target.name }, [target.name], own.sinceMs)
  }
  for (const { alert, subject, sinceMs } of firing) {
    if (alert === 'VllmGpuLost' || !consequences.has(alert)) continue
    const isKnown = causes.some(
      ({ by, subject: of }) => by === alert && of.target === subject.target,
    )
    if (!isKnown) add(alert, subject, [subject.target ?? ''], sinceMs)
  }
  return causes
}
