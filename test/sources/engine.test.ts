import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { CollectError } from '../../src/errors.ts'
import type { Exposition } from '../../src/exposition/exposition.ts'
import type { Reading } from '../../src/reading.ts'
import { createEngineSource } from '../../src/sources/engine.ts'
import type { TargetAuth } from '../../src/sources/settings.ts'
import type { Source } from '../../src/sources/source.ts'
import { closedPort, httpServer, type LocalServer, listen } from '../fakes/local-server.ts'
import { ManualClock } from '../fakes/manual-clock.ts'

const cleanups: Array<() => Promise<void> | void> = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

const signal = new AbortController().signal
const emptyPage: Exposition = {
  series: [],
  values: new Float64Array(0),
  families: new Map(),
  malformedLines: 0,
  limitHits: {},
}

/** What the stand-ins for the parser and the dialect were given. */
interface Seen {
  readonly pages: string[]
  readonly types: Array<string | undefined>
}

interface Engine {
  readonly source: Source
  readonly clock: ManualClock
  readonly seen: Seen
}

function engine(url: string, settings: { auth?: TargetAuth; timeoutMs?: number } = {}): Engine {
  const clock = new ManualClock()
  const seen: Seen = { pages: [], types: [] }
  const source = createEngineSource({
    target: { name: 'vllm', url, auth: settings.auth ?? { kind: 'none' } },
    scrape: { timeoutMs: settings.timeoutMs ?? 1_000, maxBodyBytes: 10_000 },
    clock,
    parse: (body, contentType) => {
      const text = Buffer.from(body).toString()
      if (text.startsWith('<')) throw new CollectError('not_exposition', 'found HTML')
      seen.pages.push(text)
      seen.types.push(contentType)
      return emptyPage
    },
    translate: (_page, { version }) => readingOf(version),
  })
  cleanups.unshift(() => source.close())
  return { source, clock, seen }
}

function readingOf(version: string | undefined): Reading {
  return {
    channels: [],
    values: new Float64Array(0),
    processStartSeconds: undefined,
    version,
    capabilities: new Set(),
    malformedLines: 0,
    limitHits: {},
    notes: [],
  }
}

type Pages = Readonly<
  Record<string, (response: ServerResponse, request: IncomingMessage) => unknown>
>

/** Serves `pages` by path and 404 for the rest; `asked` lists every path asked for. */
async function serve(pages: Pages): Promise<LocalServer & { readonly asked: string[] }> {
  const asked: string[] = []
  const server = await httpServer((request, response) => {
    const path = request.url ?? ''
    asked.push(path)
    const page = pages[path]
    if (page === undefined) response.writeHead(404).end('no such page')
    else page(response, request)
  })
  cleanups.push(server.stop)
  return Object.assign(server, { asked })
}

const good: Pages = {
  '/metrics': (response) => {
    response.setHeader('content-type', 'text/plain; version=0.0.4').end('a 1\n')
  },
  '/health': (response) => response.end(),
  '/version': (response) => response.end('{"version": "0.10.0"}'),
}

function count(asked: readonly string[], path: string): number {
  return asked.filter((each) => each === path).length
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 4_000
  while (!(await holds())) {
    if (performance.now() > endMs) assert.fail(`expected ${what}`)
    await delay(5)
  }
}

async function probeOf(source: Source) {
  assert.ok(source.probe !== undefined)
  return await source.probe(signal)
}

describe('the engine source', () => {
  it('reads /metrics, and nothing but /metrics, with its content type', async () => {
    const server = await serve(good)
    const { source, seen } = engine(server.origin)
    await source.collect(signal)
    assert.deepEqual(seen.pages, ['a 1\n'])
    assert.deepEqual(seen.types, ['text/plain; version=0.0.4'])
    assert.deepEqual([...server.asked].sort(), ['/metrics', '/version'])
  })

  it('keeps the path of the base URL, whether or not it ends in a slash', async () => {
    const server = await serve({ '/proxy/a/metrics': (response) => response.end('a 1\n') })
    for (const base of ['/proxy/a', '/proxy/a/']) {
      const { source } = engine(`${server.origin}${base}`)
      await source.collect(signal)
      await probeOf(source)
    }
    assert.equal(count(server.asked, '/proxy/a/metrics'), 2)
    assert.equal(count(server.asked, '/proxy/a/health'), 2)
    assert.equal(count(server.asked, '/proxy/a/version'), 2)
  })

  it('prefers the plain text format over OpenMetrics', async () => {
    let accept = ''
    const server = await serve({
      '/metrics': (response, request) => {
        accept = request.headers.accept ?? ''
        response.end('a 1\n')
      },
    })
    await engine(server.origin).source.collect(signal)
    assert.match(accept, /^text\/plain;version=0\.0\.4,.*openmetrics-text;version=1\.0\.0;q=0\.5/)
  })

  it('hands over nothing of an answer that is not 200, not a page, or a redirect', async () => {
    const answers: ReadonlyArray<readonly [number, string, string]> = [
      [500, 'a 1\n', 'status'],
      [503, 'a 1\n', 'status'],
      [404, 'a 1\n', 'status'],
      [401, 'a 1\n', 'status'],
      [307, 'a 1\n', 'redirect'],
      [200, '<html>', 'not_exposition'],
      [200, 'x'.repeat(10_001), 'too_large'],
    ]
    for (const [status, body, code] of answers) {
      const server = await serve({
        '/metrics': (response) => response.writeHead(status, { location: '/elsewhere' }).end(body),
      })
      const { source, seen } = engine(server.origin)
      await assert.rejects(source.collect(signal), { name: 'CollectError', code })
      assert.deepEqual(seen.pages, [])
      assert.equal(count(server.asked, '/elsewhere'), 0)
    }
  })

  it('tells an engine that is not there as refused, and as unanswered by its health endpoint', async () => {
    const { source } = engine(`http://127.0.0.1:${await closedPort()}`)
    await assert.rejects(source.collect(signal), { code: 'refused' })
    const probe = await probeOf(source)
    assert.equal(probe.kind === 'unanswered' && probe.code, 'refused')
  })

  it('refuses a second collection while one is under way', async () => {
    const server = await serve(good)
    const { source } = engine(server.origin)
    const first = source.collect(signal)
    await assert.rejects(source.collect(signal), /one collection at a time/)
    await first
  })
})

