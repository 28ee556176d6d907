import type { RankLedger } from './ledger.ts'
import type { LiveRequest } from './live-request.ts'
import type { FinishReason, TruthLog } from './truth.ts'

export interface RankReportOptions {
  readonly engine: number
  readonly life: number
  readonly ledger: RankLedger
  readonly truth: TruthLog
}

/** Writes what one engine does into the ledger of its server and into the log of what is true. */
export class RankReport {
  readonly #options: RankReportOptions
  /** Neighbours in the batch that waited equally long for their next tokens. */
  #gapSeconds = 0
  #gapTimes = 0
  #gapTokens = 0

  constructor(options: RankReportOptions) {
    this.#options = options
  }

  firstToken(request: LiveRequest, atMs: number): void {
    const { ledger, truth, engine, life } = this.#options
    const { promptTokens, cachedTokens, arrivedMs } = request.plan
    const ttftSeconds = (atMs - arrivedMs) / 1000
    ledger.promptTokens += promptTokens
    ledger.promptTokensCached += cachedTokens
    ledger.generationTokens += 1
    ledger.ttft.observe(ttftSeconds)
    truth.firstTokens.push({ life, atMs, engine, ttftSeconds, promptTokens })
  }

  /** `tokens` came at once to one request after a wait of `seconds`. */
  nextTokens(atMs: number, seconds: number, tokens: number): void {
    if (seconds !== this.#gapSeconds) this.#writeGap(atMs)
    this.#gapSeconds = seconds
    this.#gapTimes += 1
    this.#gapTokens += tokens
    this.#options.ledger.generationTokens += tokens
  }

  /** `accepted` of `drafted` tokens were guessed rightly, the first ones of them. */
  guesses(drafted: number, accepted: number): void {
    const { speculation } = this.#options.ledger
    speculation.drafts += 1
    speculation.draftTokens += drafted
    speculation.acceptedTokens += accepted
    for (let position = 0; position < accepted; position += 1) {
      speculation.acceptedAt[position] = (speculation.acceptedAt[position] ?? 0) + 1
    }
  }

  /** A step is over in which so many tokens were computed of requests that have output. */
  endStep(atMs: number, tokens: number): void {
    this.#writeGap(atMs)
    if (tokens > 0) this.#options.ledger.stepTokens.observe(tokens)
  }

  #writeGap(atMs: number): void {
    const [seconds, times, tokens] = [this.#gapSeconds, this.#gapTimes, this.#gapTokens]
    if (times === 0) return
    const { ledger, truth, engine, life } = this.#options
    ledger.interTokenLatency.observe(seconds, times)
    truth.gaps.push({ life, atMs, engine, seconds, times, tokens })
    this.#gapTimes = 0
    this.#gapTokens = 0
  }

  lost(request: LiveRequest, why: 'client' | 'death', atMs: number): void {
    const { truth, engine, life } = this.#options
    truth.lost.push({ life, atMs, engine, why, generationTokens: request.generated })
  }

  finish(request: LiveRequest, reason: FinishReason, atMs: number): void {
    const { ledger, truth, engine, life } = this.#options
    const { plan, generated, queuedMs } = request
    const scheduledMs = request.scheduledMs ?? queuedMs
    const firstTokenMs = request.firstTokenMs ?? atMs
    const decodeSeconds = (atMs - firstTokenMs) / 1000
    const e2eSeconds = (atMs - plan.arrivedMs) / 1000
    const queueSeconds = (scheduledMs - queuedMs) / 1000
    const prefillSeconds = (firstTokenMs - scheduledMs) / 1000
    const inferenceSeconds = (atMs - scheduledMs) / 1000
    const timePerOutputTokenSeconds = generated > 1 ? decodeSeconds / (generated - 1) : 0
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
  }
}
