import type { LookupFunction } from 'node:net'
import { z } from 'zod'
import type { Clock } from '../clock.ts'
import { CollectError, type CollectErrorCode, shorten } from '../errors.ts'
import type { ProbeOutcome, ProbeResult } from '../reading.ts'
import { authorizationHeaders } from './authorization.ts'
import { type HttpAnswer, HttpClient } from './http-client.ts'
import type { ProbeConfig } from './probe-settings.ts'
import { ReceiveBuffer } from './receive-buffer.ts'
import type { TargetConfig } from './settings.ts'

// A completion of one token is well below 2 KiB; what is far longer is something else.
const MAX_ANSWER_BYTES = 64 * 1024
// Statuses whose body says whether the route, the model or the request was at fault.
const EXPLAINED = [200, 400, 404, 500, 501]

/** Failures of the exchange that speak of the other side. All others lie with us or with the way there. */
const unansweredCodes: ReadonlySet<CollectErrorCode> = new Set([
  'timeout',
  'reset',
  'refused',
  'truncated',
])

/** The ways to ask for a token, the one that reaches more models first. */
const routes = [
  { path: '/v1/completions', ask: (prompt: string) => ({ prompt }) },
  {
    path: '/v1/chat/completions',
    ask: (prompt: string) => ({ messages: [{ role: 'user', content: prompt }] }),
  },
] as const

type Route = (typeof routes)[number]

const completionSchema = z.object({ choices: z.array(z.unknown()).min(1) })

/** The forms in which vLLM, and FastAPI below it, explain an error, over all versions. */
const explanationSchema = z.union([
  z.object({ error: z.object({ message: z.string() }) }).transform(({ error }) => error.message),
  z.object({ message: z.string() }).transform(({ message }) => message),
  z.object({ detail: z.string() }).transform(({ detail }) => detail),
])

/** What an answer says, or that its route is not served here. */
type Finding = ProbeOutcome | { readonly kind: 'unserved' }

export interface CompletionProbeOptions {
  readonly target: TargetConfig
  readonly probe: Pick<ProbeConfig, 'timeoutMs' | 'model' | 'prompt'>
  readonly clock: Clock
  /** How names become addresses; the process's shared look-up where it is left out. */
  readonly lookup?: LookupFunction | undefined
}

/**
 * Asks one engine for one token. Its connections are its own, so that a probe which hangs takes none from
 * the scrapes.
 */
export class CompletionProbe {
  readonly #options: CompletionProbeOptions
  readonly #prefix: string
  readonly #http: HttpClient
  #order: readonly Route[] = routes

  constructor(options: CompletionProbeOptions) {
    const url = new URL(options.target.url)
    this.#options = options
    this.#prefix = url.pathname.replace(/\/+$/, '')
    this.#http = new HttpClient({
      origin: url.origin,
      connectTimeoutMs: options.probe.timeoutMs,
      lookup: options.lookup,
    })
  }

  /**
   * Resolves with what came of it. `model` is asked where the configuration names none.
   *
   * - the route is not served: the other one is asked within the same deadline, and first from then on
   * - no model is known: `inconclusive`, and nothing is sent
   * - `signal` aborts: rejects, and the connection ends, by which the engine lets the request go
   */
  async ask(asked: {
    readonly model: string | undefined
    readonly signal: AbortSignal
  }): Promise<ProbeResult> {
    const { target, clock } = this.#options
    const startMs = clock.monotonicMs()
    const outcome = await this.#outcome(asked.model, startMs, asked.signal)
    const atMs = clock.monotonicMs()
    return { ...outcome, target: target.name, startMs, atMs, tookMs: atMs - startMs }
  }

  /** Closes all connections; a probe under way fails. */
  async close(): Promise<void> {
    await this.#http.close()
  }

  async #outcome(
    knownModel: string | undefined,
    startMs: number,
    signal: AbortSignal,
  ): Promise<ProbeOutcome> {
    const { probe, target, clock } = this.#options
    const model = probe.model === '' ? knownModel : probe.model
    if (model === undefined || model === '') return inconclusive('no model is known to ask for')
    try {
      const headers = await authorizationHeaders(target.auth)
      for (const route of this.#order) {
        const leftMs = Math.max(1, probe.timeoutMs - (clock.monotonicMs() - startMs))
        const finding = judge(await this.#send(route, model, { headers, leftMs, signal }), model)
        if (finding.kind === 'unserved') continue
        this.#order = [route, ...routes.filter((other) => other !== route)]
        return finding
      }
      return inconclusive('the server makes no completions')
    } catch (error) {
      if (!(error instanceof CollectError)) throw error
      const { code, message } = error
      return unansweredCodes.has(code) ? { kind: 'unanswered', code } : inconclusive(message)
    }
  }

  async #send(
    route: Route,
    model: string,
    how: {
      readonly headers: Readonly<Record<string, string>>
      readonly leftMs: number
      readonly signal: AbortSignal
    },
  ): Promise<HttpAnswer> {
    const wanted = { model, ...route.ask(this.#options.probe.prompt) }
    return await this.#http.post(
      {
        path: this.#prefix + route.path,
        headers: { ...how.headers, accept: 'application/json' },
        timeoutMs: how.leftMs,
        signal: how.signal,
        receive: { into: new ReceiveBuffer(), maxBytes: MAX_ANSWER_BYTES, statuses: EXPLAINED },
      },
      JSON.stringify({ ...wanted, max_tokens: 1, temperature: 0, stream: false }),
    )
  }
}

/** What the server explains is never quoted: it may repeat what it was sent, credentials included. */
function judge({ status, body }: HttpAnswer, model: string): Finding {
  const told = jsonOf(body)
  if (status === 200) {
    if (completionSchema.safeParse(told).success) return { kind: 'answered' }
    return inconclusive('expected a completion, found another answer')
  }
  const explained = explanationSchema.safeParse(told)
  if (isUnserved(status, explained.data)) return { kind: 'unserved' }
  if (status >= 500) return { kind: 'failed', status }
  if (status === 404) return inconclusive(`the server knows no model "${shorten(model)}"`)
  return inconclusive(`expected a completion, found the status ${status}`)
}

/**
 * Whether nothing is served at the path. vLLM answers 404 to an unknown model as well, but says so; a model
 * without completions (embeddings, speech) is refused with one of several statuses, by version.
 */
function isUnserved(status: number, explanation: string | undefined): boolean {
  if (status === 405 || status === 501) return true
  if (explanation === undefined) return status === 404
  const isRoute = status === 404 && /^\s*not found\s*$/i.test(explanation)
  return isRoute || /\bnot support/i.test(explanation)
}

function inconclusive(reason: string): ProbeOutcome {
  return { kind: 'inconclusive', reason }
}

function jsonOf(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body))
  } catch {
    return undefined
  }
}
