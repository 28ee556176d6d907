import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  type CommandLine,
  type Product,
  type Request,
  readCommandLine,
} from '../../src/config/flags.ts'

const read = (...args: readonly string[]): CommandLine => readCommandLine(args, '1.2.3')

const serve: Request = { kind: 'serve', configFile: undefined }
const written = (product: Product): Request & { kind: 'generate' } => ({
  kind: 'generate',
  product,
  configFile: undefined,
  out: undefined,
})

describe('a command line', () => {
  const rows: readonly (readonly [args: readonly string[], request: Request])[] = [
    [[], serve],
    [['serve'], serve],
    [['--config.file=a.yaml'], { kind: 'serve', configFile: 'a.yaml' }],
    [['--config.file', 'a.yaml'], { kind: 'serve', configFile: 'a.yaml' }],
    [['serve', '--config.file=a.yaml'], { kind: 'serve', configFile: 'a.yaml' }],
    [['--config.file=-'], { kind: 'serve', configFile: '-' }],
    [['demo'], { kind: 'demo', scenario: undefined, list: false }],
    [['demo', '--scenario=storm'], { kind: 'demo', scenario: 'storm', list: false }],
    [['demo', '--list'], { kind: 'demo', scenario: undefined, list: true }],
    [['generate', 'grafana'], written('grafana')],
    [['generate', 'kubernetes', '--out=d'], { ...written('kubernetes'), out: 'd' }],
    [
      ['generate', '--config.file', 'a.yaml', 'alertmanager'],
      { ...written('alertmanager'), configFile: 'a.yaml' },
    ],
    [['check-config'], { kind: 'check-config', path: undefined, print: false }],
    [['check-config', 'a.yaml'], { kind: 'check-config', path: 'a.yaml', print: false }],
    [['check-config', '--print', 'a.yaml'], { kind: 'check-config', path: 'a.yaml', print: true }],
    [['check-config', 'a.yaml', '--print'], { kind: 'check-config', path: 'a.yaml', print: true }],
    [['check-config', '-'], { kind: 'check-config', path: '-', print: false }],
    [['check-config', ''], { kind: 'check-config', path: '', print: false }],
  ]
  for (const [args, request] of rows) {
    it(`asks for ${JSON.stringify(request)}: ${args.join(' ')}`, () => {
      const line = read(...args)
      assert.deepEqual(line.request, request)
      assert.deepEqual(line.flags, [])
      assert.deepEqual(line.issues, [])
    })
  }

  it('gives settings that win over all others, each under its flag', () => {
    const { flags, issues } = read(
      ...['--log.level=debug', '--log.format', 'pretty', '--web.listen-address=:1'],
      ...['--target=a=http://h:1', '--web.listen-address=:2', '--target', 'http://h:2'],
    )
    const targets = [
      { name: 'a', url: 'http://h:1' },
      { name: 'vllm', url: 'http://h:2' },
    ]
    assert.deepEqual(issues, [])
    assert.deepEqual(
      [...flags].sort((one, other) => (one.origin < other.origin ? -1 : 1)),
      [
        { path: ['log', 'format'], value: 'pretty', origin: '--log.format' },
        { path: ['log', 'level'], value: 'debug', origin: '--log.level' },
        { path: ['targets'], value: targets, origin: '--target' },
        { path: ['web', 'listen'], value: [':1', ':2'], origin: '--web.listen-address' },
      ],
    )
  })

  it('gives settings to check-config and demo, too', () => {
    const [checked] = read('check-config', '--target=http://h', 'a.yaml').flags
    assert.deepEqual(checked?.value, [{ name: 'vllm', url: 'http://h' }])
    const [shown] = read('demo', '--web.listen-address=:1').flags
    assert.deepEqual(shown?.value, [':1'])
  })
})

describe('a question for help or the version', () => {
  for (const args of [['--version'], ['serve', '--version'], ['check-config', '--version']]) {
    it(`is answered with the version alone: ${args.join(' ')}`, () => {
      const line = read(...args)
      assert.deepEqual(line.request, { kind: 'text', text: 'vllm-vitals 1.2.3\n' })
      assert.deepEqual(line.issues, [])
    })
  }

  for (const args of [['-h'], ['--help'], ['help']]) {
    it(`is answered with all commands and all flags of serve: ${args.join(' ')}`, () => {
      const text = textOf(...args)
      for (const word of [
        ...['serve', 'demo', 'check-config', '--version', '--help'],
        ...['--config.file', '--web.listen-address', '--target', '--log.level', '--log.format'],
      ]) {
        assert.ok(text.includes(word), word)
      }
      assert.match(text, /Flags win over the environment/)
    })
  }

  it('is answered for one command', () => {
    assert.match(textOf('check-config', '--help'), /^Usage: vllm-vitals check-config .*\[PATH\]/)
    assert.match(textOf('help', 'demo'), /^Usage: vllm-vitals demo/)
    assert.match(textOf('demo', '-h'), /--scenario <NAME>/)
  })

  it('wins over misuse beside it', () => {
    assert.match(textOf('--bogus', '--help'), /^Usage: /)
  })
})

