import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { closedPort, httpServer, type LocalServer } from '../fakes/local-server.ts'
import { type Program, startProgram } from '../fakes/program.ts'

const main = fileURLToPath(new URL('../../src/main.js', import.meta.url))

let folder = ''
let engine: LocalServer
const running: Program[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-command-line-'))
  engine = await httpServer((request, response) => {
    if (request.url === '/metrics') response.end(page)
    else response.writeHead(request.url === '/health' ? 200 : 404).end()
  })
})

afterEach(async () => {
  for (const program of running.splice(0)) await program.stop()
  await engine.stop()
  await rm(folder, { recursive: true, force: true })
})

const page = [
  '# TYPE vllm:num_requests_running gauge',
  'vllm:num_requests_running{model_name="m"} 1.0',
  '# TYPE vllm:num_requests_waiting gauge',
  'vllm:num_requests_waiting{model_name="m"} 0.0',
  '',
].join('\n')

/** Starts the program as a user does, without variables of this environment. */
function vitals(args: readonly string[], env: Readonly<Record<string, string>> = {}): Program {
  const program = startProgram(process.execPath, [main, ...args], {
    PATH: process.env['PATH'],
    ...env,
  })
  running.push(program)
  return program
}

async function outcome(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const program = vitals(args, env)
  const { code } = await program.ended
  return { code, stdout: program.stdout(), stderr: program.stderr() }
}

async function serving(args: readonly string[] = []): Promise<{ program: Program; url: string }> {
  const port = await closedPort()
  const url = `http://127.0.0.1:${port}`
  const listen = `--web.listen-address=127.0.0.1:${port}`
  const program = vitals(['serve', listen, `--target=${engine.origin}`, ...args])
  await program.said(/daemon is up/)
  return { program, url }
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const lastMs = performance.now() + 10_000
  while (!(await condition())) {
    assert.ok(performance.now() < lastMs, 'expected the condition to come within 10 s')
    await delay(50)
  }
}

describe('the program', () => {
  it('tells its version and its usage with status 0', async () => {
    const version = await outcome(['--version'])
    assert.equal(version.code, 0)
    assert.match(version.stdout, /^vllm-vitals \d+\.\d+\.\d+\n$/)
    const help = await outcome(['--help'])
    assert.equal(help.code, 0)
    for (const word of ['serve', 'demo', 'check-config', '--config.file', '--target']) {
      assert.ok(help.stdout.includes(word), word)
    }
  })

  it('prints every mistake of flags, environment and file at once, and ends with status 78', async () => {
    const file = join(folder, 'bad.yaml')
    await writeFile(file, 'scrape: { interval: 0s }\ntargest: []\n')
    const found = await outcome(['serve', `--config.file=${file}`, '--bogus', '--log.level=loud'], {
      VLLM_VITALS_GPU_INTERVAL: 'soon',
    })
    assert.equal(found.code, 78)
    assert.equal(found.stdout, '')
    const lines = found.stderr.trim().split('\n')
    assert.equal(lines.length, 6, found.stderr)
    for (const line of lines.slice(0, 5)) assert.match(line, /^[^:]+: expected .+, found .+$/)
    for (const path of [
      '--bogus',
      '--log.level',
      'VLLM_VITALS_GPU_INTERVAL',
      'scrape.interval',
      'targest',
    ]) {
      assert.ok(
        lines.some((line) => line.startsWith(`${path}: `)),
        path,
      )
    }
    assert.match(lines[5] ?? '', /^usage: vllm-vitals serve/)
  })

  it('validates a configuration without listening or scraping', async () => {
    const file = join(folder, 'good.yaml')
    await writeFile(file, `targets: [{ name: a, url: '${engine.origin}' }]\n`)
    const good = await outcome(['check-config', file])
    assert.deepEqual([good.code, good.stdout, good.stderr], [0, `${file}: valid\n`, ''])
    assert.equal(engine.accepted(), 0)
    const printed = await outcome(['check-config', file, '--print'])
    await writeFile(file, printed.stdout)
    assert.deepEqual(await outcome(['check-config', file, '--print']), printed)
    await writeFile(file, 'quantiles: [1]\n')
    const bad = await outcome(['check-config', file])
    assert.equal(bad.code, 78)
    assert.equal(bad.stderr, 'quantiles[0]: expected a number above 0 and below 1, found 1\n')
  })

  it('names its scenarios, and refuses others', async () => {
    const list = await outcome(['demo', '--list'])
    assert.equal(list.code, 0)
    for (const name of ['steady', 'overload', 'errors', 'restart', 'gpu-lost']) {
      assert.match(list.stdout, new RegExp(`^ *${name}\\b`, 'm'))
    }
    const unknown = await outcome(['demo', '--scenario=storm'])
    assert.equal(unknown.code, 78)
    assert.match(unknown.stderr, /^--scenario: expected one of steady, .+, found "storm"\n/)
  })
})

