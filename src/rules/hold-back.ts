import type { Alert, HeldBack } from './alert.ts'
import type { Watched } from './rule.ts'

/** What follows from a server that does not serve: it says nothing that its cause does not say. */
const requestAlerts: readonly string[] = [
  'VllmLatencyP99High',
  'VllmTtftP99High',
  'VllmQueueWaitHigh',
  'VllmThroughputLow',
  'VllmKvCachePressure',
]

/** Which alerts of a target each alert holds back, of the same target. */
const consequences: ReadonlyMap<string, readonly string[]> = new Map([
  ['VllmDown', [...requestAlerts, 'VllmErrorRatioHigh', 'VllmEngineStalled']],
  ['VllmEngineStalled', requestAlerts],
  ['VllmNoGpu', ['VllmVitalsBlind', 'VllmGpuLost']],
])

/** A lost GPU explains whatever befalls the targets that run on it. */
const ofLostGpu: readonly string[] = [
  ...requestAlerts,
  'VllmErrorRatioHigh',
  'VllmEngineStalled',
  'VllmDown',
]

/** A cause that holds now. */
interface Cause {
  readonly by: string
  readonly subject: Alert['subject']
  readonly holds: (alert: Alert) => boolean
}

/**
 * Marks the alerts that are consequences of others: one cause, one page. A cause holds from the moment at
 * which its alert fires or its state is certain. What it held back stays so for the length of the window that
 * the consequence looks at, since the window goes on holding the time of the cause.
 *
 * `runsOn` tells which targets run on a lost GPU; `windowOf` the window of a rule, both as of now.
 */
export function holdBack(
  alerts: readonly Alert[],
  context: {
    readonly targets: readonly Watched[]
    readonly runsOn: (uuid: string) => ReadonlySet<string>
    readonly windowOf: (alert: string) => number
    readonly atMs: number
  },
): readonly Alert[] {
  const { atMs, windowOf } = context
  const causes = causesAmong(alerts, context)
  return alerts.map((alert) => {
    const cause = causes.find(({ holds }) => holds(alert))
    if (cause !== undefined) {
      const { by, subject } = cause
      return { ...alert, heldBack: { by, subject, untilMs: atMs + windowOf(alert.alert) } }
    }
    return stillHeld(alert.heldBack, atMs) ? alert : released(alert)
  })
}

function stillHeld(held: HeldBack | undefined, atMs: number): boolean {
  return held !== undefined && atMs < held.untilMs
}

function released({ heldBack: _, ...alert }: Alert): Alert {
  return alert
}

function causesAmong(
  alerts: readonly Alert[],
  {
    targets,
    runsOn,
  }: {
    readonly targets: readonly Watched[]
    readonly runsOn: (uuid: string) => ReadonlySet<string>
  },
): readonly Cause[] {
  const causes: Cause[] = []
  // The root first: a GPU that is gone explains an engine that hangs, which explains a queue that grows.
  for (const { alert, state, subject } of alerts) {
    if (alert !== 'VllmGpuLost' || state !== 'firing' || subject.uuid === undefined) continue
    const on = runsOn(subject.uuid)
    if (on.size === 0) continue
    causes.push({
      by: 'VllmGpuLost',
      subject,
      holds: (other) => ofLostGpu.includes(other.alert) && on.has(other.subject.target ?? ''),
    })
  }
  for (const { target, state } of targets) {
    if (state === 'down') causes.push(ofTarget('VllmDown', target.name))
    if (state === 'stalled') causes.push(ofTarget('VllmEngineStalled', target.name))
  }
  for (const { alert, state, certainty, subject } of alerts) {
    if (state === 'firing' && certainty === 'certain' && consequences.has(alert)) {
      causes.push(ofTarget(alert, subject.target ?? ''))
    }
  }
  return causes
}

function ofTarget(by: string, target: string): Cause {
  const held = consequences.get(by) ?? []
  return {
    by,
    subject: { target },
    // The alerts of GPUs name none; only the one that says that no GPU can be read holds any of them back.
    holds: ({ alert, subject }) =>
      held.includes(alert) && (subject.uuid !== undefined || subject.target === target),
  }
}
