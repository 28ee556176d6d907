import { type Incident, incidentsOf, type Outage } from './incident.ts'

export type Phase =
  | { readonly kind: 'serving' }
  /** The engine is dead, the HTTP server still answers: `/health` with 503. */
  | { readonly kind: 'dying'; readonly outage: Outage }
  /** Nothing listens. */
  | { readonly kind: 'down'; readonly outage: Outage }

/** The lives of a server's process, as its outages cut them. */
export class Lifecycle {
  readonly #outages: readonly Outage[]
  #next: Outage | undefined
  /** An outage that another one took the place of is not to come after all. */
  #skippedMs = Number.NEGATIVE_INFINITY
  phase: Phase = { kind: 'serving' }
  /** Which life it is: 0, and one more after each outage; -1 before a first one that has not begun. */
  life = 0

  constructor(incidents: readonly Incident[], startMs: number) {
    this.#outages = incidentsOf(incidents, 'outage')
    const first = this.#outages.find((outage) => outage.fromMs < startMs)
    if (first !== undefined && startMs < first.untilMs) {
      this.phase = { kind: 'down', outage: first }
      this.life = -1
    }
    this.#next = this.#nextAfter(startMs)
  }

  /** When the phase changes next; infinite when it never does. */
  get nextMs(): number {
    const { phase } = this
    if (phase.kind === 'serving') return this.#next?.fromMs ?? Number.POSITIVE_INFINITY
    return phase.kind === 'dying' ? portClosesMs(phase.outage) : phase.outage.untilMs
  }

  /** Takes the step that was due at `nextMs` and returns the new phase. */
  proceed(): Phase {
    const atMs = this.nextMs
    switch (this.phase.kind) {
      case 'serving':
        if (this.#next !== undefined) this.phase = { kind: 'dying', outage: this.#next }
        this.#next = undefined
        break
      case 'dying':
        this.phase = { kind: 'down', outage: this.phase.outage }
        break
      case 'down':
        this.phase = { kind: 'serving' }
        this.life += 1
        // What was planned for the time in which the server was down cannot happen any more.
        if (this.#next === undefined || this.#next.fromMs < atMs) {
          this.#next = this.#nextAfter(Math.max(atMs, this.#skippedMs))
        }
        break
    }
    return this.phase
  }

  /** Puts `outage` in the place of the one that was to come next. */
  plan(outage: Outage): void {
    this.#skippedMs = this.#next?.fromMs ?? this.#skippedMs
    this.#next = outage
  }

  #nextAfter(atMs: number): Outage | undefined {
    let next: Outage | undefined
    for (const outage of this.#outages) {
      const { fromMs, untilMs, everyMs } = outage
      const rounds = everyMs === undefined ? 0 : Math.floor((atMs - fromMs) / everyMs) + 1
      const laterMs = Math.max(rounds, 0) * (everyMs ?? 0)
      if (fromMs + laterMs <= atMs || fromMs + laterMs >= (next?.fromMs ?? Infinity)) continue
      next = { ...outage, fromMs: fromMs + laterMs, untilMs: untilMs + laterMs }
    }
    return next
  }
}

/** Returns when nothing listens any more. */
export function portClosesMs({ fromMs, untilMs, dyingForMs }: Outage): number {
  return Math.min(fromMs + dyingForMs, untilMs)
}
