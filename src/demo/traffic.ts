/** How lengths are spread: a lognormal cut off at `max`. */
export interface LengthSpread {
  readonly median: number
  readonly sigma: number
  readonly max: number
}

/** How clients behave. Ratios run from 0 to 1. */
export interface Clients {
  readonly promptTokens: LengthSpread
  /** Some of the prompts are of another kind, longer as a rule. */
  readonly otherPrompts?: { readonly ratio: number; readonly promptTokens: LengthSpread }
  /** What the model would say if no limit cut it short. */
  readonly outputTokens: LengthSpread
  /** The limits that clients ask for, each as likely as the next. */
  readonly maxTokens: readonly number[]
  readonly streamedRatio: number
  readonly chatRatio: number
  /** Share of requests that begin with a text seen before. */
  readonly cachedRatio: number
  /** How much of such a prompt was seen before. */
  readonly cachedShare: readonly [low: number, high: number]
  /** Share refused as the client's mistake, before the engine. */
  readonly clientErrorRatio: number
  /** Share that the server fails with 500 before the engine. */
  readonly serverErrorRatio: number
  /** Share that the engine ends with `finished_reason="error"`. */
  readonly engineErrorRatio: number
  /** Share whose client hangs up within seconds. */
  readonly abortRatio: number
  /** Everyone else gives up after so many seconds, which keeps an overload's queue finite. */
  readonly patienceSeconds: readonly [low: number, high: number]
}

/** The rate of arrivals at a moment of the scenario. */
export interface Corner {
  readonly atSeconds: number
  readonly perSecond: number
}

/** What clients send, and how they behave. */
export interface Traffic extends Clients {
  /**
   * Requests in a second for each engine, as corners of a line; before the first corner and after
   * the last one it is flat. Seconds count from the start of the scenario.
   */
  readonly arrivals: readonly Corner[]
  /** A router in front sends what comes beyond so many requests inside to some other server. */
  readonly maxInside?: number
}

/** Returns how many requests come in a second to each engine at `atMs` of the scenario. */
export function arrivalsPerSecond(traffic: Traffic, atMs: number): number {
  const atSeconds = atMs / 1000
  let before: Corner | undefined
  for (const corner of traffic.arrivals) {
    if (corner.atSeconds > atSeconds) {
      if (before === undefined) return corner.perSecond
      const share = (atSeconds - before.atSeconds) / (corner.atSeconds - before.atSeconds)
      return before.perSecond + share * (corner.perSecond - before.perSecond)
    }
    before = corner
  }
  return before?.perSecond ?? 0
}
