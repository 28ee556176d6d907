import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http'
import type { Socket } from 'node:net'
import { type FastifyInstance, fastify } from 'fastify'
import { StartError } from '../errors.ts'
import { addRoutes, type RouteOptions, refusePath } from './routes.ts'
import type { ListenAddress } from './settings.ts'

type Address = Pick<ListenAddress, 'host' | 'port'>

/** What a peer may cost. */
export interface WebLimits {
  /** From the first byte of a request, or the opening of its connection, to the end of its headers. */
  readonly headersTimeoutMs: number
  /** The same, to the end of the request. */
  readonly requestTimeoutMs: number
  /** How often both are looked at. */
  readonly checkIntervalMs: number
  /** An answer of which the peer takes nothing for so long is given up, with its connection. */
  readonly writeTimeoutMs: number
  /** How long a connection may wait for its next request; above a minute, the slowest usual scrape. */
  readonly keepAliveMs: number
  /** How long answers under way may take once the server is closing. */
  readonly closeTimeoutMs: number
  /** Connections of all addresses together; further ones are refused at once. */
  readonly maxConnections: number
  readonly maxHeaderBytes: number
}

export const defaultWebLimits: WebLimits = {
  headersTimeoutMs: 5_000,
  requestTimeoutMs: 10_000,
  checkIntervalMs: 1_000,
  writeTimeoutMs: 10_000,
  keepAliveMs: 65_000,
  closeTimeoutMs: 800,
  maxConnections: 256,
  maxHeaderBytes: 16 * 1024,
}

export interface WebOptions extends RouteOptions {
  /** Where to listen; port 0 lets the system choose. */
  readonly listen: readonly Address[]
  readonly limits?: Partial<WebLimits>
}

export interface WebServer {
  /** What is listened on, with the real ports, in the order of `listen`. */
  readonly urls: readonly string[]
  /** Answers a request without a connection. */
  readonly inject: FastifyInstance['inject']
  /**
   * Refuses new connections, lets answers under way end, and resolves when all is closed, within
   * `closeTimeoutMs`. Closing twice is closing once.
   */
  close(): Promise<void>
}

/**
 * Serves the endpoints of CONTRACT.md, section 4, on every address of `listen`; with none, only `inject`
 * answers. Rejects with one error, and nothing left open, when an address cannot be listened on.
 */
export async function createServer(options: WebOptions): Promise<WebServer> {
  const limits = { ...defaultWebLimits, ...options.limits }
  let closed: Promise<void> | undefined
  const { app, servers } = createApp(options, limits, () => closed !== undefined)
  const urls: string[] = []
  const close = () => {
    closed ??= closeAll(app, servers, limits.closeTimeoutMs)
    return closed
  }
  try {
    await app.ready()
    for (const [index, address] of options.listen.entries()) {
      const server = servers[index]
      if (server !== undefined) urls.push(await listenOn(server, address, options.listen))
    }
  } catch (error) {
    await close()
    throw error
  }
  return { urls, inject: app.inject.bind(app), close }
}

function createApp(
  options: WebOptions,
  limits: WebLimits,
  isClosing: () => boolean,
): { readonly app: FastifyInstance; readonly servers: readonly Server[] } {
  const warn = atMostEachMinute(options)
  const budget = new ConnectionBudget(limits.maxConnections, warn)
  const makeServer = (handler: RequestListener) => limitedServer(handler, limits, { warn, budget })
  const servers: Server[] = []
  const app = fastify({
    // fastify knows one server, and its other addresses are a special case for `localhost`; so each
    // address gets a server of ours, all with fastify's handler.
    serverFactory: (handler) => {
      const first = makeServer(handler)
      servers.push(first)
      for (const _ of options.listen.slice(1)) servers.push(makeServer(handler))
      return first
    },
    // Nothing here has a schema, and the compilers that fastify would load for one cost 3 MiB.
    schemaController: { compilersFactory: { buildValidator: none, buildSerializer: none } },
    clientErrorHandler: answerClientError,
    frameworkErrors: (_error, request, reply) => refusePath(request, reply),
    exposeHeadRoutes: false,
    forceCloseConnections: false,
    logger: false,
    trustProxy: false,
    bodyLimit: 1024,
  })
  for (const server of servers.slice(1)) server.on('clientError', answerClientError)
  app.addHook('onRequest', (_request, reply, done) => {
    if (isClosing()) reply.header('connection', 'close')
    done()
  })
  addRoutes(app, options)
  return { app, servers }
}

function none(): never {
  throw new TypeError('expected no route with a schema, found one')
}

type Warn = (fields: object, message: string) => void

/** Counts the connections of all servers together; the limit that Node offers is one for each server. */
class ConnectionBudget {
  readonly #maxConnections: number
  readonly #warn: Warn
  #open = 0

