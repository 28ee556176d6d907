import { Hangs } from './hangs.ts'
import {
  type AdmissionLimit,
  at,
  concerns,
  type Incident,
  incidentsOf,
  type Span,
} from './incident.ts'
import type { RankLedger } from './ledger.ts'
import { enter, finishReason, type LiveRequest, missing, Patience, todo } from './live-request.ts'
import type { Random } from './random.ts'
import { RankReport } from './rank-report.ts'
import type { RequestPlan } from './requests.ts'
import type { EngineSpeed } from './scenario.ts'
import { Speculation } from './speculation.ts'
import type { FinishReason, TruthLog } from './truth.ts'

/** How a request left the engine: finished, as vLLM counts it, or because its client hung up. */
export type Departure = FinishReason | 'hung-up'

export interface RankOptions {
  readonly engine: number
  readonly life: number
  readonly speed: EngineSpeed
  readonly incidents: readonly Incident[]
  readonly random: Random
  readonly ledger: RankLedger
  readonly truth: TruthLog
  /** Told of each request that leaves, so that the HTTP server can end its answer. */
  readonly onDeparture: (plan: RequestPlan, departure: Departure, tokens: number) => void
}

/**
 * One engine: a queue, slots and KV blocks. It works in steps as vLLM does: each step computes one
 * token for every request that decodes and, with what is left of the token budget, chunks of prompts.
 * A gap between two tokens is therefore the length of a step, which grows with the batch. What it
 * counts and shows changes at the end of a step and at no other time.
 */
export class Rank {
  readonly #options: RankOptions
  readonly #report: RankReport
  readonly #hangs: Hangs
  readonly #slowings: readonly (Span & { readonly factor: number })[]
  readonly #limits: readonly AdmissionLimit[]
  readonly #speculation: Speculation | undefined
  readonly #patience = new Patience()
  readonly #waiting: LiveRequest[] = []
  #running: LiveRequest[] = []
  /** How many of the waiting ones came after the step under way had begun. */
  #newcomers = 0
  #freeBlocks: number
  /** Counted with the next report. */
  #unreported = { queries: 0, hits: 0, preemptions: 0 }
  #stepStartMs = 0
  #stepTokens = 0
  #busyMs = 0
  /** When the step under way ends, infinite for a hang without end; absent while the engine idles. */
  #stepEndMs: number | undefined

