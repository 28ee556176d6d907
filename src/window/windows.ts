import type { Attempt, ProbeResult } from '../reading.ts'
import { type Recorded, TargetWindows } from './target-windows.ts'

/** The kept past of every target. */
export class Windows {
  #keepMs: number
  readonly #targets = new Map<string, TargetWindows>()

  /** `keepMs` is the longest window that anybody asks for. */
  constructor(options: { readonly keepMs: number }) {
    this.#keepMs = options.keepMs
  }

  /** Takes in what a collection yielded, and tells what it brought to light. */
  record(attempt: Attempt): Recorded {
    return this.target(attempt.target).record(attempt)
  }

  /** Takes in what came of a probe. */
  recordProbe(result: ProbeResult): void {
    this.target(result.target).recordProbe(result)
  }

  /** The past of one target, begun now when there is none. */
  target(name: string): TargetWindows {
    let target = this.#targets.get(name)
    if (target === undefined) {
      target = new TargetWindows(name, { keepMs: this.#keepMs })
      this.#targets.set(name, target)
    }
    return target
  }

  /** Changes how far back is remembered: what is kept stays, what was let go does not come back. */
  keep(keepMs: number): void {
    this.#keepMs = keepMs
    for (const target of this.#targets.values()) target.keep(keepMs)
  }

  /** Forgets a target, as when the configuration no longer has it or reads another server by its name. */
  forget(name: string): void {
    this.#targets.delete(name)
  }
}
