import assert from 'node:assert/strict'
import { it } from 'node:test'
import { type FakeHost, fakeHost } from './backends.ts'
import { type Answer, ask, eventually } from './client.ts'
import type { Numbers, Options, RunningProxy } from './proxy.ts'

type Start = (options: Options) => Promise<RunningProxy>

/** Two hosts with a proxy in front of them, for as long as `body` runs. */
export async function withProxy(
  start: Start,
  numbers: Partial<Numbers>,
  body: (port: number, first: FakeHost, second: FakeHost, proxy: RunningProxy) => Promise<void>,
  elsewherePort?: number,
): Promise<void> {
  const hosts = [await fakeHost(), await fakeHost()] as const
  const stops = hosts.map((host) => host.stop)
  try {
    const proxy = await start({
      hosts,
      numbers,
      ...(elsewherePort === undefined ? {} : { elsewherePort }),
    })
    stops.unshift(proxy.stop)
    await body(proxy.port, ...hosts, proxy).catch((error) => {
      // What the proxy has to say of it tells more than the claim that failed.
      if (error instanceof Error) error.message += `\n${proxy.said()}`
      throw error
    })
  } finally {
    for (const stop of stops) await stop()
  }
}

/**
 * Has a request wait in each of two servers, and returns their answers to come. One after the other: two that come
 * in the same instant are taken by two threads of HAProxy, which may both think that the first server is free.
 */
export async function oneInEach(
  port: number,
  first: FakeHost,
  second: FakeHost,
): Promise<Promise<Answer>[]> {
  const inside = () => first.held() + second.held()
  const answers = [ask(port, { hold: true }).answer]
  await eventually(() => inside() === 1, 'the first in a server')
  answers.push(ask(port, { hold: true }).answer)
  await eventually(() => first.held() === 1 && second.held() === 1, 'one in each server')
  return answers
}

/** The answer is an error in OpenAI's form that says when to come again. */
export function assertRefused(answer: Answer, status: number): void {
  assert.equal(answer.status, status, answer.body)
  assert.match(String(answer.headers['content-type']), /^application\/json/)
  assert.equal(typeof JSON.parse(answer.body).error.message, 'string')
  assert.match(String(answer.headers['retry-after']), /^[1-9]\d*$/)
}

/** Sends `count` requests one after the other; returns their status codes. */
export async function askAll(port: number, count: number): Promise<readonly number[]> {
  const codes: number[] = []
  for (let at = 0; at < count; at += 1) codes.push((await ask(port).answer).status)
  return codes
}

const all200 = (count: number) => Array.from({ length: count }, () => 200)

/** What every proxy in front of vLLM must do. */
export function proxyContract(start: Start, skip: string | false): void {
  watching(start, skip)
  limits(start, skip)
  streams(start, skip)
}

