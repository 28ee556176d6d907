import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { alertNames } from '../../src/rules/settings.ts'
import { issuesOf, load } from './with-file.ts'

/** A file, and every line that it is refused with, in any order; no line where it is taken. */
type Row = readonly [claim: string, content: string, ...lines: readonly string[]]

const table = (rows: readonly Row[]) => {
  for (const [claim, content, ...lines] of rows) {
    it(claim, async () => {
      assert.deepEqual([...(await issuesOf(content))].sort(), [...lines].sort())
    })
  }
}

const sections =
  'targets, scrape, windows, quantiles, gpu, thresholds, alerts, probe, slo, links, alertmanager, web, log'
const unknown = (path: string, key: string, known = sections) =>
  `${path}: expected one of the keys ${known}, found "${key}"`
const near = (path: string, key: string, close: string) =>
  `${path}: expected a known key, the nearest is ${close}, found "${key}"`

describe('a key that is not known', () => {
  const scrapeKeys = 'interval, timeout, max_body, max_samples, max_overhead'
  const targetKeys = 'name, url, bearer_token_file, basic_auth'
  table([
    ['is named with the nearest', 'scrap: {}', near('scrap', 'scrap', 'scrape')],
    [
      'is named with the nearest of its section',
      'scrape: {intervall: 1s}',
      near('scrape.intervall', 'intervall', 'interval'),
    ],
    [
      'is named with all keys where none is near',
      'scrape: {zzz: 1}',
      unknown('scrape.zzz', 'zzz', scrapeKeys),
    ],
    [
      'is named below a list',
      'targets: [{name: a, url: "http://h", bearer_token: x}]',
      near('targets[0].bearer_token', 'bearer_token', 'bearer_token_file'),
    ],
    [
      'is refused as the name of an alert',
      'alerts: {VllmDwn: {for: 1m}}',
      near('alerts.VllmDwn', 'VllmDwn', 'VllmDown'),
    ],
    [
      'is refused in an alert',
      'alerts: {VllmDown: {fr: 1m}}',
      near('alerts.VllmDown.fr', 'fr', 'for'),
    ],
    ['is refused if it is __proto__', '__proto__: {a: 1}', unknown('__proto__', '__proto__')],
    [
      'is refused if it is __proto__ in JSON',
      '{"__proto__": {"targets": []}}',
      unknown('__proto__', '__proto__'),
    ],
    ['is refused if it is constructor', 'constructor: 1', unknown('constructor', 'constructor')],
    [
      'is refused if every object has it',
      'scrape: {__proto__: 1, toString: 1}',
      unknown('scrape.__proto__', '__proto__', scrapeKeys),
      unknown('scrape.toString', 'toString', scrapeKeys),
    ],
    [
      'is refused as __proto__ of a target and of the alerts',
      'targets: [{name: a, url: "http://h", __proto__: 3}]\nalerts: {__proto__: {}}',
      unknown('targets[0].__proto__', '__proto__', targetKeys),
      unknown('alerts.__proto__', '__proto__', alertNames.join(', ')),
    ],
    [
      'is refused if it only merges in another YAML',
      'log: &log {level: debug}\n<<: *log',
      unknown('<<', '<<'),
    ],
    [
      'is refused if a later version will know it',
      'comparisons: []\nstate_dir: ""\n' +
        'web: {config_file: ""}\ntargets: [{name: a, url: "http://h", tls: {}}]',
      ...['comparisons', 'state_dir'].map((key) => unknown(key, key)),
      unknown('web.config_file', 'config_file', 'listen, enable_lifecycle'),
      unknown('targets[0].tls', 'tls', targetKeys),
    ],
  ])
})

