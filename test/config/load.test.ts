import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { readCommandLine } from '../../src/config/flags.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/schema.ts'
import { ConfigError } from '../../src/errors.ts'
import { repositoryRoot } from '../repository.ts'
import { issuesOf, load } from './with-file.ts'

/** The defaults of CONTRACT.md, section 3, in the core's units. */
const defaults: Config = {
  targets: [{ name: 'vllm', url: 'http://127.0.0.1:8000', auth: { kind: 'none' } }],
  scrape: {
    intervalMs: 5_000,
    timeoutMs: 4_000,
    // 16 × 1024 × 1024.
    maxBodyBytes: 16_777_216,
    maxSamples: 200_000,
    maxOverhead: 0.01,
  },
  windowsMs: [60_000, 300_000, 3_600_000],
  quantiles: [0.5, 0.95, 0.99],
  gpu: {
    enabled: 'auto',
    command: 'nvidia-smi',
    intervalMs: 10_000,
    timeoutMs: 10_000,
    processes: true,
  },
  thresholds: {
    e2eLatencyP99Seconds: 10,
    queueTimeP95Seconds: 5,
    ttftP99Seconds: 0,
    errorRatio: 0.01,
    gpuUtilizationRatio: 0.95,
    gpuMemoryRatio: 0.9,
    generationTokensPerSecondMin: 0,
  },
  alerts: {},
  probe: {
    enabled: false,
    intervalMs: 60_000,
    timeoutMs: 30_000,
    model: '',
    prompt: 'ping',
  },
  slo: { latencyRatio: 0.99, successRatio: 0.999, periodMs: 30 * 86_400_000, alerts: true },
  links: { runbooks: '', grafana: '' },
  alertmanager: {
    urls: [],
    instance: '',
    timeoutMs: 5_000,
    resendMs: 60_000,
    labels: {},
    auth: { kind: 'none' },
  },
  web: {
    listen: [{ host: '0.0.0.0', port: 19_400, text: '0.0.0.0:19400' }],
    enableLifecycle: false,
  },
  log: { level: 'info', format: 'json' },
}

const flagsOf = (...args: readonly string[]) => readCommandLine(args, '1').flags

describe('the defaults', () => {
  it('stand where nothing is said', async () => {
    assert.deepEqual(await loadConfig({}), { config: defaults, warnings: [] })
  })

  it('are what config/vllm-vitals.yaml shows', async () => {
    const path = join(repositoryRoot, 'config', 'vllm-vitals.yaml')
    assert.deepEqual(await loadConfig({ path }), { config: defaults, warnings: [] })
  })

  it('in config/vllm-vitals.yaml do not stand in the way of a shorter interval', async () => {
    const path = join(repositoryRoot, 'config', 'vllm-vitals.yaml')
    const env = { VLLM_VITALS_SCRAPE_INTERVAL: '1s', VLLM_VITALS_GPU_INTERVAL: '5s' }
    const { config } = await loadConfig({ path, env })
    assert.deepEqual([config.scrape.timeoutMs, config.gpu.timeoutMs], [800, 5_000])
  })

  it('all stand in config/vllm-vitals.yaml, for people to see, but for those that follow from others', () => {
    const shown: unknown = parse(
      readFileSync(join(repositoryRoot, 'config', 'vllm-vitals.yaml'), 'utf8'),
    )
    // Written out from the contract: every key that has a value of its own.
    assert.deepEqual(keysBelow(shown).sort(), [
      ...['alertmanager.bearer_token_file', 'alertmanager.instance', 'alertmanager.labels'],
      ...['alertmanager.resend', 'alertmanager.timeout', 'alertmanager.urls'],
      ...['alerts', 'gpu.command', 'gpu.enabled', 'gpu.interval', 'gpu.processes'],
      ...[
        'links.grafana',
        'links.runbooks',
        'log.format',
        'log.level',
        'probe.enabled',
        'probe.interval',
        'probe.model',
      ],
      ...['probe.prompt', 'quantiles', 'scrape.interval', 'scrape.max_body'],
      ...['scrape.max_overhead', 'scrape.max_samples'],
      ...['slo.alerts', 'slo.errors', 'slo.latency', 'slo.period', 'targets'],
      ...['thresholds.e2e_latency_p99', 'thresholds.error_ratio'],
      ...['thresholds.generation_tokens_per_second_min', 'thresholds.gpu_memory_ratio'],
      ...['thresholds.gpu_utilization_ratio', 'thresholds.queue_time_p95', 'thresholds.ttft_p99'],
      ...['web.enable_lifecycle', 'web.listen', 'windows'],
    ])
  })

  const contract = join(repositoryRoot, '..', 'shared', 'CONTRACT.md')
  const skip = existsSync(contract) ? false : 'needs ../shared/CONTRACT.md'
  it('are those of the contract, but for keys of later issues', { skip }, async () => {
    const [, block = ''] =
      /## 3\.[^`]*```yaml\n([\s\S]*?)```/.exec(readFileSync(contract, 'utf8')) ?? []
    const later = /^(probe|comparisons|state_dir| {2}config_file):/
    const lines = block.split('\n')
    assert.ok(lines.length > 30)
    const { config } = await load(lines.filter((line) => !later.test(line)).join('\n'))
    assert.deepEqual(config, defaults)
  })

  it('of timeouts follow the interval', async () => {
    const rows = [
      // interval, timeout: 0.8 of it, at most 10 s.
      ['200ms', 160],
      ['1s', 800],
      ['12s500ms', 10_000],
      ['15s', 10_000],
    ] as const
    for (const [interval, timeoutMs] of rows) {
      const { config } = await load(`scrape: {interval: ${interval}}`)
      assert.equal(config.scrape.timeoutMs, timeoutMs, interval)
    }
    const { config } = await load('gpu: {interval: 6s}')
    assert.equal(config.gpu.timeoutMs, 6_000)
  })
})

