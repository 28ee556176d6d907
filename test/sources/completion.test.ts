import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../../src/clock.ts'
import type { ProbeOutcome } from '../../src/reading.ts'
import { CompletionProbe } from '../../src/sources/completion.ts'
import type { ProbeConfig } from '../../src/sources/probe-settings.ts'
import type { TargetAuth } from '../../src/sources/settings.ts'
import { answering, closedPort, httpServer, type LocalServer } from '../fakes/local-server.ts'

const cleanups: Array<() => Promise<void> | void> = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

/** A request as a server saw it. */
interface Seen {
  readonly line: string
  readonly authorization: string | undefined
  readonly body: Readonly<Record<string, unknown>>
}

type Answer = (seen: Seen, response: ServerResponse) => void

async function serverOf(answer: Answer): Promise<LocalServer & { readonly seen: readonly Seen[] }> {
  const seen: Seen[] = []
  const server = await httpServer(async (request: IncomingMessage, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const { method, url, headers } = request
    const { authorization } = headers
    const one = { line: `${method} ${url}`, authorization, body: JSON.parse(body) }
    seen.push(one)
    answer(one, response)
  })
  cleanups.push(server.stop)
  return { ...server, seen }
}

function probeOf(
  url: string,
  given: Partial<ProbeConfig> & { readonly auth?: TargetAuth } = {},
): CompletionProbe {
  const { auth = { kind: 'none' }, timeoutMs = 2_000, model = '', prompt = 'ping' } = given
  const probe = new CompletionProbe({
    target: { name: 'vllm', url, auth },
    probe: { timeoutMs, model, prompt },
    clock: systemClock,
  })
  cleanups.unshift(() => probe.close())
  return probe
}

const never = new AbortController().signal

/** What came of asking once, without the times. */
async function outcomeOf(probe: CompletionProbe, model?: string): Promise<ProbeOutcome> {
  const result = await probe.ask({ model: model ?? 'llama', signal: never })
  const { target, startMs, atMs, tookMs, ...outcome } = result
  assert.equal(target, 'vllm')
  assert.equal(tookMs, atMs - startMs)
  return outcome
}

const completion = '{"object":"text_completion","choices":[{"index":0,"text":" pong"}]}'
const notFound = '{"detail":"Not Found"}'
const unknownModel =
  '{"error":{"message":"The model `llama` does not exist.","type":"NotFoundError","code":404}}'
const unknownModelBefore =
  '{"object":"error","message":"The model `llama` does not exist.","type":"NotFoundError","code":404}'
const unsupported = '{"object":"error","message":"The model does not support Completions API"}'

const saying =
  (status: number, text: string): Answer =>
  (_seen, response) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(text)

describe('a probe of an engine that works', () => {
  it('asks for one token, not streamed, below the path of the target', async () => {
    const server = await serverOf(saying(200, completion))
    const probe = probeOf(`${server.origin}/llm`, { prompt: 'say "ä"' })
    assert.deepEqual(await outcomeOf(probe), { kind: 'answered' })
    assert.deepEqual(server.seen, [
      {
        line: 'POST /llm/v1/completions',
        authorization: undefined,
        body: { model: 'llama', prompt: 'say "ä"', max_tokens: 1, temperature: 0, stream: false },
      },
    ])
  })

  it('waits for a slow answer, and says how long it took', async () => {
    const server = await serverOf(async (seen, response) => {
      await sleep(300)
      saying(200, completion)(seen, response)
    })
    const result = await probeOf(server.origin).ask({ model: 'llama', signal: never })
    assert.equal(result.kind, 'answered')
    assert.ok(result.tookMs >= 290 && result.tookMs < 1_900, `${result.tookMs}`)
  })

  it('asks for the configured model, or else for the one that is known', async () => {
    const server = await serverOf(saying(200, completion))
    await outcomeOf(probeOf(server.origin, { model: 'mine' }), 'known')
    await outcomeOf(probeOf(server.origin), 'known')
    assert.deepEqual(
      server.seen.map(({ body }) => body['model']),
      ['mine', 'known'],
    )
  })

  it('sends nothing where no model is known', async () => {
    const server = await serverOf(saying(200, completion))
    const result = await probeOf(server.origin).ask({ model: undefined, signal: never })
    assert.equal(result.kind, 'inconclusive')
    assert.equal(server.accepted(), 0)
  })

  it('is authorised like a scrape', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vllm-vitals-test-'))
    cleanups.push(() => rmSync(folder, { recursive: true }))
    const tokenFile = join(folder, 'token')
    writeFileSync(tokenFile, 's3cr3t\n')
    const server = await serverOf(saying(200, completion))
    await outcomeOf(probeOf(server.origin, { auth: { kind: 'bearer', tokenFile } }))
    assert.deepEqual(
      server.seen.map(({ authorization }) => authorization),
      ['Bearer s3cr3t'],
    )
    rmSync(tokenFile)
    const without = await outcomeOf(probeOf(server.origin, { auth: { kind: 'bearer', tokenFile } }))
    assert.equal(without.kind, 'inconclusive')
    assert.equal(server.seen.length, 1)
  })
})