  constructor(maxConnections: number, warn: Warn) {
    this.#maxConnections = maxConnections
    this.#warn = warn
  }

  /** Counts a connection until it is closed, or refuses it. */
  take(socket: Socket): void {
    if (this.#open >= this.#maxConnections) {
      this.#warn({ maxConnections: this.#maxConnections }, 'connection refused')
      socket.destroy()
      return
    }
    this.#open += 1
    socket.once('close', () => {
      this.#open -= 1
    })
  }
}

function limitedServer(
  handler: RequestListener,
  limits: WebLimits,
  { warn, budget }: { readonly warn: Warn; readonly budget: ConnectionBudget },
): Server {
  const server = createHttpServer(
    {
      headersTimeout: limits.headersTimeoutMs,
      requestTimeout: limits.requestTimeoutMs,
      connectionsCheckingInterval: limits.checkIntervalMs,
      keepAliveTimeout: limits.keepAliveMs,
      maxHeaderSize: limits.maxHeaderBytes,
    },
    handler,
  )
  // Counts from the last byte that went either way, and Node then destroys the connection.
  server.setTimeout(limits.writeTimeoutMs)
  // Without a listener Node would ask for the body that is not going to be read.
  server.on('checkContinue', handler)
  server.on('connection', (socket: Socket) => budget.take(socket))
  // A connection that cannot be accepted, out of descriptors for one, must not end the daemon.
  server.on('error', (err) => {
    if (server.listening) warn({ err }, 'connection not accepted')
  })
  return server
}

/** A peer can cause these lines, so that only the first of a minute is written. */
function atMostEachMinute({ log, clock }: WebOptions): Warn {
  let lastMs = Number.NEGATIVE_INFINITY
  return (fields, message) => {
    const nowMs = clock.monotonicMs()
    if (nowMs - lastMs < 60_000) return
    lastMs = nowMs
    log.warn(fields, message)
  }
}

const clientErrors: Readonly<Record<string, readonly [status: string, message: string]>> = {
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'expected the request to come sooner'],
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'expected a shorter header'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: ['413 Payload Too Large', 'expected no chunk extensions'],
}

const badRequest = ['400 Bad Request', 'expected a request of HTTP/1.1'] as const

// A peer that reads gets its answer well before; one that does not, and sends on, would keep Node waiting.
const lingerMs = 1_000

const lingering = new WeakSet<Socket>()

/** Answers what is no request of HTTP, or not in time, and closes the connection. */
function answerClientError(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  if (socket.writable) {
    const [status, message] = clientErrors[error.code ?? ''] ?? badRequest
    const body = `${JSON.stringify({ error: status.slice(4).toLowerCase(), message })}\n`
    socket.write(
      `HTTP/1.1 ${status}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    )
    socket.destroySoon()
  }
  // Further errors of a connection may come, and each would begin a wait of its own.
  if (lingering.has(socket)) return
  lingering.add(socket)
  setTimeout(() => socket.destroy(), lingerMs).unref()
}

const listenErrors: Readonly<Record<string, string>> = {
  EADDRINUSE: 'expected a free address, found it in use',
  EACCES: 'expected a port that this user may open, found it forbidden',
  EADDRNOTAVAIL: 'expected an address of this host, found none such',
  ENOTFOUND: 'expected a known host name, found an unknown one',
}

async function listenOn(
  server: Server,
  { host, port }: Address,
  all: readonly Address[],
): Promise<string> {
  // `::` takes IPv4 too, unless `0.0.0.0` was asked for beside it.
  const ipv6Only = host === '::' && all.some((a) => a.host === '0.0.0.0' && a.port === port)
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host, port, ipv6Only }, () => {
        server.off('error', reject)
        resolve()
      })
    })
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error'
    const found = listenErrors[code] ?? 'it failed'
    throw new StartError(`cannot listen on ${urlOf(host, port)}: ${found} (${code})`, { cause })
  }
  const bound = server.address()
  return bound === null || typeof bound === 'string'
    ? urlOf(host, port)
    : urlOf(bound.address, bound.port)
}

function urlOf(host: string, port: number): string {
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`
}

async function closeAll(
  app: FastifyInstance,
  servers: readonly Server[],
  timeoutMs: number,
): Promise<void> {
  const listening = servers.filter((server) => server.listening)
  // A connection that becomes idle after the server has stopped listening would be kept for its peer.
  const sweep = setInterval(() => {
    for (const server of listening) server.closeIdleConnections()
  }, 20)
  const force = setTimeout(() => {
    for (const server of listening) server.closeAllConnections()
  }, timeoutMs)
  await Promise.all(
    listening.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))),
  )
  clearInterval(sweep)
  clearTimeout(force)
  await app.close()
}
