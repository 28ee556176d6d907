import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { effectiveConfig } from '../../src/config/effective.ts'
import { readConfigFile } from '../../src/config/file.ts'
import { loadConfig } from '../../src/config/load.ts'
import {
  type Config,
  type ConfigFile,
  configSchema,
  logFormats,
  logLevels,
} from '../../src/config/schema.ts'
import { alertNames } from '../../src/rules/settings.ts'
import { formatDuration, formatSize } from '../../src/units.ts'
import { load, withFile } from './with-file.ts'

const dayMs = 86_400_000

const duration = (min: number, max: number) => fc.integer({ min, max }).map(formatDuration)
const ratio = fc.double({ min: 0, max: 1, noNaN: true })

/** Any text that a path or a name may be: no control characters, no reference to a variable. */
const text = fc
  .string({ unit: 'binary', minLength: 1, maxLength: 20 })
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is left out.
  .filter((found) => !/[\u0000-\u001f\u007f:]|\$\{/.test(found))

const auth = fc.oneof(
  fc.constant({}),
  fc.record({ bearer_token_file: text }),
  fc.record({ basic_auth: fc.record({ username: text, password_file: text }) }),
)

const targets = fc
  .uniqueArray(fc.tuple(fc.stringMatching(/^[A-Za-z0-9_.-]{1,63}$/), auth), {
    minLength: 1,
    maxLength: 4,
    selector: ([name]) => name,
  })
  .map((all) =>
    all
      .filter(([name]) => name !== 'gpu')
      .map(([name, how], index) => ({ name, url: `http://[::1]:${8_000 + index}/x`, ...how })),
  )
  .filter((all) => all.length > 0)

const pace = (longestMs: number) =>
  fc
    .integer({ min: 200, max: longestMs })
    .chain((intervalMs) =>
      fc.record(
        { interval: fc.constant(formatDuration(intervalMs)), timeout: duration(10, intervalMs) },
        { requiredKeys: ['interval'] },
      ),
    )

// The longest interval here is a minute, so that windows of two minutes and more hold two of it.
const windowMs = fc.integer({ min: 120_000, max: 7 * dayMs })

const alert = fc.record(
  {
    enabled: fc.boolean(),
    for: duration(0, 7 * dayMs),
    keep_firing_for: duration(0, 7 * dayMs),
    severity: fc.constantFrom('critical' as const, 'warning' as const),
    window: windowMs.map(formatDuration),
  },
  { requiredKeys: [] },
)

const alerts = fc
  .array(fc.tuple(fc.constantFrom(...alertNames), alert), { maxLength: 3 })
  .map((pairs) => Object.fromEntries(pairs))

const anyFile: fc.Arbitrary<ConfigFile> = fc.record(
  {
    targets,
    scrape: fc
      .tuple(
        pace(60_000),
        fc.record({
          max_body: fc.integer({ min: 1_024, max: 268_435_456 }).map(formatSize),
          max_samples: fc.integer({ min: 1, max: 5_000_000 }),
          max_overhead: ratio,
        }),
      )
      .map(([times, limits]) => ({ ...times, ...limits })),
    windows: fc
      .uniqueArray(windowMs, { minLength: 1, maxLength: 5 })
      .map((all) => all.map(formatDuration)),
    quantiles: fc.uniqueArray(
      fc.double({ min: 0, max: 1, minExcluded: true, maxExcluded: true, noNaN: true }),
      { minLength: 1, maxLength: 5 },
    ),
    gpu: fc
      .tuple(
        pace(3_600_000),
        fc.record({
          enabled: fc.constantFrom('auto' as const, true, false),
          command: text,
          processes: fc.boolean(),
        }),
      )
      .map(([times, how]) => ({ ...times, ...how })),
    thresholds: fc.record({
      e2e_latency_p99: duration(1, dayMs),
      queue_time_p95: duration(1, dayMs),
      error_ratio: ratio,
      gpu_utilization_ratio: ratio,
      gpu_memory_ratio: ratio,
      generation_tokens_per_second_min: fc.double({ min: 0, max: 1e9, noNaN: true }),
      ttft_p99: duration(0, dayMs),
    }),
    alerts,
    probe: fc.integer({ min: 5_000, max: dayMs }).chain((intervalMs) =>
      fc.record(
        {
          interval: fc.constant(formatDuration(intervalMs)),
          timeout: duration(1_000, Math.min(intervalMs, 600_000)),
          enabled: fc.boolean(),
          model: fc.oneof(fc.constant(''), text),
          prompt: fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }),
        },
        { requiredKeys: ['interval'] },
      ),
    ),
    slo: fc.record({
      latency: fc.double({ min: 0.5, max: 0.99999, noNaN: true }),
      errors: fc.double({ min: 0.5, max: 0.99999, noNaN: true }),
      period: duration(7 * dayMs, 92 * dayMs),
      alerts: fc.boolean(),
    }),
    links: fc.record({
      runbooks: fc.constantFrom('', 'https://h.example/runbooks', 'http://h.example/'),
      grafana: fc.constantFrom('', 'http://grafana.example:3000', 'https://h.example/grafana/'),
    }),
    alertmanager: fc
      .tuple(
        fc.record({
          urls: fc.uniqueArray(
            fc.constantFrom('http://a:9093', 'https://b.example/am', 'http://c'),
          ),
          instance: fc.constantFrom('', 'gpu-host-1:19400', '[::1]:1', 'h.example'),
          timeout: duration(100, 60_000),
          resend: duration(60_000, 3_600_000),
          labels: fc.dictionary(fc.stringMatching(/^x_[a-z0-9_]{0,9}$/), text, { maxKeys: 4 }),
        }),
        auth,
      )
      .map(([how, credentials]) => ({ ...how, ...credentials })),
    web: fc.record({
      listen: fc.uniqueArray(fc.constantFrom(':1', '[::1]:2', 'h.example:3', '127.0.0.1:4'), {
        minLength: 1,
      }),
      enable_lifecycle: fc.boolean(),
    }),
    log: fc.record({
      level: fc.constantFrom(...logLevels),
      format: fc.constantFrom(...logFormats),
    }),
  },
  { requiredKeys: ['scrape', 'windows'] },
)

