import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ConfigError } from '../../src/errors.ts'
import type { WebOptions } from '../../src/web/server.ts'
import { ManualClock } from '../fakes/manual-clock.ts'
import { alertOf, builtAtMs, measuredOf, snapshotOf, targetOf } from '../fakes/snapshots.ts'
import { keepingLog, type LoggedLine, serving } from './serving.ts'

interface Ask {
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE' | 'OPTIONS' | 'PATCH' | 'TRACE'
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly payload?: string
}

/** What the daemon described by `given` answers. */
function ask(wanted: string | Ask, given: Partial<WebOptions> = {}) {
  const request = typeof wanted === 'string' ? { url: wanted } : wanted
  return serving(given, async (server) => {
    const { method = 'GET', url, headers = {}, payload } = request
    return server.inject({ method, url, headers, ...(payload === undefined ? {} : { payload }) })
  })
}

const json = 'application/json; charset=utf-8'
const plain = 'text/plain; charset=utf-8'
const pages = [
  ['/', 'text/html; charset=utf-8'],
  ['/metrics', 'text/plain; version=0.0.4; charset=utf-8'],
  ['/livez', plain],
  ['/-/healthy', plain],
  ['/readyz', plain],
  ['/-/ready', plain],
  ['/health', json],
  ['/api/v1/status', json],
] as const
const noSnapshot = { snapshot: () => undefined }

describe('every endpoint', () => {
  for (const [url, contentType] of pages) {
    it(`answers GET ${url} with 200`, async () => {
      const { statusCode, headers, body } = await ask(url)
      assert.deepEqual([statusCode, headers['content-type']], [200, contentType])
      assert.equal(headers['x-content-type-options'], 'nosniff')
      assert.equal(headers['cache-control'], 'no-store')
      assert.equal(headers['access-control-allow-origin'], undefined)
      assert.ok(body.endsWith('\n'))
    })

    it(`answers HEAD ${url} as GET, with headers only`, () =>
      serving({}, async (server) => {
        const get = await server.inject({ method: 'GET', url })
        const head = await server.inject({ method: 'HEAD', url })
        const { date: _now, ...wanted } = get.headers
        const { date: _then, ...found } = head.headers
        assert.deepEqual([head.statusCode, head.body], [200, ''])
        assert.deepEqual(found, wanted)
        assert.equal(Number(found['content-length']), Buffer.byteLength(get.body))
      }))

    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE'] as const) {
      it(`answers ${method} ${url} with 405 and what is allowed`, async () => {
        const { statusCode, headers, body } = await ask({ method, url })
        assert.deepEqual([statusCode, headers.allow], [405, 'GET, HEAD'])
        assert.equal(headers['content-type'], json)
        assert.equal(JSON.parse(body).error, 'method not allowed')
      })
    }
  }

  it('ignores a query that it does not know', async () => {
    for (const [url] of pages) assert.equal((await ask(`${url}?x=1&x=2&%zz`)).statusCode, 200)
  })

  it('answers a browser of another site without letting it read', async () => {
    const headers = { host: 'evil.example', origin: 'http://evil.example' }
    const answer = await ask({ url: '/health', headers })
    assert.equal(answer.headers['access-control-allow-origin'], undefined)
  })
})

describe('a path that is no endpoint', () => {
  for (const url of [
    '/nothing',
    '/metrics/',
    '//',
    '//metrics',
    '/../../etc/passwd',
    '/%2e%2e/%2e%2e/etc/passwd',
    '/..%2f..%2fetc%2fpasswd',
    '/%00',
    '/metrics%00',
    '/%zz',
    '/%',
    '/health;x',
    '/METRICS',
    '/-/',
    '/__proto__',
    `/${'a'.repeat(10_000)}`,
  ]) {
    it(`is answered with 404 and JSON: ${url.slice(0, 40)}`, async () => {
      for (const method of ['GET', 'HEAD', 'POST', 'DELETE'] as const) {
        const { statusCode, headers, body } = await ask({ method, url })
        assert.deepEqual([statusCode, headers['content-type']], [404, json])
        assert.equal(headers['x-content-type-options'], 'nosniff')
        if (method === 'HEAD') continue
        assert.equal(JSON.parse(body).error, 'not found')
        assert.ok(body.length < 500)
      }
    })
  }

  it('is told which ones there are', async () => {
    const { paths } = JSON.parse((await ask('/nothing')).body)
    assert.deepEqual(paths, [...pages.map(([url]) => url), '/-/reload'])
  })
})

