import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { readEnvironment, targetsFromTexts } from '../../src/config/environment.ts'
import { allSettings, environmentName } from '../../src/config/keys.ts'
import { loadConfig } from '../../src/config/load.ts'
import { ConfigError } from '../../src/errors.ts'

const valueFrom = (name: string, text: string) =>
  readEnvironment({ [name]: text }).overrides[0]?.value

async function refusals(env: Readonly<Record<string, string>>): Promise<readonly string[]> {
  try {
    await loadConfig({ env })
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.issues
    throw error
  }
}

describe('the name of a variable', () => {
  it('is the path of the setting in upper case behind the prefix', () => {
    assert.equal(environmentName(['scrape', 'interval']), 'VLLM_VITALS_SCRAPE_INTERVAL')
    assert.equal(environmentName(['targets']), 'VLLM_VITALS_TARGETS')
    assert.equal(environmentName(['web', 'listen']), 'VLLM_VITALS_WEB_LISTEN')
    assert.equal(environmentName(['alerts', 'VllmDown', 'for']), 'VLLM_VITALS_ALERTS_VLLMDOWN_FOR')
  })

  it('belongs to one setting alone', () => {
    const names = allSettings().map(({ path }) => environmentName(path))
    assert.equal(new Set(names).size, names.length)
  })
})

describe('the value of a variable', () => {
  const rows: readonly (readonly [claim: string, name: string, text: string, value: unknown])[] = [
    ['stays text for a duration', 'VLLM_VITALS_SCRAPE_INTERVAL', '1s', '1s'],
    ['becomes a number', 'VLLM_VITALS_SCRAPE_MAX_SAMPLES', '1000', 1_000],
    ['becomes a number with an exponent', 'VLLM_VITALS_SCRAPE_MAX_OVERHEAD', '5e-3', 0.005],
    ['becomes a boolean', 'VLLM_VITALS_GPU_PROCESSES', 'false', false],
    ['becomes a boolean beside other words', 'VLLM_VITALS_GPU_ENABLED', 'true', true],
    ['stays a word beside booleans', 'VLLM_VITALS_GPU_ENABLED', 'auto', 'auto'],
    ['stays what no boolean is spelt like', 'VLLM_VITALS_GPU_PROCESSES', 'yes', 'yes'],
    ['stays what no number is spelt like', 'VLLM_VITALS_SCRAPE_MAX_SAMPLES', '0x10', '0x10'],
    ['stays text that looks like a number', 'VLLM_VITALS_GPU_COMMAND', '5', '5'],
    ['is a list with commas', 'VLLM_VITALS_WINDOWS', '1m, 5m', ['1m', '5m']],
    ['is a list of numbers', 'VLLM_VITALS_QUANTILES', '0.5,0.9', [0.5, 0.9]],
    ['is a list of one', 'VLLM_VITALS_WEB_LISTEN', ':80', [':80']],
    [
      'is a list of targets',
      'VLLM_VITALS_TARGETS',
      'a=http://h:8000,b=http://h:8001',
      [
        { name: 'a', url: 'http://h:8000' },
        { name: 'b', url: 'http://h:8001' },
      ],
    ],
    [
      'is a target called vllm',
      'VLLM_VITALS_TARGETS',
      'http://h',
      [{ name: 'vllm', url: 'http://h' }],
    ],
  ]
  for (const [claim, name, text, value] of rows) {
    it(claim, () => assert.deepEqual(valueFrom(name, text), value))
  }

  it('reaches the configuration', async () => {
    const { config, warnings } = await loadConfig({
      env: {
        VLLM_VITALS_SCRAPE_INTERVAL: '1s',
        VLLM_VITALS_ALERTS_VLLMDOWN_ENABLED: 'false',
        VLLM_VITALS_WEB_LISTEN: '127.0.0.1:1,[::1]:2',
        VLLM_VITALS_GPU_ENABLED: 'false',
      },
    })
    assert.equal(config.scrape.intervalMs, 1_000)
    assert.deepEqual(config.alerts, { VllmDown: { enabled: false } })
    assert.deepEqual(
      config.web.listen.map(({ host, port }) => [host, port]),
      [
        ['127.0.0.1', 1],
        ['::1', 2],
      ],
    )
    assert.equal(config.gpu.enabled, false)
    assert.deepEqual(warnings, [])
  })
})

