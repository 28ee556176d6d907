import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type HttpAnswer, HttpClient } from '../../src/sources/http-client.ts'
import { ReceiveBuffer } from '../../src/sources/receive-buffer.ts'
import { answering, httpServer, type LocalServer } from '../fakes/local-server.ts'

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

async function post(http: HttpClient, signal = new AbortController().signal): Promise<HttpAnswer> {
  const receive = { into: new ReceiveBuffer(), maxBytes: 1_000, statuses: [200, 404] }
  const request = { path: '/v1/completions', headers: {}, timeoutMs: 1_000, signal, receive }
  return await http.post(request, '{"prompt":"ä"}')
}

describe('HttpClient that posts', () => {
  it('sends the whole body with its type and length, over a connection of its own', async () => {
    const seen: string[] = []
    const server = keep(
      await httpServer(async (request, response) => {
        const { method, headers } = request
        let body = ''
        for await (const chunk of request) body += chunk
        seen.push(
          [method, headers['content-type'], headers['content-length'], headers.connection].join(),
        )
        response.end(body)
      }),
    )
    const http = client(server.origin)
    for (let round = 0; round < 2; round += 1) {
      // The letter with dots takes two bytes.
      const answer = await post(http)
      assert.equal(Buffer.from(answer.body).toString(), '{"prompt":"ä"}')
      await sleep(20)
    }
    const line = 'POST,application/json,15,close'
    assert.deepEqual(seen, [line, line])
    assert.equal(server.accepted(), 2)
  })

  it('keeps the body of the statuses that are wanted, and of no other', async () => {
    let status = 404
    const server = keep(
      await httpServer((_request, response) => {
        response.writeHead(status).end('an explanation')
      }),
    )
    const http = client(server.origin)
    assert.equal((await post(http)).body.length, 'an explanation'.length)
    status = 500
    assert.equal((await post(http)).body.length, 0)
  })

  it('ends the connection when it is told to stop, so that the server can stop as well', async () => {
    const server = keep(await answering('', () => {}))
    const stop = new AbortController()
    const work = post(client(server.origin), stop.signal)
    setTimeout(() => stop.abort(), 20)
    await assert.rejects(work, { name: 'AbortError' })
    await sleep(20)
    assert.equal(server.ended(), 1)
  })
})
