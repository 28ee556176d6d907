import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import * as z from 'zod'
import type { Clock } from '../clock.ts'
import { ConfigError, shorten } from '../errors.ts'
import type { Finding } from '../finding.ts'
import type { Snapshot } from '../snapshot.ts'
import { type Offer, preferred } from './accept.ts'
import { findingLines } from './diagnosis.ts'
import {
  findTarget,
  type HealthBody,
  healthBody,
  healthCode,
  healthText,
  readSources,
  unknownBody,
} from './health.ts'
import { landingHeaders, landingPage } from './landing.ts'
import { type MetricsOptions, MetricsPage, metricsOffers } from './metrics.ts'
import { type Runbooks, runbooksPath } from './runbooks.ts'
import { statusBody, unknownStatusBody } from './status.ts'

/** What the endpoints ask of the daemon. All of it answers at once from memory, but for `reload`. */
export interface RouteOptions extends MetricsOptions {
  readonly log: FastifyBaseLogger
  readonly clock: Clock
  readonly enableLifecycle: boolean
  /** The latest evaluation; `undefined` before the first. */
  readonly snapshot: () => Snapshot | undefined
  /** Whether the daemon's own loops turn. */
  readonly alive: () => boolean
  readonly stopping: () => boolean
  /** Reads the configuration again; rejects, with what was wrong, when it stays as it was. */
  readonly reload: () => Promise<void>
  readonly runbooks: Runbooks
}

const json = 'application/json; charset=utf-8'
const plain = 'text/plain; charset=utf-8'

const healthOffers = [
  { mediaType: 'application/json', contentType: json },
  { mediaType: 'text/plain', contentType: plain },
] as const satisfies readonly Offer[]

const reloadPath = '/-/reload'
const nothingYet = 'nothing has been evaluated yet'

type Answer = (request: FastifyRequest, reply: FastifyReply) => FastifyReply | Promise<FastifyReply>

/** Puts every endpoint on `app`, and the answers to what is no endpoint. */
export function addRoutes(app: FastifyInstance, options: RouteOptions): void {
  const { alive } = options
  const pages: Readonly<Record<string, Answer>> = {
    '/': landing(options),
    '/metrics': metrics(options),
    '/livez': liveness(alive),
    '/-/healthy': liveness(alive),
    '/readyz': readiness(options),
    '/-/ready': readiness(options),
    '/health': health(options),
    '/api/v1/status': status(options),
  }
  const runbooks = [...options.runbooks].map(([url, text]) => [url, runbook(text)] as const)
  for (const [url, handler] of [...Object.entries(pages), ...runbooks]) {
    app.route({ method: ['GET', 'HEAD'], url, handler })
  }
  app.route({ method: 'POST', url: reloadPath, handler: reload(options) })

  // No endpoint reads a body: whatever comes with a request is left where it is.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))

  const paths = [...Object.keys(pages), ...options.runbooks.keys(), reloadPath]
  app.addHook('onRequest', (request, reply, done) => {
    setHeaders(request, reply)
    // Before the body is looked at, which the handler of what is not found comes after.
    if (request.raw.httpVersionMajor !== 1) refuseVersion(request, reply)
    else if (request.is404) refuse(request, reply, paths)
    else done()
  })
  app.setErrorHandler((error, request, reply) => {
    const statusCode = statusCodeOf(error)
    if (statusCode >= 500) options.log.error({ err: error, url: request.url }, 'request failed')
    const message = statusCode < 500 && error instanceof Error ? error.message : 'see the log'
    sendError(reply, statusCode, { error: 'failed', message: shorten(message, 200) })
  })
}

/** Answers a path that cannot be decoded, which the router gives up before any hook: it is no endpoint. */
export function refusePath(request: FastifyRequest, reply: FastifyReply): void {
  setHeaders(request, reply)
  const message = `expected a path, found "${shorten(request.url)}"`
  sendError(reply, 404, { error: 'not found', message })
}

