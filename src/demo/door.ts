import { at, type BusyEventLoop, type Incident, incidentsOf, overlapMs } from './incident.ts'
import { Random } from './random.ts'
import type { RequestPlan } from './requests.ts'

/** Cores that the API server uses as a rule. */
const usualCores = 0.35

/**
 * The event loop of the API server, through which every request has to pass before it gets to an engine.
 * It costs no time as a rule; when the loop is full, requests pass one by one, and everything is late.
 */
export class Door {
  readonly #incidents: readonly BusyEventLoop[]
  readonly #queue: RequestPlan[] = []
  /** When the first in the queue has passed. */
  #passesMs = Number.POSITIVE_INFINITY

  constructor(incidents: readonly Incident[]) {
    this.#incidents = incidentsOf(incidents, 'busy-event-loop')
  }

  get length(): number {
    return this.#queue.length
  }

  /** When the next request has passed; infinite when there is none. */
  get nextMs(): number {
    return this.#passesMs
  }

  /** Whether a request that comes now passes at once; otherwise it has taken it into its queue. */
  admits(plan: RequestPlan, atMs: number): boolean {
    const busy = at(this.#incidents, atMs)
    if (busy === undefined && this.#queue.length === 0) return true
    this.#queue.push(plan)
    if (this.#queue.length === 1) this.#passesMs = atMs + (busy?.requestMs ?? 0)
    return false
  }

  /** Returns who has passed at `nextMs`, and who is found to have gone away before it came to them. */
  proceed(): { readonly passed: RequestPlan | undefined; readonly gone: readonly RequestPlan[] } {
    const atMs = this.#passesMs
    const passed = this.#queue.shift()
    const gone: RequestPlan[] = []
    for (;;) {
      const next = this.#queue[0]
      if (next === undefined || next.leavesMs > atMs) break
      gone.push(next)
      this.#queue.shift()
    }
    const requestMs = at(this.#incidents, atMs)?.requestMs ?? 0
    this.#passesMs = this.#queue.length > 0 ? atMs + requestMs : Number.POSITIVE_INFINITY
    return { passed, gone }
  }

  /** Takes a request out of the queue; returns whether it was there. */
  remove(plan: RequestPlan): boolean {
    const index = this.#queue.indexOf(plan)
    if (index < 0) return false
    this.#queue.splice(index, 1)
    if (this.#queue.length === 0) this.#passesMs = Number.POSITIVE_INFINITY
    return true
  }

  /** Takes everybody out. */
  clear(): readonly RequestPlan[] {
    this.#passesMs = Number.POSITIVE_INFINITY
    return this.#queue.splice(0)
  }

  /** How long a trivial answer takes: it waits for its turn like all else. */
  answerMs(atMs: number): number {
    const busy = at(this.#incidents, atMs)
    if (busy === undefined) return 0
    // Another length each second, but one and the same for all who ask at a time.
    return new Random(Math.floor(atMs / 1000)).fork(7).between(...busy.answerMs)
  }

  /** CPU seconds of the process between two times. */
  cpuSeconds(fromMs: number, untilMs: number): number {
    let coreMs = usualCores * (untilMs - fromMs)
    for (const busy of this.#incidents) {
      coreMs += (busy.cores - usualCores) * overlapMs(busy, fromMs, untilMs)
    }
    return coreMs / 1000
  }
}
