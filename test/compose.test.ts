import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import type { Product } from '../src/config/flags.ts'
import { closedPort } from './fakes/local-server.ts'
import { startProgram } from './fakes/program.ts'
import { startPrometheus } from './fakes/prometheus.ts'
import { defaultFiles } from './generate/checked-in.ts'
import { findProgram, repositoryRoot } from './repository.ts'

interface Service {
  readonly image: string
  readonly build?: string
  readonly command?: readonly string[]
  readonly ports: readonly string[]
  readonly volumes?: readonly string[]
  readonly tmpfs?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  readonly healthcheck?: { readonly test: readonly string[] }
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>
}

const folder = join(repositoryRoot, 'config', 'compose')
const textOf = (path: string) => readFileSync(join(folder, path), 'utf8')
const compose: {
  readonly services: Readonly<Record<string, Service>>
  readonly volumes: Readonly<Record<string, unknown>>
} = parse(textOf('compose.yaml'))
const prometheus = parse(textOf('prometheus.yml'))
const services = Object.entries(compose.services)

/** Where a mount comes from and goes to, with defaults in place of variables. */
function mountsOf({ volumes = [] }: Service) {
  return volumes.map((text) => {
    const [from = '', to = '', mode] = text.replaceAll(/\$\{\w+:-([^}]*)\}/g, '$1').split(':')
    return { from, to, mode }
  })
}

/** The products whose files are mounted, by their folder. */
const folders: Readonly<Record<string, Product>> = {
  'config/prometheus': 'prometheus-rules',
  'config/alertmanager': 'alertmanager',
  'config/grafana': 'grafana',
}

const known = {
  file: 'name,services,volumes',
  service:
    'build,image,command,read_only,tmpfs,cap_drop,security_opt,ports,restart,volumes,healthcheck,depends_on,extra_hosts,environment',
  healthcheck: 'test,interval,timeout,retries',
}

function assertKnown(value: object, names: string): void {
  const all = names.split(',')
  assert.deepEqual(
    Object.keys(value).filter((key) => !all.includes(key)),
    [],
  )
}

