import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type Clock, systemClock } from '../src/clock.ts'
import { type NotifyLog, startNotify } from '../src/notify.ts'
import { findProgram } from './repository.ts'

let folder = ''
let stop = new AbortController()
let logged: string[] = []

const log: NotifyLog = {
  warn: (fields, message) => logged.push(`warn ${message} ${JSON.stringify(fields)}`),
  info: (fields, message) => logged.push(`info ${message} ${JSON.stringify(fields)}`),
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'notify-'))
  stop = new AbortController()
  logged = []
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** Puts a `systemd-notify` on the PATH that records each call, after the lines of `before`. */
function fakeProgram(before = ''): void {
  const lines = ['#!/bin/sh', `cd '${folder}'`, before, 'echo "$*|$NOTIFY_SOCKET" >> told', '']
  writeFileSync(join(folder, 'systemd-notify'), lines.join('\n'), { mode: 0o755 })
}

function told(): string[] {
  const file = join(folder, 'told')
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : []
}

async function until(what: string, holds: () => boolean, withinMs = 5_000): Promise<void> {
  const endMs = performance.now() + withinMs
  while (!holds()) {
    if (performance.now() > endMs)
      assert.fail(`expected ${what}, found ${JSON.stringify(told())} ${logged}`)
    await delay(10)
  }
}

function start(
  env: Record<string, string> = {},
  { alive = () => true, clock = systemClock }: { alive?: () => boolean; clock?: Clock } = {},
) {
  const path = `${folder}:${process.env['PATH'] ?? ''}`
  return startNotify({
    env: { NOTIFY_SOCKET: '/a/socket', PATH: path, ...env },
    log,
    clock,
    signal: stop.signal,
    alive,
    pid: 4711,
  })
}

const pings = () => told().filter((line) => line.startsWith('WATCHDOG=1')).length

