import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { createServer as createNetServer, type Server, type Socket } from 'node:net'

/** A server on a port of the system's choice, for as long as one test runs. */
export interface LocalServer {
  readonly port: number
  readonly origin: string
  /** How many connections were ever accepted. */
  readonly accepted: () => number
  /** How many of them have ended. */
  readonly ended: () => number
  /** Ends every connection at once, and the server. */
  readonly stop: () => Promise<void>
}

/** Starts an HTTP server. */
export function httpServer(listener: RequestListener): Promise<LocalServer> {
  return listen(createHttpServer(listener))
}

/** Starts a server that hands out bare connections. */
export function rawServer(onSocket: (socket: Socket) => void): Promise<LocalServer> {
  return listen(createNetServer(onSocket))
}

/** Starts a server that writes `text` to each connection once a request has come, then does `after`. */
export function answering(text: string, after: (socket: Socket) => void): Promise<LocalServer> {
  return rawServer((socket) => {
    socket.once('data', () => {
      if (text === '') after(socket)
      else socket.write(text, () => after(socket))
    })
  })
}

/** Puts any server on a port, one of the system's choice by default, and keeps the books. */
export async function listen(server: Server, port = 0): Promise<LocalServer> {
  const sockets = new Set<Socket>()
  let accepted = 0
  server.on('connection', (socket: Socket) => {
    accepted += 1
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('expected a port')
  return {
    port: address.port,
    origin: `http://127.0.0.1:${address.port}`,
    accepted: () => accepted,
    ended: () => accepted - sockets.size,
    stop: () => {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

/** Returns a port on which nothing listens. */
export async function closedPort(): Promise<number> {
  const server = await rawServer(() => {})
  await server.stop()
  return server.port
}
