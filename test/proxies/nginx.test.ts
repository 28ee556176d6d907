import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { findProgram } from '../repository.ts'
import { fakeHost } from './backends.ts'
import { ask, eventually } from './client.ts'
import { askAll, assertRefused, oneInEach, proxyContract, withProxy } from './contract.ts'
import { startNginx, writeNginx } from './proxy.ts'

const skip = findProgram('nginx') === undefined ? 'needs nginx' : false

describe('config/nginx/vllm.conf', () => {
  it('is valid, without a warning', { skip }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-nginx-'))
    const hosts = [await fakeHost(), await fakeHost()] as const
    try {
      const file = await writeNginx(folder, 18080, { hosts })
      const words = ['-t', '-p', folder, '-c', file, '-e', 'stderr']
      const { status, stderr } = spawnSync('nginx', words, { encoding: 'utf8' })
      assert.equal(status, 0, stderr)
      assert.doesNotMatch(stderr, /\[(warn|error|emerg)\]/)
    } finally {
      for (const host of hosts) await host.stop()
      await rm(folder, { recursive: true, force: true })
    }
  })

  proxyContract(startNginx, skip)

  it('tells 429 where all that serve are full, be it one of two', { skip }, () =>
    withProxy(startNginx, { inFlight: 1 }, async (port, first, second) => {
      const within = await oneInEach(port, first, second)
      assertRefused(await ask(port).answer, 429)
      first.release()
      second.release()
      assert.deepEqual(
        (await Promise.all(within)).map(({ status }) => status),
        [200, 200],
      )
      second.verdict = 'unhealthy'
      // The answer of the daemon is kept for a second here.
      await new Promise((resolve) => setTimeout(resolve, 2_100))
      const last = ask(port, { hold: true }).answer
      await eventually(() => first.held() === 1, 'one in the first')
      assertRefused(await ask(port).answer, 429)
      first.release()
      assert.equal((await last).status, 200)
    }),
  )

  it(
    'asks each daemon once while its answer is kept, however many requests there are',
    {
      skip,
    },
    () =>
      withProxy(startNginx, {}, async (port, first, second) => {
        const beganMs = Date.now()
        await Promise.all(Array.from({ length: 30 }, () => ask(port).answer))
        // Kept for one to two seconds, by the clock's whole seconds.
        const seconds = Math.ceil((Date.now() - beganMs) / 1000)
        assert.ok(first.asked() <= 1 + seconds, `${first.asked()}`)
        assert.ok(second.asked() <= 1 + seconds, `${second.asked()}`)
        assert.equal(first.seen.length + second.seen.length, 30)
      }),
  )

  it('holds nothing against a vLLM whose daemon does not answer', { skip }, () =>
    withProxy(startNginx, {}, async (port, first, second) => {
      await first.vitals.stop()
      second.verdict = 'unhealthy'
      assert.deepEqual(await askAll(port, 4), [200, 200, 200, 200])
      assert.equal(first.seen.length, 4)
    }),
  )

  it('logs what failed as JSON, and of what went well a sample', { skip }, () =>
    withProxy(startNginx, {}, async (port, _first, _second, proxy) => {
      const { headers } = await ask(port, { breakOff: true }, { key: 'secret' }).answer
      const ids = []
      for (let at = 0; at < 30; at += 1) ids.push((await ask(port).answer).headers['x-request-id'])
      const lines = (await proxy.logged()).map((line) => JSON.parse(line))
      const [failed, ...others] = lines.filter((entry) => entry.path.startsWith('/v1/'))
      assert.equal(failed.status, 502)
      assert.equal(failed.request_id, headers['x-request-id'])
      assert.equal(typeof failed.seconds, 'number')
      const sampled = ids.filter((id) => /^(00|55|aa)/.test(String(id)))
      assert.deepEqual(
        others.map((entry) => entry.request_id),
        sampled,
      )
      assert.doesNotMatch(JSON.stringify(lines), /secret/)
    }),
  )
})
