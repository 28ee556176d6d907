import { createRequire } from 'node:module'
import type { LookupFunction } from 'node:net'
import type { Dispatcher, Pool } from 'undici'
import { CollectError, shorten } from '../errors.ts'
import { collectErrorOf } from './http-failure.ts'
import { sharedLookup } from './lookup.ts'
import type { ReceiveBuffer } from './receive-buffer.ts'

// undici's main module also loads fetch, WebSocket and caches: 9 MiB of resident memory that nothing here
// uses. undici has no exports map, so that its parts can be loaded by path; its version is pinned.
const UndiciPool: typeof Pool = createRequire(import.meta.url)('undici/lib/dispatcher/pool.js')

// A scrape, the health endpoint and the version are asked at the same time.
const CONNECTIONS = 3
// Below the 5 s after which uvicorn closes an idle connection: the side that closes first must be ours, or
// a request meets a connection that is just being closed.
const KEEP_ALIVE_MS = 4_000
const MAX_HEADER_BYTES = 16 * 1024
// So much of an unwanted body is read to keep the connection; beyond it, closing is cheaper.
const MAX_DRAINED_BYTES = 16 * 1024

const ok = [200]

export interface HttpRequest {
  /** Path below the origin, with the leading slash. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  /** For everything together: name, connection, headers and the whole body. */
  readonly timeoutMs: number
  readonly signal: AbortSignal
  /** What is done with the body; without it every body is thrown away. */
  readonly receive?: Receive | undefined
}

/** Where a body is received, how long it may be, and the statuses whose body is wanted: 200 unless others are given. */
export interface Receive {
  readonly into: ReceiveBuffer
  readonly maxBytes: number
  readonly statuses?: readonly number[]
}

export interface HttpAnswer {
  readonly status: number
  readonly contentType: string | undefined
  /** Where a redirect leads, without query and user. */
  readonly location: string | undefined
  /** When the server wants to be asked again, as it said it. */
  readonly retryAfter: string | undefined
  /** A view of the receive buffer; empty where the body was not wanted. */
  readonly body: Uint8Array
}

/** Plain HTTP requests to one origin over a few kept connections. Nothing is ever followed, decoded or repeated. */
export class HttpClient {
  readonly #origin: string
  readonly #pool: Pool

  constructor(options: {
    readonly origin: string
    /** How long a connection may take before it is given up, even when no request waits for it any more. */
    readonly connectTimeoutMs: number
    readonly lookup?: LookupFunction | undefined
  }) {
    this.#origin = options.origin
    this.#pool = new UndiciPool(options.origin, {
      connections: CONNECTIONS,
      pipelining: 1,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
      // Both are times between two bytes, which a dripping body never exceeds: one deadline rules all.
      headersTimeout: 0,
      bodyTimeout: 0,
      allowH2: false,
      connect: {
        timeout: options.connectTimeoutMs,
        lookup: options.lookup ?? sharedLookup.lookup,
        autoSelectFamily: true,
        // Said here so that NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment changes nothing.
        rejectUnauthorized: true,
      },
    })
  }

  /**
   * Asks once and returns the answer, whatever its status.
   *
   * - no complete answer within the deadline, or a body that is too long: rejects with `CollectError`;
   *   what was received is void
   * - a body with a content encoding: rejects, since none was asked for
   * - `signal` aborts: rejects with its reason
   */
  get(request: HttpRequest): Promise<HttpAnswer> {
    return this.#ask(request, { method: 'GET', headers: request.headers })
  }

  /** Asks once with a body of JSON, over a connection of its own; the rest as `get`. */
  post(request: HttpRequest, json: string): Promise<HttpAnswer> {
    return this.#ask(request, {
      method: 'POST',
      headers: { ...request.headers, 'content-type': 'application/json' },
      body: json,
      // On a kept connection that is just being closed it would fail, and it must not be sent twice.
      reset: true,
    })
  }

  async #ask(
    request: HttpRequest,
    how: Pick<Dispatcher.DispatchOptions, 'method' | 'body' | 'reset'> &
      Pick<HttpRequest, 'headers'>,
  ): Promise<HttpAnswer> {
    request.signal.throwIfAborted()
    const exchange = new Exchange(`${this.#origin}${request.path}`, request)
    this.#pool.dispatch(
      {
        ...how,
        path: request.path,
        headers: { ...how.headers, 'accept-encoding': 'identity', 'user-agent': 'vllm-vitals' },
      },
      exchange,
    )
    return await exchange.answer
  }

  /** Closes all connections; a request under way fails. */
  async close(): Promise<void> {
    await this.#pool.destroy()
  }
}

/**
 * Returns `answer` if its status is 200.
 *
 * - a redirect: throws `redirect`; it is not followed, because the credentials are meant for this host
 * - any other status: throws `status`
 */
