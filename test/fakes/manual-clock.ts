import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '../../src/clock.ts'

interface Sleeper {
  readonly ms: number
  readonly dueMs: number
  readonly wake: () => void
}

/** A clock that stands still until a test moves it. Both of its times start at round, different numbers. */
export class ManualClock implements Clock {
  #monotonicMs = 1_000
  #wallMs = Date.UTC(2026, 0, 1)
  readonly #sleepers = new Set<Sleeper>()

  nowMs(): number {
    return this.#wallMs
  }

  monotonicMs(): number {
    return this.#monotonicMs
  }

  /** How many waits are under way. */
  get sleeping(): number {
    return this.#sleepers.size
  }

  /** Whether somebody waits who asked for exactly so long. */
  isAskedFor(ms: number): boolean {
    return [...this.#sleepers].some((sleeper) => sleeper.ms === ms)
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted || ms <= 0) return Promise.resolve()
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener('abort', wake)
        this.#sleepers.delete(sleeper)
        resolve()
      }
      const sleeper: Sleeper = { ms, dueMs: this.#monotonicMs + ms, wake }
      signal.addEventListener('abort', wake)
      this.#sleepers.add(sleeper)
    })
  }

  /**
   * Moves both times forward by `ms`, stopping at each wait that ends on the way and letting whatever it
   * wakes run before it goes on.
   */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#monotonicMs + ms
    await this.settle()
    for (let next = this.#next(untilMs); next !== undefined; next = this.#next(untilMs)) {
      this.#moveTo(next.dueMs)
      next.wake()
      await this.settle()
    }
    this.#moveTo(untilMs)
  }

  /** Moves both times forward at once, as a stopped process finds them when it goes on. */
  async jump(ms: number): Promise<void> {
    await this.settle()
    this.#moveTo(this.#monotonicMs + ms)
    for (const sleeper of [...this.#sleepers]) {
      if (sleeper.dueMs <= this.#monotonicMs) sleeper.wake()
    }
    await this.settle()
  }

  /** Sets the wall clock alone, as an operator or a time server does. */
  setWallMs(wallMs: number): void {
    this.#wallMs = wallMs
  }

  /** Lets everything that can go on without time passing go on. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 3; turn += 1) await nextTurn()
  }

  #next(untilMs: number): Sleeper | undefined {
    let first: Sleeper | undefined
    for (const sleeper of this.#sleepers) {
      if (sleeper.dueMs > untilMs) continue
      if (first === undefined || sleeper.dueMs < first.dueMs) first = sleeper
    }
    return first
  }

  #moveTo(monotonicMs: number): void {
    const byMs = Math.max(0, monotonicMs - this.#monotonicMs)
    this.#monotonicMs += byMs
    this.#wallMs += byMs
  }
}
