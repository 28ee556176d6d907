import type { LookupFunction } from 'node:net'
import type { Clock } from '../clock.ts'
import { CollectError } from '../errors.ts'
import type { Log } from '../log.ts'
import { authorizationHeaders } from '../sources/authorization.ts'
import { HttpClient } from '../sources/http-client.ts'
import { judgeAnswer, type Outcome, retryWaitMs } from './answer.ts'
import { Ledger, type Now, type Owed } from './ledger.ts'
import { bodyOf, type Notice } from './notice.ts'
import type { AlertmanagerConfig } from './settings.ts'

/** As many as Prometheus sends at once. */
const maxBatch = 64

/** What a courier needs of the world. */
export interface World {
  readonly clock: Clock
  readonly log: Pick<Log, 'info' | 'warn'>
  /** A number from 0 to 1. */
  readonly random: () => number
  /** Told when the program itself is wrong. */
  readonly fail: (error: unknown) => void
  readonly lookup?: LookupFunction | undefined
  /** The most alerts that one Alertmanager is told of at a time. */
  readonly maxAlerts?: number | undefined
}

export type CourierSettings = Pick<AlertmanagerConfig, 'timeoutMs' | 'resendMs' | 'auth'>

/** What a courier has done so far, in alerts, and what it has still to do. */
export interface Tally {
  readonly sent: number
  readonly failed: number
  readonly dropped: number
  readonly queueLength: number
  /** Unix milliseconds; absent before the first success. */
  readonly lastSuccessMs: number | undefined
}

/** How it stands with the Alertmanager, as far as the log knows. */
type Relation =
  | { readonly kind: 'new' | 'good' }
  | {
      readonly kind: 'failed' | 'refused'
      readonly sinceMs: number
      readonly tries: number
      readonly droppedBefore: number
    }

/**
 * Tells one Alertmanager of alerts, in a loop of its own, so that one that is slow or away keeps nobody waiting:
 * neither the evaluation nor another courier.
 */
export class Courier {
  readonly url: string
  readonly #world: World
  readonly #ledger: Ledger
  readonly #path: string
  /** Ends the loop, and every wait in it; a try that is under way goes on. */
  readonly #ending = new AbortController()
  /** Ends a try that is under way. */
  readonly #withdrawal = new AbortController()
  readonly #running: Promise<void>
  #settings: CourierSettings
  #http: HttpClient
  #wake: () => void = () => {}
  #failures = 0
  #relation: Relation = { kind: 'new' }
  #sent = 0
  #failed = 0
  #dropped = 0
  #lastSuccessMs: number | undefined

  constructor(url: string, settings: CourierSettings, world: World) {
    this.url = url
    this.#world = world
    this.#settings = settings
    this.#ledger = new Ledger(world.maxAlerts)
    this.#path = `${new URL(url).pathname.replace(/\/+$/, '')}/api/v2/alerts`
    this.#http = this.#connect()
    this.#ending.signal.addEventListener('abort', () => this.#wake())
    this.#running = this.#deliverForEver().catch(world.fail)
  }

  get tally(): Tally {
    return {
      sent: this.#sent,
      failed: this.#failed,
      dropped: this.#dropped,
      queueLength: this.#ledger.length(this.#now()),
      lastSuccessMs: this.#lastSuccessMs,
    }
  }

  /** Takes over other settings; what is owed stays owed. */
  async configure(settings: CourierSettings): Promise<void> {
    const before = this.#settings
    this.#settings = settings
    if (before.timeoutMs === settings.timeoutMs) return
    const old = this.#http
    this.#http = this.#connect()
    await old.close()
  }