describe('telling the service manager', () => {
  it('does nothing at all without NOTIFY_SOCKET', async () => {
    fakeProgram()
    const notifier = start({ NOTIFY_SOCKET: '', WATCHDOG_USEC: '30000' })
    notifier.ready()
    await delay(100)
    notifier.stopping()
    await notifier.done
    assert.deepEqual(told(), [])
  })

  it('tells ready, reloading, ready and stopping in that order to the socket of the environment', async () => {
    fakeProgram()
    const notifier = start()
    notifier.ready()
    await until('READY=1', () => told().length === 1)
    notifier.reloading()
    await until('RELOADING=1', () => told().length === 2)
    notifier.ready()
    await until('READY=1 again', () => told().length === 3)
    stop.abort()
    notifier.stopping()
    await notifier.done
    const states = ['READY=1', 'RELOADING=1', 'READY=1', 'STOPPING=1']
    assert.deepEqual(
      told(),
      states.map((state) => `${state}|/a/socket`),
    )
    assert.deepEqual(logged, [])
  })

  it('never runs two children at once, and tells the last of several states', async () => {
    fakeProgram('echo start >> turns; sleep 0.05; echo end >> turns')
    const notifier = start()
    for (let n = 0; n < 20; n += 1) {
      notifier.reloading()
      notifier.ready()
      await delay(10)
    }
    stop.abort()
    await notifier.done
    const turns = readFileSync(join(folder, 'turns'), 'utf8').split('\n').slice(0, -1)
    // The child that ran when the end came was killed after its `start`; all others ended in their turn.
    const overlapping = turns.filter((turn, n) => turn === 'end' && turns[n - 1] !== 'start')
    assert.deepEqual(overlapping, [])
    assert.equal(told().at(-1), 'STOPPING=1|/a/socket')
  })

  it('feeds the watchdog three times in its period, and only while the loops turn', async () => {
    fakeProgram()
    let turning = true
    const beginMs = performance.now()
    const watchdog = { WATCHDOG_USEC: '600000', WATCHDOG_PID: '4711' }
    const notifier = start(watchdog, { alive: () => turning })
    await until('three pings', () => pings() >= 3)
    // Pings are 600 ms / 3 = 200 ms apart, so the third cannot come before 600 ms.
    assert.ok(performance.now() - beginMs >= 600)
    turning = false
    // On a busy machine a child may be late besides, which is told in lines of its own.
    const aboutPings = () => logged.filter((line) => line.includes('watchdog'))
    await until('the log to tell', () => aboutPings().length === 1)
    const before = pings()
    await delay(500)
    assert.equal(pings(), before)
    turning = true
    await until('pings again', () => pings() > before)
    stop.abort()
    await notifier.done
    assert.deepEqual(aboutPings(), [
      'warn watchdog is not fed, for the loops stand still {}',
      'info watchdog is fed again {}',
    ])
  })

  it('does not feed a watchdog that waits for another process', async () => {
    fakeProgram()
    const notifier = start({ WATCHDOG_USEC: '30000', WATCHDOG_PID: '4712' })
    await delay(200)
    stop.abort()
    await notifier.done
    assert.deepEqual(told(), ['STOPPING=1|/a/socket'])
  })

  it('tells again within a second what failed, with one log line for each change', async () => {
    fakeProgram('if [ -e broken ]; then echo try >> tries; echo no room >&2; exit 1; fi')
    writeFileSync(join(folder, 'broken'), '')
    const pausesMs: number[] = []
    // Without a watchdog a child may take 5 s and there is no ping: what is shorter is a wait to try again,
    // but for the last child, which has the second that it is given at the end.
    let ending = false
    const clock: Clock = {
      ...systemClock,
      sleep: (ms, signal) => {
        if (ending || ms >= 5_000) return systemClock.sleep(ms, signal)
        pausesMs.push(ms)
        return systemClock.sleep(1, signal)
      },
    }
    const notifier = start({}, { clock })
    notifier.ready()
    // Each takes a child, and on a busy machine a child takes its time.
    await until('five failures', () => pausesMs.length >= 5, 20_000)
    rmSync(join(folder, 'broken'))
    await until('the log to tell the end', () => logged.length === 2)
    ending = true
    stop.abort()
    await notifier.done
    assert.deepEqual([...new Set(pausesMs)], [100, 200, 400, 800, 1_000])
    assert.deepEqual(told(), ['READY=1|/a/socket', 'STOPPING=1|/a/socket'])
    const failures = readFileSync(join(folder, 'tries'), 'utf8').split('\n').length - 1
    assert.match(logged[0] ?? '', /^warn service manager could not be told .*found no room/)
    assert.equal(logged[1], `info service manager was told again {"failures":${failures}}`)
  })

  it('kills a child that hangs and goes on telling', async () => {
    fakeProgram('if [ ! -e once ]; then : > once; exec sleep 30; fi')
    // A child may take a third of the period, 500 ms.
    const notifier = start({ WATCHDOG_USEC: '1500000' })
    notifier.ready()
    await until('READY=1', () => told().some((line) => line.startsWith('READY=1')))
    stop.abort()
    await notifier.done
    assert.match(logged[0] ?? '', /expected systemd-notify to end in 500 ms, found it running/)
  })

  it('is done within two seconds of the end, whatever the children do', async () => {
    fakeProgram(': > begun; exec sleep 30')
    const notifier = start()
    notifier.ready()
    await until('the child', () => existsSync(join(folder, 'begun')))
    const beginMs = performance.now()
    stop.abort()
    await notifier.done
    assert.ok(performance.now() - beginMs < 2_000)
  })

  it('runs on, with one warning, where there is no systemd-notify', async () => {
    const notifier = start({ PATH: folder, WATCHDOG_USEC: '90000' })
    notifier.ready()
    await until('a warning', () => logged.length === 1)
    await delay(200)
    stop.abort()
    await notifier.done
    assert.equal(logged.length, 1)
    assert.match(logged[0] ?? '', /expected systemd-notify to start, found ENOENT/)
  })
})

const listener = `
import os, socket, sys
listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listening.bind(sys.argv[1])
print('bound', flush=True)
while True:
    # Closing what comes along is the barrier that systemd-notify waits for.
    data, descriptors, _, _ = socket.recv_fds(listening, 4096, 8)
    for descriptor in descriptors:
        os.close(descriptor)
    print(data.decode().replace('\\n', ' '), flush=True)
`

describe('the real systemd-notify', () => {
  const missing = ['systemd-notify', 'python3'].filter((name) => findProgram(name) === undefined)
  const skip = missing.length > 0 ? `needs ${missing.join(' and ')}` : false

  it('puts ready, pings and stopping on a datagram socket', { skip, timeout: 20_000 }, async () => {
    const socket = join(folder, 'socket')
    const server = spawn('python3', ['-c', listener, socket], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let heard = ''
    server.stdout.setEncoding('utf8').on('data', (text: string) => {
      heard += text
    })
    try {
      await until('the listener', () => heard.includes('bound'))
      // A child may take a third of the period, 1 s.
      const notifier = start({ NOTIFY_SOCKET: socket, WATCHDOG_USEC: '3000000' })
      notifier.ready()
      await until('READY=1', () => heard.includes('READY=1'))
      await until('a ping', () => heard.includes('WATCHDOG=1'))
      stop.abort()
      await notifier.done
      await until('STOPPING=1', () => heard.includes('STOPPING=1'))
      assert.deepEqual(logged, [])
    } finally {
      const closed = once(server, 'close')
      server.kill('SIGKILL')
      await closed
    }
  })
})
