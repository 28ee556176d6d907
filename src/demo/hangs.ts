import {
  concerns,
  type Hang,
  type Incident,
  incidentsOf,
  overlapMs,
  type Span,
} from './incident.ts'

interface Standstill extends Span {
  /** Absent where the GPU idles. */
  readonly spinWatts: number | undefined
}

/** When one engine stands still. A hang that waits for its moment is known once that has come. */
export class Hangs {
  readonly #known: Standstill[]
  #waiting: readonly Hang[]

  constructor(incidents: readonly Incident[], engine: number) {
    const hangs = incidentsOf(incidents, 'hang').filter(({ engines }) => concerns(engines, engine))
    const sleeps = incidentsOf(incidents, 'sleep')
    this.#waiting = hangs.filter(({ onset }) => onset !== 'at-once')
    this.#known = [...sleeps, ...hangs.filter(({ onset }) => onset === 'at-once')].map((span) =>
      standstill(span, span.fromMs),
    )
  }

  /** Takes note that a step is to begin in an engine that had work before, or had none. */
  meet(moment: 'busy' | 'idle', atMs: number): void {
    if (this.#waiting.length === 0) return
    const begins = (hang: Hang) => hang.onset === moment && hang.fromMs <= atMs
    const begun = this.#waiting.filter(begins)
    this.#waiting = this.#waiting.filter((hang) => !begins(hang))
    this.#known.push(...begun.map((hang) => standstill(hang, atMs)))
  }

  /** Returns when work of `lengthMs` is done that begins at `startMs`: standing still adds to it. */
  endOf(startMs: number, lengthMs: number): number {
    let endMs = startMs + lengthMs
    for (const still of this.#known) {
      if (still.untilMs <= startMs || still.fromMs >= endMs) continue
      endMs += still.untilMs - Math.max(still.fromMs, startMs)
    }
    return endMs
  }

  /** Returns for how long between the two the GPU had nothing to do because of a standstill. */
  idleMs(fromMs: number, untilMs: number): number {
    let idleMs = 0
    for (const still of this.#known) {
      if (still.spinWatts === undefined) idleMs += overlapMs(still, fromMs, untilMs)
    }
    return idleMs
  }

  /** What the GPU draws in a standstill in which its kernels spin; absent at any other time. */
  spinWatts(atMs: number): number | undefined {
    const still = this.#known.find((span) => span.fromMs <= atMs && atMs < span.untilMs)
    return still?.spinWatts
  }
}

function standstill(span: Span & { readonly spinWatts?: number }, fromMs: number): Standstill {
  return { fromMs, untilMs: span.untilMs, spinWatts: span.spinWatts }
}
