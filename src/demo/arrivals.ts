import type { Random } from './random.ts'
import { arrivalsPerSecond, type Traffic } from './traffic.ts'

/** When requests come: candidates at the highest rate of all, of which so many are taken as is right. */
export class Arrivals {
  readonly #traffic: Traffic
  readonly #engines: number
  readonly #random: Random
  readonly #peakPerMs: number
  /** When the next candidate comes. */
  nextMs: number

  constructor(traffic: Traffic, engines: number, random: Random, startMs: number) {
    this.#traffic = traffic
    this.#engines = engines
    this.#random = random
    const peak = Math.max(0, ...traffic.arrivals.map((corner) => corner.perSecond))
    this.#peakPerMs = (peak * engines) / 1000
    this.nextMs = this.#after(startMs)
  }

  /** Goes on to the next candidate and says whether the one of `nextMs` is a request. */
  take(): boolean {
    const atMs = this.nextMs
    this.nextMs = this.#after(atMs)
    const perMs = (arrivalsPerSecond(this.#traffic, atMs) * this.#engines) / 1000
    return this.#random.chance(perMs / this.#peakPerMs)
  }

  #after(atMs: number): number {
    if (this.#peakPerMs === 0) return Number.POSITIVE_INFINITY
    return atMs + this.#random.exponential(1 / this.#peakPerMs)
  }
}
