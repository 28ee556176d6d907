import assert from 'node:assert/strict'
import { ChildProcess, spawn } from 'node:child_process'
import { getEventListeners, once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, it, mock } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type KillGroup,
  type ProgramOptions,
  type ProgramResult,
  ProgramRunner,
} from '../../src/sources/run-program.ts'
import { isAlive } from '../fakes/fake-nvidia-smi.ts'

/** What a machine under load may add to a bound that holds by itself. */
const slackMs = 1_000
const pids: number[] = []

afterEach(() => {
  for (const pid of pids.splice(0)) {
    if (isAlive(pid)) process.kill(pid, 'SIGKILL')
  }
})

/** A shell script as a program. */
function script(text: string, rest: Partial<ProgramOptions> = {}): ProgramOptions {
  return {
    command: '/bin/sh',
    args: ['-c', text],
    timeoutMs: 5_000,
    maxOutputBytes: 1_000_000,
    signal: new AbortController().signal,
    ...rest,
  }
}

/** The result in words: how it ended, then both streams. */
function told({ outcome, stdout, stderr }: ProgramResult): readonly unknown[] {
  return [outcome, stdout.toString(), stderr.toString()]
}

async function timed<T>(
  work: Promise<T>,
): Promise<{ readonly result: T; readonly tookMs: number }> {
  const startMs = performance.now()
  const result = await work
  return { result, tookMs: performance.now() - startMs }
}

/** The pids that a script wrote to standard output, one in a line. */
function pidsIn(result: ProgramResult): readonly number[] {
  const found = result.stdout.toString().trim().split('\n').map(Number)
  assert.ok(found.every((pid) => pid > 1))
  pids.push(...found)
  return found
}

async function gone(pid: number): Promise<boolean> {
  for (let tries = 0; isAlive(pid) && tries < 50; tries += 1) await sleep(20)
  return !isAlive(pid)
}

describe('a program that ends', () => {
  const rows: readonly (readonly [title: string, text: string, told: readonly unknown[]])[] = [
    [
      'its status and both streams',
      'printf o; printf e >&2; exit 3',
      [{ kind: 'exited', exitCode: 3 }, 'o', 'e'],
    ],
    ['status 0', 'printf o', [{ kind: 'exited', exitCode: 0 }, 'o', '']],
    [
      'a signal of somebody else',
      'printf o; kill -SEGV $$',
      [{ kind: 'killed', signal: 'SIGSEGV' }, 'o', ''],
    ],
    ['closed streams', 'exec >&- 2>&-; exit 5', [{ kind: 'exited', exitCode: 5 }, '', '']],
    ['no input to wait for', 'cat', [{ kind: 'exited', exitCode: 0 }, '', '']],
  ]
  for (const [title, text, result] of rows) {
    it(`is told with ${title}`, async () => {
      assert.deepEqual(told(await new ProgramRunner().run(script(text))), result)
    })
  }

  it('gets its arguments without a shell', async () => {
    const args = ['%s', '$(id) `id`; exit 9']
    const result = await new ProgramRunner().run(script('', { command: 'printf', args }))
    assert.deepEqual(told(result), [{ kind: 'exited', exitCode: 0 }, '$(id) `id`; exit 9', ''])
  })

  it('speaks the language of programs, in the environment that was given', async () => {
    const env = { LC_ALL: 'de_DE.UTF-8', MARK: 'x' }
    const text = 'printf "$LC_ALL $LANG $MARK $HOME"'
    const result = await new ProgramRunner().run(script(text, { env }))
    assert.equal(result.stdout.toString(), 'C C x ')
  })

  it('inherits our environment when none is given', async () => {
    const result = await new ProgramRunner().run(script('printf "$LC_ALL $PATH"'))
    assert.equal(result.stdout.toString(), `C ${process.env['PATH']}`)
  })

  it('is not taken for one that hangs when something held the event loop past the deadline', async () => {
    const running = new ProgramRunner().run(script('printf o', { timeoutMs: 100 }))
    const untilMs = performance.now() + 500
    while (performance.now() < untilMs);
    assert.deepEqual(told(await running), [{ kind: 'exited', exitCode: 0 }, 'o', ''])
  })

  it('leaves no listener on the signal', async () => {
    const { signal } = new AbortController()
    const runner = new ProgramRunner()
    await runner.run(script('exit 0', { signal }))
    await runner.run(script('sleep 60', { signal, timeoutMs: 20 }))
    await runner.run(script('', { signal, command: '/no/such/program' }))
    assert.equal(getEventListeners(signal, 'abort').length, 0)
  })
})

