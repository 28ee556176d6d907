import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
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

/**
 * Serves `engine` over HTTP on a port of 127.0.0.1 that the system chooses: `/metrics`, `/health`
 * and `/version` as vLLM answers them. While the engine's process is gone the port is closed, so
 * that callers are refused. Keeps no process alive by its timer.
 */
export async function startSimulatedServer(
  options: SimulatedServerOptions,
): Promise<SimulatedServer> {
  const { engine, nowMs } = options
  const server = createServer((request, response) => {
    follow()
    if (engine.portOpen) answer(engine, request, response)
    else request.socket.destroy()
  })
  const port = await listen(server, 0)
  // After a restart the port may be somebody else's for a while: the next round tries again.
  let opening: Promise<unknown> | undefined
  let stopped = false

  function follow(): void {
    engine.advance(nowMs())
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

  const timer = setInterval(follow, followEveryMs)
  timer.unref()
  return {
    url: `http://127.0.0.1:${port}`,
    follow,
    stop: async () => {
      stopped = true
      clearInterval(timer)
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

function answer(engine: SimulatedEngine, request: IncomingMessage, response: ServerResponse): void {
  const path = (request.url ?? '/').split('?', 1)[0]
  if (path !== '/metrics' && path !== '/health' && path !== '/version') {
    send(response, 404, 'application/json', '{"detail":"Not Found"}')
  } else if (request.method !== 'GET') {
    response.setHeader('allow', 'GET')
    send(response, 405, 'application/json', '{"detail":"Method Not Allowed"}')
  } else if (path === '/metrics') {
    send(response, 200, 'text/plain; version=1.0.0; charset=utf-8', engine.page())
  } else if (path === '/version') {
    send(response, 200, 'application/json', JSON.stringify({ version: simulatedVersion }))
  } else {
    send(response, engine.healthStatus, undefined, '')
  }
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
