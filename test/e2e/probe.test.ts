import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { loadConfig } from '../../src/config/load.ts'
import { startDaemon } from '../../src/daemon.ts'
import { createLogger } from '../../src/log.ts'
import { httpServer } from '../fakes/local-server.ts'
import { ManualClock } from '../fakes/manual-clock.ts'

const cleanups: Array<() => Promise<void>> = []

after(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

/** An engine that shows a request from the first page on, and nothing that moves. */
const page = `# TYPE process_start_time_seconds gauge
process_start_time_seconds 1000
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="llama"} 1
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="llama"} 0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="llama"} 500
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="llama"} 900
# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="llama"} 7
`

async function watched(settings: Readonly<Record<string, unknown>>) {
  const posts: string[] = []
  const server = await httpServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    if (request.method === 'POST') posts.push(`${request.url} ${JSON.parse(body).model}`)
    response.end(request.method === 'POST' ? '{"choices":[{"text":"!"}]}' : page)
  })
  const given = {
    targets: [{ name: 'vllm', url: server.origin }],
    'scrape.interval': '1s',
    'gpu.enabled': false,
    ...settings,
  }
  const flags = Object.entries(given).map(([path, value]) => ({
    path: path.split('.'),
    value,
    origin: path,
  }))
  const { config } = await loadConfig({ flags })
  const clock = new ManualClock()
  const daemon = await startDaemon({
    config,
    log: createLogger(config.log, (bytes, done) => done(null, bytes.length)).log,
    clock,
    about: { version: '0.0.0-test', revision: 'unknown', nodeVersion: process.version },
    reload: async () => {},
    listen: [{ host: '127.0.0.1', port: 0 }],
  })
  cleanups.unshift(async () => {
    await Promise.all([daemon.stop(), clock.advance(1_000)])
    await server.stop()
  })
  const [url = ''] = daemon.urls
  return {
    posts,
    get: async (path: string) => await (await fetch(`${url}${path}`)).text(),
    /** Lets so many seconds pass, each with time for what goes over the network. */
    pass: async (seconds: number) => {
      for (let passed = 0; passed < seconds; passed += 1) {
        await clock.advance(1_000)
        await sleep(10)
      }
    },
  }
}

describe('a daemon that may probe', () => {
  it('asks an engine of which nothing moves, once in the interval, and tells what came of it', async () => {
    const { posts, get, pass } = await watched({ 'probe.enabled': true })
    await pass(5)
    assert.deepEqual(posts, [])
    const [before] = JSON.parse(await get('/api/v1/status')).targets
    assert.equal(before.probe, null)
    await pass(40)
    assert.deepEqual(posts, ['/v1/completions llama'])
    const [target] = JSON.parse(await get('/api/v1/status')).targets
    assert.equal(target.probe.outcome, 'answered')
    const counted = /^vllm_vitals_probes_total\{target="vllm",outcome="answered"\} 1$/m
    assert.match(await get('/metrics'), counted)
  })
})

describe('a daemon that may not probe', () => {
  it('asks for no token, whatever it sees, and says nothing of probes', async () => {
    const { posts, get, pass } = await watched({})
    await pass(45)
    assert.deepEqual(posts, [])
    const [target] = JSON.parse(await get('/api/v1/status')).targets
    assert.equal('probe' in target, false)
    assert.doesNotMatch(await get('/metrics'), /probes_total/)
  })
})