describe('a value of the wrong type', () => {
  const interval = (found: string) =>
    `scrape.interval: expected a duration from 200ms to 1h such as 5s or 1m30s, found ${found}`
  table([
    ['is refused as the whole', '[]', 'configuration: expected a map, found an empty list'],
    ['is refused as the whole if it is a number', '5', 'configuration: expected a map, found 5'],
    ['is refused as a section', 'scrape: 5', 'scrape: expected a map, found 5'],
    ['is refused as an empty section', 'scrape:', 'scrape: expected a map, found nothing'],
    ['is refused as a list', 'windows: 1m', 'windows: expected a list, found "1m"'],
    ['is refused as a map for a list', 'targets: {}', 'targets: expected a list, found a map'],
    ['is refused in a list', 'targets: [5]', 'targets[0]: expected a map, found 5'],
    ['is refused as a duration in words', 'scrape: {interval: "abc"}', interval('"abc"')],
    ['is refused as a duration without a unit', 'scrape: {interval: 5}', interval('5')],
    ['is refused as a list for a duration', 'scrape: {interval: [5s]}', interval('a list of 1')],
    [
      'is refused with its place in a list',
      'targets: [{name: a, url: "http://h"}, {name: b, url: 8080.5}]',
      'targets[1].url: expected a URL such as http://127.0.0.1:8000, found 8080.5',
    ],
    [
      'is refused where YAML 1.1 knew a boolean',
      'gpu: {enabled: no, processes: on}',
      'gpu.enabled: expected auto, true or false, found "no"',
      'gpu.processes: expected true or false, found "on"',
    ],
    [
      'is refused as a size',
      'scrape: {max_body: 16MB}',
      'scrape.max_body: expected a size from 1KiB to 256MiB such as 16MiB or 64KiB, found "16MB"',
    ],
    [
      'is refused as an address that is a port',
      'web: {listen: [19400]}',
      `web.listen[0]: expected HOST:PORT such as 0.0.0.0:19400 or [::1]:19400, with a port from 1 to 65535, found 19400`,
    ],
    [
      'is refused as one of a few words',
      'log: {level: trace, format: xml}\nalerts: {VllmDown: {severity: page, enabled: 1}}',
      'log.level: expected one of debug, info, warn, error, found "trace"',
      'log.format: expected one of json, pretty, found "xml"',
      'alerts.VllmDown.severity: expected critical or warning, found "page"',
      'alerts.VllmDown.enabled: expected true or false, found 1',
    ],
    [
      'is refused where something has to be said',
      'targets: [{}]',
      'targets[0].name: expected a name of 1 to 63 of the characters A-Z a-z 0-9 _ . -, found nothing',
      'targets[0].url: expected a URL such as http://127.0.0.1:8000, found nothing',
    ],
    [
      'is shown in one line, shortened, without control characters',
      `log: {level: "a\\nb\\e[31m${'x'.repeat(200)}"}`,
      // 120 characters are shown: a, a newline, b, an escape character, `[31m`, and 112 of x.
      `log.level: expected one of debug, info, warn, error, found "a\\nb\\u001b[31m${'x'.repeat(112)}…"`,
    ],
  ])
})

