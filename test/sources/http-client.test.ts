import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { afterEach, describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import { CollectError, type CollectErrorCode } from '../../src/errors.ts'
import { expectOk, type HttpAnswer, HttpClient } from '../../src/sources/http-client.ts'
import { ReceiveBuffer } from '../../src/sources/receive-buffer.ts'
import { answering, closedPort, httpServer, type LocalServer } from '../fakes/local-server.ts'

const chunkedHead =
  'HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n'
const secret = 'Bearer s3cr3t-token'

const cleanups: Array<() => Promise<void>> = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

function keep(server: LocalServer): LocalServer {
  cleanups.push(server.stop)
  return server
}

function client(origin: string): HttpClient {
  const http = new HttpClient({ origin, connectTimeoutMs: 500 })
  cleanups.unshift(() => http.close())
  return http
}

interface Asked {
  readonly timeoutMs?: number
  readonly maxBytes?: number
  readonly path?: string
  readonly signal?: AbortSignal
  readonly into?: ReceiveBuffer
  readonly bodyWanted?: boolean
}

async function get(http: HttpClient, asked: Asked = {}): Promise<HttpAnswer> {
  const into = asked.into ?? new ReceiveBuffer()
  return await http.get({
    path: asked.path ?? '/metrics',
    headers: { authorization: secret },
    timeoutMs: asked.timeoutMs ?? 1_000,
    signal: asked.signal ?? new AbortController().signal,
    receive:
      asked.bodyWanted === false ? undefined : { into, maxBytes: asked.maxBytes ?? 1_000_000 },
  })
}

async function failure(work: Promise<unknown>): Promise<CollectError> {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof CollectError, `expected a CollectError, found ${String(error)}`)
  assert.ok(!error.message.includes('s3cr3t'), error.message)
  return error
}

/** Long enough for connections to be kept or closed. */
async function moment(ms = 20): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

async function elapsedMs(work: Promise<unknown>): Promise<number> {
  const startMs = performance.now()
  await work.catch(() => {})
  return performance.now() - startMs
}

describe('HttpClient with a good server', () => {
  it('finds the part of undici that it loads by path', () => {
    const found: unknown = createRequire(import.meta.url)('undici/lib/dispatcher/pool.js')
    assert.equal(typeof found, 'function')
  })

  it('returns the body, its type and status, over one connection for all requests', async () => {
    const server = keep(
      await httpServer((_request, response) => {
        response.setHeader('content-type', 'text/plain; version=0.0.4')
        response.end('a 1\nb 2\n')
      }),
    )
    const http = client(server.origin)
    const into = new ReceiveBuffer()
    for (let round = 0; round < 3; round += 1) {
      const answer = expectOk(await get(http, { into }), 'url')
      assert.equal(Buffer.from(answer.body).toString(), 'a 1\nb 2\n')
      assert.equal(answer.contentType, 'text/plain; version=0.0.4')
      await moment()
    }
    assert.equal(server.accepted(), 1)
  })

  it('never asks for a compressed answer', async () => {
    let asked: string | undefined
    const server = keep(
      await httpServer((request, response) => {
        asked = String(request.headers['accept-encoding'])
        response.end('a 1\n')
      }),
    )
    await get(client(server.origin))
    assert.equal(asked, 'identity')
  })

  it('reaches an engine by the other address of a name when the first refuses', async () => {
    const server = keep(await httpServer((_request, response) => response.end('a 1\n')))
    const http = new HttpClient({
      origin: `http://engine.test:${server.port}`,
      connectTimeoutMs: 500,
      lookup: (_name, _options, callback) =>
        callback(null, [
          { address: '::1', family: 6 },
          { address: '127.0.0.1', family: 4 },
        ]),
    })
    cleanups.unshift(() => http.close())
    assert.equal((await get(http)).status, 200)
  })
})