describe('a program that cannot be started', () => {
  it('is told by the error of the system, and leaves the runner free', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'run-program-'))
    const file = join(folder, 'file')
    writeFileSync(file, '#!/bin/sh\n', { mode: 0o644 })
    const rows: readonly (readonly [command: string, errno: string])[] = [
      ['/no/such/program', 'ENOENT'],
      ['no-such-program-on-path', 'ENOENT'],
      [file, 'EACCES'],
      [folder, 'EACCES'],
      ['', 'ERR_INVALID_ARG_VALUE'],
    ]
    const runner = new ProgramRunner()
    for (const [command, errno] of rows) {
      const { outcome } = await runner.run(script('', { command }))
      assert.deepEqual(outcome, { kind: 'not_started', errno })
      assert.equal(runner.busy, false)
    }
    rmSync(folder, { recursive: true })
  })

  for (const errno of ['EAGAIN', 'ENOMEM', 'EMFILE'] as const) {
    it(`because of ${errno} is told so, and the next one can start`, async () => {
      const handles = Object.getPrototypeOf(Reflect.get(new ChildProcess(), '_handle'))
      const start: (this: unknown, ...args: unknown[]) => number = handles.spawn
      // Node's own way from a refused fork to an error: its streams are made, and no process is.
      const refused = mock.method(handles, 'spawn', function (this: unknown, ...args: unknown[]) {
        // The file is the first argument, or up to Node 22 a field of it.
        const [first, ...rest] = args
        const file = '/no/such/program'
        start.call(this, typeof first === 'object' ? { ...first, file } : file, ...rest)
        return -constants.errno[errno]
      })
      const runner = new ProgramRunner()
      const running = runner.run(script('printf o'))
      refused.mock.restore()
      assert.deepEqual((await running).outcome, { kind: 'not_started', errno })
      assert.deepEqual((await runner.run(script('printf o'))).stdout.toString(), 'o')
    })
  }
})

describe('a program that does not end', () => {
  it('is ended at the deadline with its children, and what it wrote is kept', async () => {
    const text = 'echo $$; sleep 60 & echo $!; printf said >&2; wait'
    const running = new ProgramRunner().run(script(text, { timeoutMs: 200 }))
    const { result, tookMs } = await timed(running)
    assert.deepEqual(result.outcome, { kind: 'timeout' })
    assert.equal(result.stderr.toString(), 'said')
    assert.ok(tookMs >= 190 && tookMs < 200 + slackMs, `${tookMs}`)
    const started = pidsIn(result)
    assert.equal(started.length, 2)
    for (const pid of started) assert.ok(await gone(pid), `${pid}`)
  })

  it('and does not heed SIGTERM is killed 0.2 s later, its children too', async () => {
    const text = 'trap "" TERM; echo $$; sleep 60 & echo $!; wait; sleep 60'
    const { result, tookMs } = await timed(
      new ProgramRunner().run(script(text, { timeoutMs: 200 })),
    )
    assert.deepEqual(result.outcome, { kind: 'timeout' })
    assert.ok(tookMs >= 390 && tookMs < 400 + slackMs, `${tookMs}`)
    for (const pid of pidsIn(result)) assert.ok(await gone(pid), `${pid}`)
  })

  it('and obeys SIGTERM, but whose child does not, has that child killed', async () => {
    const text = '(trap "" TERM; sleep 60) & echo $!; wait'
    const result = await new ProgramRunner().run(script(text, { timeoutMs: 200 }))
    for (const pid of pidsIn(result)) assert.ok(await gone(pid), `${pid}`)
  })
})