describe('precedence', () => {
  const file = 'log: {level: warn, format: pretty}\nscrape: {interval: 2s, max_samples: 5}'

  it('puts the file over the defaults, key by key', async () => {
    const { config } = await load(file)
    assert.deepEqual(config.log, { level: 'warn', format: 'pretty' })
    assert.equal(config.scrape.maxBodyBytes, defaults.scrape.maxBodyBytes)
    assert.equal(config.scrape.maxSamples, 5)
  })

  it('puts the environment over the file, key by key', async () => {
    const { config } = await load(file, { env: { VLLM_VITALS_LOG_LEVEL: 'error' } })
    assert.deepEqual(config.log, { level: 'error', format: 'pretty' })
    assert.equal(config.scrape.intervalMs, 2_000)
  })

  it('puts flags over the environment', async () => {
    const { config } = await load(file, {
      env: { VLLM_VITALS_LOG_LEVEL: 'error', VLLM_VITALS_LOG_FORMAT: 'json' },
      flags: flagsOf('--log.level=debug'),
    })
    assert.deepEqual(config.log, { level: 'debug', format: 'json' })
  })

  it('mends a mistake of the file with a variable or a flag', async () => {
    const { config } = await load('log: {level: loud, format: xml}', {
      env: { VLLM_VITALS_LOG_FORMAT: 'json' },
      flags: flagsOf('--log.level=debug'),
    })
    assert.deepEqual(config.log, { level: 'debug', format: 'json' })
  })

  it('names the origin that won where it is the mistake', async () => {
    const setting = {
      env: { VLLM_VITALS_LOG_LEVEL: 'silent', VLLM_VITALS_LOG_FORMAT: 'xml' },
      flags: flagsOf('--log.level=loud'),
    }
    assert.deepEqual(await issuesOf('log: {level: quiet}\nwindows: 5', setting), [
      'windows: expected a list, found 5',
      '--log.level: expected one of debug, info, warn, error, found "loud"',
      'VLLM_VITALS_LOG_FORMAT: expected one of json, pretty, found "xml"',
    ])
  })

  it('does not hide that a section of the file is no map', async () => {
    const lines = await issuesOf('log: 5', { flags: flagsOf('--log.level=debug') })
    assert.deepEqual(lines, ['log: expected a map, found 5'])
  })
})

describe('--target', () => {
  const file = 'targets: [{name: a, url: "http://a"}, {name: b, url: "http://b"}]'
  const targetsOf = async (...args: readonly string[]) => {
    const { config } = await load(file, { flags: flagsOf(...args) })
    return config.targets.map(({ name, url }) => `${name}=${url}`)
  }

  it('replaces the whole list of the file and of the environment', async () => {
    assert.deepEqual(await targetsOf('--target=c=http://c'), ['c=http://c'])
    const { config } = await load(file, { env: { VLLM_VITALS_TARGETS: 'd=http://d' } })
    assert.deepEqual(
      config.targets.map(({ name }) => name),
      ['d'],
    )
  })

  it('is called vllm without a name', async () => {
    assert.deepEqual(await targetsOf('--target=http://c'), ['vllm=http://c'])
  })

  it('may be given more than once, in order', async () => {
    assert.deepEqual(await targetsOf('--target=http://c', '--target=x=http://d'), [
      'vllm=http://c',
      'x=http://d',
    ])
  })

  const rows: readonly (readonly [args: readonly string[], ...lines: readonly string[]])[] = [
    [
      ['--target=gpu=http://c'],
      '--target: expected a name other than gpu, which is the GPU source, found "gpu"',
    ],
    [
      ['--target=a=http://c', '--target=a=http://d'],
      '--target: expected a name that no other target has, found "a"',
    ],
    [
      ['--target=http://c', '--target=vllm=http://d'],
      '--target: expected a name that no other target has, found "vllm"',
    ],
    [
      ['--target=c=http://me:hunter2@c'],
      '--target: expected a URL without user and password, which belong in basic_auth, found "http://***@c"',
    ],
    [
      ['--target=c=h:8000'],
      '--target: expected a URL that begins with http:// or https:// and a host, found "h:8000"',
    ],
    [
      ['--target==http://c'],
      '--target: expected a name of 1 to 63 of the characters A-Z a-z 0-9 _ . -, found ""',
    ],
  ]
  for (const [args, ...lines] of rows) {
    it(`is refused: ${args.join(' ')}`, async () => {
      await assert.rejects(loadConfig({ flags: flagsOf(...args) }), (error) => {
        assert.ok(error instanceof ConfigError)
        assert.deepEqual(error.issues, lines)
        return true
      })
    })
  }
})