describe('HttpClient with a server that does not answer well', () => {
  it('tells a closed port as refused', async () => {
    const port = await closedPort()
    const error = await failure(get(client(`http://127.0.0.1:${port}`)))
    assert.equal(error.code, 'refused')
    assert.match(error.message, new RegExp(`127.0.0.1:${port}/metrics.*ECONNREFUSED`))
  })

  it('tells a name whose addresses all refuse as refused', async () => {
    const port = await closedPort()
    const http = new HttpClient({
      origin: `http://engine.test:${port}`,
      connectTimeoutMs: 500,
      lookup: (_name, _options, callback) =>
        callback(null, [
          { address: '127.0.0.1', family: 4 },
          { address: '127.0.0.2', family: 4 },
        ]),
    })
    cleanups.unshift(() => http.close())
    assert.equal((await failure(get(http))).code, 'refused')
  })

  it('tells a name without address as resolve', async () => {
    const http = new HttpClient({
      origin: 'http://engine.test:8000',
      connectTimeoutMs: 500,
      lookup: (_name, _options, callback) =>
        callback(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }), '', 0),
    })
    cleanups.unshift(() => http.close())
    assert.equal((await failure(get(http))).code, 'resolve')
  })

  it('counts the time of a hung look-up in the deadline', async () => {
    const http = new HttpClient({
      origin: 'http://engine.test:8000',
      connectTimeoutMs: 5_000,
      lookup: () => {},
    })
    cleanups.unshift(() => http.close())
    const work = get(http, { timeoutMs: 150 })
    assert.ok((await elapsedMs(work)) < 2_000)
    assert.equal((await failure(work)).code, 'timeout')
  })

  const hanging: ReadonlyArray<readonly [string, string, (socket: Socket) => void]> = [
    ['accepts and never answers', '', () => {}],
    ['sends half a head', 'HTTP/1.1 200 OK\r\ncontent-', () => {}],
    ['sends a head and nothing more', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n', () => {}],
    [
      'drips a body a byte at a time',
      'HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n',
      (socket) => {
        const drip = setInterval(() => socket.write('x'), 20)
        socket.on('close', () => clearInterval(drip))
      },
    ],
  ]
  for (const [what, head, after] of hanging) {
    it(`keeps the deadline with a server that ${what}, and ends the connection`, async () => {
      const server = keep(await answering(head, after))
      const work = get(client(server.origin), { timeoutMs: 150 })
      const tookMs = await elapsedMs(work)
      assert.ok(tookMs >= 140 && tookMs < 2_000, `${tookMs}`)
      assert.equal((await failure(work)).code, 'timeout')
      await moment()
      assert.equal(server.ended(), 1)
    })
  }

  const broken: ReadonlyArray<
    readonly [string, string, (socket: Socket) => void, CollectErrorCode]
  > = [
    ['resets before the head', '', (socket) => socket.resetAndDestroy(), 'reset'],
    ['closes before the head', '', (socket) => socket.end(), 'reset'],
    [
      'resets in the middle of a body',
      'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\na 1\n',
      (socket) => setTimeout(() => socket.resetAndDestroy(), 20),
      'reset',
    ],
    [
      'closes before its Content-Length is reached',
      'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\na 1\n',
      (socket) => socket.end(),
      'reset',
    ],
    [
      'closes early and had said so',
      'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 100\r\n\r\na 1\n',
      (socket) => socket.end(),
      'reset',
    ],
    [
      'closes between two chunks and had said so',
      `${chunkedHead.trimEnd()}\r\nconnection: close\r\n\r\n4\r\na 1\n\r\n`,
      (s) => s.end(),
      'reset',
    ],
    ['closes between two chunks', `${chunkedHead}4\r\na 1\n\r\n`, (s) => s.end(), 'reset'],
    ['is no HTTP server', 'SSH-2.0-OpenSSH_9.2\r\n', (s) => s.end(), 'not_exposition'],
    [
      'sends endless headers',
      `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(20_000)}\r\n`,
      () => {},
      'too_large',
    ],
  ]
  for (const [what, head, after, code] of broken) {
    it(`tells a server that ${what} as ${code}`, async () => {
      const server = keep(await answering(head, after))
      assert.equal((await failure(get(client(server.origin)))).code, code)
    })
  }

  it('stops at the limit of an endless body and gives its memory back', async () => {
    let sentBytes = 0
    const server = keep(
      await answering(chunkedHead, (socket) => {
        const block = `10000\r\n${'x'.repeat(65_536)}\r\n`
        const send = () => {
          sentBytes += 65_536
          if (!socket.destroyed) socket.write(block, send)
        }
        send()
      }),
    )
    const into = new ReceiveBuffer()
    const work = get(client(server.origin), { into, maxBytes: 1_000_000, timeoutMs: 5_000 })
    assert.equal((await failure(work)).code, 'too_large')
    assert.equal(into.capacityBytes, 0)
    await moment()
    assert.equal(server.ended(), 1)
    assert.ok(sentBytes < 20_000_000, `${sentBytes}`)
  })

  it('refuses a Content-Length above the limit without reading the body', async () => {
    const server = keep(
      await answering('HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n', () => {}),
    )
    const work = get(client(server.origin), { maxBytes: 1_000 })
    assert.equal((await failure(work)).code, 'too_large')
  })

  it('accepts a body of exactly the limit', async () => {
    const server = keep(await httpServer((_request, response) => response.end('x'.repeat(1_000))))
    const answer = await get(client(server.origin), { maxBytes: 1_000 })
    assert.equal(answer.body.length, 1_000)
  })

  it('refuses a compressed bomb without inflating it', async () => {
    const bomb = gzipSync(Buffer.alloc(8_000_000))
    const server = keep(
      await httpServer((_request, response) => {
        response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb)
      }),
    )
    const into = new ReceiveBuffer()
    const error = await failure(get(client(server.origin), { into }))
    assert.equal(error.code, 'not_exposition')
    assert.match(error.message, /"gzip"/)
    assert.equal(into.length, 0)
  })

  it('ends at once with the reason of the abort when it is told to stop', async () => {
    const server = keep(await answering('', () => {}))
    const stop = new AbortController()
    const work = get(client(server.origin), { signal: stop.signal })
    const reason = new Error('stopping')
    setTimeout(() => stop.abort(reason), 20)
    await assert.rejects(work, (error) => error === reason)
  })
})

