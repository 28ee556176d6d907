import type { RankLedger } from './ledger.ts'
import type { Random } from './random.ts'
import type { RequestPlan } from './requests.ts'
import type { EngineSpeed } from './scenarios.ts'
import type { FinishReason, TruthLog } from './truth.ts'

/** How a request left the engine: finished, as vLLM counts it, or because its client hung up. */
export type Departure = FinishReason | 'hung-up'

export interface RankOptions {
  readonly engine: number
  readonly life: number
  readonly speed: EngineSpeed
  readonly random: Random
  readonly ledger: RankLedger
  readonly truth: TruthLog
  /** Told of each request that leaves, so that the HTTP server can end its answer. */
  readonly onDeparture: (plan: RequestPlan, departure: Departure, tokens: number) => void
}

/** A request inside the engine. Times are absent until they happen. */
interface LiveRequest {
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
}

/**
 * One engine: a queue, slots and KV blocks. It works in steps as vLLM does: each step computes one
 * token for every request that decodes and, with what is left of the token budget, chunks of prompts.
 * A gap between two tokens is therefore the length of a step, which grows with the batch.
 */
export class Rank {
  readonly #options: RankOptions
  readonly #waiting: LiveRequest[] = []
  #running: LiveRequest[] = []
  #freeBlocks: number
  #stepStartMs = 0
  #busyMs = 0
  /** When the step under way ends; absent while the engine idles. */
  stepEndMs: number | undefined

  constructor(options: RankOptions) {
    this.#options = options
    this.#freeBlocks = options.speed.kvBlocks
  }

  /** Requests inside, waiting ones included. */
  get load(): number {
    return this.#waiting.length + this.#running.length
  }

  /** How full the batch is, 0 to 1. */
  get occupancyRatio(): number {
    return this.#running.length / this.#options.speed.slots
  }

  /** Milliseconds up to `atMs` in which a step was under way. */
  busyUntil(atMs: number): number {
    return this.#busyMs + (this.stepEndMs === undefined ? 0 : atMs - this.#stepStartMs)
  }