describe('/metrics', () => {
  for (const [claim, accept, contentType, lastLine] of [
    ['is text for whoever wants anything', '*/*', pages[1][1], /\n$/],
    ['is text for garbage', ';;,=\u00ff', pages[1][1], /\n$/],
    [
      'is OpenMetrics for whoever asks for it',
      'application/openmetrics-text; version=1.0.0',
      'application/openmetrics-text; version=1.0.0; charset=utf-8',
      /\n# EOF\n$/,
    ],
  ] as const) {
    it(claim, async () => {
      const { headers, body } = await ask({ url: '/metrics', headers: { accept } })
      assert.equal(headers['content-type'], contentType)
      assert.equal(headers['vary'], 'Accept')
      assert.match(body, lastLine)
    })
  }

  it('is 200 before the first evaluation, while stopping and when the loops stand still', async () => {
    const stuck = { ...noSnapshot, alive: () => false, stopping: () => true }
    assert.equal((await ask('/metrics', stuck)).statusCode, 200)
  })

  it('is not compressed, whatever is accepted', async () => {
    const answer = await ask({ url: '/metrics', headers: { 'accept-encoding': 'gzip' } })
    assert.equal(answer.headers['content-encoding'], undefined)
  })

  it('ignores what a scraper says of its patience', async () => {
    for (const seconds of ['-1', '1e9', 'abc']) {
      const headers = { 'x-prometheus-scrape-timeout-seconds': seconds }
      assert.equal((await ask({ url: '/metrics', headers })).statusCode, 200)
    }
  })

  it('is made once for an evaluation, whoever asks and however many', async () => {
    let collected = 0
    const lastReloadSuccessful = () => ++collected > 0
    await serving({ lastReloadSuccessful }, async (server) => {
      const accept = 'application/openmetrics-text'
      await Promise.all(
        Array.from({ length: 100 }, async () => {
          await server.inject({ method: 'HEAD', url: '/metrics' })
          await server.inject({ url: '/metrics', headers: { accept } })
        }),
      )
    })
    assert.equal(collected, 1)
  })

  it('tells nothing of what went wrong inside, and logs it', async () => {
    const lines: LoggedLine[] = []
    const broken = () => {
      throw new Error('a secret')
    }
    const given = { log: keepingLog(lines), lastReloadSuccessful: broken }
    const { statusCode, body } = await ask('/metrics', given)
    assert.deepEqual([statusCode, JSON.parse(body).message], [500, 'see the log'])
    assert.deepEqual(
      lines.map(({ level, message }) => [level, message]),
      [['error', 'request failed']],
    )
  })
})

describe('liveness', () => {
  for (const url of ['/livez', '/-/healthy']) {
    it(`at ${url} asks only whether the daemon's own loops turn`, async () => {
      const unhealthy = snapshotOf({ status: 'unhealthy', ready: false })
      for (const snapshot of [undefined, unhealthy]) {
        const given = { snapshot: () => snapshot, stopping: () => true }
        const lives = await ask(url, given)
        assert.deepEqual([lives.statusCode, lives.body], [200, 'ok\n'])
        assert.equal((await ask(url, { ...given, alive: () => false })).statusCode, 503)
      }
    })
  }
})

