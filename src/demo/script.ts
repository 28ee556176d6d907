import { type Incident, incidentsOf } from './incident.ts'

/** Something that happens at one moment. */
export type Act =
  | { readonly kind: 'hang-up' }
  | { readonly kind: 'call'; readonly promptTokens: number; readonly maxTokens: number }
  | { readonly kind: 'sleep'; readonly state: 'awake' | 'weights_offloaded' }

/** The moments of a scenario in their order. */
export class Script {
  readonly #acts: { readonly atMs: number; readonly act: Act }[]

  /** What lies before `startMs` does not happen. */
  constructor(incidents: readonly Incident[], startMs: number) {
    const all: { readonly atMs: number; readonly act: Act }[] = [
      ...incidentsOf(incidents, 'hang-up').map((act) => ({ atMs: act.atMs, act })),
      ...incidentsOf(incidents, 'call').map((act) => ({ atMs: act.atMs, act })),
      ...incidentsOf(incidents, 'sleep').flatMap(({ fromMs, untilMs }) => [
        { atMs: fromMs, act: { kind: 'sleep', state: 'weights_offloaded' } as const },
        { atMs: untilMs, act: { kind: 'sleep', state: 'awake' } as const },
      ]),
    ]
    this.#acts = all
      .filter(({ atMs }) => atMs >= startMs && atMs < Number.POSITIVE_INFINITY)
      .sort((a, b) => a.atMs - b.atMs)
  }

  /** When the next one comes; infinite after the last one. */
  get nextMs(): number {
    return this.#acts[0]?.atMs ?? Number.POSITIVE_INFINITY
  }

  /** Returns the one of `nextMs` and goes on to the one after it. */
  proceed(): Act | undefined {
    return this.#acts.shift()?.act
  }
}
