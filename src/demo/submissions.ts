import type { RequestPlan } from './requests.ts'

/** A request that somebody sent to the simulated server, and what has become of it. */
export interface Submission {
  /** `failed` too when its client has taken it back. */
  readonly state: 'pending' | 'done' | 'failed'
  /** Output tokens, once it is done. */
  readonly tokens: number
  /** The client closes its connection; without effect when it has its answer. */
  withdraw(): void
}

interface Entry {
  state: Submission['state']
  tokens: number
  readonly withdraw: () => void
}

/** Those without an answer yet, by their requests. */
export class Submissions {
  readonly #open = new Map<RequestPlan, Entry>()

  add(plan: RequestPlan, withdraw: () => void): Submission {
    const entry: Entry = { state: 'pending', tokens: 0, withdraw }
    this.#open.set(plan, entry)
    return entry
  }

  /** Ends the submission of `plan`, if it is one. */
  end(plan: RequestPlan, state: 'done' | 'failed', tokens: number): void {
    const entry = this.#open.get(plan)
    if (entry === undefined) return
    this.#open.delete(plan)
    entry.state = state
    entry.tokens = tokens
  }
}
