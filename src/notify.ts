/**
 * Tells systemd how the service stands (Type=notify) and answers its watchdog.
 *
 * Node has no Unix datagram sockets, so a short-lived `systemd-notify` speaks for the daemon; the unit
 * therefore has `NotifyAccess=all`. Under a limit on tasks the fork itself may fail, and a lost ping would
 * get a healthy daemon killed: whatever could not be told is told again within a second.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import type { Clock } from './clock.ts'
import { shorten } from './errors.ts'

/** What the notifier needs of a log; a pino logger will do. */
export interface NotifyLog {
  warn(fields: object, message: string): void
  info(fields: object, message: string): void
}

export interface NotifyOptions {
  /** `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` as systemd sets them, and `PATH` for the child. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly log: NotifyLog
  readonly clock: Clock
  /** Aborting it tells `STOPPING=1` and ends the pings. */
  readonly signal: AbortSignal
  /** Whether the daemon's own loops turn. Without it, or while it is true, the watchdog is fed. */
  readonly alive: () => boolean
  /** The daemon's process id. A watchdog that is meant for another process is not fed. */
  readonly pid?: number
}

/** Each call returns at once; what it says is told in the background, and the latest state wins. */
export interface Notifier {
  /** The daemon is up, or up again after `reloading()`. */
  ready(): void
  /** The configuration is being read again. `ready()` must follow, whatever comes of it. */
  reloading(): void
  /** The daemon is about to end. The abort of `signal` says the same. */
  stopping(): void
  /** Resolves, and never rejects, when `STOPPING=1` was told or could not be: within a second of stopping. */
  readonly done: Promise<void>
}

type State = 'READY=1' | 'RELOADING=1' | 'STOPPING=1'

const command = 'systemd-notify'
const ping = 'WATCHDOG=1'
// systemd-notify waits until the manager has read the message, which may take it seconds while it is busy.
const longestDeadlineMs = 5_000
const shortestDeadlineMs = 500
const stoppingDeadlineMs = 1_000
const firstRetryMs = 100
const longestRetryMs = 1_000
// A program that is missing or forbidden does not come back by itself soon.
const absentRetryMs = 10_000
// Killed children that have not ended yet. Beyond these no further one is started.
const maxLingering = 4
const idleMs = 3_600_000

/**
 * Begins to tell the service manager what `env` asks for.
 *
 * - without `NOTIFY_SOCKET`: every call does nothing, and nothing runs in the background
 * - with `WATCHDOG_USEC`: a ping comes at each third of it while `alive()` is true
 * - a failure is logged once, and its end once; nothing is ever thrown
 *
 * The protocol is that of sd_notify(3) and sd_watchdog_enabled(3). `MONOTONIC_USEC` is left out: only
 * Type=notify-reload reads it, which systemd 252 does not have.
 */
export function startNotify(options: NotifyOptions): Notifier {
  const socket = options.env['NOTIFY_SOCKET']
  if (socket === undefined || socket === '') return silent
  return new ServiceNotifier(options, socket)
}

const silent: Notifier = {
  ready: () => {},
  reloading: () => {},
  stopping: () => {},
  done: Promise.resolve(),
}

class ServiceNotifier implements Notifier {
  readonly done: Promise<void>
  readonly #options: NotifyOptions
  readonly #childEnv: Record<string, string>
  readonly #pingEveryMs: number | undefined
  readonly #deadlineMs: number
  #nextPingAtMs: number
  #untold: State | undefined
  #stopping = false
  #fed = true
  #failures = 0
  #lingering = 0
  /** Ends the sleep between two messages. */
  #nap: AbortController | undefined
  /** Ends the wait for the child that runs. */
  #wait: AbortController | undefined

