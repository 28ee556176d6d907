import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { get } from 'node:http'
import { dirname } from 'node:path'
import { afterEach, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { SimulatedEngine } from '../../src/demo/engine.ts'
import { type Demo, type DemoOptions, scenarioNames, startDemo } from '../../src/demo/run.ts'
import { findScenario } from '../../src/demo/scenarios.ts'
import { startSimulatedServer } from '../../src/demo/server.ts'
import { createNvidiaSmi } from '../../src/sources/nvidia-smi.ts'
import { DemoPage } from './demo-page.ts'

const cleanups: Array<() => Promise<void>> = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

const never = new AbortController().signal

async function demoOf(options: Partial<DemoOptions> = {}): Promise<Demo> {
  const demo = await startDemo({ scenario: 'steady', signal: never, ...options })
  cleanups.push(demo.stop)
  return demo
}

function urlOf(demo: Demo): string {
  return demo.targets[0]?.url ?? ''
}

interface Answer {
  readonly status: number
  readonly type: string | undefined
  readonly body: string
}

/** Asks over a connection of its own; rejects as the system says when nothing listens. */
function ask(url: string, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = get(url, { method, agent: false }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk) => {
        body += chunk
      })
      response.on('end', () => {
        const { statusCode: status = 0, headers } = response
        resolve({ status, type: headers['content-type'], body })
      })
    })
    request.on('error', reject)
  })
}

/** Asks until somebody listens, for a second at most. */
async function untilOpen(url: string): Promise<Answer> {
  const untilMs = performance.now() + 1_000
  for (;;) {
    try {
      return await ask(url)
    } catch (error) {
      if (performance.now() > untilMs) throw error
      await delay(10)
    }
  }
}

function run(command: string, args: readonly string[]) {
  return new Promise<{ code: number | string | null | undefined; stdout: string; stderr: string }>(
    (resolve) => {
      execFile(command, args, (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : error.code, stdout, stderr })
      })
    },
  )
}

describe('a demonstration', () => {
  it('answers /metrics, /health and /version as vLLM does', async () => {
    const demo = await demoOf()
    const metrics = await ask(`${urlOf(demo)}/metrics`)
    assert.equal(metrics.status, 200)
    assert.equal(metrics.type, 'text/plain; version=1.0.0; charset=utf-8')
    const page = new DemoPage(metrics.body)
    // Five minutes of past at 5 requests in a second, so that nothing is at zero at the first look.
    assert.ok(page.sum('vllm:request_success_total') > 1000)
    const { status, body } = await ask(`${urlOf(demo)}/health`)
    assert.deepEqual([status, body], [200, ''])
    const version = await ask(`${urlOf(demo)}/version`)
    assert.equal(version.type, 'application/json')
    assert.deepEqual(JSON.parse(version.body), { version: '0.27.0' })
  })

  it('answers what it does not serve with 404, and other methods with 405', async () => {
    const demo = await demoOf()
    assert.equal((await ask(`${urlOf(demo)}/v1/models`)).status, 404)
    assert.equal((await ask(`${urlOf(demo)}/metrics/`)).status, 404)
    assert.equal((await ask(`${urlOf(demo)}/metrics?x=1`)).status, 200)
    assert.equal((await ask(`${urlOf(demo)}/metrics`, 'POST')).status, 405)
  })

  it('has as many engines as it is told, each with a GPU', async () => {
    const demo = await demoOf({ engines: 3 })
    const page = new DemoPage((await ask(`${urlOf(demo)}/metrics`)).body)
    const engines = page.series.flatMap(({ name, labels }) =>
      name === 'vllm:num_requests_running' ? (labels.get('engine') ?? '') : [],
    )
    assert.deepEqual(engines, ['0', '1', '2'])
    const { stdout } = await run(demo.gpuCommand, ['-q', '-x'])
    assert.equal(stdout.match(/<gpu id=/g)?.length, 3)
  })

  it('gives a program that the GPU source runs like nvidia-smi', async () => {
    const demo = await demoOf({ scenario: 'gpu-lost' })
    const source = createNvidiaSmi({
      command: demo.gpuCommand,
      timeoutMs: 5_000,
      processes: true,
      // Nothing on the path: the program finds its own interpreter.
      env: {},
    })
    const reading = await source.collect(never)
    const used = reading.channels.filter(({ instrument }) => instrument === 'gpu_memory_used')
    assert.equal(used.length, 2)
    assert.deepEqual(reading.notes, [])
  })

  const options: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['-x', '-q'], 0, /<nvidia_smi_log>/],
    [['-q'], 2, /expected the options -q -x, found "-q"/],
    [[], 2, /expected the options -q -x/],
    [['-q', '-x', '-i', '0'], 2, /expected the options/],
  ]
  it('gives a program that refuses other options than -q -x', async () => {
    const demo = await demoOf()
    for (const [args, code, text] of options) {
      const found = await run(demo.gpuCommand, args)
      assert.equal(found.code, code, args.join(' '))
      assert.match(found.stdout, text)
    }
  })

  it('tells a person what runs, what to open and what will happen', async () => {
    const demo = await demoOf({ scenario: 'gpu-lost' })
    const text = demo.banner('http://127.0.0.1:9090/')
    assert.ok(text.includes(`${urlOf(demo)}/metrics`))
    assert.ok(text.includes('curl   http://127.0.0.1:9090/health\n'))
    assert.ok(text.replaceAll('\n', ' ').includes(findScenario('gpu-lost').incident))
    assert.ok(text.split('\n').every((line) => line.length <= 100))
    for (const name of scenarioNames) assert.ok(text.includes(name))
    assert.ok(text.includes('2 H100s') && text.includes('(1 engine)'))
  })

  it('keeps the truth since the last time it was asked for', async () => {
    const demo = await demoOf()
    demo.drainTruth()
    demo.engine.advance(demo.engine.nowMs + 20_000)
    assert.ok(demo.drainTruth().finished.length > 20)
    assert.equal(demo.drainTruth().finished.length, 0)
  })

  it('does not begin with an unknown scenario, a wrong number of engines or after the end', async () => {
    await assert.rejects(demoOf({ scenario: 'nothing' }), /expected one of the scenarios steady/)
    for (const engines of [0, 9, 1.5, Number.NaN]) {
      await assert.rejects(demoOf({ engines }), RangeError)
    }
    const ended = new AbortController()
    ended.abort()
    await assert.rejects(demoOf({ signal: ended.signal }), { name: 'AbortError' })
  })
})

