import { expiresAfterResends, type Notice, type Standing } from './notice.ts'

/** More alerts than these one Alertmanager is not told of at a time. */
export const maxAlerts = 1_000

/** An end that could not be told for so long, and until the alert has expired at Alertmanager, is not told any more. */
const keepResolvedMs = 900_000

/** An instant, and how often what fires is told again. */
export interface Now {
  readonly atMs: number
  readonly resendMs: number
}

/** Something that one Alertmanager is to be told. */
export interface Owed {
  readonly notice: Notice
  readonly standing: Standing
  /** Which turn of the alert it tells: one that has turned since is owed anew. */
  readonly turn: number
}

interface Entry extends Owed {
  /** It was part of a try, so that Alertmanager may know of it. */
  readonly tried: boolean
  /** Monotonic time at which this standing was last taken or given up; absent before. */
  readonly settledMs: number | undefined
}

/**
 * What one Alertmanager knows and does not know yet. It holds one entry for each alert, its newest state, so that
 * a flood is bounded by the alerts that there are and an outage ends with one notice for each.
 */
export class Ledger {
  readonly #limit: number
  readonly #entries = new Map<string, Entry>()
  #refused: ReadonlySet<string> = new Set()
  #turns = 0

  constructor(limit = maxAlerts) {
    this.#limit = limit
  }

  /**
   * Takes in what rings at an instant. What rang before and does not any more has ended; where no try was made
   * to tell of it, nobody need be told of its end.
   *
   * Returns how many notices are lost: alerts without room, and ends that could not be told in time.
   */
  follow(ringing: ReadonlyMap<string, Notice>, now: Now & { readonly wallMs: number }): number {
    let lost = 0
    for (const [key, entry] of this.#entries) {
      if (!ringing.has(key)) lost += this.#silence(key, entry, now)
    }
    const refused = new Set<string>()
    for (const [key, notice] of ringing) {
      const entry = this.#entries.get(key)
      if (entry === undefined && this.#entries.size >= this.#limit) {
        if (!this.#refused.has(key)) lost += 1
        refused.add(key)
      } else if (entry?.standing.kind === 'firing') {
        this.#entries.set(key, { ...entry, notice })
      } else {
        this.#turn(key, { notice, standing: { kind: 'firing' }, tried: entry !== undefined })
      }
    }
    this.#refused = refused
    return lost
  }

  /** How many notices are owed now. */
  length(now: Now): number {
    let count = 0
    for (const entry of this.#entries.values()) if (isDue(entry, now)) count += 1
    return count
  }

  /** Returns up to `most` of what is owed, for a try that begins now. */
  take(now: Now, most: number): readonly Owed[] {
    const taken: Owed[] = []
    for (const [key, entry] of this.#entries) {
      if (taken.length >= most) break
      if (!isDue(entry, now)) continue
      this.#entries.set(key, { ...entry, tried: true })
      taken.push(entry)
    }
    return taken
  }

  /** Notes that `owed` was taken, or given up: an end is done with, what fires is owed again after a resend. */
  settle(owed: readonly Owed[], atMs: number): void {
    for (const { notice, turn } of owed) {
      const entry = this.#entries.get(notice.key)
      if (entry?.turn !== turn) continue
      if (entry.standing.kind === 'resolved') this.#entries.delete(notice.key)
      else this.#entries.set(notice.key, { ...entry, settledMs: atMs })
    }
  }

  /** Lets an alert that rings no more end; returns how many notices are lost by it. */
  #silence(
    key: string,
    { notice, standing, tried }: Entry,
    { atMs, wallMs, resendMs }: Now & { readonly wallMs: number },
  ): number {
    if (standing.kind === 'firing') {
      const ended = { kind: 'resolved', endedMs: atMs, endedWallMs: wallMs } as const
      if (tried) this.#turn(key, { notice, standing: ended, tried })
      else this.#entries.delete(key)
      return 0
    }
    const keepMs = Math.max(keepResolvedMs, expiresAfterResends * resendMs)
    if (atMs - standing.endedMs < keepMs) return 0
    this.#entries.delete(key)
    return 1
  }

  #turn(key: string, now: Pick<Entry, 'notice' | 'standing' | 'tried'>): void {
    this.#turns += 1
    this.#entries.set(key, { ...now, turn: this.#turns, settledMs: undefined })
  }
}

function isDue({ standing, settledMs }: Entry, { atMs, resendMs }: Now): boolean {
  return standing.kind === 'resolved' || settledMs === undefined || atMs - settledMs >= resendMs
}