describe('a value outside its range', () => {
  for (const text of [
    '0',
    '0s',
    '-5s',
    '-1',
    '1e9',
    '.nan',
    '.inf',
    '199ms',
    '1h1ms',
    '2d',
    '""',
  ]) {
    it(`is refused as an interval with the range: ${text}`, async () => {
      const found = { '.nan': 'NaN', '.inf': 'Infinity', '1e9': '1000000000', '0': '0', '-1': '-1' }
      const shown = Object.entries(found).find(([key]) => key === text)?.[1]
      assert.deepEqual(await issuesOf(`scrape: {interval: ${text}}`), [
        `scrape.interval: expected a duration from 200ms to 1h such as 5s or 1m30s, found ${shown ?? `"${text.replaceAll('"', '')}"`}`,
      ])
    })
  }
  for (const found of ['0', '1', '1.5', '99', '-0.5']) {
    it(`is refused as a quantile with the range: ${found}`, async () => {
      assert.deepEqual(await issuesOf(`quantiles: [0.5, ${found}]`), [
        `quantiles[1]: expected a number above 0 and below 1, found ${found}`,
      ])
    })
  }
  for (const address of ['h:0', 'h:70000', 'h', ':', '::1:80', '[::1]', '[::g]:80', 'h:80/x', '']) {
    it(`is refused as an address to listen on: ${JSON.stringify(address)}`, async () => {
      assert.deepEqual(await issuesOf(`web: {listen: ["${address}"]}`), [
        `web.listen[0]: expected HOST:PORT such as 0.0.0.0:19400 or [::1]:19400, with a port from 1 to 65535, found "${address}"`,
      ])
    })
  }
  const limits = 'such as 5s or 1m30s'
  table([
    [
      'is refused for each other number and duration',
      `scrape: {max_samples: 0, max_overhead: 1.5, timeout: 9ms}
gpu: {interval: 2h, timeout: 0s}
thresholds: {e2e_latency_p99: 0s, queue_time_p95: 2d, error_ratio: 2, gpu_memory_ratio: -1,
  gpu_utilization_ratio: 95, generation_tokens_per_second_min: -1, ttft_p99: 25h}
alerts: {VllmDown: {for: 8d, keep_firing_for: -1s, window: 999ms}}`,
      'scrape.max_samples: expected a whole number from 1 to 5000000, found 0',
      'scrape.max_overhead: expected a number from 0 to 1, found 1.5',
      `scrape.timeout: expected a duration from 10ms to 1h ${limits}, found "9ms"`,
      `gpu.interval: expected a duration from 200ms to 1h ${limits}, found "2h"`,
      `gpu.timeout: expected a duration from 10ms to 1h ${limits}, found "0s"`,
      `thresholds.e2e_latency_p99: expected a duration from 1ms to 1d ${limits}, found "0s"`,
      `thresholds.queue_time_p95: expected a duration from 1ms to 1d ${limits}, found "2d"`,
      'thresholds.error_ratio: expected a number from 0 to 1, found 2',
      'thresholds.gpu_memory_ratio: expected a number from 0 to 1, found -1',
      'thresholds.gpu_utilization_ratio: expected a number from 0 to 1, found 95',
      'thresholds.generation_tokens_per_second_min: expected a number from 0 to 1000000000, found -1',
      `thresholds.ttft_p99: expected a duration from 0s to 1d ${limits}, found "25h"`,
      `alerts.VllmDown.for: expected a duration from 0s to 7d ${limits}, found "8d"`,
      `alerts.VllmDown.keep_firing_for: expected a duration from 0s to 7d ${limits}, found "-1s"`,
      `alerts.VllmDown.window: expected a duration from 1s to 7d ${limits}, found "999ms"`,
    ],
    ['is no window of exactly two intervals', 'windows: [10s]'],
    [
      'is a window of less than two intervals',
      'windows: [1m, 9s]',
      'windows[1]: expected at least two scrape intervals, 10s, found 9s',
    ],
    [
      'is a default window, too short for the interval',
      'scrape: {interval: 31s}',
      'windows[0]: expected at least two scrape intervals, 1m2s, found 1m',
    ],
    [
      'is the window of an alert, too short for the interval',
      'scrape: {interval: 6s}\nalerts: {VllmErrorRatioHigh: {window: 11s}}',
      'alerts.VllmErrorRatioHigh.window: expected at least two scrape intervals, 12s, found 11s',
    ],
    ['is no timeout equal to the interval', 'scrape: {timeout: 5s}\ngpu: {timeout: 10s}'],
    [
      'is a timeout above the interval',
      'scrape: {timeout: 6s}\ngpu: {interval: 5s, timeout: 5s1ms}',
      'scrape.timeout: expected at most the interval, 5s, found "6s"',
      'gpu.timeout: expected at most the interval, 5s, found "5s1ms"',
    ],
    [
      'is an empty list',
      'targets: []\nwindows: []\nquantiles: []\nweb: {listen: []}',
      'targets: expected at least one target, found an empty list',
      'windows: expected at least one window, found an empty list',
      'quantiles: expected at least one quantile, found an empty list',
      'web.listen: expected at least one address, found an empty list',
    ],
    [
      'is a list that is too long',
      `windows: [${Array.from({ length: 17 }, (_, index) => `${index + 1}m`)}]
quantiles: [${Array.from({ length: 17 }, (_, index) => (index + 1) / 20)}]
web: {listen: [${Array.from({ length: 17 }, (_, index) => `":${index + 1}"`)}]}`,
      'windows: expected at most 16 windows, found a list of 17',
      'quantiles: expected at most 16 quantiles, found a list of 17',
      'web.listen: expected at most 16 addresses, found a list of 17',
    ],
    [
      'is a number of targets above 256',
      targets(257),
      'targets: expected at most 256 targets, found a list of 257',
    ],
    ['is no number of targets up to 256', targets(256)],
  ])
})