describe('the URL of a target', () => {
  const begins = 'a URL that begins with http:// or https:// and a host'
  const port = 'a URL with a port from 1 to 65535'
  const parsable = 'a URL such as http://127.0.0.1:8000'
  const bare = 'a base URL without query and fragment'
  const verdicts: readonly (readonly [
    url: string,
    normal: string | undefined,
    expected?: string,
  ])[] = [
    ['http://h:8000', 'http://h:8000'],
    ['http://h/', 'http://h'],
    ['http://h/a/b//', 'http://h/a/b'],
    ['HTTPS://H:443/A', 'https://h/A'],
    ['http://h:80', 'http://h'],
    ['http://h:1', 'http://h:1'],
    ['http://h:65535', 'http://h:65535'],
    ['http://[::1]:8000', 'http://[::1]:8000'],
    ['http://[0:0::1]', 'http://[::1]'],
    ['http://vllm_1.svc:8000', 'http://vllm_1.svc:8000'],
    // Punycode of "bücher", as in RFC 3492.
    ['http://bücher.example', 'http://xn--bcher-kva.example'],
    ['', undefined, begins],
    ['h:8000', undefined, begins],
    ['//h', undefined, begins],
    ['http:h', undefined, begins],
    ['http://', undefined, begins],
    ['http:///x', undefined, begins],
    ['file:///etc/passwd', undefined, begins],
    ['ftp://h', undefined, begins],
    ['http:\\\\h', undefined, begins],
    ['http://h\\x', undefined, begins],
    ['http://a b', undefined, begins],
    ['http://h:0', undefined, port],
    ['http://h:99999', undefined, port],
    ['http://h:', undefined, port],
    ['http://h:/x', undefined, port],
    ['http://h:8o', undefined, parsable],
    ['http://h:80:80', undefined, parsable],
    ['http://[::1', undefined, parsable],
    ['http://[::1%25eth0]', undefined, parsable],
    ['http://256.1.1.1', undefined, parsable],
    ['http://h?x=1', undefined, bare],
    ['http://h/#top', undefined, bare],
  ]
  for (const [url, normal, expected] of verdicts) {
    const verdict = normal === undefined ? 'is refused' : `becomes ${normal}`
    it(`${verdict}: ${JSON.stringify(url)}`, async () => {
      const text = `targets: [{name: a, url: ${JSON.stringify(url)}}]`
      if (normal !== undefined) {
        const { config } = await load(text)
        assert.equal(config.targets[0]?.url, normal)
      } else {
        const found = JSON.stringify(url)
        assert.deepEqual(await issuesOf(text), [
          `targets[0].url: expected ${expected}, found ${found}`,
        ])
      }
    })
  }
})

describe('what works but deserves a look', () => {
  it('is an interval of the GPUs below 5 s, unless they are not read', async () => {
    const warning =
      'gpu.interval: expected 5s or more, since each reading costs the host, found 4s999ms'
    const warningsOf = async (text: string) => (await load(text)).warnings
    assert.deepEqual(await warningsOf('gpu: {interval: 4s999ms}'), [warning])
    assert.deepEqual(await warningsOf('gpu: {interval: 5s}'), [])
    assert.deepEqual(await warningsOf('gpu: {interval: 1s, enabled: false}'), [])
  })

  it('is a URL that ends in a path of vLLM', async () => {
    const warningsOf = async (url: string) =>
      (await load(`targets: [{name: a, url: "${url}"}]`)).warnings
    for (const path of ['/metrics', '/v1', '/x/health']) {
      const [, last] = /(\/[^/]+)$/.exec(path) ?? []
      assert.deepEqual(await warningsOf(`http://h:8000${path}`), [
        `targets[0].url: expected the base URL, to which /metrics is appended, found one that ends in ${last}`,
      ])
    }
    assert.deepEqual(await warningsOf('http://h:8000/models/a'), [])
  })
})

function keysBelow(tree: unknown, path: readonly string[] = []): string[] {
  const isMap = typeof tree === 'object' && tree !== null && !Array.isArray(tree)
  const entries = isMap ? Object.entries(tree) : []
  if (entries.length === 0) return [path.join('.')]
  return entries.flatMap(([key, value]) => keysBelow(value, [...path, key]))
}
