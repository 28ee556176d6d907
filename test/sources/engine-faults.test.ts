import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import { VllmDialect } from '../../src/dialects/vllm.ts'
import { CollectError, type CollectErrorCode } from '../../src/errors.ts'
import { ExpositionParser, formatOf } from '../../src/exposition/parse.ts'
import type { Reading } from '../../src/reading.ts'
import { createEngineSource } from '../../src/sources/engine.ts'
import { GuardedLookup } from '../../src/sources/lookup.ts'
import type { TargetAuth } from '../../src/sources/settings.ts'
import type { Source } from '../../src/sources/source.ts'
import { answering, httpServer, type LocalServer, rawServer } from '../fakes/local-server.ts'
import { ManualClock } from '../fakes/manual-clock.ts'

const cleanups: Array<() => Promise<void> | void> = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

const signal = new AbortController().signal
const maxBodyBytes = 100_000

const page = `# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="m"} 42
# TYPE vllm:e2e_request_latency_seconds histogram
vllm:e2e_request_latency_seconds_bucket{engine="0",le="1.0",model_name="m"} 3
vllm:e2e_request_latency_seconds_bucket{engine="0",le="2.5",model_name="m"} 4
vllm:e2e_request_latency_seconds_bucket{engine="0",le="+Inf",model_name="m"} 5
vllm:e2e_request_latency_seconds_count{engine="0",model_name="m"} 5
vllm:e2e_request_latency_seconds_sum{engine="0",model_name="m"} 9
`

interface Settings {
  readonly timeoutMs?: number
  readonly auth?: TargetAuth
  readonly lookup?: GuardedLookup
}

/** The source as the daemon has it, with its parser and its dialect. */
function engine(url: string, { timeoutMs = 1_000, auth, lookup }: Settings = {}): Source {
  const parser = new ExpositionParser({ maxSamples: 1_000, maxLabels: 64, maxLabelBytes: 4_096 })
  const dialect = new VllmDialect()
  const source = createEngineSource({
    target: { name: 'vllm', url, auth: auth ?? { kind: 'none' } },
    scrape: { timeoutMs, maxBodyBytes },
    clock: new ManualClock(),
    parse: (body, contentType) => parser.parse(body, formatOf(contentType)),
    translate: (exposition, context) => dialect.translate(exposition, context),
    lookup: lookup?.lookup,
  })
  cleanups.unshift(() => source.close())
  return source
}

type Respond = (response: ServerResponse, request: IncomingMessage) => unknown

/** Serves `/metrics` by the first of `answers` that is left, the last one for ever, and 404 for the rest. */
async function serve(...answers: readonly Respond[]): Promise<LocalServer> {
  let asked = 0
  const server = await httpServer((request, response) => {
    if (request.url !== '/metrics') response.writeHead(404).end()
    else answers[Math.min(asked++, answers.length - 1)]?.(response, request)
  })
  cleanups.push(server.stop)
  return server
}

async function failure(source: Source): Promise<CollectError> {
  const error: unknown = await source.collect(signal).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof CollectError, `expected a CollectError, found ${String(error)}`)
  return error
}

function instrumentsOf(reading: Reading): readonly string[] {
  return reading.channels.map(({ instrument }) => instrument)
}

const plain = { 'content-type': 'text/plain; version=0.0.4' }

function body(text: string, headers: Record<string, string> = plain): Respond {
  return (response) => response.writeHead(200, headers).end(text)
}