  enqueue(plan: RequestPlan, atMs: number): void {
    this.#waiting.push({
      plan,
      queuedMs: atMs,
      scheduledMs: undefined,
      firstTokenMs: undefined,
      lastTokenMs: atMs,
      generated: 0,
      computed: 0,
      blocks: 0,
      chunk: 0,
    })
    if (this.stepEndMs === undefined) this.#beginStep(atMs)
    this.#setGauges()
  }

  /** Ends the step whose end was announced in `stepEndMs`, and begins the next one. */
  endStep(): void {
    const atMs = this.stepEndMs
    if (atMs === undefined) return
    this.#busyMs += atMs - this.#stepStartMs
    this.stepEndMs = undefined
    this.#emitTokens(atMs)
    this.#beginStep(atMs)
    this.#setGauges()
  }

  /** Stops for ever and returns what was inside. The gauges keep their last values, as vLLM's do. */
  die(atMs: number): readonly RequestPlan[] {
    const { truth, engine, life } = this.#options
    const inside = [...this.#running, ...this.#waiting]
    this.#busyMs = this.busyUntil(atMs)
    this.stepEndMs = undefined
    this.#running = []
    this.#waiting.length = 0
    for (const { generated } of inside) {
      truth.lost.push({ life, atMs, engine, why: 'death', generationTokens: generated })
    }
    return inside.map((request) => request.plan)
  }

  #setGauges(): void {
    const { ledger, speed } = this.#options
    ledger.running = this.#running.length
    ledger.waiting = this.#waiting.length
    ledger.kvCacheUsageRatio = (speed.kvBlocks - this.#freeBlocks) / speed.kvBlocks
  }

  #beginStep(atMs: number): void {
    const { speed, random } = this.#options
    this.#dropLeavers(atMs)
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
    this.#stepStartMs = atMs
    this.stepEndMs = atMs + plainMs * noise * hiccup
  }

  #dropLeavers(atMs: number): void {
    for (const list of [this.#running, this.#waiting]) {
      if (!list.some((request) => request.plan.leavesMs <= atMs)) continue
      const staying: LiveRequest[] = []
      for (const request of list) {
        if (request.plan.leavesMs > atMs) staying.push(request)
        else this.#hangUp(request, atMs)
      }
      list.splice(0, list.length, ...staying)
    }
  }

  #hangUp(request: LiveRequest, atMs: number): void {
    const { truth, engine, life, onDeparture } = this.#options
    this.#freeBlocks += request.blocks
    truth.lost.push({ life, atMs, engine, why: 'client', generationTokens: request.generated })
    onDeparture(request.plan, 'hung-up', request.generated)
  }

  /** Returns what is left of the budget, or nothing when the blocks ran out and a request was evicted. */
  #scheduleRunning(budget: number): number | undefined {
    let left = budget
    let evicted = false
    for (let index = 0; index < this.#running.length; index += 1) {
      const request = this.#running[index]
      if (request === undefined) break
      request.chunk = Math.min(todo(request), left)
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
    this.#waiting.unshift(evicted)
    this.#options.ledger.preemptions += 1
  }

  #admit(budget: number, atMs: number): void {
    const { speed, ledger } = this.#options
    let left = budget
    while (left > 0 && this.#running.length < speed.slots) {
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
        ledger.prefixCacheQueries += request.plan.promptTokens
        ledger.prefixCacheHits += request.plan.cachedTokens
      }
    }
  }

  #emitTokens(atMs: number): void {
    const { ledger, truth, engine, life } = this.#options
    const staying: LiveRequest[] = []
    let stepTokens = 0
    let gapSeconds = 0
    let gaps = 0
    const writeGaps = () => {
      if (gaps === 0) return
      ledger.interTokenLatency.observe(gapSeconds, gaps)
      truth.gaps.push({ life, atMs, engine, seconds: gapSeconds, times: gaps })
      gaps = 0
    }
    for (const request of this.#running) {
      request.computed += request.chunk
      request.chunk = 0
      if (todo(request) > 0) {
        staying.push(request)
        continue
      }
      if (request.firstTokenMs === undefined) {
        this.#firstToken(request, atMs)
        stepTokens += request.plan.promptTokens
      } else {
        const seconds = (atMs - request.lastTokenMs) / 1000
        if (seconds !== gapSeconds) writeGaps()
        gapSeconds = seconds
        gaps += 1
      }
      request.generated += 1
      request.lastTokenMs = atMs
      ledger.generationTokens += 1
      stepTokens += 1
      const reason = finishReason(request)
      if (reason === undefined) staying.push(request)
      else this.#finish(request, reason, atMs)
    }
    writeGaps()
    this.#running = staying
    if (stepTokens > 0) ledger.stepTokens.observe(stepTokens)
  }

  #firstToken(request: LiveRequest, atMs: number): void {
    const { ledger, truth, engine, life } = this.#options
    const { promptTokens, cachedTokens, arrivedMs } = request.plan
    const ttftSeconds = (atMs - arrivedMs) / 1000
    request.firstTokenMs = atMs
    ledger.promptTokens += promptTokens
    ledger.promptTokensCached += cachedTokens
    ledger.ttft.observe(ttftSeconds)
    truth.firstTokens.push({ life, atMs, engine, ttftSeconds, promptTokens })
  }

  #finish(request: LiveRequest, reason: FinishReason, atMs: number): void {
    const { ledger, truth, engine, life, onDeparture } = this.#options
    const { plan, generated, queuedMs } = request
    const scheduledMs = request.scheduledMs ?? queuedMs
    const firstTokenMs = request.firstTokenMs ?? atMs
    const decodeSeconds = (atMs - firstTokenMs) / 1000
    const e2eSeconds = (atMs - plan.arrivedMs) / 1000
    const queueSeconds = (scheduledMs - queuedMs) / 1000
    const prefillSeconds = (firstTokenMs - scheduledMs) / 1000
    const inferenceSeconds = (atMs - scheduledMs) / 1000
    const timePerOutputTokenSeconds = generated > 1 ? decodeSeconds / (generated - 1) : 0
    this.#freeBlocks += request.blocks
    ledger.finished[reason] += 1
    ledger.e2e.observe(e2eSeconds)
    ledger.queue.observe(queueSeconds)
    ledger.prefill.observe(prefillSeconds)
    ledger.decode.observe(decodeSeconds)
    ledger.inference.observe(inferenceSeconds)
    ledger.timePerOutputToken.observe(timePerOutputTokenSeconds)
    ledger.requestPromptTokens.observe(plan.promptTokens)
    ledger.requestGenerationTokens.observe(generated)
    ledger.maxGenerationTokens.observe(generated)
    ledger.choices.observe(1)
    ledger.maxTokens.observe(plan.maxTokens)
    ledger.prefillComputedTokens.observe(plan.promptTokens - plan.cachedTokens)
    truth.finished.push({
      life,
      atMs,
      engine,
      reason,
      e2eSeconds,
      ttftSeconds: (firstTokenMs - plan.arrivedMs) / 1000,
      queueSeconds,
      prefillSeconds,
      decodeSeconds,
      inferenceSeconds,
      timePerOutputTokenSeconds,
      promptTokens: plan.promptTokens,
      cachedTokens: plan.cachedTokens,
      generationTokens: generated,
      maxTokens: plan.maxTokens,
    })
    onDeparture(plan, reason, generated)
  }
}

function todo(request: LiveRequest): number {
  return request.plan.promptTokens + request.generated - request.computed
}

function finishReason(request: LiveRequest): FinishReason | undefined {
  const { generated, plan } = request
  if (plan.failsAfterTokens !== undefined && generated >= plan.failsAfterTokens) return 'error'
  if (generated >= plan.outputTokens) return 'stop'
  return generated >= plan.maxTokens ? 'length' : undefined
}
