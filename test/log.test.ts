import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createLogger, prettyLine, type WriteBytes } from '../src/log.ts'
import { findProgram } from './repository.ts'

interface Write {
  readonly bytes: Uint8Array
  readonly text: string
  readonly done: Parameters<WriteBytes>[1]
}

/** A file descriptor that takes what it is given only when a test says so. */
class FakeDescriptor {
  readonly writes: Write[] = []

  readonly write: WriteBytes = (bytes, done) => {
    this.writes.push({ bytes, text: Buffer.from(bytes).toString(), done })
  }

  /** The write that has not ended. */
  get last(): Write {
    const write = this.writes.at(-1)
    if (write === undefined) throw new Error('expected a write, found none')
    return write
  }

  takeAll(): void {
    this.last.done(null, this.last.bytes.length)
  }

  fail(code: string): void {
    this.last.done(Object.assign(new Error(code), { code }), 0)
  }
}

function logTo(descriptor: FakeDescriptor, level = 'info', format: 'json' | 'pretty' = 'json') {
  return createLogger({ level, format }, descriptor.write)
}

const linesOf = ({ text }: Write): readonly Readonly<Record<string, unknown>>[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))

const messages = (write: Write) => linesOf(write).map(({ msg }) => msg)

/**
 * A message that makes a line of exactly 1,024 characters: `{"level":"info"` has 15, `,"time":"…"` 9 + 24 + 1,
 * `,"msg":"` 8 and `"}` with the newline 3, which are 60.
 */
const kilobyte = 'x'.repeat(964)