  constructor(options: RankOptions) {
    const { engine, incidents, speed } = options
    this.#options = options
    this.#report = new RankReport(options)
    this.#hangs = new Hangs(incidents, engine)
    this.#slowings = [
      ...incidentsOf(incidents, 'slow-steps').filter((slow) => concerns(slow.engines, engine)),
      ...incidentsOf(incidents, 'throttle'),
    ]
    this.#limits = incidentsOf(incidents, 'admission-limit')
    this.#speculation =
      speed.speculation && new Speculation(speed.speculation, incidents, options.random.fork(1))
    this.#freeBlocks = speed.kvBlocks
  }

  /** Requests inside, waiting ones included, and those of vanished clients that it has not dropped. */
  get load(): number {
    return this.#waiting.length + this.#running.length
  }

  /** Requests inside whose clients wait for them. */
  get pending(): number {
    const waited = (list: readonly LiveRequest[]) => list.filter(({ over }) => !over).length
    return waited(this.#waiting) + waited(this.#running)
  }

  /** How full the batch or, in a step of prompts, its budget of tokens is, 0 to 1. */
  get occupancyRatio(): number {
    const { slots, tokenBudget } = this.#options.speed
    return Math.max(this.#running.length / slots, this.#stepTokens / tokenBudget)
  }

  /** When something happens next: a step ends or a client goes away. Infinite when nothing will. */
  get nextMs(): number {
    return Math.min(this.#stepEndMs ?? Number.POSITIVE_INFINITY, this.#patience.nextMs)
  }

  /** Milliseconds up to `atMs` in which the GPU worked. */
  busyUntil(atMs: number): number {
    if (this.#stepEndMs === undefined) return this.#busyMs
    const idleMs = this.#hangs.idleMs(this.#stepStartMs, atMs)
    return this.#busyMs + atMs - this.#stepStartMs - idleMs
  }

  /** What the GPU draws when it spins without getting on; absent otherwise. */
  spinWatts(atMs: number): number | undefined {
    return this.#stepEndMs === undefined ? undefined : this.#hangs.spinWatts(atMs)
  }

  enqueue(plan: RequestPlan, atMs: number): void {
    const request = enter(plan, atMs)
    this.#waiting.push(request)
    this.#newcomers += 1
    this.#patience.push(request)
    if (this.#stepEndMs !== undefined) return
    this.#hangs.meet('idle', atMs)
    this.#beginStep(atMs)
  }

  /** Lets happen what was announced for `nextMs`. */
  proceed(): void {
    const stepEndMs = this.#stepEndMs ?? Number.POSITIVE_INFINITY
    if (stepEndMs > this.#patience.nextMs) {
      const request = this.#patience.pop()
      if (request !== undefined) this.#hangUp(request, request.plan.leavesMs)
    } else if (stepEndMs < Number.POSITIVE_INFINITY) {
      this.#endStep(stepEndMs)
    }
  }

  /** Takes note that a client goes away now, or with no plan given that all do. Returns whether any did. */
  hangUp(atMs: number, plan?: RequestPlan): boolean {
    const going = [...this.#running, ...this.#waiting].filter((request) => {
      return !request.over && (plan === undefined || request.plan === plan)
    })
    for (const request of going) this.#hangUp(request, atMs)
    return going.length > 0
  }

  /** Stops for ever and returns what was inside. The gauges keep their last values, as vLLM's do. */
  die(atMs: number): readonly RequestPlan[] {
    const inside = [...this.#running, ...this.#waiting].filter((request) => !request.over)
    this.#busyMs = this.busyUntil(atMs)
    this.#stepEndMs = undefined
    this.#running = []
    this.#waiting.length = 0
    for (const request of inside) {
      request.over = true
      this.#report.lost(request, 'death', atMs)
    }
    return inside.map((request) => request.plan)
  }

  /** Its answer ends at once; the engine learns of it after the step under way. */
  #hangUp(request: LiveRequest, atMs: number): void {
    request.over = true
    this.#report.lost(request, 'client', atMs)
    this.#options.onDeparture(request.plan, 'hung-up', request.generated)
    // One that the engine has not seen yet never gets there: a hang's queue stays as short as patience.
    const index = this.#waiting.lastIndexOf(request)
    if (index < 0 || index < this.#waiting.length - this.#newcomers) return
    this.#waiting.splice(index, 1)
    this.#newcomers -= 1
  }

  #endStep(atMs: number): void {
    this.#busyMs = this.busyUntil(atMs)
    this.#stepEndMs = undefined
    this.#stepTokens = 0
    this.#emitTokens(atMs)
    this.#tellState(atMs)
    if (this.#options.ledger.running > 0) this.#hangs.meet('busy', atMs)
    this.#beginStep(atMs)
  }

  /** Clients that went away are still in these numbers, and who came during the step is not yet. */
  #tellState(atMs: number): void {
    const { ledger, speed } = this.#options
    const limit = at(this.#limits, atMs)
    ledger.running = this.#running.length
    ledger.waiting = this.#waiting.length - this.#newcomers
    ledger.deferred = Math.round(ledger.waiting * (limit?.deferredRatio ?? 0))
    ledger.kvCacheUsageRatio = (speed.kvBlocks - this.#freeBlocks) / speed.kvBlocks
    ledger.prefixCacheQueries += this.#unreported.queries
    ledger.prefixCacheHits += this.#unreported.hits
    ledger.preemptions += this.#unreported.preemptions
    this.#unreported = { queries: 0, hits: 0, preemptions: 0 }
  }

  #beginStep(atMs: number): void {
    const { speed, random } = this.#options
    this.#newcomers = 0
    this.#dropLeavers()
    const left = this.#scheduleRunning(speed.tokenBudget)
    // Admitting while somebody is evicted for want of blocks would only move the shortage.
    if (left !== undefined) this.#admit(left, atMs)
    else if (this.#running.length === 0) this.#admit(speed.tokenBudget, atMs)
    let tokens = 0
    let sequences = 0
    for (const request of this.#running) {
      tokens += request.chunk
      if (request.chunk > 0) sequences += 1
    }
    if (sequences === 0) return
    // Decoding one token each is in the price of a sequence; the rest are prompt tokens.
    const plainMs =
      speed.stepMs + speed.sequenceMs * sequences + speed.promptTokenMs * (tokens - sequences)
    const noise = Math.exp(0.05 * random.normal())
    const hiccup = random.chance(0.001) ? random.between(2, 6) : 1
    const lengthMs = plainMs * noise * hiccup * this.#slowness(atMs)
    this.#stepStartMs = atMs
    this.#stepTokens = tokens
    this.#stepEndMs = this.#hangs.endOf(atMs, lengthMs)
  }

  #slowness(atMs: number): number {
    let factor = 1
    for (const slow of this.#slowings) {
      if (slow.fromMs <= atMs && atMs < slow.untilMs) factor *= slow.factor
    }
    return factor
  }

  #dropLeavers(): void {
    for (const list of [this.#running, this.#waiting]) {
      if (!list.some((request) => request.over)) continue
      const staying: LiveRequest[] = []
      for (const request of list) {
        if (request.over) this.#freeBlocks += request.blocks
        else staying.push(request)
      }
      list.splice(0, list.length, ...staying)
    }
  }

  /** Returns what is left of the budget, or nothing when the blocks ran out and a request was evicted. */
  #scheduleRunning(budget: number): number | undefined {
    let left = budget
    let evicted = false
    for (let index = 0; index < this.#running.length; index += 1) {
      const request = this.#running[index]
      if (request === undefined) break
      request.drafts = this.#speculation?.drafts(request, left) ?? 0
      request.chunk = Math.min(todo(request), left) + request.drafts
      while (!this.#reserve(request)) {
        this.#evictLast()
        evicted = true
        // The request itself was the last one: it waits for blocks now.
        if (this.#running.length <= index) return undefined
      }
      left -= request.chunk
    }
    return evicted ? undefined : left
  }

  /** Takes the blocks that the request's chunk needs, all or none. */
  #reserve(request: LiveRequest): boolean {
    const { blockTokens } = this.#options.speed
    const needed = Math.ceil((request.computed + request.chunk) / blockTokens) - request.blocks
    if (needed > this.#freeBlocks) return false
    if (needed <= 0) return true
    this.#freeBlocks -= needed
    request.blocks += needed
    return true
  }

  /** Preempts the youngest running request: its blocks are free, and it computes everything again. */
  #evictLast(): void {
    const evicted = this.#running.pop()
    if (evicted === undefined) return
    this.#freeBlocks += evicted.blocks
    evicted.blocks = 0
    evicted.computed = 0
    evicted.chunk = 0
    evicted.drafts = 0
    this.#waiting.unshift(evicted)
    this.#unreported.preemptions += 1
  }

  #admit(budget: number, atMs: number): void {
    let left = budget
    const slots = Math.min(
      this.#options.speed.slots,
      at(this.#limits, atMs)?.running ?? Number.POSITIVE_INFINITY,
    )
    while (left > 0 && this.#running.length < slots) {
      const request = this.#waiting[0]
      if (request === undefined) return
      request.computed = request.plan.cachedTokens
      request.chunk = Math.min(todo(request), left)
      if (!this.#reserve(request)) {
        request.computed = 0
        request.chunk = 0
        return
      }
      this.#waiting.shift()
      this.#running.push(request)
      left -= request.chunk
      if (request.scheduledMs === undefined) {
        request.scheduledMs = atMs
        this.#unreported.queries += request.plan.promptTokens
        this.#unreported.hits += request.plan.cachedTokens
      }
    }
  }

  #emitTokens(atMs: number): void {
    const report = this.#report
    const staying: LiveRequest[] = []
    let stepTokens = 0
    for (const request of this.#running) {
      request.computed += request.chunk - request.drafts
      request.chunk = 0
      if (todo(request) > 0 || request.over) {
        staying.push(request)
        continue
      }
      const tokens = this.#nextTokens(request, atMs)
      if (request.firstTokenMs === undefined) {
        request.firstTokenMs = atMs
        report.firstToken(request, atMs)
        stepTokens += request.plan.promptTokens
      } else {
        report.nextTokens(atMs, (atMs - request.lastTokenMs) / 1000, tokens)
      }
      // Right guesses have been computed in this step already.
      request.computed += tokens - 1
      request.generated += tokens
      request.lastTokenMs = atMs
      stepTokens += tokens
      const reason = finishReason(request)
      if (reason === undefined) staying.push(request)
      else this.#finish(request, reason, atMs)
    }
    report.endStep(atMs, stepTokens)
    this.#running = staying
  }

  #nextTokens(request: LiveRequest, atMs: number): number {
    if (request.drafts === 0 || this.#speculation === undefined) return 1
    const accepted = this.#speculation.accepted(request.drafts, atMs)
    this.#report.guesses(request.drafts, accepted)
    request.drafts = 0
    return Math.min(1 + accepted, missing(request))
  }

  #finish(request: LiveRequest, reason: FinishReason, atMs: number): void {
    request.over = true
    this.#freeBlocks += request.blocks
    this.#report.finish(request, reason, atMs)
    this.#options.onDeparture(request.plan, reason, request.generated)
  }
}