describe('readiness', () => {
  const unready = { snapshot: () => snapshotOf({ ready: false }) }
  const unhealthy = { snapshot: () => snapshotOf({ status: 'unhealthy' }) }
  const ready = { snapshot: () => snapshotOf() }
  for (const [claim, given, code, body] of [
    ['is 200 once every target was tried', ready, 200, 'ready\n'],
    ['is 200 whatever came of it', unhealthy, 200, 'ready\n'],
    ['is 503 before', unready, 503, 'not every target has been tried yet\n'],
    ['is 503 before the first evaluation', noSnapshot, 503, 'nothing has been evaluated yet\n'],
    ['is 503 while stopping', { ...ready, stopping: () => true }, 503, 'the daemon is stopping\n'],
  ] as const) {
    it(claim, async () => {
      for (const url of ['/readyz', '/-/ready']) {
        const answer = await ask(url, given)
        assert.deepEqual([answer.statusCode, answer.body], [code, body])
      }
    })
  }
})

describe('/health', () => {
  const a = targetOf({ name: 'a', status: 'degraded', reasons: [alertOf()] })
  const b = targetOf({ name: 'b', status: 'unhealthy', state: 'down', up: false })
  const both = snapshotOf({
    status: 'unhealthy',
    targets: [a, b],
    gpuSource: targetOf({ name: 'gpu' }),
  })
  const given = { snapshot: () => both }

  for (const [status, plainCode, strictCode] of [
    ['healthy', 200, 200],
    ['degraded', 200, 503],
    ['unknown', 503, 503],
    ['unhealthy', 503, 503],
  ] as const) {
    it(`is ${plainCode} when all is ${status}, and ${strictCode} with ?fail_on=degraded`, async () => {
      const snapshot = snapshotOf({ status })
      const found = await ask('/health', { snapshot: () => snapshot })
      assert.deepEqual([found.statusCode, JSON.parse(found.body).status], [plainCode, status])
      const strict = await ask('/health?fail_on=degraded', { snapshot: () => snapshot })
      assert.equal(strict.statusCode, strictCode)
    })
  }

  for (const [url, code, status, names] of [
    ['/health?target=a', 200, 'degraded', ['a']],
    ['/health?target=b', 503, 'unhealthy', ['b']],
    ['/health?target=gpu', 200, 'healthy', []],
    ['/health?target=a&fail_on=degraded', 503, 'degraded', ['a']],
  ] as const) {
    it(`speaks of one target alone: ${url}`, async () => {
      const { statusCode, body } = await ask(url, given)
      const { status: found, targets } = JSON.parse(body)
      assert.deepEqual([statusCode, found], [code, status])
      assert.deepEqual(
        targets.map(({ name }: { name: string }) => name),
        names,
      )
    })
  }

  it('is 404 for a target that there is not, and names those there are', async () => {
    const { statusCode, body } = await ask('/health?target=c', given)
    assert.deepEqual([statusCode, JSON.parse(body).targets], [404, ['a', 'b', 'gpu']])
  })

  for (const [url, message] of [
    ['/health?fail_on=unhealthy', 'fail_on: expected "degraded"'],
    ['/health?target=a&target=b', 'target: expected one name'],
    ['/health?fail_on=', 'fail_on: expected "degraded"'],
  ] as const) {
    it(`is 400 for ${url}`, async () => {
      const { statusCode, body } = await ask(url, given)
      assert.deepEqual([statusCode, JSON.parse(body).message], [400, message])
    })
  }

  it('is text, one line for each reason, where that is asked for', async () => {
    const answer = await ask({ url: '/health?target=a', headers: { accept: 'text/plain' } }, given)
    assert.equal(answer.headers['content-type'], plain)
    assert.equal(answer.headers['vary'], 'Accept')
    assert.match(answer.body, /^degraded\na VllmLatencyP99High critical since \S+ 2\.9 % .*\n$/)
  })

  it('is 503 and unknown before the first evaluation, for one target too', async () => {
    for (const url of ['/health', '/health?target=a', '/health?fail_on=degraded']) {
      const { statusCode, body } = await ask(url, noSnapshot)
      const { status, detail } = JSON.parse(body)
      assert.deepEqual(
        [statusCode, status, detail],
        [503, 'unknown', 'nothing has been evaluated yet'],
      )
    }
  })

  it('does not vouch for an evaluation that is long past', async () => {
    const clock = new ManualClock()
    // The snapshot is of 200 s after the clock's zero; half a minute later nothing has followed it.
    await clock.jump(builtAtMs + 30_000 - clock.monotonicMs())
    const { statusCode, body } = await ask('/health', { clock, alive: () => false })
    const { status, detail, targets } = JSON.parse(body)
    assert.deepEqual([statusCode, status, targets.length], [503, 'unknown', 1])
    assert.equal(detail, 'nothing was evaluated for 30 s')
  })
})