describe('the health endpoint of an engine', () => {
  for (const status of [200, 500, 503]) {
    it(`is told as answered with ${status}`, async () => {
      const server = await serve({
        '/health': (response) => response.writeHead(status).end('words'),
      })
      const probe = await probeOf(engine(server.origin).source)
      assert.deepEqual(probe, { kind: 'answered', status, tookMs: 0 })
    })
  }

  it('is unanswered when it hangs, while the scrape beside it goes on', async () => {
    const server = await serve({ ...good, '/health': () => {} })
    const { source } = engine(server.origin, { timeoutMs: 200 })
    const [reading, probe] = await Promise.all([source.collect(signal), probeOf(source)])
    assert.equal(reading.version, '0.10.0')
    assert.equal(probe.kind === 'unanswered' && probe.code, 'timeout')
  })
})

describe('the version of an engine', () => {
  it('is known to the first reading and asked once for each process life', async () => {
    const server = await serve(good)
    const { source, clock } = engine(server.origin)
    for (let round = 0; round < 3; round += 1) {
      assert.equal((await source.collect(signal)).version, '0.10.0')
      await clock.jump(3_600_000)
    }
    assert.equal(count(server.asked, '/version'), 1)
    source.newLife()
    await source.collect(signal)
    assert.equal(count(server.asked, '/version'), 2)
  })

  it('is not asked again where there is none, until a new life', async () => {
    const server = await serve({ '/metrics': (response) => response.end('a 1\n') })
    const { source, clock } = engine(server.origin)
    assert.equal((await source.collect(signal)).version, undefined)
    await clock.jump(3_600_000)
    await source.collect(signal)
    assert.equal(count(server.asked, '/version'), 1)
    source.newLife()
    await source.collect(signal)
    assert.equal(count(server.asked, '/version'), 2)
  })

  const unusable: Pages = {
    'an error': (response) => response.writeHead(500).end(),
    'no JSON': (response) => response.end('<html>'),
    'JSON of another shape': (response) => response.end('{"version": 7}'),
    'a version without end': (response) => response.end(`{"version": "${'9'.repeat(65)}"}`),
    'a body without end': (response) => response.end(' '.repeat(70_000)),
  }
  for (const [what, page] of Object.entries(unusable)) {
    it(`stays unknown with ${what}, does no harm to the scrape, and is asked again after 60 s`, async () => {
      const server = await serve({ ...good, '/version': page })
      const { source, clock } = engine(server.origin)
      assert.equal((await source.collect(signal)).version, undefined)
      await clock.jump(59_999)
      await source.collect(signal)
      assert.equal(count(server.asked, '/version'), 1)
      await clock.jump(1)
      await source.collect(signal)
      assert.equal(count(server.asked, '/version'), 2)
    })
  }

  it('is waited for once in a life: a question put again does not hold up a scrape', {
    timeout: 5_000,
  }, async () => {
    const held: ServerResponse[] = []
    let answer: (response: ServerResponse) => unknown = (response) => response.writeHead(500).end()
    const server = await serve({ ...good, '/version': (response) => answer(response) })
    // Far beyond the end of the test: what waits for an answer that never comes does not pass it.
    const { source, clock } = engine(server.origin, { timeoutMs: 60_000 })
    assert.equal((await source.collect(signal)).version, undefined)
    answer = (response) => held.push(response)
    await clock.jump(60_000)
    assert.equal((await source.collect(signal)).version, undefined)
    await until('the second question', () => held.length === 1)
    // It is still under way, and no other is put beside it.
    await clock.jump(60_000)
    assert.equal((await source.collect(signal)).version, undefined)
    held[0]?.end('{"version": "0.10.0"}')
    await until('the answer', async () => (await source.collect(signal)).version === '0.10.0')
    assert.equal(count(server.asked, '/version'), 2)
    source.newLife()
    answer = (response) => setTimeout(() => response.end('{"version": "0.11.0"}'), 100)
    assert.equal((await source.collect(signal)).version, '0.11.0')
  })

  const unheard: readonly (readonly [claim: string, firstVersion: number, metrics: number])[] = [
    // The scrape fails at once, and what fails does not wait for the version.
    ['the first question', 0, 503],
    ['a question put again', 500, 200],
  ]
  for (const [claim, firstVersion, metrics] of unheard) {
    it(`is given up with the source, where ${claim} hangs`, { timeout: 5_000 }, async () => {
      const versions = [firstVersion]
      const server = await serve({
        '/metrics': (response) => response.writeHead(metrics).end('a 1\n'),
        '/version': (response) => {
          const status = versions.shift() ?? 0
          if (status > 0) response.writeHead(status).end()
        },
      })
      const { source, clock } = engine(server.origin, { timeoutMs: 60_000 })
      await source.collect(signal).catch(() => {})
      if (firstVersion > 0) {
        await clock.jump(60_000)
        await source.collect(signal)
      }
      const asked = firstVersion > 0 ? 2 : 1
      await until('the question', () => count(server.asked, '/version') === asked)
      await source.close()
    })
  }

  it('is asked again once the port was found closed, since the process is another', async () => {
    const first = await serve(good)
    const { source } = engine(first.origin)
    assert.equal((await source.collect(signal)).version, '0.10.0')
    await first.stop()
    // The kept connection may be found broken before the port is found closed.
    const twice = source.collect(signal).catch(() => source.collect(signal))
    await assert.rejects(twice, { code: 'refused' })
    const second = await listen(
      createServer((request, response) => {
        response.end(request.url === '/version' ? '{"version": "0.11.0"}' : 'a 1\n')
      }),
      first.port,
    )
    cleanups.push(second.stop)
    assert.equal((await source.collect(signal)).version, '0.11.0')
  })
})

