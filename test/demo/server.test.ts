import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { SimulatedEngine, simulatedModel } from '../../src/demo/engine.ts'
import type { HostMemory } from '../../src/demo/gpus.ts'
import type { Incident } from '../../src/demo/incident.ts'
import { startDemo } from '../../src/demo/run.ts'
import type { Scenario } from '../../src/demo/scenario.ts'
import { findScenario } from '../../src/demo/scenarios.ts'
import { startSimulatedServer } from '../../src/demo/server.ts'
import { createSmiProgram } from '../../src/demo/smi-program.ts'

const cleanups: Array<() => Promise<void>> = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

/** A server that nobody calls but the test; its time is what the test says, and flies where it is told to. */
async function serverOf(incidents: readonly Incident[] = []) {
  const steady = findScenario('steady')
  const scenario: Scenario = { ...steady, traffic: { ...steady.traffic, arrivals: [] }, incidents }
  const engine = new SimulatedEngine({ scenario, seed: 1, startWallMs: 1_700_000_000_000 })
  const time = { nowMs: 1000, flies: true }
  const server = await startSimulatedServer({
    engine,
    nowMs: () => {
      if (time.flies) time.nowMs += 20
      return time.nowMs
    },
  })
  cleanups.push(server.stop)
  return { engine, time, url: server.url, follow: server.follow }
}

function complete(url: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  return fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', connection: 'close' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...(signal === undefined ? {} : { signal }),
  })
}

const question = { model: simulatedModel, prompt: 'What is two and two?', max_tokens: 3 }
const hang: Incident = {
  kind: 'hang',
  engines: 'all',
  onset: 'at-once',
  fromMs: 0,
  untilMs: Number.POSITIVE_INFINITY,
}