describe('/api/v1/status', () => {
  for (const [claim, given, status] of [
    ['when all is unhealthy', { snapshot: () => snapshotOf({ status: 'unhealthy' }) }, 'unhealthy'],
    ['before the first evaluation', noSnapshot, 'unknown'],
    ['when the loops stand still', { alive: () => false }, 'unknown'],
    ['while stopping', { stopping: () => true }, 'healthy'],
  ] as const) {
    it(`is 200 ${claim}`, async () => {
      const answer = await ask('/api/v1/status', given)
      assert.deepEqual([answer.statusCode, JSON.parse(answer.body).status], [200, status])
    })
  }

  it('follows the evaluation', async () => {
    let sequence = 0
    const snapshot = () => {
      sequence += 1
      return snapshotOf({ sequence, measured: [measuredOf({ name: 'up', value: sequence })] })
    }
    await serving({ snapshot }, async (server) => {
      for (const value of [1, 2]) {
        const { daemon } = JSON.parse((await server.inject({ url: '/api/v1/status' })).body)
        assert.equal(daemon.measurements[0].value, value)
      }
    })
  })
})

describe('POST /-/reload', () => {
  const post = { method: 'POST', url: '/-/reload' } as const

  it('is 403 and does nothing unless it is enabled', async () => {
    let reloads = 0
    const reload = async () => {
      reloads += 1
    }
    const { statusCode, body } = await ask(post, { reload })
    assert.deepEqual([statusCode, reloads], [403, 0])
    assert.match(JSON.parse(body).message, /web\.enable_lifecycle/)
  })

  it('reloads and answers once that is done', async () => {
    let done = false
    const reload = async () => {
      await new Promise((resolve) => setImmediate(resolve))
      done = true
    }
    const { statusCode, body } = await ask(post, { enableLifecycle: true, reload })
    assert.deepEqual([statusCode, body, done], [200, 'reloaded\n', true])
  })

  it('reloads whatever comes with the request', async () => {
    const given = { enableLifecycle: true }
    for (const contentType of ['application/json', 'text/plain', '']) {
      const headers = contentType === '' ? {} : { 'content-type': contentType }
      const answer = await ask({ ...post, headers, payload: '{'.repeat(5_000) }, given)
      assert.equal(answer.statusCode, 200, contentType)
    }
  })

  it('is refused with 415 where the type of a body is no type', async () => {
    const reload = () => Promise.reject(new Error('expected no reload'))
    const headers = { 'content-type': 'nonsense' }
    const answer = await ask({ ...post, headers, payload: 'a' }, { enableLifecycle: true, reload })
    assert.equal(answer.statusCode, 415)
  })

  for (const [claim, error, issues] of [
    [
      'every mistake',
      new ConfigError(['a: expected 1', 'b: expected 2']),
      ['a: expected 1', 'b: expected 2'],
    ],
    ['what went wrong', new Error('no such file'), ['no such file']],
  ] as const) {
    it(`is 500 and names ${claim} when it fails`, async () => {
      const reload = () => Promise.reject(error)
      const { statusCode, body } = await ask(post, { enableLifecycle: true, reload })
      assert.deepEqual([statusCode, JSON.parse(body).issues], [500, issues])
    })
  }

  for (const method of ['GET', 'HEAD', 'PUT'] as const) {
    it(`is not done by ${method}`, async () => {
      const { statusCode, headers } = await ask({ ...post, method }, { enableLifecycle: true })
      assert.deepEqual([statusCode, headers.allow], [405, 'POST'])
    })
  }
})