describe('config/compose/compose.yaml', () => {
  it('brings up the demonstration, Prometheus, Alertmanager and Grafana, and uses keys of the specification', () => {
    assert.deepEqual(Object.keys(compose.services), [
      'vllm-vitals',
      'prometheus',
      'alertmanager',
      'grafana',
    ])
    assertKnown(compose, known.file)
    for (const [, service] of services) {
      assertKnown(service, known.service)
      if (service.healthcheck !== undefined) assertKnown(service.healthcheck, known.healthcheck)
    }
  })

  it('is taken by docker compose', (t) => {
    const docker = findProgram('docker')
    if (docker === undefined) return t.skip('docker is not on PATH')
    try {
      execFileSync(docker, ['compose', 'version'], { stdio: 'pipe' })
    } catch {
      return t.skip('docker has no plugin compose')
    }
    const file = join(folder, 'compose.yaml')
    execFileSync(docker, ['compose', '-f', file, 'config', '--quiet'], { stdio: 'pipe' })
  })

  it('builds the image of the checkout, and names no registry', () => {
    const { build = '', image } = compose.services['vllm-vitals'] ?? { image: '' }
    assert.equal(join(folder, build), repositoryRoot)
    assert.ok(existsSync(join(folder, build, 'Dockerfile')))
    const { version } = parse(readFileSync(join(repositoryRoot, 'package.json'), 'utf8'))
    assert.equal(image, `vllm-vitals:${version}`)
    for (const [, one] of services) assert.match(one.image, /^[a-z-]+(\/[a-z-]+)?:v?\d+\.\d+\.\d+$/)
  })

  it('opens every port to this machine alone, each once', () => {
    const ports = services.flatMap(([, service]) => service.ports)
    for (const port of ports) assert.match(port, /^127\.0\.0\.1:(\d+):\1$/)
    assert.equal(new Set(ports).size, 4)
  })

  it('waits for what is there and can be told healthy', () => {
    const image = readFileSync(join(repositoryRoot, 'Dockerfile'), 'utf8')
    assert.match(image, /^HEALTHCHECK /m)
    for (const [name, { depends_on = {}, healthcheck }] of services) {
      assert.ok(healthcheck !== undefined || name === 'vllm-vitals', name)
      for (const [on, { condition }] of Object.entries(depends_on)) {
        assert.ok(on in compose.services, on)
        const isTold = compose.services[on]?.healthcheck !== undefined
        assert.equal(condition, isTold ? 'service_healthy' : 'service_started')
      }
    }
  })

  it('mounts only what is there, and read-only', async (t) => {
    const made = await defaultFiles()
    for (const { from, to, mode } of services.flatMap(([, service]) => mountsOf(service))) {
      assert.match(to, /^\//)
      if (!from.startsWith('.')) {
        assert.ok(from in compose.volumes, from)
        continue
      }
      assert.equal(mode, 'ro', from)
      const path = relative(repositoryRoot, join(folder, from))
      const product = folders[path.split('/').slice(0, 2).join('/')]
      if (made.some((one) => one.product === product && one.files.length === 0)) {
        t.diagnostic(`nothing is generated for ${product} yet`)
        continue
      }
      assert.ok(existsSync(join(folder, from)), path)
    }
  })

  it('gives the demonstration a folder that it may write to and run a program from', () => {
    const { tmpfs = [], command = [] } = compose.services['vllm-vitals'] ?? {}
    assert.match(tmpfs.join(), /^\/tmp:exec,mode=1777,/)
    assert.equal(command[0], 'demo')
    assert.ok(command.includes('--web.listen-address=0.0.0.0:19400'))
  })

  it('has a placeholder for each secret that Alertmanager reads, none of them real', async () => {
    for (const name of ['slack_url', 'pagerduty_key']) {
      assert.match(textOf(`secrets/${name}`), /no-(slack|pagerduty-key)-is-set-up/)
    }
    const made = (await defaultFiles()).find(({ product }) => product === 'alertmanager')
    const text = made?.files.map((file) => file.text).join('') ?? ''
    const read = [...text.matchAll(/\/etc\/alertmanager\/secrets\/(\w+)/g)].map(([, name]) => name)
    for (const name of read) assert.ok(existsSync(join(folder, 'secrets', name ?? '')), name)
  })
})

describe('config/compose/prometheus.yml', () => {
  /** The configuration as the container has it, with the rules beside it. */
  function asMounted(use: (file: string) => void): void {
    const mounted = mkdtempSync(join(tmpdir(), 'vllm-vitals-compose-'))
    try {
      mkdirSync(join(mounted, 'rules'))
      cpSync(join(repositoryRoot, 'config', 'prometheus'), join(mounted, 'rules'), {
        recursive: true,
      })
      cpSync(join(folder, 'prometheus.yml'), join(mounted, 'prometheus.yml'))
      use(join(mounted, 'prometheus.yml'))
    } finally {
      rmSync(mounted, { recursive: true, force: true })
    }
  }

  it('is taken by promtool, with the rules', {
    skip: findProgram('promtool') === undefined ? 'promtool is not on PATH' : false,
  }, () => {
    asMounted((file) => {
      const said = execFileSync('promtool', ['check', 'config', file], { encoding: 'utf8' })
      assert.match(said, /SUCCESS: [1-9]\d* rule files? found/)
    })
  })

  it('finds the daemon and Alertmanager by the names and ports of their services', () => {
    const [job] = prometheus.scrape_configs
    assert.equal(job.job_name, 'vllm-vitals')
    const alertmanagers = prometheus.alerting.alertmanagers[0].static_configs[0].targets
    const addresses: readonly string[] = [...job.static_configs[0].targets, ...alertmanagers]
    assert.deepEqual(addresses, ['vllm-vitals:19400', 'alertmanager:9093'])
    for (const address of addresses) {
      const [name = '', port] = address.split(':')
      assert.ok(compose.services[name]?.ports.includes(`127.0.0.1:${port}:${port}`), address)
    }
    const [mount] = mountsOf(compose.services['prometheus'] ?? { image: '', ports: [] })
    assert.deepEqual(mount, {
      from: './prometheus.yml',
      to: '/etc/prometheus/prometheus.yml',
      mode: 'ro',
    })
  })

  it('has numbers of the demonstration in Prometheus, under the name that links lead to', {
    skip: findProgram('prometheus') === undefined ? 'prometheus is not on PATH' : false,
    timeout: 60_000,
  }, async () => {
    const main = fileURLToPath(new URL('../src/main.js', import.meta.url))
    const address = `127.0.0.1:${await closedPort()}`
    const demo = startProgram(process.execPath, [main, 'demo', `--web.listen-address=${address}`])
    try {
      await demo.said(/daemon is up/)
      const config = textOf('prometheus.yml')
        .replaceAll('vllm-vitals:19400', address)
        .replaceAll('15s', '1s')
      const server = await startPrometheus(config)
      try {
        const untilMs = performance.now() + 15_000
        for (;;) {
          const [up] = await server.query('vllm_vitals_up{target!="gpu"} == 1')
          if (up !== undefined) {
            assert.equal(up.metric['job'], 'vllm-vitals')
            assert.equal(up.metric['instance'], '127.0.0.1:19400')
            break
          }
          assert.ok(performance.now() < untilMs, 'expected the daemon to be up within 15 s')
          await delay(200)
        }
      } finally {
        await server.stop()
      }
    } finally {
      demo.child.kill('SIGTERM')
      assert.deepEqual(await demo.ended, { code: 0, signal: null })
    }
  })
})
