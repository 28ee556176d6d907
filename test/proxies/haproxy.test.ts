import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, it } from 'node:test'
import { findProgram } from '../repository.ts'
import { fakeHost } from './backends.ts'
import { ask, eventually } from './client.ts'
import { askAll, assertRefused, oneInEach, proxyContract, withProxy } from './contract.ts'
import { haproxyFile, startHaproxy } from './proxy.ts'

const skip = findProgram('haproxy') === undefined ? 'needs haproxy' : false

describe('config/haproxy/haproxy.cfg', () => {
  it('is valid, without a warning', { skip }, () => {
    const { status, stdout, stderr } = spawnSync('haproxy', ['-c', '-f', haproxyFile], {
      encoding: 'utf8',
    })
    assert.equal(status, 0, stdout + stderr)
    assert.doesNotMatch(stdout + stderr, /WARNING|ALERT/)
  })

  proxyContract(startHaproxy, skip)

  it('queues what no server has room for, and tells more than that 429', { skip }, () =>
    withProxy(startHaproxy, { inFlight: 1, queueLimit: 2 }, async (port, first, second) => {
      const within = await oneInEach(port, first, second)
      for (let at = 0; at < 3; at += 1) within.push(ask(port, { hold: true }).answer)
      // Three of the five are in the queue, once HAProxy has read them: two for each server, rounded up.
      await new Promise((resolve) => setTimeout(resolve, 100))
      const answer = await ask(port).answer
      assertRefused(answer, 429)
      // 2 ÷ 9, rounded down, and one second more.
      assert.equal(answer.headers['retry-after'], '1')
      await eventually(() => {
        first.release()
        second.release()
        return first.seen.length + second.seen.length === 5
      }, 'those in the queue to have their turn')
      first.release()
      second.release()
      assert.deepEqual(
        (await Promise.all(within)).map(({ status }) => status),
        [200, 200, 200, 200, 200],
      )
      assert.equal(first.seen.length + second.seen.length, 5)
    }),
  )

  it('tells those that waited too long 503, and when to come again', { skip }, () =>
    withProxy(startHaproxy, { inFlight: 1, queueMs: 300 }, async (port, first, second) => {
      const within = await oneInEach(port, first, second)
      assertRefused(await ask(port).answer, 503)
      first.release()
      second.release()
      await Promise.all(within)
    }),
  )

  it('leaves out of the queue who has hung up', { skip }, () =>
    withProxy(startHaproxy, { inFlight: 1 }, async (port, first, second) => {
      const within = await oneInEach(port, first, second)
      const gone = ask(port)
      await new Promise((resolve) => setTimeout(resolve, 100))
      gone.abort()
      await new Promise((resolve) => setTimeout(resolve, 100))
      first.release()
      second.release()
      await Promise.all(within)
      assert.deepEqual(await askAll(port, 1), [200])
      assert.equal(first.seen.length + second.seen.length, 3)
    }),
  )

  it('asks another cluster where no server serves', { skip }, async () => {
    const elsewhere = await fakeHost()
    try {
      await withProxy(
        startHaproxy,
        {},
        async (port, first, second) => {
          first.verdict = 'unhealthy'
          second.verdict = 'unhealthy'
          const answered = () => elsewhere.seen.filter(({ path }) => path.endsWith('completions'))
          await eventually(async () => {
            await ask(port).answer
            return answered().length > 0
          }, 'the other cluster to be asked')
          const before = answered().length
          assert.deepEqual(await askAll(port, 3), [200, 200, 200])
          assert.equal(answered().length, before + 3)
        },
        elsewhere.vllm.port,
      )
    } finally {
      await elsewhere.stop()
    }
  })

  it('takes the word of vLLM where no daemon is alive, without a gap', { skip }, () =>
    withProxy(startHaproxy, {}, async (port, first, second, proxy) => {
      await Promise.all([first.vitals.stop(), second.vitals.stop()])
      const codes = new Set<number>()
      const passed = async () => {
        codes.add((await ask(port).answer).status)
        return (await proxy.logged()).some((line) => line.includes('"backend":"unwatched"'))
      }
      await eventually(passed, 'the other backend to be used')
      for (const code of await askAll(port, 4)) codes.add(code)
      assert.deepEqual([...codes], [200])
      assert.ok(first.seen.length > 0 && second.seen.length > 0)
    }),
  )

  it('writes one JSON object for each request, refused ones too, without the key', { skip }, () =>
    withProxy(startHaproxy, { clientRequests: 1 }, async (port, first, second, proxy) => {
      const path = '/v1/"completions'
      const { headers } = await ask(port, {}, { key: 'secret', path }).answer
      await ask(port, {}, { key: 'secret' }).answer
      const lines = async () =>
        (await proxy.logged())
          .map((line) => JSON.parse(line))
          .filter((entry) => entry.path.startsWith('/v1/'))
          .sort((one, other) => one.status - other.status)
      await eventually(async () => (await lines()).length === 2, 'two lines')
      const [answered, refused] = await lines()
      assert.equal(answered.request_id, headers['x-request-id'])
      assert.deepEqual([answered.status, refused.status], [200, 429])
      assert.equal(answered.path, path)
      assert.equal(answered.backend, 'vllm')
      assert.equal(typeof answered.first_byte_ms, 'number')
      assert.equal(first.seen.length + second.seen.length, 1)
      assert.doesNotMatch(JSON.stringify(await lines()), /secret/)
    }),
  )

  it(
    'lets a server be drained for a restart: what runs there finishes, and no more is sent',
    {
      skip,
    },
    () =>
      withProxy(startHaproxy, {}, async (port, first, second, { folder }) => {
        const tell = async (state: string) => {
          const socket = connect(join(folder, 'admin.sock'))
          socket.end(`set server vllm/gpu1 state ${state}\n`)
          assert.equal((await text(socket)).trim(), '')
        }
        const within = await oneInEach(port, first, second)
        await tell('drain')
        assert.deepEqual(await askAll(port, 6), [200, 200, 200, 200, 200, 200])
        assert.equal(first.seen.length, 1)
        first.release()
        second.release()
        assert.deepEqual(
          (await Promise.all(within)).map(({ status }) => status),
          [200, 200],
        )
        await tell('ready')
        await askAll(port, 6)
        assert.ok(first.seen.length > 1)
      }),
  )

  it('tells Prometheus how long its queue is, and how many it has refused', { skip }, () =>
    withProxy(startHaproxy, { clientRequests: 1 }, async (port, _first, _second, { folder }) => {
      await ask(port).answer
      await ask(port).answer
      const scrape = async () => {
        const socket = connect(join(folder, 'metrics.sock'))
        // Whoever closes its side is taken for gone, and may be answered nothing.
        socket.write('GET /metrics HTTP/1.0\r\n\r\n')
        return await text(socket)
      }
      // The 429, and the 404 to the look whether the port is open. An answer is counted once its stream has ended.
      const refused = /^haproxy_frontend_http_responses_total\{proxy="api",code="4xx"\} (\d+)$/m
      const counted = async () => Number(refused.exec(await scrape())?.[1]) >= 2
      await eventually(counted, 'both refusals to be counted')
      assert.match(await scrape(), /^haproxy_backend_current_queue\{proxy="vllm"\} 0$/m)
    }),
  )
})