describe('something said twice', () => {
  table([
    [
      'is refused as the name or URL of targets, in whatever spelling of the URL',
      'targets: [{name: a, url: "http://h:80/x/"}, {name: a, url: "HTTP://H/x"}, {name: b, url: "http://h/x"}]',
      'targets[1].name: expected a name that no other target has, found "a"',
      'targets[1].url: expected a url that no other target has, found "HTTP://H/x"',
      'targets[2].url: expected a url that no other target has, found "http://h/x"',
    ],
    [
      'is refused as a name beside another mistake',
      'targets: [{name: a, url: "ftp://h"}, {name: a, url: "http://h"}]',
      'targets[0].url: expected a URL that begins with http:// or https:// and a host, found "ftp://h"',
      'targets[1].name: expected a name that no other target has, found "a"',
    ],
    [
      'is refused as a window or a quantile, in whatever spelling',
      'windows: [60s, 5m, 1m]\nquantiles: [0.5, 0.50]',
      'windows[2]: expected each value once, found "1m"',
      'quantiles[1]: expected each value once, found 0.5',
    ],
    [
      'is no second mistake of windows that are mistakes',
      'windows: [x, x]',
      'windows[0]: expected a duration from 1s to 7d such as 5s or 1m30s, found "x"',
      'windows[1]: expected a duration from 1s to 7d such as 5s or 1m30s, found "x"',
    ],
    [
      'is refused as an address, beside another mistake',
      'web: {listen: ["0.0.0.0:1", "x:0", ":1"]}',
      'web.listen[1]: expected HOST:PORT such as 0.0.0.0:19400 or [::1]:19400, with a port from 1 to 65535, found "x:0"',
      'web.listen[2]: expected each address once, found ":1"',
    ],
  ])
})

describe('several mistakes', () => {
  it('are told all at once', async () => {
    const lines = await issuesOf('scrap: {}\nscrape: {intervall: 1s, timeout: 5}\nlog: {level: x}')
    assert.equal(lines.length, 4)
  })

  it('are told up to a hundred, and the rest as a number', async () => {
    const keys = Array.from({ length: 150 }, (_, index) => `k${index}: 1\n`)
    const lines = await issuesOf(keys.join(''))
    assert.equal(lines.length, 101)
    assert.equal(lines.at(-1), 'configuration: and 50 more mistakes')
  })
})

describe('the name of a target', () => {
  for (const name of ['a', 'A_b.c-9', 'x'.repeat(63), 'GPU']) {
    it(`may be ${name}`, async () => {
      const { config } = await load(`targets: [{name: "${name}", url: "http://h"}]`)
      assert.deepEqual(config.targets, [{ name, url: 'http://h', auth: { kind: 'none' } }])
    })
  }
  for (const name of ['', 'a b', 'é', 'a/b', 'x'.repeat(64), 'a\\n']) {
    it(`may not be ${JSON.stringify(name)}`, async () => {
      const [line, ...rest] = await issuesOf(`targets: [{name: "${name}", url: "http://h"}]`)
      assert.match(line ?? '', /^targets\[0\]\.name: expected a name of 1 to 63 of the characters /)
      assert.deepEqual(rest, [])
    })
  }
  table([
    [
      'may not be that of the GPU source',
      'targets: [{name: gpu, url: "http://h"}]',
      'targets[0].name: expected a name other than gpu, which is the GPU source, found "gpu"',
    ],
  ])
})

describe('a reference to a variable', () => {
  const writtenOut = 'written out, since references to variables are not expanded'
  table([
    [
      'is refused rather than taken for text',
      `targets: [{name: "\${A}", url: "http://\${HOST}", bearer_token_file: "\${DIR}/t"}]
gpu: {command: "\${SMI}"}`,
      `targets[0].name: expected a name of 1 to 63 of the characters A-Z a-z 0-9 _ . -, found "\${A}"`,
      `targets[0].url: expected a URL such as http://127.0.0.1:8000 ${writtenOut}, found "http://\${HOST}"`,
      `targets[0].bearer_token_file: expected the path of a file ${writtenOut}, found "\${DIR}/t"`,
      `gpu.command: expected a command ${writtenOut}, found "\${SMI}"`,
    ],
    [
      'is refused as a host without braces',
      'targets: [{name: a, url: "http://$HOST:8000"}]',
      'targets[0].url: expected a URL with its host written out, found "http://$HOST:8000"',
    ],
    [
      'is refused as a port that came out empty',
      'targets: [{name: a, url: "http://h:"}]',
      'targets[0].url: expected a URL with a port from 1 to 65535, found "http://h:"',
    ],
  ])
})

function targets(count: number): string {
  const lines = Array.from(
    { length: count },
    (_, index) => `- {name: t${index}, url: "http://h/${index}"}\n`,
  )
  return `targets:\n${lines.join('')}`
}