  constructor(options: NotifyOptions, socket: string) {
    const path = options.env['PATH']
    this.#options = options
    this.#childEnv = {
      NOTIFY_SOCKET: socket,
      LC_ALL: 'C',
      ...(path === undefined ? {} : { PATH: path }),
    }
    this.#pingEveryMs = pingIntervalMs(options)
    const wantedMs = this.#pingEveryMs ?? longestDeadlineMs
    this.#deadlineMs = Math.min(longestDeadlineMs, Math.max(shortestDeadlineMs, wantedMs))
    this.#nextPingAtMs = options.clock.monotonicMs() + (this.#pingEveryMs ?? 0)
    options.signal.addEventListener('abort', () => this.stopping(), { once: true })
    if (options.signal.aborted) this.stopping()
    this.done = this.#run()
  }

  ready(): void {
    this.#tell('READY=1')
  }

  reloading(): void {
    this.#tell('RELOADING=1')
  }

  stopping(): void {
    if (this.#stopping) return
    this.#tell('STOPPING=1')
    this.#stopping = true
    // What an earlier child had to say no longer matters, and the daemon has only seconds left.
    this.#wait?.abort()
  }

  #tell(state: State): void {
    if (this.#stopping) return
    this.#untold = state
    this.#nap?.abort()
  }

  async #run(): Promise<void> {
    for (;;) {
      const last = this.#stopping
      const state = this.#untold
      const pingIsDue = !last && this.#isPingDue()
      if (state === undefined && !pingIsDue) {
        await this.#sleep(this.#untilNextPingMs())
        continue
      }
      const words = [...(state === undefined ? [] : [state]), ...(pingIsDue ? [ping] : [])]
      const failure = await this.#send(words, last)
      if (last) return
      if (this.#stopping) continue
      if (failure === undefined) {
        // A state that was changed while this one was on its way is still to be told.
        if (this.#untold === state) this.#untold = undefined
        if (pingIsDue) this.#nextPingAtMs = this.#nowMs() + (this.#pingEveryMs ?? 0)
        this.#recovered()
      } else {
        await this.#sleep(this.#failed(failure))
      }
    }
  }

  #isPingDue(): boolean {
    if (this.#pingEveryMs === undefined || this.#nowMs() < this.#nextPingAtMs) return false
    const alive = this.#options.alive()
    if (alive !== this.#fed) {
      this.#fed = alive
      if (alive) this.#options.log.info({}, 'watchdog is fed again')
      else this.#options.log.warn({}, 'watchdog is not fed, for the loops stand still')
    }
    if (alive) return true
    // Another look comes soon, for they may only have been late.
    this.#nextPingAtMs = this.#nowMs() + Math.min(longestRetryMs, this.#pingEveryMs)
    return false
  }

  #untilNextPingMs(): number {
    // Without a watchdog there is nothing to do until a state is told; the sleep ends at once when one is.
    if (this.#pingEveryMs === undefined) return idleMs
    return Math.max(1, this.#nextPingAtMs - this.#nowMs())
  }

  /** Counts a failure, logs the first of a row and returns how long to wait before the next attempt. */
  #failed(failure: Failure): number {
    this.#failures += 1
    if (this.#failures === 1) {
      this.#options.log.warn({ reason: failure.reason }, 'service manager could not be told')
    }
    if (failure.absent) return absentRetryMs
    return Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(10, this.#failures - 1))
  }

  #recovered(): void {
    if (this.#failures === 0) return
    this.#options.log.info({ failures: this.#failures }, 'service manager was told again')
    this.#failures = 0
  }

  async #send(words: readonly string[], last: boolean): Promise<Failure | undefined> {
    if (this.#lingering >= maxLingering) {
      return {
        reason: `expected ${command} to end when killed, found ${maxLingering} that did not`,
      }
    }
    const running = startChild(words, this.#childEnv)
    const deadlineMs = last ? stoppingDeadlineMs : this.#deadlineMs
    const wait = new AbortController()
    this.#wait = wait
    const late = this.#options.clock.sleep(deadlineMs, wait.signal).then(() => 'late' as const)
    const outcome = await Promise.race([running.outcome, late])
    this.#wait = undefined
    wait.abort()
    if (outcome !== 'late') return outcome
    this.#lingering += 1
    running.kill()
    // Not awaited: even a killed child may take its time, and the next message must not wait for it.
    void running.outcome.then(() => {
      this.#lingering -= 1
    })
    return { reason: `expected ${command} to end in ${deadlineMs} ms, found it running` }
  }

  async #sleep(ms: number): Promise<void> {
    // What was told while the last child ran must not wait for the next ping, nor the end for a retry.
    if (this.#stopping) return
    const nap = new AbortController()
    this.#nap = nap
    await this.#options.clock.sleep(ms, nap.signal)
    this.#nap = undefined
  }

  #nowMs(): number {
    return this.#options.clock.monotonicMs()
  }
}

/** A third of the watchdog's period, or `undefined` where no watchdog waits for this process. */
function pingIntervalMs({ env, pid }: NotifyOptions): number | undefined {
  const micros = Number(env['WATCHDOG_USEC'] ?? 'NaN')
  if (!Number.isFinite(micros) || micros <= 0) return undefined
  const watchedPid = env['WATCHDOG_PID']
  if (watchedPid !== undefined && pid !== undefined && Number(watchedPid) !== pid) return undefined
  return micros / 1_000 / 3
}

interface Failure {
  readonly reason: string
  /** The program cannot be found or run at all. */
  readonly absent?: boolean
}

interface Running {
  /** `undefined` when the child ended well. Never rejects. */
  readonly outcome: Promise<Failure | undefined>
  kill(): void
}

function startChild(words: readonly string[], env: Record<string, string>): Running {
  let child: ChildProcess
  try {
    child = spawn(command, words, { env, stdio: ['ignore', 'ignore', 'pipe'] })
  } catch (error) {
    // Most refusals come as an event; those that Node does not expect are thrown.
    return { outcome: Promise.resolve(failureOf(error)), kill: () => {} }
  }
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    if (stderr.length < 200) stderr += text
  })
  const outcome = new Promise<Failure | undefined>((resolve) => {
    child.once('error', (error) => resolve(failureOf(error)))
    child.once('close', (code, signal) => {
      const found = stderr.trim() === '' ? `${signal ?? `status ${code}`}` : stderr.trim()
      resolve(
        code === 0
          ? undefined
          : { reason: `expected ${command} to succeed, found ${shorten(found, 200)}` },
      )
    })
  })
  return {
    outcome,
    kill: () => {
      child.kill('SIGKILL')
      child.stderr?.destroy()
    },
  }
}

function failureOf(error: unknown): Failure {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'no code'
  return {
    reason: `expected ${command} to start, found ${code}`,
    absent: code === 'ENOENT' || code === 'EACCES',
  }
}