const readBack = (printed: string): Promise<Config> =>
  withFile(printed, async (path) => configSchema.parse(await readConfigFile(path)))

describe('the effective configuration', () => {
  it('read again is the same configuration, whatever it was', async () => {
    await fc.assert(
      fc.asyncProperty(anyFile, async (file) => {
        const config = configSchema.parse(file)
        assert.deepEqual(await readBack(effectiveConfig(config)), config)
      }),
      { numRuns: 200 },
    )
  })

  it('shows every key with its default, so that nothing is left to guess', async () => {
    const { config } = await loadConfig({})
    assert.equal(
      effectiveConfig(config),
      `targets:
  - name: vllm
    url: http://127.0.0.1:8000
scrape:
  interval: 5s
  timeout: 4s
  max_body: 16MiB
  max_samples: 200000
  max_overhead: 0.01
windows:
  - 1m
  - 5m
  - 1h
quantiles:
  - 0.5
  - 0.95
  - 0.99
gpu:
  enabled: auto
  command: nvidia-smi
  interval: 10s
  timeout: 10s
  processes: true
thresholds:
  e2e_latency_p99: 10s
  queue_time_p95: 5s
  error_ratio: 0.01
  gpu_utilization_ratio: 0.95
  gpu_memory_ratio: 0.9
  generation_tokens_per_second_min: 0
  ttft_p99: 0s
alerts: {}
probe:
  enabled: false
  interval: 1m
  timeout: 30s
  model: ""
  prompt: ping
slo:
  latency: 0.99
  errors: 0.999
  period: 30d
  alerts: true
links:
  runbooks: ""
  grafana: ""
alertmanager:
  urls: []
  instance: ""
  timeout: 5s
  resend: 1m
  labels: {}
web:
  listen:
    - 0.0.0.0:19400
  enable_lifecycle: false
log:
  level: info
  format: json
`,
    )
  })

  it('shows what flags and environment made of it, and the path of a secret in place of the secret', async () => {
    const { config } = await load(
      'targets: [{name: "no", url: "http://h", basic_auth: {username: "on", password_file: pw}}]',
      {
        env: { VLLM_VITALS_SCRAPE_INTERVAL: '90s', VLLM_VITALS_WINDOWS: '3m' },
        files: { pw: 'hunter2' },
      },
    )
    const printed = effectiveConfig(config)
    // `no` and `on` are text here, and booleans in YAML 1.1, which others may read it with.
    assert.match(printed, /name: "?no"?\n/)
    assert.match(printed, /interval: 1m30s\n {2}timeout: 10s\n/)
    assert.match(printed, /password_file: \/.*\/pw\n/)
    assert.doesNotMatch(printed, /hunter2/)
    assert.deepEqual(await readBack(printed), config)
  })
})