export function expectOk(answer: HttpAnswer, url: string): HttpAnswer {
  const { status } = answer
  if (status === 200) return answer
  if (status >= 300 && status < 400 && status !== 304) {
    const where = answer.location === undefined ? '' : ` to ${shorten(answer.location)}`
    throw new CollectError('redirect', `expected 200 from ${url}, found ${status}${where}`, {
      status,
    })
  }
  throw new CollectError('status', `expected 200 from ${url}, found ${status}`, { status })
}

/** One request and its answer, as undici reports them. Settles once; what comes after is ignored. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly answer: Promise<HttpAnswer>
  readonly #url: string
  readonly #request: HttpRequest
  readonly #timer: NodeJS.Timeout
  #resolve: (answer: HttpAnswer) => void = () => {}
  #reject: (error: unknown) => void = () => {}
  #settled = false
  #controller: Dispatcher.DispatchController | undefined
  #head: Omit<HttpAnswer, 'body'> | undefined
  #drainedBytes = 0

  constructor(url: string, request: HttpRequest) {
    this.#url = url
    this.#request = request
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Timers run before sockets are read. After a moment in which the process was blocked or stopped, the
    // detour gives an answer that lies ready its chance.
    this.#timer = setTimeout(() => setImmediate(this.#onDeadline), request.timeoutMs)
    request.signal.addEventListener('abort', this.#onAbort)
    request.receive?.into.reset()
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    // The deadline may have passed while the connection was being made.
    if (this.#settled) controller.abort(new Error('no longer wanted'))
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    if (this.#settled || status < 200) return
    this.#head = {
      status,
      contentType: one(headers['content-type']),
      location: withoutSecrets(one(headers['location']), this.#url),
      retryAfter: one(headers['retry-after']),
    }
    if (!this.#wanted()) return
    const encoding = one(headers['content-encoding'])?.trim().toLowerCase() ?? 'identity'
    if (encoding !== 'identity' && encoding !== '') {
      this.#fail(
        'not_exposition',
        `expected no content encoding from ${this.#url}, found "${shorten(encoding)}"`,
      )
    } else if (Number(one(headers['content-length'])) > this.#maxBytes()) {
      this.#tooLarge()
    }
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#settled) return
    const receive = this.#request.receive
    if (receive !== undefined && this.#wanted()) {
      if (receive.into.length + chunk.length > receive.maxBytes) this.#tooLarge()
      else receive.into.append(chunk)
      return
    }
    this.#drainedBytes += chunk.length
    if (this.#drainedBytes > MAX_DRAINED_BYTES) this.#concludeUnwanted()
  }

  onResponseEnd(): void {
    const head = this.#head
    if (head === undefined) return
    const receive = this.#request.receive
    const body = receive !== undefined && this.#wanted() ? receive.into.view() : new Uint8Array(0)
    this.#settle(() => this.#resolve({ ...head, body }))
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#concludeUnwanted()) return
    this.#settle(() => this.#reject(collectErrorOf(error, this.#url)))
  }

  #onDeadline = (): void => {
    if (this.#concludeUnwanted()) return
    const found = this.#head === undefined ? 'none' : 'an unfinished one'
    const { timeoutMs } = this.#request
    this.#fail(
      'timeout',
      `expected an answer from ${this.#url} within ${timeoutMs} ms, found ${found}`,
    )
  }

  #onAbort = (): void => {
    this.#settle(() => this.#reject(this.#request.signal.reason))
  }

  /** Whether the body is one to keep. */
  #wanted(): boolean {
    const { receive } = this.#request
    return receive !== undefined && this.#head !== undefined && isWanted(receive, this.#head.status)
  }

  #maxBytes(): number {
    return this.#request.receive?.maxBytes ?? 0
  }

  /** Settles with the status alone if that is all that is wanted of the answer. */
  #concludeUnwanted(): boolean {
    const head = this.#head
    if (head === undefined || this.#wanted()) return false
    this.#settle(() => this.#resolve({ ...head, body: new Uint8Array(0) }))
    return true
  }

  #tooLarge(): void {
    this.#request.receive?.into.release()
    this.#fail(
      'too_large',
      `expected at most ${this.#maxBytes()} bytes from ${this.#url}, found more`,
    )
  }

  #fail(code: CollectError['code'], message: string): void {
    this.#settle(() => this.#reject(new CollectError(code, message)))
  }

  #settle(tell: () => void): void {
    if (this.#settled) return
    this.#settled = true
    clearTimeout(this.#timer)
    this.#request.signal.removeEventListener('abort', this.#onAbort)
    tell()
    // Does nothing to an exchange that has ended; ends the connection of one that has not.
    this.#controller?.abort(new Error('no longer wanted'))
  }
}

function isWanted({ statuses = ok }: Receive, status: number): boolean {
  return statuses.includes(status)
}

function one(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(', ') : value
}

function withoutSecrets(location: string | undefined, base: string): string | undefined {
  if (location === undefined || !URL.canParse(location, base)) return undefined
  const { origin, pathname } = new URL(location, base)
  return `${origin}${pathname}`
}