describe('a page that is none', () => {
  const rows: readonly (readonly [string, Respond, CollectErrorCode, RegExp])[] = [
    ['the HTML of a proxy', body('<html>Bad gateway</html>\n'), 'not_exposition', /Bad gateway/],
    ['HTML after blanks', body('\n  <!DOCTYPE html>\n'), 'not_exposition', /DOCTYPE/],
    ['JSON', body('{"detail":"Not Found"}\n'), 'not_exposition', /detail/],
    ['JSON without a line end', body('{"detail":"Not Found"}'), 'not_exposition', /detail/],
    ['a list in JSON', body('[1, 2]\n'), 'not_exposition', /\[1, 2\]/],
    ['words', body('no healthy upstream\n'), 'not_exposition', /no healthy upstream/],
    ['an empty body', body(''), 'not_exposition', /an empty body/],
    ['a page cut in a line', body(page.slice(0, -20)), 'truncated', /cut off/],
    [
      'OpenMetrics without its end',
      body(page, { 'content-type': 'application/openmetrics-text; version=1.0.0' }),
      'truncated',
      /# EOF/,
    ],
    [
      'a page of more bytes than allowed',
      body(`${page}# ${'x'.repeat(maxBodyBytes)}\n`),
      'too_large',
      /at most 100000 bytes/,
    ],
    ['more samples than allowed', body('a 1\n'.repeat(10) + many(1_001)), 'limit', /1000/],
    [
      'a page in gzip, though none was asked for',
      (response) => {
        response.writeHead(200, { ...plain, 'content-encoding': 'gzip' }).end(gzipSync(page))
      },
      'not_exposition',
      /"gzip"/,
    ],
    [
      'a page that is broken off',
      (response) => {
        response.writeHead(200, { ...plain, 'content-length': page.length })
        response.write(page.slice(0, 300), () => response.socket?.resetAndDestroy())
      },
      'reset',
      /broken off/,
    ],
  ]
  for (const [what, respond, code, told] of rows) {
    it(`is refused as ${code}: ${what}; and the next page is read whole`, async () => {
      const server = await serve(respond, body(page))
      const source = engine(server.origin)
      const error = await failure(source)
      assert.equal(error.code, code)
      assert.match(error.message, told)
      assert.deepEqual(instrumentsOf(await source.collect(signal)), [
        'e2e_latency',
        'generation_tokens',
      ])
    })
  }

  function many(samples: number): string {
    return Array.from({ length: samples }, (_, index) => `a{i="${index}"} 1\n`).join('')
  }

  it('is refused as truncated where the connection just ends in the middle of it', async () => {
    // Neither a length nor chunks: the end of the connection is the end of the body.
    const head = 'HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n'
    const server = await answering(`${head}${page.slice(0, -5)}`, (socket) => socket.end())
    cleanups.push(server.stop)
    assert.equal((await failure(engine(server.origin))).code, 'truncated')
  })

  it('loses the histogram that was cut at the end of a line, and is counted', async () => {
    const cut = page.slice(0, page.indexOf('vllm:e2e_request_latency_seconds_count'))
    const server = await serve(body(cut))
    const reading = await engine(server.origin).collect(signal)
    assert.deepEqual(instrumentsOf(reading), ['generation_tokens'])
    assert.equal(reading.malformedLines, 1)
    assert.equal(reading.leftOut?.length, 1)
  })
})