/** Timers and handles that keep this process alive, by their kind. */
function handles(): readonly string[] {
  return process
    .getActiveResourcesInfo()
    .filter((kind) => kind === 'Timeout' || kind === 'TCPServerWrap')
}

describe('the end of a demonstration', () => {
  for (const how of ['stop', 'abort'] as const) {
    it(`closes the port, ends the timers and removes the files after ${how}`, async () => {
      const before = handles()
      const ending = new AbortController()
      const demo = await demoOf({ signal: ending.signal })
      await ask(`${urlOf(demo)}/metrics`)
      const folder = dirname(demo.gpuCommand)
      assert.ok(existsSync(folder))
      if (how === 'abort') ending.abort()
      await demo.stop()
      assert.equal(existsSync(folder), false)
      await assert.rejects(ask(`${urlOf(demo)}/metrics`), { code: 'ECONNREFUSED' })
      assert.deepEqual(handles(), before)
      // The timer that lets the engine follow the clock keeps no process alive, so it is not among them.
      const stoodMs = demo.engine.nowMs
      await delay(150)
      assert.equal(demo.engine.nowMs, stoodMs)
      await demo.stop()
    })
  }

  it('ends answers under way', async () => {
    const demo = await demoOf()
    // A client that has said half of what it wants keeps its connection open.
    const { port } = new URL(urlOf(demo))
    const script = `require('node:net').connect(${port}, '127.0.0.1', function () { this.write('GET /metrics HTTP/1.1\\r\\n', () => console.log('sent')) }).on('close', () => console.log('closed')).on('error', () => {})`
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = once(child, 'exit')
    await once(child.stdout, 'data')
    await demo.stop()
    assert.deepEqual(await ended, [0, null])
  })
})

describe('the simulated server', () => {
  it('closes its port while the engine has no process, and opens the same one afterwards', async () => {
    const engine = new SimulatedEngine({
      scenario: findScenario('steady'),
      seed: 1,
      startWallMs: 1_700_000_000_000,
    })
    engine.restart(10_000, 5_000, 3_000)
    let nowMs = 9_000
    const server = await startSimulatedServer({ engine, nowMs: () => nowMs })
    cleanups.push(server.stop)
    assert.equal((await ask(`${server.url}/health`)).status, 200)
    nowMs = 11_000
    assert.equal((await ask(`${server.url}/health`)).status, 503)
    assert.equal((await ask(`${server.url}/metrics`)).status, 200)
    nowMs = 14_000
    server.follow()
    await assert.rejects(ask(`${server.url}/health`), { code: 'ECONNREFUSED' })
    nowMs = 19_000
    server.follow()
    const page = new DemoPage((await untilOpen(`${server.url}/metrics`)).body)
    assert.equal(page.sum('process_start_time_seconds'), 1_700_000_017)
  })

  it('breaks the connection of a request that finds the engine gone', async () => {
    const engine = new SimulatedEngine({
      scenario: findScenario('steady'),
      seed: 1,
      startWallMs: 1_700_000_000_000,
    })
    engine.restart(10_000, 60_000)
    let nowMs = 9_000
    const server = await startSimulatedServer({ engine, nowMs: () => nowMs })
    cleanups.push(server.stop)
    nowMs = 11_000
    await assert.rejects(ask(`${server.url}/metrics`), { code: 'ECONNRESET' })
  })
})