describe('a probe where completions are not served', () => {
  const chatAlone: ReadonlyArray<readonly [what: string, status: number, body: string]> = [
    ['has no such route', 404, notFound],
    ['stands behind a proxy with a page of its own', 404, '<html>nothing here</html>'],
    ['allows no POST there', 405, '{"detail":"Method Not Allowed"}'],
    ['refuses the model with 400', 400, unsupported],
    ['refuses the model with 500', 500, unsupported],
    ['refuses the model with 501', 501, ''],
  ]
  for (const [what, status, body] of chatAlone) {
    it(`chats with a server that ${what}, and does so first from then on`, async () => {
      const server = await serverOf((seen, response) => {
        if (seen.line.endsWith('/v1/chat/completions')) saying(200, completion)(seen, response)
        else saying(status, body)(seen, response)
      })
      const probe = probeOf(server.origin)
      for (let round = 0; round < 2; round += 1) {
        assert.deepEqual(await outcomeOf(probe), { kind: 'answered' })
      }
      assert.deepEqual(
        server.seen.map(({ line }) => line),
        ['POST /v1/completions', 'POST /v1/chat/completions', 'POST /v1/chat/completions'],
      )
      assert.deepEqual(server.seen[1]?.body, {
        model: 'llama',
        messages: [{ role: 'user', content: 'ping' }],
        max_tokens: 1,
        temperature: 0,
        stream: false,
      })
    })
  }

  it('finds the other route again when the server changes', async () => {
    let served = '/v1/chat/completions'
    const server = await serverOf((seen, response) => {
      if (seen.line === `POST ${served}`) saying(200, completion)(seen, response)
      else saying(404, notFound)(seen, response)
    })
    const probe = probeOf(server.origin)
    assert.deepEqual(await outcomeOf(probe), { kind: 'answered' })
    served = '/v1/completions'
    assert.deepEqual(await outcomeOf(probe), { kind: 'answered' })
  })

  it('proves nothing where neither route is served, and asks each once', async () => {
    const server = await serverOf(saying(404, notFound))
    assert.deepEqual(await outcomeOf(probeOf(server.origin)), {
      kind: 'inconclusive',
      reason: 'the server makes no completions',
    })
    assert.equal(server.seen.length, 2)
  })

  it('keeps one deadline for both routes', async () => {
    const server = await serverOf(async (seen, response) => {
      if (seen.line.endsWith('/v1/chat/completions')) return
      await sleep(300)
      saying(404, notFound)(seen, response)
    })
    const result = await probeOf(server.origin, { timeoutMs: 600 }).ask({
      model: 'llama',
      signal: never,
    })
    assert.equal(result.kind, 'unanswered')
    // 300 ms for the first and the rest for the second; each with 600 ms would make 900.
    assert.ok(result.tookMs >= 590 && result.tookMs < 890, `${result.tookMs}`)
  })
})