describe('HttpClient with an answer other than 200', () => {
  for (const status of [401, 404, 500, 503]) {
    it(`returns ${status} as it is, keeps nothing of the body, and keeps the connection`, async () => {
      const server = keep(
        await httpServer((_request, response) => {
          response.writeHead(status).end('an explanation')
        }),
      )
      const http = client(server.origin)
      for (let round = 0; round < 2; round += 1) {
        const answer = await get(http)
        assert.equal(answer.status, status)
        assert.equal(answer.body.length, 0)
        await moment()
      }
      assert.equal(server.accepted(), 1)
      assert.throws(
        () =>
          expectOk(
            {
              status,
              contentType: undefined,
              location: undefined,
              retryAfter: undefined,
              body: new Uint8Array(0),
            },
            'u',
          ),
        { code: 'status', status },
      )
    })
  }

  it('does not wait for the end of an error page that never ends', async () => {
    const server = keep(
      await answering(chunkedHead.replace('200 OK', '500 Oops'), (socket) => {
        const drip = setInterval(() => socket.write('1\r\nx\r\n'), 20)
        socket.on('close', () => clearInterval(drip))
      }),
    )
    const answer = await get(client(server.origin), { timeoutMs: 150 })
    assert.equal(answer.status, 500)
  })

  it('returns the status alone where the body is not wanted', async () => {
    const server = keep(await httpServer((_request, response) => response.end('x'.repeat(100_000))))
    const answer = await get(client(server.origin), { bodyWanted: false })
    assert.equal(answer.status, 200)
    assert.equal(answer.body.length, 0)
  })

  it('follows no redirect, so that credentials go nowhere else', async () => {
    let visits = 0
    const elsewhere = keep(
      await httpServer((_request, response) => {
        visits += 1
        response.end('a 1\n')
      }),
    )
    const server = keep(
      await httpServer((_request, response) => {
        const location = `http://user:pw-s3cr3t@127.0.0.1:${elsewhere.port}/x?token=s3cr3t`
        response.writeHead(302, { location }).end()
      }),
    )
    const answer = await get(client(server.origin))
    const error = await failure(Promise.resolve().then(() => expectOk(answer, 'http://h/metrics')))
    assert.equal(error.code, 'redirect')
    assert.equal(error.status, 302)
    assert.match(error.message, new RegExp(`found 302 to http://127.0.0.1:${elsewhere.port}/x$`))
    assert.equal(visits, 0)
  })
})