describe('the deadline of a collection', () => {
  const slow: readonly (readonly [string, (socket: Socket) => void])[] = [
    ['never answers', () => {}],
    ['sends a head and then nothing', (socket) => socket.write('HTTP/1.1 200 OK\r\n\r\n')],
    [
      'drips its body for ever',
      (socket) => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n')
        const drip = setInterval(() => socket.write('#'), 10)
        socket.on('close', () => clearInterval(drip))
      },
    ],
    [
      'drips its head for ever',
      (socket) => {
        socket.write('HTTP/1.1 200 OK\r\nx: ')
        const drip = setInterval(() => socket.write('y'), 10)
        socket.on('close', () => clearInterval(drip))
      },
    ],
  ]
  for (const [what, answer] of slow) {
    it(`holds with a server that ${what}, for the page and the health endpoint alike`, async () => {
      const server = await rawServer((socket) => socket.once('data', () => answer(socket)))
      cleanups.push(server.stop)
      const source = engine(server.origin, { timeoutMs: 200 })
      const startMs = performance.now()
      const [error, probe] = await Promise.all([failure(source), source.probe?.(signal)])
      const tookMs = performance.now() - startMs
      assert.equal(error.code, 'timeout')
      // A head is all that is wanted of the health endpoint.
      assert.ok(probe !== undefined)
      if (probe.kind === 'unanswered') assert.equal(probe.code, 'timeout')
      else assert.equal(probe.status, 200)
      assert.ok(tookMs > 190 && tookMs < 1_500, `${tookMs} ms`)
    })
  }

  it('holds for the version too, which spoils nothing', async () => {
    const server = await httpServer((request, response) => {
      if (request.url === '/metrics') response.end(page)
    })
    cleanups.push(server.stop)
    const startMs = performance.now()
    const reading = await engine(server.origin, { timeoutMs: 200 }).collect(signal)
    assert.equal(reading.version, undefined)
    assert.ok(performance.now() - startMs < 1_500)
  })

  it('counts a name that is never resolved, and the name of another target is resolved beside it', async () => {
    const server = await serve(body(page))
    const lookup = new GuardedLookup((name) =>
      name === 'hung.test'
        ? new Promise(() => {})
        : Promise.resolve([{ address: '127.0.0.1', family: 4 }]),
    )
    const hung = engine('http://hung.test:8000', { timeoutMs: 200, lookup })
    const other = engine(`http://engine.test:${server.port}`, { lookup })
    const startMs = performance.now()
    const [error, reading] = await Promise.all([failure(hung), other.collect(signal)])
    assert.equal(error.code, 'timeout')
    assert.ok(instrumentsOf(reading).length > 0)
    assert.ok(performance.now() - startMs < 1_500)
  })

  it('leaves the next collection a free hand', async () => {
    const server = await serve(() => {}, body(page))
    const source = engine(server.origin, { timeoutMs: 200 })
    assert.equal((await failure(source)).code, 'timeout')
    assert.ok(instrumentsOf(await source.collect(signal)).length > 0)
  })
})

describe('a redirect', () => {
  for (const status of [301, 302, 303, 307, 308]) {
    it(`with ${status} is not followed, and credentials go nowhere`, async () => {
      const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-'))
      cleanups.push(() => rm(folder, { recursive: true }))
      const tokenFile = join(folder, 'token')
      writeFileSync(tokenFile, 's3cr3t')
      let visits = 0
      const elsewhere = await serve((response) => {
        visits += 1
        response.end(page)
      })
      const server = await serve((response) => {
        response.writeHead(status, { location: `${elsewhere.origin}/metrics?t=s3cr3t` }).end(page)
      })
      const error = await failure(engine(server.origin, { auth: { kind: 'bearer', tokenFile } }))
      assert.equal(error.code, 'redirect')
      assert.equal(error.status, status)
      assert.ok(error.message.includes(`${elsewhere.origin}/metrics`))
      assert.ok(!error.message.includes('s3cr3t'))
      assert.equal(visits, 0)
    })
  }
})

describe('a mistake in the program, made while it asks for the version', () => {
  /** Credentials of which the second look at their file is a mistake: the first one is for the scrape. */
  async function onceMistaken(): Promise<TargetAuth> {
    const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-'))
    cleanups.push(() => rm(folder, { recursive: true }))
    const path = join(folder, 'token')
    writeFileSync(path, 's3cr3t')
    let looks = 0
    return {
      kind: 'bearer',
      get tokenFile() {
        looks += 1
        return looks === 2 ? '\0' : path
      },
    }
  }

  it('is told by the collection that waits for it, once', async () => {
    const server = await serve(body(page))
    const source = engine(server.origin, { auth: await onceMistaken() })
    await assert.rejects(source.collect(signal), TypeError)
    assert.ok(instrumentsOf(await source.collect(signal)).length > 0)
  })

  it('is told by the next good scrape where the one beside it failed, and is never unhandled', async () => {
    const server = await serve((response) => response.writeHead(503).end(), body(page))
    const source = engine(server.origin, { auth: await onceMistaken() })
    assert.equal((await failure(source)).code, 'status')
    await assert.rejects(source.collect(signal), TypeError)
  })
})