function setHeaders(request: FastifyRequest, reply: FastifyReply): void {
  reply.headers({ 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' })
  // A body that nobody reads would hold the connection until all of it had come.
  if (announcesBody(request)) reply.header('connection', 'close')
}

function announcesBody({ headers }: FastifyRequest): boolean {
  const length = headers['content-length']
  return headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
}

function statusCodeOf(error: unknown): number {
  const statusCode = error instanceof Error && 'statusCode' in error ? error.statusCode : undefined
  return typeof statusCode === 'number' && statusCode >= 400 ? statusCode : 500
}

// Node takes a request line without a version for HTTP/0.9, and one of HTTP/2.0, and would answer both.
function refuseVersion({ raw }: FastifyRequest, reply: FastifyReply): void {
  const message = `expected HTTP/1.1, found HTTP/${raw.httpVersion}`
  sendError(reply.header('connection', 'close'), 400, { error: 'bad request', message })
}

function refuse(request: FastifyRequest, reply: FastifyReply, paths: readonly string[]): void {
  const [path = ''] = request.url.split('?', 1)
  const found = shorten(path)
  if (!paths.includes(path)) {
    const shown = paths.filter((path) => !path.startsWith(`${runbooksPath}/`))
    sendError(reply, 404, { error: 'not found', message: `no endpoint "${found}"`, paths: shown })
    return
  }
  const allowed = path === reloadPath ? 'POST' : 'GET, HEAD'
  reply.header('allow', allowed)
  const message = `expected ${allowed} for "${found}", found ${request.method}`
  sendError(reply, 405, { error: 'method not allowed', message })
}

interface ErrorBody {
  readonly error: string
  readonly message: string
  readonly [more: string]: unknown
}

function sendError(reply: FastifyReply, statusCode: number, body: ErrorBody): FastifyReply {
  return reply
    .code(statusCode)
    .header('content-type', json)
    .send(`${JSON.stringify(body)}\n`)
}

function send(reply: FastifyReply, contentType: string, body: string | Buffer): FastifyReply {
  return reply.header('content-type', contentType).send(body)
}

/** Returns `make(snapshot)` as bytes, made once for each snapshot: hundreds may ask for the same one. */
function sharedBytes(make: (snapshot: Snapshot) => string): (snapshot: Snapshot) => Buffer {
  let last: { readonly snapshot: Snapshot; readonly bytes: Buffer } | undefined
  return (snapshot) => {
    if (last?.snapshot !== snapshot) last = { snapshot, bytes: Buffer.from(make(snapshot)) }
    return last.bytes
  }
}

function landing({ snapshot, about }: RouteOptions): Answer {
  const page = sharedBytes((current) => landingPage(current, about.version))
  return (_request, reply) => {
    const current = snapshot()
    const html = current === undefined ? landingPage(undefined, about.version) : page(current)
    return reply.headers(landingHeaders).send(html)
  }
}

function metrics(options: RouteOptions): Answer {
  const page = new MetricsPage(options)
  return async (request, reply) => {
    const offer = preferred(request.headers.accept, metricsOffers)
    const body = await page.render(options.snapshot(), offer)
    reply.header('vary', 'Accept')
    return send(reply, offer.contentType, body)
  }
}

/** A runbook is text, which every browser shows as it is, on a phone as well. */
function runbook(text: string): Answer {
  return (_request, reply) => send(reply, plain, text)
}

function liveness(alive: () => boolean): Answer {
  return (_request, reply) =>
    alive()
      ? send(reply, plain, 'ok\n')
      : send(reply.code(503), plain, 'the evaluation stands still\n')
}

function readiness({ snapshot, stopping }: RouteOptions): Answer {
  return (_request, reply) => {
    const unready = whyNotReady(snapshot(), stopping())
    return unready === undefined
      ? send(reply, plain, 'ready\n')
      : send(reply.code(503), plain, `${unready}\n`)
  }
}

function whyNotReady(snapshot: Snapshot | undefined, stopping: boolean): string | undefined {
  if (stopping) return 'the daemon is stopping'
  if (snapshot === undefined) return nothingYet
  return snapshot.ready ? undefined : 'not every target has been tried yet'
}

const healthQuery = z.object({
  target: z.string('expected one name').optional(),
  fail_on: z.literal('degraded', 'expected "degraded"').optional(),
})

function health(options: RouteOptions): Answer {
  const { about } = options
  const page = sharedBytes((current) => jsonText(healthBody(current, about.version)))
  return (request, reply) => {
    const query = healthQuery.safeParse(request.query)
    if (!query.success) {
      const issues = query.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`)
      return sendError(reply, 400, { error: 'bad request', message: issues.join('; ') })
    }
    const { target: name, fail_on } = query.data
    const offer = preferred(request.headers.accept, healthOffers)
    reply.header('vary', 'Accept')
    const snapshot = options.snapshot()
    const unsure = whyUnsure(options, snapshot)
    if (snapshot === undefined || unsure !== undefined) {
      const body = unsureBody(options, snapshot, unsure ?? nothingYet)
      return sendHealth(reply.code(503), offer, body)
    }
    const only = name === undefined ? undefined : findTarget(snapshot, name)
    if (name !== undefined && only === undefined) return sendUnknownTarget(reply, snapshot, name)
    reply.code(healthCode(only?.status ?? snapshot.status, fail_on === 'degraded'))
    if (only === undefined && offer.contentType === json) return send(reply, json, page(snapshot))
    const findings = snapshot.diagnosis.filter(
      ({ subject }) => only === undefined || subject.target === only.name || isOfHost(subject),
    )
    return sendHealth(reply, offer, healthBody(snapshot, about.version, only), findings)
  }
}

/** What befalls the host befalls each target on it. */
function isOfHost({ target, uuid }: Finding['subject']): boolean {
  return target === undefined && uuid === undefined
}

/** Why the snapshot cannot be believed; `undefined` where it can. */
function whyUnsure({ alive, clock }: RouteOptions, snapshot?: Snapshot): string | undefined {
  if (snapshot === undefined) return nothingYet
  if (alive()) return undefined
  const ageSeconds = Math.round((clock.monotonicMs() - snapshot.atMs) / 1000)
  return `nothing was evaluated for ${ageSeconds} s`
}

// The last evaluation is still shown, under a status that does not vouch for it.
function unsureBody(options: RouteOptions, snapshot: Snapshot | undefined, why: string) {
  const { about, clock } = options
  const unknown = unknownBody(clock.nowMs(), about.version, why)
  return snapshot === undefined
    ? unknown
    : { ...healthBody(snapshot, about.version), status: unknown.status, detail: why }
}

function sendHealth(
  reply: FastifyReply,
  offer: Offer,
  body: HealthBody,
  findings: readonly Finding[] = [],
): FastifyReply {
  const text =
    offer.contentType === json ? jsonText(body) : healthText(body, findings.flatMap(findingLines))
  return send(reply, offer.contentType, text)
}

function sendUnknownTarget(reply: FastifyReply, snapshot: Snapshot, name: string): FastifyReply {
  const targets = readSources(snapshot).map((source) => source.name)
  const message = `no target "${shorten(name)}"`
  return sendError(reply, 404, { error: 'not found', message, targets })
}

function status(options: RouteOptions): Answer {
  const { about, clock } = options
  const page = sharedBytes((current) => jsonText(statusBody(current, about)))
  return (_request, reply) => {
    const snapshot = options.snapshot()
    if (snapshot === undefined) {
      return send(reply, json, jsonText(unknownStatusBody(clock.nowMs(), about, nothingYet)))
    }
    const unsure = whyUnsure(options, snapshot)
    if (unsure === undefined) return send(reply, json, page(snapshot))
    const body = { ...statusBody(snapshot, about), status: 'unknown', detail: unsure }
    return send(reply, json, jsonText(body))
  }
}

function jsonText(body: object): string {
  return `${JSON.stringify(body)}\n`
}

function reload(options: RouteOptions): Answer {
  return async (_request, reply) => {
    if (!options.enableLifecycle) {
      const message = 'expected web.enable_lifecycle: true, found false'
      return sendError(reply, 403, { error: 'lifecycle not enabled', message })
    }
    try {
      await options.reload()
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      const issues = error instanceof ConfigError ? error.issues : [message]
      return sendError(reply, 500, { error: 'reload failed', message, issues })
    }
    return send(reply, plain, 'reloaded\n')
  }
}
