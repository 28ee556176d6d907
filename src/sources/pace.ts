const LONGEST_STRETCHED_MS = 15_000
const SCRAPES_JUDGED = 20
// A narrower distance is gone back to when it would be used up to this share of what is allowed.
const FILLED_ON_RETURN = 0.8
// The first collection does not wait longer than this for its place, so that an hourly pace begins at once.
const FIRST_WITHIN_MS = 1_000

/** Returns where on the interval the target `index` of `count` has its place, in milliseconds. */
export function spread(index: number, count: number, intervalMs: number): number {
  return (index / Math.max(1, count)) * intervalMs
}

/**
 * The times at which one source is read: a fixed grid on the monotonic clock, with no memory of what was
 * missed, so that a stopped process catches up once and never with a burst.
 *
 * The grid becomes wider when reading costs too much: when the fastest of the last 20 good collections
 * took more than `maxOverhead` of the interval. It then is a whole multiple of the interval, 15 s at most,
 * and returns by the same rule with a margin; each change starts the count of 20 anew.
 */
export class Pace {
  readonly #intervalMs: number
  readonly #maxOverhead: number
  readonly #startMs: number
  readonly #offsetMs: number
  #widthMs: number
  #originMs: number
  #tick = 0
  #dueMs: number
  #tookMs: number[] = []

  constructor(options: {
    readonly startMs: number
    readonly intervalMs: number
    readonly offsetMs: number
    readonly maxOverhead: number
  }) {
    this.#startMs = options.startMs
    this.#intervalMs = options.intervalMs
    this.#offsetMs = options.offsetMs
    this.#maxOverhead = options.maxOverhead
    this.#widthMs = options.intervalMs
    this.#originMs = options.startMs + options.offsetMs
    this.#dueMs = this.#originMs
  }

  /** The distance of two collections as it is now. */
  get intervalMs(): number {
    return this.#widthMs
  }

  /** When the first collection is due. */
  first(): number {
    const share = Math.min(1, FIRST_WITHIN_MS / this.#intervalMs)
    this.#dueMs = this.#startMs + this.#offsetMs * share
    // Where that is long before its place on the grid, the place is used as well.
    this.#tick = this.#dueMs < this.#originMs - this.#widthMs / 2 ? -1 : 0
    return this.#dueMs
  }

  /**
   * Returns when the next collection is due and how many places on the grid have gone by since the last
   * one without being used. With `pauseMs` the next one is at least so far away, and nothing was skipped.
   */
  next(nowMs: number, pauseMs = 0): { readonly dueMs: number; readonly skipped: number } {
    const following = this.#tick + 1
    // A wait may end a moment early; the place after the one just used comes next in any case.
    const open = Math.floor((nowMs + pauseMs - this.#originMs) / this.#widthMs) + 1
    this.#tick = Math.max(following, open)
    this.#dueMs = this.#originMs + this.#tick * this.#widthMs
    return { dueMs: this.#dueMs, skipped: pauseMs > 0 ? 0 : this.#tick - following }
  }

  /** Notes what a good collection took; returns whether the distance has changed. */
  took(tookMs: number): boolean {
    if (this.#maxOverhead <= 0) return false
    this.#tookMs.push(tookMs)
    if (this.#tookMs.length > SCRAPES_JUDGED) this.#tookMs.shift()
    if (this.#tookMs.length < SCRAPES_JUDGED) return false
    const neededMs = Math.min(...this.#tookMs) / this.#maxOverhead
    if (neededMs > this.#widthMs) return this.#widen(this.#allowed(neededMs))
    // Coming back has a margin, so that a cost on the border does not change the pace to and fro.
    const roomyMs = this.#allowed(neededMs / FILLED_ON_RETURN)
    return roomyMs < this.#widthMs && this.#widen(roomyMs)
  }

  #allowed(neededMs: number): number {
    const longestMs = Math.max(LONGEST_STRETCHED_MS, this.#intervalMs)
    const multiple = Math.max(1, Math.ceil(neededMs / this.#intervalMs)) * this.#intervalMs
    return Math.min(multiple, longestMs)
  }

  #widen(widthMs: number): boolean {
    if (widthMs === this.#widthMs) return false
    this.#widthMs = widthMs
    this.#originMs = this.#dueMs
    this.#tick = 0
    this.#tookMs = []
    return true
  }
}
