/**
 * What conservation of requests tells of those still inside an engine. Whatever was in the queue at one
 * reading and has not left it since is there still, in whatever order the engine takes its work:
 *
 *     still waiting ≥ waiting then − (left the queue since)
 *     still inside  ≥ running and waiting then − (left the engine since)
 *
 * Who left the queue was scheduled: running grew, or somebody finished in its place, or was preempted and
 * will come back. Who left the engine finished, or its client hung up. vLLM counts no client that hangs up;
 * but each of them ends an HTTP answer, so no more can have hung up than answers ended beyond the finishes.
 */

/** What one engine had and had counted at a reading. Counts run from the beginning of the watch. */
export interface Stock {
  readonly atMs: number
  readonly waiting: number
  readonly running: number
  readonly finished: number
  readonly preempted: number
  /**
   * Finishes in the interval in which the engine last showed a change: the gauges may not have taken them
   * in, and never will where nothing comes after.
   */
  readonly justFinished: number
  /**
   * What the whole server had counted before the step began that ended with the last change. An engine learns
   * of a client that hung up after the step under way, so that whoever left since may still be in the gauges.
   */
  readonly base: ServerCounts
}

/** Counts of a whole server, from the beginning of the watch. */
export interface ServerCounts {
  readonly finished: number
  /** Answers that ended on serving paths; absent where none are counted. */
  readonly answered: number | undefined
}

/** What a server counts at the present reading. */
export interface Present extends ServerCounts {
  readonly atMs: number
  /** Finishes since the reading before, of the whole server. */
  readonly justFinished: number
}

/**
 * A finish is counted as its last token is read. The gauges show it one step later, and the HTTP answer ends
 * a moment later: so many finishes of the last interval may be on one side of a reading and not on the other.
 */
const lag = 2

/** Most readings that are kept of one engine; beyond, every second of the older ones is let go. */
const maxStocks = 96

/** A lower bound on how many requests have been somewhere for a while. */
export interface StillThere {
  readonly count: number
  /** No client that hung up can be among them. */
  readonly certain: boolean
}

/** The readings of one engine since which some request may still be inside. */
export class Conservation {
  #stocks: Stock[] = []

  /** Takes in the present state of the engine, and lets go of what can prove nothing any more. */
  push(stock: Stock, present: Present): void {
    this.#stocks = this.#stocks.filter((then) => inside(then, stock, present).count > 0)
    if (stock.waiting + stock.running > 0) this.#stocks.push(stock)
    if (this.#stocks.length <= maxStocks) return
    // The first proves the longest stay; of the others, older ones need not be as many as newer ones.
    const half = maxStocks / 2
    this.#stocks = this.#stocks.filter((_, index) => index >= half || index % 2 === 0)
  }

  /** How long at least some request that still waits has waited, in milliseconds; nothing when none is known to. */
  oldestWait(
    now: Stock,
    present: Present,
  ): { readonly ms: number; readonly certain: boolean } | undefined {
    for (const then of this.#stocks) {
      const { count, certain } = waiting(then, now, present)
      if (count > 0) return { ms: now.atMs - then.atMs, certain }
    }
    return undefined
  }

  /** How many requests have waited at least `ms`, at least. */
  waitingFor(ms: number, now: Stock, present: Present): StillThere {
    return this.#most(ms, now, present, waiting)
  }

  /** How many requests have been inside, waiting or running, at least `ms`, at least. */
  insideFor(ms: number, now: Stock, present: Present): StillThere {
    return this.#most(ms, now, present, inside)
  }

  /** How long at least one request has been inside for certain, of those that were there at or after `sinceMs`. */
  insideSince(sinceMs: number, now: Stock, present: Present): number {
    for (const then of this.#stocks) {
      if (then.atMs < sinceMs) continue
      const { count, certain } = inside(then, now, present)
      if (certain && count > 0) return now.atMs - then.atMs
    }
    return 0
  }

  /** How many clients seem to have hung up since the engine last showed a change; nothing where nobody counts. */
  static hungUp({ base }: Stock, present: Present): number | undefined {
    if (base.answered === undefined || present.answered === undefined) return undefined
    return Math.max(0, present.answered - base.answered - (present.finished - base.finished))
  }

  #most(
    ms: number,
    now: Stock,
    present: Present,
    count: (then: Stock, now: Stock, present: Present) => StillThere,
  ): StillThere {
    let most: StillThere = { count: 0, certain: true }
    for (const then of this.#stocks) {
      if (now.atMs - then.atMs < ms) break
      const found = count(then, now, present)
      if (found.count > most.count) most = found
    }
    return most
  }
}

function waiting(then: Stock, now: Stock, present: Present): StillThere {
  const scheduled =
    now.running -
    then.running +
    (now.finished - then.finished) +
    (now.preempted - then.preempted) +
    Math.min(lag, then.justFinished)
  const { count, certain } = less(then.waiting, Math.max(0, scheduled), then, present)
  // A client that hung up unseen is gone from the gauges once the engine has reported again.
  return { count: Math.min(count, now.waiting), certain }
}

function inside(then: Stock, now: Stock, present: Present): StillThere {
  const finished = now.finished - then.finished + Math.min(lag, then.justFinished)
  const { count, certain } = less(then.waiting + then.running, finished, then, present)
  return { count: Math.min(count, now.waiting + now.running), certain }
}

function less(there: number, left: number, { base }: Stock, present: Present): StillThere {
  const hungUp = mostHungUp(base, present)
  return { count: Math.max(0, there - left - (hungUp ?? 0)), certain: hungUp !== undefined }
}

/** The most clients that can have hung up since `base`; nothing where answers are not counted. */
function mostHungUp(base: ServerCounts, present: Present): number | undefined {
  if (base.answered === undefined || present.answered === undefined) return undefined
  const ended = present.answered - base.answered
  if (ended <= 0) return 0
  const finished = present.finished - base.finished
  return Math.max(0, ended - finished + Math.min(lag, present.justFinished))
}
