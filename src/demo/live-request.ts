import type { RequestPlan } from './requests.ts'
import type { FinishReason } from './truth.ts'

/** A request inside the engine. Times are absent until they happen. */
export interface LiveRequest {
  readonly plan: RequestPlan
  readonly queuedMs: number
  scheduledMs: number | undefined
  firstTokenMs: number | undefined
  lastTokenMs: number
  generated: number
  /** Tokens of prompt and output whose keys and values are in the cache. */
  computed: number
  blocks: number
  /** Tokens being computed in the step under way. */
  chunk: number
  /** How many of them are guesses. */
  drafts: number
  /** Its client has gone, or it has finished: nobody waits for it. */
  over: boolean
}

export function enter(plan: RequestPlan, queuedMs: number): LiveRequest {
  return {
    plan,
    queuedMs,
    scheduledMs: undefined,
    firstTokenMs: undefined,
    lastTokenMs: queuedMs,
    generated: 0,
    computed: 0,
    blocks: 0,
    chunk: 0,
    drafts: 0,
    over: false,
  }
}

/** Tokens to compute before the next output token is known. */
export function todo(request: LiveRequest): number {
  return request.plan.promptTokens + request.generated - request.computed
}

/** How many more tokens it makes at most. */
export function missing({ plan, generated }: LiveRequest): number {
  const { outputTokens, maxTokens, failsAfterTokens = Number.POSITIVE_INFINITY } = plan
  return Math.min(outputTokens, maxTokens, failsAfterTokens) - generated
}

export function finishReason({ generated, plan }: LiveRequest): FinishReason | undefined {
  if (plan.failsAfterTokens !== undefined && generated >= plan.failsAfterTokens) return 'error'
  if (generated >= plan.outputTokens) return 'stop'
  return generated >= plan.maxTokens ? 'length' : undefined
}

/** Requests in the order in which their clients will go away: a binary heap. */
export class Patience {
  readonly #heap: LiveRequest[] = []

  push(request: LiveRequest): void {
    const heap = this.#heap
    let index = heap.push(request) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (leavesMs(heap[parent]) <= leavesMs(request)) break
      this.#swap(index, parent)
      index = parent
    }
  }

  /** When the next client goes away; infinite when none will. */
  get nextMs(): number {
    while (this.#heap[0]?.over === true) this.pop()
    return leavesMs(this.#heap[0])
  }

  pop(): LiveRequest | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (last === undefined || last === first) return first
    heap[0] = last
    for (let index = 0; ; ) {
      const left = 2 * index + 1
      const child = leavesMs(heap[left + 1]) < leavesMs(heap[left]) ? left + 1 : left
      if (leavesMs(heap[child]) >= leavesMs(last)) return first
      this.#swap(index, child)
      index = child
    }
  }

  #swap(a: number, b: number): void {
    const [one, other] = [this.#heap[a], this.#heap[b]]
    if (one === undefined || other === undefined) return
    this.#heap[a] = other
    this.#heap[b] = one
  }
}

function leavesMs(request: LiveRequest | undefined): number {
  return request?.plan.leavesMs ?? Number.POSITIVE_INFINITY
}