describe('the credentials of an engine', () => {
  function secretFile(text: string): string {
    const folder = mkdtempSync(join(tmpdir(), 'vllm-vitals-'))
    cleanups.push(() => rmSync(folder, { recursive: true }))
    const path = join(folder, 'secret')
    writeFileSync(path, text)
    return path
  }

  async function listening(): Promise<{
    server: LocalServer
    sent: Map<string, string | undefined>
  }> {
    const sent = new Map<string, string | undefined>()
    const note = (text: string) => (response: ServerResponse, request: IncomingMessage) => {
      sent.set(request.url ?? '', request.headers.authorization)
      response.end(text)
    }
    const server = await serve({
      '/metrics': note('a 1\n'),
      '/health': note(''),
      '/version': note('{"version":"1"}'),
    })
    return { server, sent }
  }

  it('are a bearer token from a file, sent to all three endpoints and read anew each time', async () => {
    const { server, sent } = await listening()
    const tokenFile = secretFile('first-token\n')
    const { source } = engine(server.origin, { auth: { kind: 'bearer', tokenFile } })
    await source.collect(signal)
    await probeOf(source)
    assert.deepEqual([...sent.values()], Array(3).fill('Bearer first-token'))
    writeFileSync(tokenFile, 'second-token\n')
    await source.collect(signal)
    assert.equal(sent.get('/metrics'), 'Bearer second-token')
  })

  it('are basic authentication with a password from a file', async () => {
    const { server, sent } = await listening()
    const passwordFile = secretFile('pässword\r\n')
    const auth: TargetAuth = { kind: 'basic', username: 'monitor', passwordFile }
    await engine(server.origin, { auth }).source.collect(signal)
    const value = sent.get('/metrics') ?? ''
    const decoded = Buffer.from(value.replace('Basic ', ''), 'base64').toString()
    assert.equal(decoded, 'monitor:pässword')
  })

  it('that cannot be used keep the request from being sent, and are not quoted', async () => {
    const { server, sent } = await listening()
    const files = [secretFile('s3cr3t\nline'), secretFile('s3cr3t-é'), secretFile(''), '/nowhere/s']
    for (const tokenFile of files) {
      const { source } = engine(server.origin, { auth: { kind: 'bearer', tokenFile } })
      await assert.rejects(source.collect(signal), (error) => {
        assert.ok(error instanceof CollectError)
        assert.equal(error.code, 'permission')
        assert.ok(error.message.includes(tokenFile) && !error.message.includes('s3cr3t'))
        return true
      })
      const probe = await probeOf(source)
      assert.equal(probe.kind === 'unanswered' && probe.code, 'permission')
    }
    assert.equal(sent.size, 0)
  })
})