describe('a program that cannot be killed', () => {
  it('is given up 0.4 s after the deadline, and no second one starts until it ends', async () => {
    const signals: string[] = []
    const runner = new ProgramRunner({ kill: (_child, signal) => signals.push(signal) })
    const { result, tookMs } = await timed(
      runner.run(script('echo $$; exec sleep 60', { timeoutMs: 200 })),
    )
    assert.deepEqual(result.outcome, { kind: 'timeout' })
    assert.ok(tookMs >= 590 && tookMs < 600 + slackMs, `${tookMs}`)
    assert.deepEqual(signals, ['SIGTERM', 'SIGKILL'])
    const [pid = Number.NaN] = pidsIn(result)
    assert.ok(isAlive(pid))

    const second = await timed(runner.run(script('echo second')))
    assert.deepEqual(told(second.result), [{ kind: 'busy' }, '', ''])
    assert.ok(second.tookMs < 50, `${second.tookMs}`)
    assert.equal(runner.busy, true)

    process.kill(pid, 'SIGKILL')
    // A child that was given up no longer keeps the event loop going; these timers do.
    for (let tries = 0; runner.busy && tries < 100; tries += 1) await sleep(20)
    await runner.ended
    assert.equal(runner.busy, false)
    assert.deepEqual(told(await runner.run(script('printf third'))), [
      { kind: 'exited', exitCode: 0 },
      'third',
      '',
    ])
  })

  it('because we have no right to is given up all the same', async () => {
    // Node tells each signal that it may not send as an error of the child.
    const kill: KillGroup = (child) => {
      child.emit('error', Object.assign(new Error('kill EPERM'), { code: 'EPERM' }))
    }
    const result = await new ProgramRunner({ kill }).run(
      script('echo $$; exec sleep 60', { timeoutMs: 100 }),
    )
    assert.deepEqual(result.outcome, { kind: 'timeout' })
    pidsIn(result)
  })

  it('does not keep our own process from ending', async () => {
    const source = new URL('../../src/sources/run-program.js', import.meta.url)
    const daemon = `
      const { ProgramRunner } = await import(${JSON.stringify(source.href)})
      const { signal } = new AbortController()
      const options = { args: ['-c', 'echo $$; exec sleep 60'], timeoutMs: 100, maxOutputBytes: 1000, signal }
      const runner = new ProgramRunner({ kill: () => {} })
      const result = await runner.run({ command: '/bin/sh', ...options })
      process.stdout.write(result.stdout)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', daemon])
    let stdout = ''
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString()
    })
    const { result, tookMs } = await timed(once(child, 'close'))
    pids.push(Number(stdout))
    assert.deepEqual(result, [0, null])
    assert.ok(isAlive(Number(stdout)))
    assert.ok(tookMs < 5_000, `${tookMs}`)
  })
})

describe('a program whose child holds the streams', () => {
  it('is over 0.5 s after its own end, with all that was written, and the child is ended', async () => {
    const text = 'printf o; sleep 60 & echo $! >&2; exit 7'
    const { result, tookMs } = await timed(new ProgramRunner().run(script(text)))
    assert.deepEqual(result.outcome, { kind: 'exited', exitCode: 7 })
    assert.equal(result.stdout.toString(), 'o')
    assert.ok(tookMs >= 490 && tookMs < 500 + slackMs, `${tookMs}`)
    assert.ok(await gone(Number(result.stderr.toString())))
  })

  it('has its result no longer undone by an abort', async () => {
    const abort = new AbortController()
    const text = 'sleep 60 & echo $! >&2; exit 7'
    const running = new ProgramRunner().run(script(text, { signal: abort.signal }))
    await sleep(250)
    abort.abort()
    const { outcome, stderr } = await running
    assert.deepEqual(outcome, { kind: 'exited', exitCode: 7 })
    assert.ok(await gone(Number(stderr.toString())))
  })
})

describe('a program that writes too much', () => {
  for (const stream of ['', ' >&2']) {
    it(`has its output${stream} up to the limit, and none above`, async () => {
      const runner = new ProgramRunner()
      const write = (bytes: number) =>
        runner.run(script(`head -c ${bytes} /dev/zero${stream}`, { maxOutputBytes: 1_000 }))
      const allowed = await write(1_000)
      assert.deepEqual(allowed.outcome, { kind: 'exited', exitCode: 0 })
      assert.equal(allowed.stdout.length + allowed.stderr.length, 1_000)
      assert.deepEqual((await write(1_001)).outcome, { kind: 'too_large' })
    })
  }

  it('by a child of its own after its end is told so too', async () => {
    const text = '(sleep 0.1; exec cat /dev/zero) & echo $! >&2'
    const result = await new ProgramRunner().run(script(text))
    assert.deepEqual(result.outcome, { kind: 'too_large' })
    assert.ok(await gone(Number(result.stderr.toString())))
  })

  it('without end is ended, and the first 64 KiB are kept', async () => {
    const text = 'echo $$ >&2; exec cat /dev/zero'
    const { result, tookMs } = await timed(new ProgramRunner().run(script(text)))
    assert.deepEqual(result.outcome, { kind: 'too_large' })
    assert.equal(result.stdout.length, 65_536)
    assert.ok(tookMs < 2_000, `${tookMs}`)
    assert.ok(await gone(Number(result.stderr.toString())))
  })

  it('of complaints is drained, and the first 64 KiB are kept', async () => {
    const text = 'head -c 900000 /dev/zero >&2; printf o'
    const result = await new ProgramRunner().run(script(text))
    assert.deepEqual(result.outcome, { kind: 'exited', exitCode: 0 })
    assert.deepEqual([result.stdout.toString(), result.stderr.length], ['o', 65_536])
  })
})

describe('an abort', () => {
  it('before the start starts nothing', async () => {
    const command = '/no/such/program'
    const result = await new ProgramRunner().run(
      script('', { command, signal: AbortSignal.abort() }),
    )
    assert.deepEqual(told(result), [{ kind: 'aborted' }, '', ''])
  })

  it('ends the program and its children at once', async () => {
    const abort = new AbortController()
    const text = 'echo $$; sleep 60 & echo $!; wait'
    const running = new ProgramRunner().run(script(text, { signal: abort.signal }))
    await sleep(150)
    abort.abort()
    const { result, tookMs } = await timed(running)
    assert.deepEqual(result.outcome, { kind: 'aborted' })
    assert.ok(tookMs < slackMs, `${tookMs}`)
    for (const pid of pidsIn(result)) assert.ok(await gone(pid), `${pid}`)
  })
})

describe('a second program', () => {
  it('does not start beside the first, and does it no harm', async () => {
    const runner = new ProgramRunner()
    const first = runner.run(script('sleep 0.2; printf first'))
    const second = await runner.run(script('printf second'))
    assert.deepEqual(told(second), [{ kind: 'busy' }, '', ''])
    assert.deepEqual(told(await first), [{ kind: 'exited', exitCode: 0 }, 'first', ''])
    assert.deepEqual(told(await runner.run(script('printf third')))[1], 'third')
  })
})
