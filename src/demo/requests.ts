import type { Random } from './random.ts'
import type { LengthSpread, Traffic } from './scenarios.ts'

/** A request as its client and the model would have it, before any machine is involved. */
export interface RequestPlan {
  /** When the API server took it in. */
  readonly arrivedMs: number
  readonly handler: '/v1/chat/completions' | '/v1/completions'
  readonly streamed: boolean
  readonly promptTokens: number
  /** Prompt tokens that the prefix cache holds already, in whole blocks. */
  readonly cachedTokens: number
  readonly outputTokens: number
  readonly maxTokens: number
  /** The output token after which the engine gives up on it; absent for nearly all. */
  readonly failsAfterTokens: number | undefined
  /** When the client goes away if it has no whole answer by then. */
  readonly leavesMs: number
}

/** Where an arriving request ends: most reach the engine, some are answered before it. */
export type Reception = 'engine' | 'client-error' | 'server-error'

/** Draws requests one after the other from what a scenario says of its clients. */
export class RequestSource {
  readonly #traffic: Traffic
  readonly #blockTokens: number
  readonly #random: Random

  constructor(traffic: Traffic, blockTokens: number, random: Random) {
    this.#traffic = traffic
    this.#blockTokens = blockTokens
    this.#random = random
  }

  /** Says what becomes of the next request at the door. */
  reception(): Reception {
    const drawn = this.#random.next()
    if (drawn < this.#traffic.clientErrorRatio) return 'client-error'
    const { clientErrorRatio, serverErrorRatio } = this.#traffic
    return drawn < clientErrorRatio + serverErrorRatio ? 'server-error' : 'engine'
  }

  next(arrivedMs: number): RequestPlan {
    const random = this.#random
    const traffic = this.#traffic
    const promptTokens = drawLength(traffic.promptTokens, random)
    const outputTokens = drawLength(traffic.outputTokens, random)
    const maxTokens = random.pick(traffic.maxTokens)
    const fails = random.chance(traffic.engineErrorRatio)
    const patienceMs = random.chance(traffic.abortRatio)
      ? random.between(100, 3000)
      : 1000 * random.between(...traffic.patienceSeconds)
    return {
      arrivedMs,
      handler: random.chance(traffic.chatRatio) ? '/v1/chat/completions' : '/v1/completions',
      streamed: random.chance(traffic.streamedRatio),
      promptTokens,
      cachedTokens: this.#cachedTokens(promptTokens),
      outputTokens,
      maxTokens,
      failsAfterTokens: fails
        ? 1 + Math.floor(random.next() * Math.min(outputTokens, maxTokens))
        : undefined,
      leavesMs: arrivedMs + patienceMs,
    }
  }

  /** At least one token is always computed, else there would be nothing to predict from. */
  #cachedTokens(promptTokens: number): number {
    if (!this.#random.chance(this.#traffic.cachedRatio)) return 0
    const seenTokens = Math.min(promptTokens * this.#random.between(0.3, 0.95), promptTokens - 1)
    return Math.floor(seenTokens / this.#blockTokens) * this.#blockTokens
  }
}

function drawLength(spread: LengthSpread, random: Random): number {
  const drawn = Math.round(random.lognormal(spread.median, spread.sigma))
  return Math.min(Math.max(drawn, 1), spread.max)
}