describe('/v1/completions of the simulated server', () => {
  it('answers as vLLM does when the engine has answered', async () => {
    const { url } = await serverOf()
    const response = await complete(url, question)
    assert.equal(response.status, 200)
    const text = await response.text()
    assert.match(text, /"object":"text_completion"/)
    assert.match(text, /"choices":\[\{"index":0,"text":" and and and"/)
    // 20 letters, four of them a token.
    assert.match(text, /"prompt_tokens":5,"total_tokens":8,"completion_tokens":3/)
  })

  const refusals: readonly (readonly [string, unknown, number, RegExp])[] = [
    ['another model', { ...question, model: 'gpt' }, 404, /The model `gpt` does not exist/],
    ['no JSON', '{"model":', 400, /expected JSON/],
    ['something other than an object', '7', 400, /expected an object/],
    ['no model', { prompt: 'x' }, 400, /"model\\"/],
    ['no prompt', { model: simulatedModel }, 400, /"prompt\\"/],
    ['no tokens', { ...question, max_tokens: 0 }, 400, /"max_tokens\\"/],
    ['a body beyond the limit', { ...question, prompt: 'x'.repeat(1_048_577) }, 413, /1 MiB/],
  ]
  for (const [what, body, status, message] of refusals) {
    it(`refuses ${what} with ${status}, in the shape of vLLM's errors`, async () => {
      const { url } = await serverOf()
      const response = await complete(url, body)
      assert.equal(response.status, status)
      const text = await response.text()
      assert.match(text, message)
      assert.match(text, new RegExp(`"param":null,"code":${status}\\}\\}$`))
    })
  }

  it('answers 500 when the engine is dead, and 405 to other methods', async () => {
    const dead: Incident = {
      kind: 'outage',
      fromMs: 10,
      untilMs: Number.POSITIVE_INFINITY,
      dyingForMs: Number.POSITIVE_INFINITY,
      loadMs: 0,
    }
    const { url } = await serverOf([dead])
    assert.equal((await complete(url, question)).status, 500)
    const other = await fetch(`${url}/v1/completions`)
    assert.deepEqual([other.status, other.headers.get('allow')], [405, 'POST'])
    await other.text()
  })

  it('keeps silent while the engine hangs, and takes back what its client leaves', async () => {
    const { url, engine } = await serverOf([hang])
    const leaving = new AbortController()
    const answer = complete(url, question, leaving.signal)
    await untilTrue(() => engine.pending === 1)
    leaving.abort()
    await assert.rejects(answer, { name: 'AbortError' })
    await untilTrue(() => engine.pending === 0)
    assert.deepEqual(
      engine.drainTruth().lost.map(({ why }) => why),
      ['client'],
    )
  })
})

async function untilTrue(holds: () => boolean): Promise<void> {
  const untilMs = performance.now() + 2000
  while (!holds()) {
    assert.ok(performance.now() < untilMs, 'expected it within two seconds')
    await delay(5)
  }
}

describe('the simulated server under an incident', () => {
  it('answers /health and /metrics as late as the engine says, and /version at once', async () => {
    const { url, engine, time } = await serverOf([
      {
        kind: 'busy-event-loop',
        fromMs: 0,
        untilMs: Number.POSITIVE_INFINITY,
        requestMs: 100,
        answerMs: [200, 200],
        cores: 1,
      },
    ])
    time.flies = false
    engine.advance(1000)
    // The page is made in another thread, which takes a fifth longer.
    assert.deepEqual([engine.healthTookMs, engine.metricsTookMs], [200, 240])
    const tookMs = async (path: string) => {
      const beganMs = performance.now()
      await (await fetch(url + path)).text()
      return performance.now() - beganMs
    }
    assert.ok((await tookMs('/health')) >= 195)
    assert.ok((await tookMs('/metrics')) >= 235)
    assert.ok((await tookMs('/version')) < 195)
  })

  it('listens to nobody while the model still loads', async () => {
    const { signal } = new AbortController()
    const demo = await startDemo({ scenario: 'slow-load', signal })
    cleanups.push(demo.stop)
    await assert.rejects(fetch(`${demo.targets[0]?.url}/health`), /fetch failed/)
    assert.match(demo.banner('http://127.0.0.1:9/'), /Demonstration "slow-load"/)
  })

  it('answers /metrics with 500 while /health is 200', async () => {
    const { url } = await serverOf([
      { kind: 'metrics', fromMs: 0, untilMs: Number.POSITIVE_INFINITY, answer: 'status-500' },
    ])
    const metrics = await fetch(`${url}/metrics`)
    assert.deepEqual([metrics.status, await metrics.text()], [500, 'Internal Server Error'])
    assert.equal((await fetch(`${url}/health`)).status, 200)
    assert.equal((await complete(url, question)).status, 200)
  })
})

const gibibyte = 2 ** 30

describe('the folder like /proc', () => {
  const answer = { stdout: '', stderr: '' }
  const memoryOf = (...pids: readonly number[]): HostMemory => ({
    totalBytes: 64 * gibibyte,
    availableBytes: 40 * gibibyte,
    processes: pids.map((pid) => ({ pid, name: 'VLLM::EngineCore', rssBytes: 6 * gibibyte })),
  })

  it('tells the memory of the host and of each process, and forgets those that end', async () => {
    const program = await createSmiProgram({ answer, memory: memoryOf(4242, 91_177) })
    cleanups.push(program.remove)
    const read = (...path: readonly string[]) =>
      readFileSync(join(program.procRoot, ...path), 'utf8')
    // 64 GiB are 64 × 1024 × 1024 kB.
    assert.match(read('meminfo'), /^MemTotal: +67108864 kB\nMemAvailable: +41943040 kB\n$/)
    // The kernel keeps 15 letters of a name, the title has them all.
    assert.match(read('4242', 'status'), /^Name:\tVLLM::EngineCor\n/)
    assert.match(read('4242', 'status'), /\nVmRSS:\t6291456 kB\n$/)
    assert.equal(read('91177', 'cmdline'), 'VLLM::EngineCore\0')
    await program.publish({ answer, memory: memoryOf(4342) })
    assert.deepEqual((await readdir(program.procRoot)).sort(), ['4342', 'meminfo'])
  })

  it('is there for a demonstration, with the processes of its engines', async () => {
    const signal = new AbortController().signal
    const demo = await startDemo({ scenario: 'steady', engines: 2, signal })
    cleanups.push(demo.stop)
    assert.deepEqual((await readdir(demo.procRoot)).sort(), ['4242', '4243', 'meminfo'])
    const title = readFileSync(join(demo.procRoot, '4243', 'cmdline'), 'utf8')
    assert.equal(title, 'VLLM::EngineCore_DP1\0')
  })
})