function watching(start: Start, skip: string | false): void {
  it(
    'sends nothing to a server whose daemon says that it does not serve, and to a degraded one as ever',
    {
      skip,
    },
    () =>
      withProxy(start, {}, async (port, first, second) => {
        first.verdict = 'unhealthy'
        const spared = async () => {
          const before = first.seen.length
          await askAll(port, 4)
          return first.seen.length === before
        }
        await eventually(spared, 'the stalled server to be spared', 3_000)
        const [seenByFirst, seenBySecond] = [first.seen.length, second.seen.length]
        assert.deepEqual(await askAll(port, 10), all200(10))
        assert.equal(first.seen.length, seenByFirst)
        assert.equal(second.seen.length, seenBySecond + 10)
        first.verdict = 'degraded'
        await eventually(async () => !(await spared()), 'the degraded server to be asked', 3_000)
      }),
  )

  it('says 503 and when to come again where no server serves', { skip }, () =>
    withProxy(start, {}, async (port, first, second) => {
      first.verdict = 'unhealthy'
      second.verdict = 'unknown'
      await eventually(async () => (await ask(port).answer).status === 503, 'a 503', 3_000)
      const before = first.seen.length + second.seen.length
      assertRefused(await ask(port).answer, 503)
      assert.equal(first.seen.length + second.seen.length, before)
    }),
  )

  it('finds the other server where the connection is refused', { skip }, () =>
    withProxy(start, {}, async (port, first, second) => {
      await first.vllm.stop()
      assert.deepEqual(await askAll(port, 4), all200(4))
      assert.equal(second.seen.length, 4)
    }),
  )

  it('sends a request that began to be answered to nobody else', { skip }, () =>
    withProxy(start, {}, async (port, first, second) => {
      const { status } = await ask(port, { breakOff: true }).answer
      assert.equal(status, 502)
      assert.equal(first.seen.length + second.seen.length, 1)
    }),
  )

  it('keeps all but the API from clients, and gives each request an id', { skip }, () =>
    withProxy(start, {}, async (port, first, second) => {
      for (const path of ['/metrics', '/health', '/v2', '/']) {
        assert.equal((await ask(port, {}, { path }).answer).status, 404)
      }
      const { headers } = await ask(port, {}, { id: 'chosen-by-a-client' }).answer
      const [request, ...others] = [...first.seen, ...second.seen]
      assert.deepEqual(others, [])
      assert.equal(request?.path, '/v1/chat/completions')
      assert.equal(request?.id, headers['x-request-id'])
      assert.match(String(request?.id), /^[0-9a-f-]{32,36}$/)
    }),
  )
}

function limits(start: Start, skip: string | false): void {
  it('tells a client that asks too often 429, and lets another one through', { skip }, () =>
    withProxy(start, { clientRequests: 3 }, async (port, first, second) => {
      const greedy = () => ask(port, {}, { key: 'greedy' }).answer
      for (let at = 0; at < 3; at += 1) assert.equal((await greedy()).status, 200)
      assertRefused(await greedy(), 429)
      assert.equal((await ask(port, {}, { key: 'modest' }).answer).status, 200)
      assert.equal(first.seen.length + second.seen.length, 4)
    }),
  )

  it(
    'aborts in vLLM what its client has given up, before the first byte and in a stream',
    {
      skip,
    },
    () =>
      withProxy(start, {}, async (port, first, second) => {
        const aborted = () => first.aborted() + second.aborted()
        const waiting = ask(port, { hold: true })
        await eventually(() => first.held() + second.held() === 1, 'the request in vLLM')
        waiting.abort()
        await eventually(() => aborted() === 1, 'the first to be aborted in vLLM', 2_000)
        const streaming = ask(port, { chunks: 100, gapMs: 100 })
        await streaming.begun
        streaming.abort()
        await eventually(() => aborted() === 2, 'the second to be aborted in vLLM', 2_000)
      }),
  )
}

function streams(start: Start, skip: string | false): void {
  it(
    'passes each token as it comes, for longer than the time-out, which counts from the last byte',
    {
      skip,
    },
    () =>
      withProxy(start, { silenceMs: 1_000 }, async (port) => {
        const { status, body, parts } = await ask(port, { chunks: 6, gapMs: 400 }).answer
        assert.equal(status, 200)
        const sent = [...body.matchAll(/"at":(\d+),"sent_ms":(\d+)/g)]
        assert.deepEqual(
          sent.map(([, at]) => Number(at)),
          [0, 1, 2, 3, 4, 5],
        )
        assert.ok(body.endsWith('data: [DONE]\n\n'))
        // Five gaps of 400 ms lie between the first chunk and the last: the first was here long before.
        const lastSentMs = Number(sent[5]?.[2])
        assert.ok((parts[0]?.atMs ?? Number.POSITIVE_INFINITY) < lastSentMs - 1_500)
      }),
  )

  it('gives up a server that says nothing for longer than the time-out', { skip }, () =>
    withProxy(start, { silenceMs: 1_000 }, async (port, first, second) => {
      const { status, body } = await ask(port, { hold: true }).answer
      assert.ok(status === 504 || status === 502, `${status}`)
      assert.equal(typeof JSON.parse(body).error.message, 'string')
      assert.equal(first.seen.length + second.seen.length, 1)
    }),
  )
}
