import type { LookupFunction } from 'node:net'
import { z } from 'zod'
import type { Clock } from '../clock.ts'
import { CollectError } from '../errors.ts'
import type { Exposition } from '../exposition/exposition.ts'
import type { HealthProbe, Reading } from '../reading.ts'
import { authorizationHeaders } from './authorization.ts'
import { expectOk, HttpClient } from './http-client.ts'
import { ReceiveBuffer } from './receive-buffer.ts'
import type { ScrapeConfig, TargetConfig } from './settings.ts'
import type { Source } from './source.ts'

// The Rust front end sends OpenMetrics whatever it is asked for; of the others the plainer text is smaller.
const ACCEPT =
  'text/plain;version=0.0.4,text/plain;q=0.9,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1'
const MAX_HEALTH_TIMEOUT_MS = 2_000
const MAX_VERSION_BYTES = 64 * 1024
const VERSION_RETRY_MS = 60_000

const versionSchema = z.object({ version: z.string().min(1).max(64) })

export interface EngineSourceOptions {
  readonly target: TargetConfig
  readonly scrape: Pick<ScrapeConfig, 'timeoutMs' | 'maxBodyBytes'>
  readonly clock: Clock
  /** Reads a page. The bytes are overwritten by the next scrape. Throws `CollectError` on other matter. */
  readonly parse: (body: Uint8Array, contentType: string | undefined) => Exposition
  /** Says in our words what the page holds. */
  readonly translate: (page: Exposition, context: { version: string | undefined }) => Reading
  /** How names become addresses; the process's shared look-up where it is left out. */
  readonly lookup?: LookupFunction | undefined
}

/** Makes the source that reads one inference engine over HTTP. It opens no connection before it is asked. */
export function createEngineSource(options: EngineSourceOptions): Source {
  return new EngineSource(options)
}

class EngineSource implements Source {
  readonly kind = 'engine'
  readonly target: string
  readonly #options: EngineSourceOptions
  readonly #base: string
  readonly #prefix: string
  readonly #http: HttpClient
  readonly #page = new ReceiveBuffer()
  readonly #version: VersionOfLife
  #collecting = false

  constructor(options: EngineSourceOptions) {
    const url = new URL(options.target.url)
    this.target = options.target.name
    this.#options = options
    this.#prefix = url.pathname.replace(/\/+$/, '')
    this.#base = url.origin
    this.#http = new HttpClient({
      origin: url.origin,
      connectTimeoutMs: options.scrape.timeoutMs,
      lookup: options.lookup,
    })
    this.#version = new VersionOfLife(options.clock, (signal) => this.#askVersion(signal))
  }

  async collect(signal: AbortSignal): Promise<Reading> {
    if (this.#collecting) throw new Error('expected one collection at a time, found a second')
    this.#collecting = true
    try {
      const headers = await this.#headers()
      // Asked beside the scrape and under the same deadline.
      this.#version.askIfDue(signal)
      const page = await this.#scrape(headers, signal)
      await this.#version.firstAnswer()
      return this.#options.translate(page, { version: this.#version.known })
    } catch (error) {
      // Nobody listens: the process that the version was asked of is gone.
      if (error instanceof CollectError && error.code === 'refused') this.#version.forget()
      throw error
    } finally {
      this.#collecting = false
    }
  }

  async probe(signal: AbortSignal): Promise<HealthProbe> {
    const { clock, scrape } = this.#options
    const startMs = clock.monotonicMs()
    const timeoutMs = Math.min(scrape.timeoutMs, MAX_HEALTH_TIMEOUT_MS)
    try {
      const headers = await this.#headers()
      const path = `${this.#prefix}/health`
      const { status } = await this.#http.get({ path, headers, timeoutMs, signal })
      return { kind: 'answered', status, tookMs: clock.monotonicMs() - startMs }
    } catch (error) {
      if (!(error instanceof CollectError)) throw error
      return { kind: 'unanswered', code: error.code, tookMs: clock.monotonicMs() - startMs }
    }
  }

  newLife(): void {
    this.#version.forget()
  }

  async close(): Promise<void> {
    await this.#http.close()
    await this.#version.settled()
    this.#page.release()
  }

  async #scrape(
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<Exposition> {
    const { timeoutMs, maxBodyBytes } = this.#options.scrape
    const path = `${this.#prefix}/metrics`
    const answer = await this.#http.get({
      path,
      headers: { ...headers, accept: ACCEPT },
      timeoutMs,
      signal,
      receive: { into: this.#page, maxBytes: maxBodyBytes },
    })
    expectOk(answer, `${this.#base}${path}`)
    return this.#options.parse(answer.body, answer.contentType)
  }

  /** Returns the version, or `undefined` where the engine has no such endpoint. */
  async #askVersion(signal: AbortSignal): Promise<string | undefined> {
    const path = `${this.#prefix}/version`
    const url = `${this.#base}${path}`
    const answer = await this.#http.get({
      path,
      headers: { ...(await this.#headers()), accept: 'application/json' },
      timeoutMs: this.#options.scrape.timeoutMs,
      signal,
      receive: { into: new ReceiveBuffer(), maxBytes: MAX_VERSION_BYTES },
    })
    if (answer.status === 404) return undefined
    expectOk(answer, url)
    const parsed = versionSchema.safeParse(jsonOf(answer.body))
    if (!parsed.success) throw new CollectError('malformed', `expected a version from ${url}`)
    return parsed.data.version
  }

  #headers(): Promise<Readonly<Record<string, string>>> {
    return authorizationHeaders(this.#options.target.auth)
  }
}

