import type { IncomingMessage, ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { httpServer, type LocalServer } from '../fakes/local-server.ts'

/** What a request asks of the fake vLLM, as its JSON body. */
export interface Wish {
  /** Nothing is answered until `release`. */
  readonly hold?: boolean
  /** So many chunks of a stream, each so long after the one before. */
  readonly chunks?: number
  readonly gapMs?: number
  /** The connection is broken off in place of an answer. */
  readonly breakOff?: boolean
}

/** A host with a fake vLLM and a fake daemon beside it. */
export interface FakeHost {
  readonly vllm: LocalServer
  readonly vitals: LocalServer
  /** What the daemon says of its vLLM from now on. */
  verdict: 'healthy' | 'degraded' | 'unhealthy' | 'unknown'
  /** Paths and ids of the requests that reached vLLM. */
  readonly seen: { readonly path: string; readonly id: string | undefined }[]
  /** Requests whose client went before the answer was complete. */
  readonly aborted: () => number
  /** Requests that wait for `release`. */
  readonly held: () => number
  /** Answers all that are held. */
  readonly release: () => void
  /** How often the daemon was asked for health. */
  readonly asked: () => number
  readonly stop: () => Promise<void>
}

/** Starts a host on loopback. */
export async function fakeHost(): Promise<FakeHost> {
  const seen: FakeHost['seen'] = []
  const held = new Set<ServerResponse>()
  let aborted = 0
  let asked = 0
  let verdict: FakeHost['verdict'] = 'healthy'
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    if (request.url === '/health') return void response.end()
    const body = await text(request)
    seen.push({ path: request.url ?? '', id: one(request.headers['x-request-id']) })
    const wish: Wish = body === '' ? {} : JSON.parse(body)
    response.on('close', () => {
      held.delete(response)
      if (!response.writableFinished) aborted += 1
    })
    if (wish.breakOff === true) request.socket.destroy()
    else if (wish.hold === true) held.add(response)
    else if (wish.chunks === undefined) finish(response)
    else await stream(response, wish.chunks, wish.gapMs ?? 0)
  }
  const vllm = await httpServer((request, response) => {
    answer(request, response).catch((error) => response.destroy(error))
  })
  const vitals = await httpServer((request, response) => {
    if (request.url === '/livez') return void response.end('{}')
    asked += 1
    const known = request.url === '/health?target=vllm'
    const serves = verdict === 'healthy' || verdict === 'degraded'
    response.writeHead(known ? (serves ? 200 : 503) : 404, {
      'content-type': 'application/json',
      'cache-control': 'no-store',
    })
    response.end(JSON.stringify({ status: verdict }))
  })
  return {
    vllm,
    vitals,
    get verdict() {
      return verdict
    },
    set verdict(now) {
      verdict = now
    },
    seen,
    aborted: () => aborted,
    held: () => held.size,
    release: () => {
      const waiting = [...held]
      held.clear()
      for (const response of waiting) finish(response)
    },
    asked: () => asked,
    stop: async () => {
      await Promise.all([vllm.stop(), vitals.stop()])
    },
  }
}

function finish(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/json' })
  response.end('{"choices":[]}')
}

async function stream(response: ServerResponse, chunks: number, gapMs: number): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  for (let at = 0; at < chunks && !response.destroyed; at += 1) {
    if (at > 0) await new Promise((resolve) => setTimeout(resolve, gapMs))
    response.write(`data: {"at":${at},"sent_ms":${Date.now()}}\n\n`)
  }
  response.end('data: [DONE]\n\n')
}

function one(header: string | readonly string[] | undefined): string | undefined {
  return typeof header === 'string' ? header : header?.[0]
}