describe('serve', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`ends with status 0 after ${signal}, with connections open`, async () => {
      const { program, url } = await serving()
      await until(async () => (await fetch(`${url}/readyz`)).ok)
      const startMs = performance.now()
      program.child.kill(signal)
      assert.deepEqual(await program.ended, { code: 0, signal: null })
      assert.ok(performance.now() - startMs < 5_000)
    })
  }

  it('ends with status 1 and one clear line when its address is taken', async () => {
    const { url } = await serving()
    const port = new URL(url).port
    const second = await outcome([`--web.listen-address=127.0.0.1:${port}`])
    assert.equal(second.code, 1)
    const errors = second.stdout.split('\n').filter((line) => line.includes('"level":"error"'))
    assert.equal(errors.length, 1)
    assert.match(errors[0] ?? '', /expected a free address, found it in use \(EADDRINUSE\)/)
    assert.doesNotMatch(errors[0] ?? '', /stack/)
  })

  it('is ready when all targets were tried, though none answers', async () => {
    await engine.stop()
    const { url } = await serving()
    await until(async () => (await fetch(`${url}/readyz`)).ok)
    const health = await fetch(`${url}/health`)
    assert.equal(health.status, 503)
    assert.equal((await fetch(`${url}/livez`)).status, 200)
    engine = await httpServer(() => {})
  })

  it('reads its configuration again at SIGHUP, and keeps the one before where it has a mistake', async () => {
    const file = join(folder, 'vitals.yaml')
    await writeFile(file, 'windows: [30s]\nscrape: { interval: 1s }\ngpu: { enabled: false }\n')
    const { program, url } = await serving([`--config.file=${file}`])
    const metrics = async () => await (await fetch(`${url}/metrics`)).text()
    await until(async () => (await metrics()).includes('window="30s"'))
    await writeFile(file, 'windows: [45s]\nscrape: { interval: 1s }\ngpu: { enabled: false }\n')
    program.child.kill('SIGHUP')
    await until(async () => (await metrics()).includes('window="45s"'))
    await writeFile(file, 'windows: [45s]\nscrape: { intervall: 1s }\n')
    program.child.kill('SIGHUP')
    await until(async () => (await metrics()).includes('_config_last_reload_successful 0'))
    assert.match(await metrics(), /window="45s"/)
    assert.match(program.stdout(), /configuration refused, the one before stays in force/)
    await writeFile(file, 'windows: [50s]\nscrape: { interval: 1s }\n')
    program.child.kill('SIGHUP')
    await until(async () => (await metrics()).includes('_config_last_reload_successful 1'))
    await until(async () => (await metrics()).includes('window="50s"'))
  })

  it('warns of unknown variables and starts all the same, as beside a Kubernetes Service of its name', async () => {
    const port = await closedPort()
    const program = vitals(['--log.level=warn', `--web.listen-address=127.0.0.1:${port}`], {
      VLLM_VITALS_SERVICE_HOST: '10.0.0.1',
      VLLM_VITALS_TARGETS: `a=${engine.origin}`,
    })
    await program.said(/VLLM_VITALS_SERVICE_HOST/)
    await until(async () => {
      const body = await fetch(`http://127.0.0.1:${port}/health?target=a`).catch(() => undefined)
      return body !== undefined && body.status !== 404
    })
  })
})

describe('demo', () => {
  it('has values within 15 s, says what to open, and ends with status 0', async () => {
    const port = await closedPort()
    const startMs = performance.now()
    const program = vitals(['demo', `--web.listen-address=127.0.0.1:${port}`])
    await program.said(/curl {3}http:\/\/127\.0\.0\.1:\d+\/health/)
    const sample = /^vllm_vitals_e2e_latency_seconds\{.*quantile="0\.99"\} \d/m
    await until(async () =>
      sample.test(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()),
    )
    assert.ok(performance.now() - startMs < 15_000)
    program.child.kill('SIGINT')
    assert.deepEqual(await program.ended, { code: 0, signal: null })
  })
})