describe('a probe that is answered with something else', () => {
  const rows: ReadonlyArray<readonly [what: string, answer: Answer, expected: ProbeOutcome]> = [
    ['an error of the engine', saying(500, '{"error":{"message":"boom"}}'), failed(500)],
    ['503', saying(503, ''), failed(503)],
    ['an unknown model', saying(404, unknownModel), unproven('the server knows no model "llama"')],
    [
      'an unknown model in the older form',
      saying(404, unknownModelBefore),
      unproven('the server knows no model "llama"'),
    ],
    [
      '401',
      saying(401, '{"error":"s3cr3t"}'),
      unproven('expected a completion, found the status 401'),
    ],
    ['429', saying(429, ''), unproven('expected a completion, found the status 429')],
    [
      'a refused request',
      saying(400, '{"error":{"message":"s3cr3t"}}'),
      unproven('expected a completion, found the status 400'),
    ],
    ['no JSON', saying(200, 'ok'), unproven('expected a completion, found another answer')],
    [
      'no choice',
      saying(200, '{"choices":[]}'),
      unproven('expected a completion, found another answer'),
    ],
  ]
  for (const [what, answer, expected] of rows) {
    it(`is ${expected.kind} by ${what}, and quotes nothing of it`, async () => {
      const server = await serverOf(answer)
      assert.deepEqual(await outcomeOf(probeOf(server.origin)), expected)
      assert.equal(server.seen.length, 1)
    })
  }

  it('stops at a huge answer, which proves nothing', async () => {
    const server = await serverOf((_seen, response) => {
      response.writeHead(200)
      const write = () => {
        if (!response.destroyed) response.write('x'.repeat(65_536), write)
      }
      write()
    })
    const outcome = await outcomeOf(probeOf(server.origin))
    assert.equal(outcome.kind, 'inconclusive')
    assert.match('reason' in outcome ? outcome.reason : '', /at most 65536 bytes/)
  })

  it('follows no redirect', async () => {
    const elsewhere = await serverOf(saying(200, completion))
    const server = await serverOf((_seen, response) =>
      response.writeHead(307, { location: `${elsewhere.origin}/v1/completions` }).end(),
    )
    const outcome = await outcomeOf(probeOf(server.origin))
    assert.deepEqual(outcome, unproven('expected a completion, found the status 307'))
    assert.equal(elsewhere.accepted(), 0)
  })
})

describe('a probe that is not answered', () => {
  it('gives a silent server up at its deadline, and ends the connection', async () => {
    const server = await serverOf(() => {})
    const result = await probeOf(server.origin, { timeoutMs: 200 }).ask({
      model: 'llama',
      signal: never,
    })
    assert.ok(result.kind === 'unanswered' && result.code === 'timeout', result.kind)
    assert.ok(result.tookMs >= 190 && result.tookMs < 1_900, `${result.tookMs}`)
    await sleep(50)
    assert.equal(server.ended(), 1)
  })

  it('says that the connection was refused or reset', async () => {
    const closed = probeOf(`http://127.0.0.1:${await closedPort()}`)
    assert.deepEqual(await outcomeOf(closed), { kind: 'unanswered', code: 'refused' })
    const resetting = await answering('', (socket) => socket.resetAndDestroy())
    cleanups.push(resetting.stop)
    const reset = probeOf(resetting.origin)
    assert.deepEqual(await outcomeOf(reset), { kind: 'unanswered', code: 'reset' })
  })

  it('proves nothing where what answers is no HTTP server', async () => {
    const server = await answering('SSH-2.0-OpenSSH_9.2\r\n', (socket) => socket.end())
    cleanups.push(server.stop)
    assert.equal((await outcomeOf(probeOf(server.origin))).kind, 'inconclusive')
  })

  it('ends at once when it is withdrawn, and lets the engine know by ending the connection', async () => {
    const server = await serverOf(() => {})
    const withdrawal = new AbortController()
    const work = probeOf(server.origin).ask({ model: 'llama', signal: withdrawal.signal })
    while (server.seen.length === 0) await sleep(5)
    withdrawal.abort()
    await assert.rejects(work, { name: 'AbortError' })
    await sleep(50)
    assert.equal(server.ended(), 1)
  })
})

function failed(status: number): ProbeOutcome {
  return { kind: 'failed', status }
}

function unproven(reason: string): ProbeOutcome {
  return { kind: 'inconclusive', reason }
}