describe('misuse', () => {
  const rows: readonly (readonly [args: readonly string[], ...lines: readonly string[]])[] = [
    [['--bogus'], '--bogus: expected a known flag, found "--bogus"'],
    [['--bogus', 'value'], '--bogus: expected a known flag, found "--bogus"'],
    [['-x'], '-x: expected a known flag, found "-x"'],
    [['--__proto__=1'], '--__proto__: expected a known flag, found "--__proto__"'],
    [
      ['--config.fil=x'],
      '--config.fil: expected a known flag, the nearest is --config.file, found "--config.fil"',
    ],
    [['-target=x'], '-target: expected a known flag, the nearest is --target, found "-target"'],
    // A later version will know it.
    [
      ['--web.config.file=x'],
      '--web.config.file: expected a known flag, the nearest is --config.file, found "--web.config.file"',
    ],
    [
      ['check-config', '--config.file=x'],
      '--config.file: expected a known flag, found "--config.file"',
    ],
    [['--config.file'], '--config.file: expected a value, found nothing'],
    [['--config.file='], '--config.file: expected a value, found ""'],
    [
      ['--config.file', '--log.level=info'],
      '--config.file: expected a value, found "--log.level=info"',
    ],
    [['--target', ''], '--target: expected a value, found ""'],
    [['--log.level=info', '--log.level=debug'], '--log.level: expected once, found 2 times'],
    [['--config.file=a', '--config.file=a'], '--config.file: expected once, found 2 times'],
    [
      ['--target=http://a', '--target=x=http://c', '--target=http://user:hunter2@b'],
      '--target: expected NAME=URL for all targets but one, found "http://***@b"',
    ],
    [['--help=x'], '--help: expected no value, found "x"'],
    [['check-config', '--print=yes'], '--print: expected no value, found "yes"'],
    [
      ['srve'],
      'command: expected one of serve, demo, check-config, generate, the nearest is serve, found "srve"',
    ],
    [['xyz'], 'command: expected one of serve, demo, check-config, generate, found "xyz"'],
    [[''], 'command: expected one of serve, demo, check-config, generate, found ""'],
    [['-'], 'command: expected one of serve, demo, check-config, generate, found "-"'],
    [
      ['--log.level', 'debug', 'serve'],
      'command: expected one, in front of all flags, found "serve" further on',
    ],
    [['serve', 'demo'], 'command: expected one, in front of all flags, found "demo" further on'],
    [
      ['generate'],
      'generate: expected one of prometheus-rules, alertmanager, grafana, kubernetes, found nothing',
    ],
    [
      ['generate', 'rules'],
      'generate: expected one of prometheus-rules, alertmanager, grafana, kubernetes, found "rules"',
    ],
    [['generate', 'grafana', 'x'], 'generate: expected no further argument, found "x"'],
    [['demo', 'storm'], 'demo: expected no further argument, found "storm"'],
    [['check-config', 'a', 'b'], 'check-config: expected no further argument, found "b"'],
    [['help', 'bogus'], 'help: expected the name of a command, found "bogus"'],
    [
      ['serve', 'http://user:hunter2@h'],
      'command: expected one of serve, demo, check-config, generate, found "http://***@h"',
    ],
    [['--bogus=http://user:hunter2@h'], '--bogus: expected a known flag, found "--bogus"'],
    [
      ['--bogus=1', '--log.level=a', '--log.level=b', 'x', '--target'],
      '--log.level: expected once, found 2 times',
      '--bogus: expected a known flag, found "--bogus"',
      'command: expected one of serve, demo, check-config, generate, found "x"',
      '--target: expected a value, found nothing',
    ],
  ]
  for (const [args, ...lines] of rows) {
    it(`is told with every mistake: ${args.join(' ')}`, () => {
      const line = read(...args)
      assert.deepEqual(line.issues, lines)
      assert.notEqual(line.request.kind, 'text')
    })
  }

  it('is told with one line on how the command is called', () => {
    assert.equal(
      read('check-config', '--bogus').usage,
      'usage: vllm-vitals check-config [options] [PATH] (see vllm-vitals check-config --help)',
    )
    assert.match(read('--bogus').usage, /^usage: vllm-vitals serve .*--help\)$/)
  })

  it('leaves the settings of other flags to be checked', () => {
    const { flags } = read('--bogus', '--log.level=loud', '--target')
    assert.deepEqual(flags, [{ path: ['log', 'level'], value: 'loud', origin: '--log.level' }])
  })
})

function textOf(...args: readonly string[]): string {
  const { request, issues } = read(...args)
  assert.deepEqual(issues, [])
  if (request.kind === 'text') return request.text
  throw new Error(`expected text, found ${request.kind}`)
}
