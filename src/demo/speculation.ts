import { type Acceptance, at, type Incident, incidentsOf } from './incident.ts'
import { type LiveRequest, todo } from './live-request.ts'
import type { Random } from './random.ts'
import type { EngineSpeed } from './scenario.ts'

/** Guesses tokens ahead: each guess is right by the same chance, as long as the one before it was. */
export class Speculation {
  readonly #draftTokens: number
  readonly #ratio: number
  readonly #incidents: readonly Acceptance[]
  readonly #random: Random
  readonly #chances = new Map<number, number>()

  constructor(
    plan: NonNullable<EngineSpeed['speculation']>,
    incidents: readonly Incident[],
    random: Random,
  ) {
    this.#draftTokens = plan.draftTokens
    this.#ratio = plan.acceptanceRatio
    this.#incidents = incidentsOf(incidents, 'acceptance')
    this.#random = random
  }

  /** How many tokens are guessed for `request` in a step that has room for `budget` tokens. */
  drafts(request: LiveRequest, budget: number): number {
    const decodes = request.firstTokenMs !== undefined && todo(request) === 1
    return decodes && budget > this.#draftTokens ? this.#draftTokens : 0
  }

  /** Draws how many of `drafted` guesses are right, from the first on. */
  accepted(drafted: number, atMs: number): number {
    const chance = this.#chanceFor(at(this.#incidents, atMs)?.ratio ?? this.#ratio)
    let accepted = 0
    while (accepted < drafted && this.#random.chance(chance)) accepted += 1
    return accepted
  }

  /** The chance of a single guess by which the share `ratio` of all guesses is accepted. */
  #chanceFor(ratio: number): number {
    const known = this.#chances.get(ratio)
    if (known !== undefined) return known
    let low = 0
    let high = 1
    for (let round = 0; round < 40; round += 1) {
      const chance = (low + high) / 2
      let expected = 0
      for (let power = 1; power <= this.#draftTokens; power += 1) expected += chance ** power
      if (expected / this.#draftTokens < ratio) low = chance
      else high = chance
    }
    this.#chances.set(ratio, low)
    return low
  }
}