describe('a mistake in a variable', () => {
  const rows: readonly (readonly [
    claim: string,
    env: Readonly<Record<string, string>>,
    ...lines: readonly string[],
  ])[] = [
    [
      'is told under the name of the variable',
      { VLLM_VITALS_SCRAPE_INTERVAL: '5', VLLM_VITALS_LOG_LEVEL: 'loud' },
      'VLLM_VITALS_SCRAPE_INTERVAL: expected a duration from 200ms to 1h such as 5s or 1m30s, found "5"',
      'VLLM_VITALS_LOG_LEVEL: expected one of debug, info, warn, error, found "loud"',
    ],
    [
      'is told for a part of a list',
      { VLLM_VITALS_QUANTILES: '0.5,x,' },
      'VLLM_VITALS_QUANTILES: expected a number above 0 and below 1, found "x"',
      'VLLM_VITALS_QUANTILES: expected a number above 0 and below 1, found ""',
    ],
    [
      'is to be set to nothing',
      { VLLM_VITALS_SCRAPE_INTERVAL: '' },
      'VLLM_VITALS_SCRAPE_INTERVAL: expected a value, or the variable not set, found ""',
    ],
    [
      'is a second target without a name',
      { VLLM_VITALS_TARGETS: 'http://h:1,a=ftp://h,http://h:2' },
      'VLLM_VITALS_TARGETS: expected a URL that begins with http:// or https:// and a host, found "ftp://h"',
      'VLLM_VITALS_TARGETS: expected NAME=URL for all targets but one, found "http://h:2"',
    ],
    [
      'never shows what stands before an @',
      { VLLM_VITALS_TARGETS: 'a=http://user:hunter2@h' },
      'VLLM_VITALS_TARGETS: expected a URL without user and password, which belong in basic_auth, found "http://***@h"',
    ],
    [
      'is a timeout above the interval of the file or the default',
      { VLLM_VITALS_SCRAPE_TIMEOUT: '6s' },
      'VLLM_VITALS_SCRAPE_TIMEOUT: expected at most the interval, 5s, found "6s"',
    ],
  ]
  for (const [claim, env, ...lines] of rows) {
    it(claim, async () => assert.deepEqual(await refusals(env), lines))
  }
})

describe('a variable with the prefix that is no setting', () => {
  it('is warned about with the nearest, and refuses nothing', async () => {
    const { warnings } = await loadConfig({
      env: { VLLM_VITALS_SCRAPE_INTERVALL: '1s', VLLM_VITALS_X: '' },
    })
    assert.deepEqual(warnings, [
      'VLLM_VITALS_SCRAPE_INTERVALL: expected the name of a setting, the nearest is VLLM_VITALS_SCRAPE_INTERVAL, found an unknown variable',
      'VLLM_VITALS_X: expected the name of a setting, found an unknown variable',
    ])
  })

  it('is what Kubernetes injects for a Service of this name', async () => {
    const env = {
      VLLM_VITALS_SERVICE_HOST: '10.0.0.1',
      VLLM_VITALS_SERVICE_PORT: '19400',
      VLLM_VITALS_PORT: 'tcp://10.0.0.1:19400',
      VLLM_VITALS_PORT_19400_TCP: 'tcp://10.0.0.1:19400',
      VLLM_VITALS_PORT_19400_TCP_ADDR: '10.0.0.1',
    }
    const { config, warnings } = await loadConfig({ env })
    assert.equal(warnings.length, 5)
    assert.deepEqual(config, (await loadConfig({})).config)
  })

  it('is counted rather than named beyond twenty', () => {
    const env = Object.fromEntries(
      Array.from({ length: 25 }, (_, index) => [`VLLM_VITALS_Z${index}`, 'x']),
    )
    const { unknown } = readEnvironment(env)
    assert.equal(unknown.length, 21)
    assert.equal(unknown.at(-1), 'VLLM_VITALS_*: and 5 more unknown variables')
  })

  it('is told without what it holds', () => {
    const { unknown } = readEnvironment({ VLLM_VITALS_TOKEN: 'hunter2' })
    assert.doesNotMatch(unknown.join(), /hunter2/)
  })

  it('is no business of ours without the prefix, or not set', () => {
    const found = readEnvironment({
      VLLM_PORT: '1',
      vllm_vitals_log_level: 'x',
      VLLM_VITALS_X: undefined,
    })
    assert.deepEqual(found, { overrides: [], issues: [], unknown: [] })
  })
})

describe('a target in short form', () => {
  const rows: readonly (readonly [text: string, name: string, url: string])[] = [
    ['http://h:8000', 'vllm', 'http://h:8000'],
    ['a=http://h', 'a', 'http://h'],
    ['http://h/?a=b', 'vllm', 'http://h/?a=b'],
    ['a=b=http://h', 'a', 'b=http://h'],
    ['=http://h', '', 'http://h'],
    ['a=', 'a', ''],
    ['h:8000', 'vllm', 'h:8000'],
  ]
  for (const [text, name, url] of rows) {
    it(`reads ${text} as ${JSON.stringify(name)} at ${JSON.stringify(url)}`, () => {
      assert.deepEqual(targetsFromTexts([text], '--target'), {
        value: [{ name, url }],
        issue: undefined,
      })
    })
  }

  it('may lack its name once', () => {
    const { issue } = targetsFromTexts(['http://h', 'a=http://i'], '--target')
    assert.equal(issue, undefined)
    assert.equal(
      targetsFromTexts(['http://h', 'a=http://i', 'http://u:p@j'], '--target').issue,
      '--target: expected NAME=URL for all targets but one, found "http://***@j"',
    )
  })
})