/** The version of the process that is being watched: asked until it is told, once in each of its lives. */
class VersionOfLife {
  readonly #clock: Clock
  readonly #ask: (signal: AbortSignal) => Promise<string | undefined>
  #known: string | undefined
  /** When to ask next, monotonic: at once in a new life, and never again where the answer is known. */
  #dueMs = Number.NEGATIVE_INFINITY
  #life = 0
  #asking: Question | undefined
  #broken: { readonly error: unknown } | undefined

  constructor(clock: Clock, ask: (signal: AbortSignal) => Promise<string | undefined>) {
    this.#clock = clock
    this.#ask = ask
  }

  get known(): string | undefined {
    return this.#known
  }

  /** Begins to ask if that is due and no question is under way. That there is no answer is no error. */
  askIfDue(signal: AbortSignal): void {
    if (this.#asking !== undefined || this.#clock.monotonicMs() < this.#dueMs) return
    const isFirst = this.#dueMs === Number.NEGATIVE_INFINITY
    const ended = this.#learn(signal).finally(() => {
      this.#asking = undefined
    })
    this.#asking = { life: this.#life, isFirst, ended }
  }

  /**
   * Waits for the first question of this life, so that the first reading knows the version. Any later one
   * runs beside the collections, for waiting would move their times.
   */
  async firstAnswer(): Promise<void> {
    const asking = this.#asking
    if (asking?.isFirst === true && asking.life === this.#life) await asking.ended
    this.#throwIfBroken()
  }

  forget(): void {
    this.#life += 1
    this.#known = undefined
    this.#dueMs = Number.NEGATIVE_INFINITY
  }

  /** Ends once no question is under way. */
  async settled(): Promise<void> {
    await this.#asking?.ended
    this.#throwIfBroken()
  }

  /** Never rejects, for nobody may be waiting; what is wrong in the program is kept for whoever does. */
  async #learn(signal: AbortSignal): Promise<void> {
    const life = this.#life
    this.#dueMs = this.#clock.monotonicMs() + VERSION_RETRY_MS
    try {
      const version = await this.#ask(signal)
      // An answer to a question of the life before says nothing about this one.
      if (life !== this.#life) return
      this.#known = version
      this.#dueMs = Number.POSITIVE_INFINITY
    } catch (error) {
      if (!(error instanceof CollectError) && !signal.aborted) this.#broken = { error }
    }
  }

  #throwIfBroken(): void {
    const broken = this.#broken
    this.#broken = undefined
    if (broken !== undefined) throw broken.error
  }
}

/** A question that is under way. */
interface Question {
  readonly life: number
  /** Whether it is the first of its life. */
  readonly isFirst: boolean
  /** Never rejects. */
  readonly ended: Promise<void>
}

function jsonOf(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body))
  } catch {
    return undefined
  }
}
