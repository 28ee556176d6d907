import { at, type Incident, incidentsOf, type OtherClients } from './incident.ts'
import type { Random } from './random.ts'
import type { Clients, LengthSpread, Traffic } from './traffic.ts'

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

/** Returns one request as somebody asks for it who waits as long as it takes. */
export function plainRequest(
  arrivedMs: number,
  size: { readonly promptTokens: number; readonly maxTokens: number },
): RequestPlan {
  return {
    arrivedMs,
    handler: '/v1/completions',
    streamed: false,
    promptTokens: size.promptTokens,
    cachedTokens: 0,
    outputTokens: Number.POSITIVE_INFINITY,
    maxTokens: size.maxTokens,
    failsAfterTokens: undefined,
    leavesMs: Number.POSITIVE_INFINITY,
  }
}

/** Where an arriving request ends: most reach the engine, some are answered before it. */
export type Reception = 'engine' | 'client-error' | 'server-error'

/** Draws requests one after the other from what a scenario says of its clients. */
export class RequestSource {
  readonly #traffic: Traffic
  readonly #others: readonly OtherClients[]
  readonly #blockTokens: number
  readonly #random: Random

  constructor(options: {
    readonly traffic: Traffic
    readonly incidents: readonly Incident[]
    readonly blockTokens: number
    readonly random: Random
  }) {
    this.#traffic = options.traffic
    this.#others = incidentsOf(options.incidents, 'other-clients')
    this.#blockTokens = options.blockTokens
    this.#random = options.random
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
    const traffic = this.#clients(arrivedMs)
    const { otherPrompts } = traffic
    const other = otherPrompts !== undefined && random.chance(otherPrompts.ratio)
    const spread = other ? otherPrompts.promptTokens : traffic.promptTokens
    const promptTokens = drawLength(spread, random)
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
      cachedTokens: this.#cachedTokens(promptTokens, traffic),
      outputTokens,
      maxTokens,
      failsAfterTokens: fails
        ? 1 + Math.floor(random.next() * Math.min(outputTokens, maxTokens))
        : undefined,
      leavesMs: arrivedMs + patienceMs,
    }
  }

  #clients(atMs: number): Clients {
    const others = at(this.#others, atMs)
    return others === undefined ? this.#traffic : { ...this.#traffic, ...others.clients }
  }

  /** At least one token is always computed, else there would be nothing to predict from. */
  #cachedTokens(promptTokens: number, clients: Clients): number {
    const { cachedRatio, cachedShare } = clients
    if (!this.#random.chance(cachedRatio)) return 0
    const seen = promptTokens * this.#random.between(...cachedShare)
    const seenTokens = Math.min(seen, promptTokens - 1)
    return Math.floor(seenTokens / this.#blockTokens) * this.#blockTokens
  }
}

function drawLength(spread: LengthSpread, random: Random): number {
  const drawn = Math.round(random.lognormal(spread.median, spread.sigma))
  return Math.min(Math.max(drawn, 1), spread.max)
}
