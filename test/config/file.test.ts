import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { fileProblem, readConfigFile } from '../../src/config/file.ts'
import { loadConfig } from '../../src/config/load.ts'
import { ConfigError } from '../../src/errors.ts'
import { findProgram } from '../repository.ts'
import { issuesOf, load, withFile } from './with-file.ts'

/** The user id that owns nothing, by Debian's reckoning. */
const nobody = 65_534

async function refusal(path: string): Promise<string> {
  try {
    await readConfigFile(path)
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
  throw new Error('expected a refusal, found a configuration')
}

describe('a configuration file', () => {
  for (const content of ['', '# nothing\n', '---\n', 'null', '{}', '\ufeff', '\r\n']) {
    it(`means the defaults where it is ${JSON.stringify(content)}`, async () => {
      assert.deepEqual(await load(content), await loadConfig({}))
    })
  }

  const same: readonly (readonly [claim: string, content: string])[] = [
    ['may begin with a byte order mark', '\ufefflog: {level: debug}'],
    ['may have the line ends of Windows', 'log:\r\n  level: debug\r\n'],
    ['may be JSON', '{"log": {"level": "debug"}}'],
    ['may be JSON with tabs', '{\n\t"log": {\n\t\t"level": "debug"\n\t}\n}\n'],
    ['may have a document marker and an end', '---\nlog: {level: debug}\n...\n'],
    ['may tag text as text', 'log: {level: !!str debug}'],
    [
      'may use an anchor and an alias',
      'alerts: {VllmDown: &a {}, VllmGpuLost: *a}\nlog: {level: debug}',
    ],
  ]
  for (const [claim, content] of same) {
    it(claim, async () => {
      const { config } = await load(content)
      assert.equal(config.log.level, 'debug')
    })
  }

  it('is read anew each time', async () => {
    await withFile('log: {level: debug}', async (path) => {
      assert.deepEqual(await readConfigFile(path), { log: { level: 'debug' } })
    })
  })
})

describe('a file that cannot be read', () => {
  it('is told in one line with its path and the reason', async () => {
    await withFile('', async (path, folder) => {
      assert.equal(
        await refusal(`${path}.not`),
        `${path}.not: expected a readable file, found no such file`,
      )
      assert.equal(
        await refusal(join(path, 'below')),
        `${join(path, 'below')}: expected a readable file, found no such file`,
      )
      assert.equal(await refusal(folder), `${folder}: expected a readable file, found a directory`)
      assert.equal(await refusal(''), '"": expected a readable file, found no such file')
    })
  })

  it('stays one line, whatever its name', async () => {
    await withFile('', async (_, folder) => {
      assert.equal(
        await refusal(join(folder, 'a\nb')),
        `${folder}/a\\nb: expected a readable file, found no such file`,
      )
    })
  })

  it('is told for lack of permission', async () => {
    await withFile('', async (path) => {
      await chmod(path, 0)
      // Root may read everything, so that this test is somebody else for a moment.
      const isRoot = process.geteuid?.() === 0
      if (isRoot) process.seteuid?.(nobody)
      try {
        assert.equal(
          await refusal(path),
          `${path}: expected a readable file, found permission denied`,
        )
      } finally {
        if (isRoot) process.seteuid?.(0)
      }
    })
  })

  it('is told in words that people know', () => {
    const said = (code: string) => fileProblem(Object.assign(new Error('x'), { code }))
    assert.equal(said('EACCES'), 'permission denied')
    assert.equal(said('ENOENT'), 'no such file')
    assert.equal(said('ELOOP'), 'ELOOP')
    assert.equal(fileProblem(new Error('x')), 'an unknown failure')
  })

  const noPipes = findProgram('mkfifo') === undefined ? 'needs mkfifo' : false
  it('is refused without waiting where it is a pipe', {
    skip: noPipes,
    timeout: 5_000,
  }, async () => {
    await withFile('', async (_, folder) => {
      const pipe = join(folder, 'pipe')
      assert.equal(spawnSync('mkfifo', [pipe]).status, 0)
      assert.equal(
        await refusal(pipe),
        `${pipe}: expected a readable file, found something that is not a regular file`,
      )
    })
  })

  it('is told beside the mistakes of flags and environment', async () => {
    await withFile('', async (_, folder) => {
      const path = join(folder, 'missing')
      await mkdir(join(folder, 'other'))
      const env = { VLLM_VITALS_LOG_LEVEL: 'x' }
      await assert.rejects(loadConfig({ path, env }), {
        issues: [
          `${path}: expected a readable file, found no such file`,
          'VLLM_VITALS_LOG_LEVEL: expected one of debug, info, warn, error, found "x"',
        ],
      })
    })
  })
})

describe('a file that is no usable YAML', () => {
  const mistake = (place: string, reason: string) =>
    `vitals.yaml:${place}: expected valid YAML, found a mistake: ${reason}`
  const other = (found: string) => `vitals.yaml: expected a configuration in YAML, found ${found}`
  const twice = 'Map keys must be unique'
  const tooDeep = other('maps or lists nested too deep')
  const tooMany = other('more than 1000 entries in one map or list')
  const bomb = 'abcdefgh'.split('').map((name, index) => {
    const before = index === 0 ? 'x' : `*${'abcdefgh'[index - 1]}`
    return `${name}: &${name} [${Array.from({ length: 9 }, () => before)}]\n`
  })
  const rows: readonly (readonly [claim: string, content: string | Uint8Array, line: string])[] = [
    [
      'is told with line and column',
      'log:\n  level: "debug\n',
      mistake('3:1', 'Missing closing \\"quote'),
    ],
    [
      'is told for a tab',
      'log:\n\tlevel: info',
      mistake('2:1', 'Tabs are not allowed as indentation'),
    ],
    [
      'is told for a key given twice',
      'scrape: {interval: 1s, interval: 2s}',
      mistake('1:24', twice),
    ],
    ['is told for __proto__ given twice', '__proto__: 1\n"__proto__": 2', mistake('2:1', twice)],
    [
      'is told for a key that is no text',
      '? {a: 1}\n: x',
      mistake('1:3', 'With stringKeys, all keys must be strings'),
    ],
    [
      'is told for a tag of another language',
      'gpu: {command: !!js/function "x"}',
      mistake('1:16', 'Unresolved tag: tag:yaml.org,2002:js/function'),
    ],
    [
      'is told for a tag of its own',
      'log: !include other.yaml',
      mistake('1:6', 'Unresolved tag: !include'),
    ],
    [
      'is told for a second document, which would be passed over',
      'log: {level: debug}\n---\nlog: {level: info}\n',
      mistake('2:1', 'Source contains multiple documents; please use YAML.parseAllDocuments()'),
    ],
    [
      'is told for an alias without an anchor',
      'log: *a',
      other('an alias before its anchor or without one'),
    ],
    ['is told for aliases that multiply', bomb.join(''), other('aliases that repeat too much')],
    ['is told for a nest of lists', '['.repeat(100_000), tooDeep],
    ['is told for a nest of maps', '{a: '.repeat(50_000), tooDeep],
    ['is told for a nest of lists in block style', '- '.repeat(100_000), tooDeep],
    ['is told for a nest of keys', '? '.repeat(100_000), tooDeep],
    ['is told for keys in one line', 'a: '.repeat(80_000), tooDeep],
    ['is told for too many keys', keys(20_000), tooMany],
    [
      'is told for 10,000 targets',
      `targets: [${'{name: a, url: "http://h"},'.repeat(10_000).slice(0, 250_000)}`,
      tooMany,
    ],
    [
      'is told for 10 MB',
      `# ${'x'.repeat(10_000_000)}`,
      'vitals.yaml: expected a readable file, found more than 256KiB',
    ],
    [
      'is told for UTF-16',
      Buffer.from('\ufefflog: {}', 'utf16le'),
      'vitals.yaml: expected text in UTF-8, found other bytes',
    ],
    [
      'is told for bytes',
      new Uint8Array([0xff, 0x00, 0xfe]),
      'vitals.yaml: expected text in UTF-8, found other bytes',
    ],
  ]
  for (const [claim, content, line] of rows) {
    it(claim, { timeout: 10_000 }, async () => {
      const [first, ...rest] = await issuesOf(content)
      assert.equal(first, line)
      if (!line.includes('found a mistake')) assert.deepEqual(rest, [])
    })
  }

  it('is told without quoting the file, which may hold a secret', async () => {
    const lines = await issuesOf('targets:\n  - password: "hunter2\n    other: hunter2: x\n')
    assert.ok(lines.length > 0)
    assert.doesNotMatch(lines.join('\n'), /hunter2/)
  })

  it('is told with twenty mistakes at most', async () => {
    const lines = await issuesOf('a: 1\n'.repeat(500))
    assert.equal(lines.length, 20)
  })

  it('is taken at the limit of size, and not one byte beyond', async () => {
    // 256 KiB are 262144 bytes; the comment is `#` and 262142 of x, and a newline.
    const full = `#${'x'.repeat(262_142)}\n`
    assert.deepEqual(await issuesOf(full), [])
    assert.equal((await issuesOf(`${full}\n`)).length, 1)
  })
})

function keys(count: number): string {
  return Array.from({ length: count }, (_, index) => `k${index}: 1\n`).join('')
}