describe('a line of the log', () => {
  it('is one JSON object with time, level in words, message and fields', () => {
    const descriptor = new FakeDescriptor()
    const { log } = logTo(descriptor)
    log.child({ target: 'vllm' }).warn({ tookMs: 5 }, 'target went down')
    const [line] = linesOf(descriptor.last)
    assert.ok(descriptor.last.text.endsWith('}\n'))
    assert.match(String(line?.['time']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    assert.deepEqual(
      { ...line, time: '' },
      { level: 'warn', time: '', target: 'vllm', tookMs: 5, msg: 'target went down' },
    )
  })

  it('is written from its level on', () => {
    const descriptor = new FakeDescriptor()
    const { log } = logTo(descriptor, 'warn')
    log.debug('debug')
    log.info('info')
    assert.equal(descriptor.writes.length, 0)
    log.error('error')
    assert.deepEqual(messages(descriptor.last), ['error'])
  })
})

describe('a slow reader', () => {
  it('is given the lines that waited together, in order, after the one before', () => {
    const descriptor = new FakeDescriptor()
    const { log } = logTo(descriptor)
    for (const word of ['one', 'two', 'three']) log.info(word)
    assert.equal(descriptor.writes.length, 1)
    assert.deepEqual(messages(descriptor.last), ['one'])
    descriptor.takeAll()
    assert.deepEqual(messages(descriptor.last), ['two', 'three'])
    descriptor.takeAll()
    assert.equal(descriptor.writes.length, 2)
  })

  it('is given the rest of what it took a part of, byte by byte', () => {
    const descriptor = new FakeDescriptor()
    const { log } = logTo(descriptor)
    log.info('äöü')
    const whole = descriptor.last.text
    const taken: Uint8Array[] = []
    while (taken.length < Buffer.byteLength(whole)) {
      taken.push(descriptor.last.bytes.subarray(0, 1))
      descriptor.last.done(null, 1)
    }
    assert.equal(Buffer.concat(taken).toString(), whole)
    assert.equal(descriptor.writes.length, taken.length)
  })

  it('is asked again after 100 ms where it was not ready', (context: TestContext) => {
    context.mock.timers.enable({ apis: ['setTimeout'] })
    const descriptor = new FakeDescriptor()
    const { log } = logTo(descriptor)
    log.info('one')
    for (let attempt = 1; attempt <= 3; attempt += 1) {
      descriptor.fail('EAGAIN')
      log.info('meanwhile')
      context.mock.timers.tick(99)
      assert.equal(descriptor.writes.length, attempt)
      context.mock.timers.tick(1)
      assert.equal(descriptor.writes.length, attempt + 1)
      assert.deepEqual(messages(descriptor.last), ['one'])
    }
    descriptor.takeAll()
    assert.deepEqual(messages(descriptor.last), ['meanwhile', 'meanwhile', 'meanwhile'])
  })

  it('finds 1 MiB of lines waiting, and the number of those that were dropped', () => {
    const descriptor = new FakeDescriptor()
    const { log } = logTo(descriptor)
    log.info('first')
    // 1 MiB is 1,024 lines of 1,024 characters; 6 of the 1,030 find no room.
    for (let line = 0; line < 1_030; line += 1) log.info(kilobyte)
    descriptor.takeAll()
    const lines = linesOf(descriptor.last)
    assert.equal(lines.length, 1_025)
    assert.deepEqual(
      { ...lines.at(-1), time: '' },
      { level: 'warn', time: '', dropped: 6, msg: 'log lines were dropped' },
    )
    // They are told once, and there is room again.
    log.info('later')
    descriptor.takeAll()
    assert.deepEqual(messages(descriptor.last), ['later'])
  })
})

describe('a log that cannot be written', () => {
  for (const code of ['EPIPE', 'ENOSPC', 'EIO']) {
    it(`neither throws nor stops, and tells what was lost when it can be written again: ${code}`, () => {
      const descriptor = new FakeDescriptor()
      const { log } = logTo(descriptor)
      log.info('lost')
      log.info('lost too')
      log.info('and lost')
      // The first line, then the two that waited; nothing is tried without a line to write.
      descriptor.fail(code)
      descriptor.fail(code)
      assert.equal(descriptor.writes.length, 2)
      log.info('also lost')
      // The notice was lost with it: three lines before, and this one.
      assert.deepEqual(messages(descriptor.last), ['also lost', 'log lines were dropped'])
      descriptor.fail(code)
      log.info('written')
      const [written, notice] = linesOf(descriptor.last)
      assert.equal(written?.['msg'], 'written')
      assert.equal(notice?.['dropped'], 4)
      descriptor.takeAll()
      log.info('next')
      assert.deepEqual(messages(descriptor.last), ['next'])
    })
  }
})

describe('a flush', () => {
  it('ends when everything is written', async () => {
    const descriptor = new FakeDescriptor()
    const { log, flush } = logTo(descriptor)
    await flush(10_000)
    log.info('one')
    log.info('two')
    let ended = false
    const flushed = flush(10_000).then(() => {
      ended = true
    })
    descriptor.takeAll()
    await Promise.resolve()
    assert.equal(ended, false)
    descriptor.takeAll()
    await flushed
  })

  it('ends when nothing can be written', async () => {
    const descriptor = new FakeDescriptor()
    const { log, flush } = logTo(descriptor)
    log.info('one')
    const flushed = flush(10_000)
    descriptor.fail('EPIPE')
    await flushed
  })

  it('ends after its time where the reader does not read', async (context: TestContext) => {
    context.mock.timers.enable({ apis: ['setTimeout'] })
    const { log, flush } = logTo(new FakeDescriptor())
    log.info('one')
    const flushed = flush(300)
    context.mock.timers.tick(300)
    await flushed
  })
})

describe('the log on stdout', () => {
  // Three MiB, where a pipe takes 64 KiB; then a word on stderr, which the loop must be free to write.
  const program = `
    const { createLogger } = await import(process.argv[1])
    const { log, flush } = createLogger({ level: 'info', format: 'json' })
    for (let line = 0; line < 3_000; line += 1) log.info('x'.repeat(1_000))
    setTimeout(async () => {
      process.stderr.write('alive')
      await flush(50)
      process.exit(7)
    }, 50)`
  const module = join(fileURLToPath(new URL('..', import.meta.url)), 'src', 'log.js')

  async function run(
    stdout: 'pipe' | number,
    leave: boolean,
  ): Promise<{ code: unknown; said: string }> {
    const child = spawn(process.execPath, ['--input-type=module', '-e', program, module], {
      stdio: ['ignore', stdout, 'pipe'],
      timeout: 8_000,
      killSignal: 'SIGKILL',
    })
    let said = ''
    child.stderr?.on('data', (data) => {
      said += data
    })
    if (!leave) child.stdout?.destroy()
    const [code] = await once(child, 'close')
    return { code, said }
  }

  // Node gives a child sockets for pipes, of the kind that journald gives a service.
  it('holds back neither the loop nor the end where nobody reads a socket', async () => {
    assert.deepEqual(await run('pipe', true), { code: 7, said: 'alive' })
  })

  const skip = findProgram('mkfifo') === undefined ? 'needs mkfifo' : false
  it('holds back neither the loop nor the end where nobody reads a pipe', { skip }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vllm-vitals-log-'))
    const pipe = join(folder, 'pipe')
    assert.equal(spawnSync('mkfifo', [pipe]).status, 0)
    // Open for reading too, so that it has a reader, who does not read.
    const descriptor = openSync(pipe, 'r+')
    try {
      assert.deepEqual(await run(descriptor, true), { code: 7, said: 'alive' })
    } finally {
      closeSync(descriptor)
      rmSync(folder, { recursive: true })
    }
  })

  it('ends nothing where its reader has gone', async () => {
    assert.deepEqual(await run('pipe', false), { code: 7, said: 'alive' })
  })
})

describe('a line for people', () => {
  const time = '2026-01-02T03:04:05.678Z'
  const pretty = (entry: object) => prettyLine(`${JSON.stringify(entry)}\n`)
  const rows: readonly (readonly [claim: string, entry: object, line: string])[] = [
    [
      'has time, level, message and fields',
      { level: 'warn', time, target: 'vllm', tookMs: 5, msg: 'target went down' },
      `${time} WARN  target went down target=vllm tookMs=5\n`,
    ],
    [
      'has fields of every kind',
      { level: 'info', time, a: true, b: null, c: ['x', 1], d: { e: 'f g' }, msg: 'm' },
      `${time} INFO  m a=true b=null c=["x",1] d={"e":"f g"}\n`,
    ],
    [
      'has text with spaces, quotes or nothing in quotes',
      { level: 'info', time, a: 'b c', d: '', e: 'f="g"', url: 'http://h:1/x', msg: 'm' },
      `${time} INFO  m a="b c" d="" e="f=\\"g\\"" url=http://h:1/x\n`,
    ],
    [
      'has the stack of an error below it',
      {
        level: 'error',
        time,
        err: { type: 'Error', message: 'x', stack: 'Error: x\n  at y' },
        msg: 'm',
      },
      `${time} ERROR m\n    Error: x\n      at y\n`,
    ],
    [
      'has an error that is text below it',
      { level: 'error', time, err: 'x', msg: 'm' },
      `${time} ERROR m\n    x\n`,
    ],
    [
      'cannot be forged by a value or a message',
      { level: 'info', time, a: 'b\nINFO c', msg: 'm\nINFO n' },
      `${time} INFO  m\\nINFO n a="b\\nINFO c"\n`,
    ],
    [
      'cannot colour a terminal, with the control characters of Latin-1 neither',
      { level: 'info', time, a: '\u001b[31m', b: '\u009b31m', c: 'x\u2028y', msg: '\u007f\u009d' },
      `${time} INFO  \\u007f\\u009d a="\\u001b[31m" b="\\u009b31m" c="x\\u2028y"\n`,
    ],
    ['may lack everything', {}, '       \n'],
  ]
  for (const [claim, entry, line] of rows) {
    it(claim, () => assert.equal(pretty(entry), line))
  }

  for (const line of ['no JSON\n', '5\n', 'null\n', '']) {
    it(`stays as it is where it is no object: ${JSON.stringify(line)}`, () => {
      assert.equal(prettyLine(line), line)
    })
  }

  it('is what the pretty format writes, of dropped lines too', () => {
    const descriptor = new FakeDescriptor()
    const { log } = logTo(descriptor, 'info', 'pretty')
    log.info({ a: 1 }, 'hello')
    assert.match(descriptor.last.text, /^\d{4}-[^ ]+Z INFO {2}hello a=1\n$/)
    descriptor.fail('EIO')
    log.info('again')
    assert.match(descriptor.last.text, /WARN {2}log lines were dropped dropped=1\n$/)
  })
})
