import type { AlertName, Label } from './label.ts'
import type { EngineSpeed, Scenario } from './scenario.ts'
import type { Traffic } from './traffic.ts'

/** Where a scenario can be turned into another one of its kind. */
export interface Dials {
  /** Returns `asWritten`, or in a variation a number between `low` and `high`. */
  between(asWritten: number, low: number, high: number): number
  /** Returns `asWritten`, or in a variation it or one of `others`. */
  pick<T>(asWritten: T, ...others: readonly T[]): T
}

/** A scenario as a function of its dials. Nothing else may decide about it. */
export interface Recipe {
  readonly name: string
  readonly make: (dials: Dials) => Omit<Scenario, 'name'>
}

/** An engine that is good for about eleven ordinary requests in a second. */
export const ordinarySpeed: EngineSpeed = {
  slots: 32,
  kvBlocks: 1400,
  blockTokens: 16,
  tokenBudget: 2048,
  maxModelTokens: 32_768,
  stepMs: 14,
  sequenceMs: 0.2,
  promptTokenMs: 0.1,
}

/** Requests of 1 to 2 s with a long tail: at a step of about 17 ms, 80 tokens take 1.4 s. */
export const ordinaryTraffic: Traffic = {
  arrivals: [{ atSeconds: 0, perSecond: 5 }],
  promptTokens: { median: 300, sigma: 0.9, max: 8000 },
  outputTokens: { median: 80, sigma: 0.7, max: 4000 },
  maxTokens: [128, 256, 256, 512, 512],
  streamedRatio: 0.7,
  chatRatio: 0.8,
  cachedRatio: 0.4,
  cachedShare: [0.3, 0.95],
  clientErrorRatio: 0.01,
  serverErrorRatio: 0,
  engineErrorRatio: 0,
  abortRatio: 0.01,
  patienceSeconds: [35, 60],
}

/** One engine on one GPU under ordinary load. */
export const ordinary = {
  engines: 1,
  gpusPerEngine: 1,
  gpus: 1,
  traffic: ordinaryTraffic,
  speed: ordinarySpeed,
  incidents: [],
} as const satisfies Partial<Scenario>

export const forever = Number.POSITIVE_INFINITY
export const minuteMs = 60_000
export const hourMs = 3_600_000

/** Returns the label of a scenario in which nothing is wrong. */
export function healthy(
  runMs: number,
  rest: Partial<Pick<Label, 'alsoRight' | 'mayFire' | 'pastMs'>> = {},
): Label {
  return {
    pain: 'none',
    alsoRight: [],
    fromMs: 0,
    untilMs: forever,
    mustFire: [],
    mayFire: [],
    runMs,
    pastMs: 5 * minuteMs,
    ...rest,
  }
}

/** Returns a label with what most incidents have in common. */
export function ill(
  label: Pick<Label, 'pain' | 'fromMs'> & Partial<Label> & { readonly lastsMs?: number },
): Label {
  const { lastsMs = 10 * minuteMs, ...rest } = label
  return {
    alsoRight: [],
    untilMs: forever,
    mustFire: [],
    mayFire: [],
    runMs: label.fromMs + lastsMs,
    pastMs: 5 * minuteMs,
    ...rest,
  }
}

/** What is slow when everything is slow. */
export const slowAlerts: readonly AlertName[] = [
  'VllmLatencyP99High',
  'VllmTtftP99High',
  'VllmQueueWaitHigh',
  'VllmThroughputLow',
]

/** When an incident begins: in a demonstration after somebody has had a look. */
export function onset(dials: Dials): number {
  return Math.round(dials.between(25_000, 15_000, 2 * minuteMs))
}

/** The same traffic at so many requests in a second for each engine, or with other corners. */
export function trafficAt(
  perSecond: number | Traffic['arrivals'],
  rest: Partial<Traffic> = {},
): Traffic {
  const arrivals = typeof perSecond === 'number' ? [{ atSeconds: 0, perSecond }] : perSecond
  return { ...ordinaryTraffic, arrivals, ...rest }
}

/** Traffic of `usual` requests in a second that is at another rate from `fromMs` to `untilMs`. */
export function interrupted(
  usual: number,
  other: number,
  span: { readonly fromMs: number; readonly untilMs: number; readonly rampMs?: number },
): Traffic['arrivals'] {
  const { fromMs, untilMs, rampMs = 1000 } = span
  const corners = [
    { atSeconds: fromMs / 1000, perSecond: usual },
    { atSeconds: (fromMs + rampMs) / 1000, perSecond: other },
  ]
  if (untilMs === forever) return corners
  return [
    ...corners,
    { atSeconds: Math.max(untilMs, fromMs + rampMs) / 1000, perSecond: other },
    { atSeconds: (Math.max(untilMs, fromMs + rampMs) + rampMs) / 1000, perSecond: usual },
  ]
}
