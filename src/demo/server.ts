import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { Completions } from './completions.ts'
import { type SimulatedEngine, simulatedVersion } from './engine.ts'

export interface SimulatedServer {
  /** Base URL; the port stays the same through restarts. */
  readonly url: string
  /** Lets the engine catch up with the clock, and opens or closes the port as the engine says. */
  follow(): void
  /** Closes the port and every connection. */
  stop(): Promise<void>
}

export interface SimulatedServerOptions {
  readonly engine: SimulatedEngine
  /** The scenario's time now, in the milliseconds that `engine` is told. */
  readonly nowMs: () => number
}

const followEveryMs = 100
/** While somebody waits for an answer, its end must not be seen late. */
const hurryEveryMs = 10

/**
 * Serves `engine` over HTTP on a port of 127.0.0.1 that the system chooses: `/metrics`, `/health`,
 * `/version` and `/v1/completions` as vLLM answers them, and as late as the engine says. While the
 * engine's process is gone the port is closed, so that callers are refused. Keeps no process alive by
 * its timers.
 */
export async function startSimulatedServer(
  options: SimulatedServerOptions,
): Promise<SimulatedServer> {
  const { engine, nowMs } = options
  const completions = new Completions(engine)
  const server = createServer((request, response) => {
    follow()
    if (!engine.portOpen) request.socket.destroy()
    else if (pathOf(request) === '/v1/completions' && request.method === 'POST') {
      completions.receive(request, response, follow)
    } else answer(engine, request, response)
  })
  const port = await listen(server, 0)
  // After a restart the port may be somebody else's for a while: the next round tries again.
  let opening: Promise<unknown> | undefined
  let stopped = false

  function follow(): void {
    engine.advance(nowMs())
    completions.answer()
    if (stopped || opening !== undefined) return
    if (!engine.portOpen && server.listening) close()
    if (!engine.portOpen || server.listening) return
    opening = listen(server, port)
      .catch(() => undefined)
      .finally(() => {
        opening = undefined
      })
  }

  function close(): void {
    server.close()
    server.closeAllConnections()
  }

  let timer: NodeJS.Timeout

  function tick(): void {
    follow()
    timer = setTimeout(tick, completions.open > 0 ? hurryEveryMs : followEveryMs)
    timer.unref()
  }

  // A server that still loads has no open port from the first moment on.
  tick()
  return {
    url: `http://127.0.0.1:${port}`,
    follow,
    stop: async () => {
      stopped = true
      clearTimeout(timer)
      await opening
      if (!server.listening) return
      await new Promise<void>((resolve) => {
        server.once('close', resolve)
        close()
      })
    },
  }
}

/** Opens `port` of 127.0.0.1, or one that the system chooses for 0, and returns which it is. */
async function listen(server: Server, port: number): Promise<number> {
  const opened = once(server, 'listening')
  server.listen(port, '127.0.0.1')
  await opened
  const address = server.address()
  if (address !== null && typeof address === 'object') return address.port
  throw new Error(`expected a port of 127.0.0.1, found ${String(address)}`)
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? '/').split('?', 1)[0] ?? '/'
}

function answer(engine: SimulatedEngine, request: IncomingMessage, response: ServerResponse): void {
  const path = pathOf(request)
  if (path === '/v1/completions') {
    refuse(response, 'POST')
  } else if (path !== '/metrics' && path !== '/health' && path !== '/version') {
    send(response, 404, 'application/json', '{"detail":"Not Found"}')
  } else if (request.method !== 'GET') {
    refuse(response, 'GET')
  } else if (path === '/version') {
    send(response, 200, 'application/json', JSON.stringify({ version: simulatedVersion }))
  } else {
    const tookMs = path === '/metrics' ? engine.metricsTookMs : engine.healthTookMs
    later(response, tookMs, () => {
      if (!engine.portOpen) request.socket.destroy()
      else if (path === '/metrics') sendMetrics(engine, response)
      else send(response, engine.healthStatus, undefined, '')
    })
  }
}

function refuse(response: ServerResponse, allowed: string): void {
  response.setHeader('allow', allowed)
  send(response, 405, 'application/json', '{"detail":"Method Not Allowed"}')
}

function sendMetrics(engine: SimulatedEngine, response: ServerResponse): void {
  if (engine.metricsStatus === 500) {
    send(response, 500, 'text/plain; charset=utf-8', 'Internal Server Error')
  } else {
    send(response, 200, 'text/plain; version=1.0.0; charset=utf-8', engine.page())
  }
}

/** Does it at once for 0; not at all when the client has gone by then. */
function later(response: ServerResponse, tookMs: number, reply: () => void): void {
  if (tookMs <= 0) {
    reply()
    return
  }
  const timer = setTimeout(reply, tookMs)
  timer.unref()
  response.on('close', () => clearTimeout(timer))
}

function send(
  response: ServerResponse,
  status: number,
  type: string | undefined,
  text: string,
): void {
  const body = Buffer.from(text)
  response.statusCode = status
  if (type !== undefined) response.setHeader('content-type', type)
  response.setHeader('content-length', body.length)
  response.end(body)
}
