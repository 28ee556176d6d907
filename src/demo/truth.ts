/** A request that the engine finished: what vLLM observes at that moment, to the last bit. */
export interface FinishedRequest {
  /** Which life of the server's process it was: 0, and one more after each restart. */
  readonly life: number
  /** When it finished, in milliseconds since the start of the scenario. */
  readonly atMs: number
  readonly engine: number
  readonly reason: FinishReason
  readonly e2eSeconds: number
  readonly ttftSeconds: number
  readonly queueSeconds: number
  readonly prefillSeconds: number
  readonly decodeSeconds: number
  readonly inferenceSeconds: number
  readonly timePerOutputTokenSeconds: number
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly generationTokens: number
  readonly maxTokens: number
}

/** A first token, also of requests that did not finish. */
export interface FirstToken {
  readonly life: number
  readonly atMs: number
  readonly engine: number
  readonly ttftSeconds: number
  readonly promptTokens: number
}

/** `times` requests of one step that waited equally long for their next tokens. */
export interface TokenGap {
  readonly life: number
  readonly atMs: number
  readonly engine: number
  readonly seconds: number
  readonly times: number
  /** What they got all together: one each, or more where tokens are guessed ahead. */
  readonly tokens: number
}

/** A request whose client went away, or which died with its engine. */
export interface LostRequest {
  readonly life: number
  readonly atMs: number
  /** Absent when it got no further than the API server. */
  readonly engine: number | undefined
  readonly why: 'client' | 'death'
  readonly generationTokens: number
}

/** An HTTP answer that the server counted. */
export interface HttpAnswer {
  readonly life: number
  readonly atMs: number
  readonly handler: string
  readonly method: string
  readonly status: StatusClass
  readonly seconds: number
}

export type FinishReason = 'stop' | 'length' | 'abort' | 'error' | 'repetition'
export type StatusClass = '2xx' | '4xx' | '5xx'

/** What happened, each list in the order of `atMs`. */
export interface Truth {
  readonly finished: readonly FinishedRequest[]
  readonly firstTokens: readonly FirstToken[]
  readonly gaps: readonly TokenGap[]
  readonly lost: readonly LostRequest[]
  readonly answers: readonly HttpAnswer[]
  /** Entries that had to make room because nobody drained them. */
  readonly dropped: number
}

/** A list that keeps the newest `capacity` entries. */
class Recent<T> {
  readonly #capacity: number
  #entries: T[] = []
  #dropped = 0

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  push(entry: T): void {
    this.#entries.push(entry)
    // Dropping half at a time keeps the cost of a full list constant for each entry.
    if (this.#entries.length >= 2 * this.#capacity + 1) this.#shrink()
  }

  drain(): { entries: readonly T[]; dropped: number } {
    if (this.#entries.length > this.#capacity) this.#shrink()
    const drained = { entries: this.#entries, dropped: this.#dropped }
    this.#entries = []
    this.#dropped = 0
    return drained
  }

  #shrink(): void {
    const surplus = this.#entries.length - this.#capacity
    this.#entries.splice(0, surplus)
    this.#dropped += surplus
  }
}

/** Keeps what happened until somebody asks, at most `capacity` entries of each kind. */
export class TruthLog {
  readonly finished: Recent<FinishedRequest>
  readonly firstTokens: Recent<FirstToken>
  readonly gaps: Recent<TokenGap>
  readonly lost: Recent<LostRequest>
  readonly answers: Recent<HttpAnswer>

  constructor(capacity: number) {
    this.finished = new Recent(capacity)
    this.firstTokens = new Recent(capacity)
    this.gaps = new Recent(capacity)
    this.lost = new Recent(capacity)
    this.answers = new Recent(capacity)
  }

  /** Returns what was kept since the last call and forgets it. */
  drain(): Truth {
    const finished = this.finished.drain()
    const firstTokens = this.firstTokens.drain()
    const gaps = this.gaps.drain()
    const lost = this.lost.drain()
    const answers = this.answers.drain()
    return {
      finished: finished.entries,
      firstTokens: firstTokens.entries,
      gaps: gaps.entries,
      lost: lost.entries,
      answers: answers.entries,
      dropped:
        finished.dropped + firstTokens.dropped + gaps.dropped + lost.dropped + answers.dropped,
    }
  }
}