  /** Takes in what rings; returns at once. */
  follow(
    ringing: ReadonlyMap<string, Notice>,
    { atMs, wallMs }: { readonly atMs: number; readonly wallMs: number },
  ): void {
    const { resendMs } = this.#settings
    this.#dropped += this.#ledger.follow(ringing, { atMs, wallMs, resendMs })
    if (this.#ledger.length(this.#now()) > 0) this.#wake()
  }

  /** Hands over what it can within `withinMs`, then ends. Alerts do not end with it: they expire. */
  async stop(withinMs: number): Promise<void> {
    this.#ending.abort()
    const waiting = new AbortController()
    const timeIsUp = this.#world.clock.sleep(withinMs, waiting.signal)
    const handedOver = this.#handOver(withinMs).catch(this.#world.fail)
    await Promise.race([handedOver, timeIsUp])
    waiting.abort()
    await this.end()
  }

  /** Ends at once, and the try that is under way with it. */
  async end(): Promise<void> {
    this.#ending.abort()
    this.#withdrawal.abort()
    await this.#http.close()
  }

  #connect(): HttpClient {
    const { origin } = new URL(this.url)
    const { lookup } = this.#world
    return new HttpClient({ origin, connectTimeoutMs: this.#settings.timeoutMs, lookup })
  }

  #now(): Now {
    return { atMs: this.#world.clock.monotonicMs(), resendMs: this.#settings.resendMs }
  }

  async #deliverForEver(): Promise<void> {
    const { signal } = this.#ending
    while (!signal.aborted) {
      const batch = this.#ledger.take(this.#now(), maxBatch)
      if (batch.length === 0) await this.#untilWoken()
      else {
        const waitMs = await this.#deliver(batch, this.#settings.timeoutMs)
        if (waitMs > 0) await this.#world.clock.sleep(waitMs, signal)
      }
    }
  }

  async #untilWoken(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve
    })
  }

  async #handOver(withinMs: number): Promise<void> {
    await this.#running
    for (;;) {
      const batch = this.#ledger.take(this.#now(), maxBatch)
      if (batch.length === 0 || this.#withdrawal.signal.aborted) return
      if ((await this.#deliver(batch, withinMs)) > 0) return
    }
  }

  /** Makes one try; returns how long to wait before the next. */
  async #deliver(batch: readonly Owed[], timeoutMs: number): Promise<number> {
    const outcome = await this.#try(batch, timeoutMs)
    if (outcome === undefined) return 0
    const { clock, random } = this.#world
    const { length } = batch
    // Told first, so that what is dropped now counts in the summary of the trouble that begins here.
    this.#tell(outcome)
    switch (outcome.kind) {
      case 'accepted':
        this.#sent += length
        this.#lastSuccessMs = clock.nowMs()
        break
      case 'refused':
        this.#dropped += length
        break
      case 'failed':
        this.#failed += length
        this.#failures += 1
        return retryWaitMs(this.#failures, { random: random(), afterMs: outcome.afterMs })
    }
    this.#failures = 0
    this.#ledger.settle(batch, clock.monotonicMs())
    return 0
  }

  /** Returns what came of a try; nothing when it was withdrawn. */
  async #try(batch: readonly Owed[], timeoutMs: number): Promise<Outcome | undefined> {
    const { clock } = this.#world
    const { auth, resendMs } = this.#settings
    const { signal } = this.#withdrawal
    const startMs = clock.monotonicMs()
    const url = `${new URL(this.url).origin}${this.#path}`
    try {
      const headers = await authorizationHeaders(auth)
      const leftMs = Math.max(1, timeoutMs - (clock.monotonicMs() - startMs))
      const request = { path: this.#path, headers, timeoutMs: leftMs, signal }
      const body = bodyOf(batch, { nowMs: clock.nowMs(), resendMs })
      const answer = await this.#http.post(request, body)
      return judgeAnswer(answer, { url, nowMs: clock.nowMs() })
    } catch (error) {
      if (signal.aborted) return undefined
      if (!(error instanceof CollectError)) throw error
      return { kind: 'failed', code: error.code, reason: error.message }
    }
  }

  /** Logs that it stands differently with the Alertmanager; what goes on is counted and not repeated. */
  #tell(outcome: Outcome): void {
    const { clock, log } = this.#world
    const before = this.#relation
    const atMs = clock.monotonicMs()
    const alertmanager = this.url
    const trouble = before.kind === 'failed' || before.kind === 'refused' ? before : undefined
    if (outcome.kind === 'accepted') {
      this.#relation = { kind: 'good' }
      if (trouble !== undefined) {
        const { tries, sinceMs, droppedBefore } = trouble
        const tookMs = Math.round(atMs - sinceMs)
        const fields = { alertmanager, tries, dropped: this.#dropped - droppedBefore, tookMs }
        log.info(fields, 'alertmanager takes alerts again')
      } else if (before.kind === 'new') log.info({ alertmanager }, 'alertmanager takes alerts')
      return
    }
    this.#relation = {
      kind: outcome.kind,
      sinceMs: trouble?.sinceMs ?? atMs,
      tries: (trouble?.tries ?? 0) + 1,
      droppedBefore: trouble?.droppedBefore ?? this.#dropped,
    }
    if (before.kind === outcome.kind) return
    const { code, reason } = outcome
    const waiting = this.tally.queueLength
    log.warn({ alertmanager, code, reason, waiting }, phrases[outcome.kind])
  }
}

const phrases = {
  failed: 'alertmanager cannot take alerts',
  refused: 'alertmanager refuses alerts',
} as const
