import { type ChildProcess, spawn } from 'node:child_process'
// Groups of processes can be reached through `process` alone, and a child needs its environment.
import { kill, env as ownEnvironment } from 'node:process'

export interface ProgramOptions {
  /** A name on PATH or a path; started without a shell. */
  readonly command: string
  readonly args: readonly string[]
  readonly timeoutMs: number
  /** What each of the two streams may carry before the program is killed. */
  readonly maxOutputBytes: number
  readonly signal: AbortSignal
  /** Replaces the daemon's own environment; `LC_ALL` and `LANG` become `C` in any case. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
}

/** How a call came to its end. `killed` is by somebody else; what we kill has its own reason. */
export type ProgramOutcome =
  | { readonly kind: 'exited'; readonly exitCode: number }
  | { readonly kind: 'killed'; readonly signal: string }
  | { readonly kind: 'not_started'; readonly errno: string }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'too_large' }
  | { readonly kind: 'aborted' }
  /** An earlier child has not ended, so none was started. */
  | { readonly kind: 'busy' }

export interface ProgramResult {
  readonly outcome: ProgramOutcome
  /** What was read, also when the call failed; the first 64 KiB of it when it was too much. */
  readonly stdout: Buffer
  /** The first 64 KiB; the rest is drained and dropped. */
  readonly stderr: Buffer
}

/** Sends a signal to a child and to all of its group. */
export type KillGroup = (child: ChildProcess, signal: NodeJS.Signals) => void

/** Between SIGTERM and SIGKILL, and again before the child is given up as one that cannot be killed. */
const patienceMs = 200
/** What is left to read once the child has ended, while a grandchild may hold the pipes open. */
const drainMs = 500
const keptOnFailureBytes = 65_536

/**
 * Runs one program at a time, each call with a deadline of its own that does not wait for a child which
 * cannot be killed: a process in an uninterruptible driver call ignores even SIGKILL, and Node's own
 * `timeout` would wait for it. Until such a child has ended no second one is started.
 */
export class ProgramRunner {
  readonly #kill: KillGroup
  #running: Promise<void> | undefined

  constructor(options: { readonly kill?: KillGroup } = {}) {
    this.#kill = options.kill ?? killGroup
  }

  /** Whether a child has not been reaped yet, be it long given up. */
  get busy(): boolean {
    return this.#running !== undefined
  }

  /** Resolves once no child of this runner is left. */
  get ended(): Promise<void> {
    return this.#running ?? Promise.resolve()
  }

  /**
   * Resolves with how the program ended and what it wrote; it never rejects. It settles at most
   * 0.4 s after the deadline, or after the abort of `signal`, whatever the child does.
   */
  run(options: ProgramOptions): Promise<ProgramResult> {
    if (this.busy) return Promise.resolve(nothingRead({ kind: 'busy' }))
    if (options.signal.aborted) return Promise.resolve(nothingRead({ kind: 'aborted' }))
    let child: ChildProcess
    try {
      child = spawn(options.command, options.args, {
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
        windowsHide: true,
        env: { ...(options.env ?? ownEnvironment), LC_ALL: 'C', LANG: 'C' },
      })
    } catch (error) {
      return Promise.resolve(nothingRead({ kind: 'not_started', errno: errnoOf(error) }))
    }
    this.#running = new Promise((resolve) => {
      const ended = () => {
        this.#running = undefined
        resolve()
      }
      child.once('exit', ended)
      // A child that was never started has no exit.
      child.once('error', () => {
        if (child.pid === undefined) ended()
      })
    })
    return new Promise((resolve) => new Call(child, options, this.#kill, resolve))
  }
}

/** One child from its start until its result is handed over, which may be before it ends. */
class Call {
  readonly #child: ChildProcess
  readonly #options: ProgramOptions
  readonly #kill: KillGroup
  readonly #settle: (result: ProgramResult) => void
  readonly #stdout: Buffer[] = []
  readonly #stderr: Buffer[] = []
  readonly #readBytes = { stdout: 0, stderr: 0 }
  #timer: NodeJS.Timeout
  #outcome: ProgramOutcome | undefined
  #settled = false

  constructor(
    child: ChildProcess,
    options: ProgramOptions,
    kill: KillGroup,
    settle: (result: ProgramResult) => void,
  ) {
    this.#child = child
    this.#options = options
    this.#kill = kill
    this.#settle = settle
    child.stdout?.on('data', (chunk: Buffer) => this.#keep('stdout', chunk))
    child.stderr?.on('data', (chunk: Buffer) => this.#keep('stderr', chunk))
    // It may come more than once: each signal that the system refuses to deliver is told as an error.
    child.on('error', (error) => {
      if (child.pid === undefined) this.#finish({ kind: 'not_started', errno: errnoOf(error) })
    })
    child.once('exit', (exitCode, signal) => this.#exited(exitCode, signal))
    child.once('close', () => {
      if (this.#outcome !== undefined) this.#finish(this.#outcome)
    })
    options.signal.addEventListener('abort', this.#abort, { once: true })
    this.#timer = afterReading(options.timeoutMs, () => this.#stop({ kind: 'timeout' }))
  }

  readonly #abort = () => this.#stop({ kind: 'aborted' })

  #keep(stream: 'stdout' | 'stderr', chunk: Buffer): void {
    const before = this.#readBytes[stream]
    this.#readBytes[stream] += chunk.length
    if (this.#readBytes[stream] > this.#options.maxOutputBytes) {
      this.#stop({ kind: 'too_large' })
      if (this.#outcome?.kind === 'exited') this.#outcome = { kind: 'too_large' }
      // With nobody reading, the program cannot go on writing while it is asked to end.
      this.#child.stdout?.destroy()
      this.#child.stderr?.destroy()
      return
    }
    if (stream === 'stdout') this.#stdout.push(chunk)
    else if (before < keptOnFailureBytes) this.#stderr.push(chunk)
  }

  #stop(outcome: ProgramOutcome): void {
    // Once the child has ended the result is certain; an abort while the rest is read would only lose it.
    if (this.#outcome !== undefined) return
    this.#outcome = outcome
    clearTimeout(this.#timer)
    this.#kill(this.#child, 'SIGTERM')
    this.#timer = setTimeout(() => {
      this.#kill(this.#child, 'SIGKILL')
      this.#timer = setTimeout(() => this.#finish(outcome), patienceMs)
    }, patienceMs)
  }

  #exited(exitCode: number | null, signal: NodeJS.Signals | null): void {
    clearTimeout(this.#timer)
    if (this.#outcome === undefined) {
      this.#outcome =
        exitCode === null
          ? { kind: 'killed', signal: signal ?? 'an unknown signal' }
          : { kind: 'exited', exitCode }
      this.#timer = afterReading(drainMs, () => this.#leave())
    } else {
      // It obeyed, but its own children may not have.
      this.#leave()
    }
  }

  /** Ends what is left of the group and hands over what was read. */
  #leave(): void {
    if (this.#settled) return
    this.#kill(this.#child, 'SIGKILL')
    if (this.#outcome !== undefined) this.#finish(this.#outcome)
  }

  #finish(outcome: ProgramOutcome): void {
    if (this.#settled) return
    this.#settled = true
    clearTimeout(this.#timer)
    this.#options.signal.removeEventListener('abort', this.#abort)
    this.#child.stdout?.destroy()
    this.#child.stderr?.destroy()
    this.#child.unref()
    const stdout =
      outcome.kind === 'too_large'
        ? firstBytes(this.#stdout)
        : Buffer.concat(
            this.#stdout,
            this.#stdout.reduce((sum, chunk) => sum + chunk.length, 0),
          )
    this.#settle({ outcome, stdout, stderr: firstBytes(this.#stderr) })
  }
}

/**
 * Acts after `ms` and after what has arrived by then: when something else held the event loop, timers
 * come before the output and the end of the child, which must not be taken for missing.
 */
function afterReading(ms: number, action: () => void): NodeJS.Timeout {
  return setTimeout(() => setImmediate(action), ms)
}

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return
  try {
    kill(-child.pid, signal)
  } catch {
    // The group is gone, or this system has none.
    child.kill(signal)
  }
}

function nothingRead(outcome: ProgramOutcome): ProgramResult {
  return { outcome, stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) }
}

/** Copies, so that the chunks can be forgotten. */
function firstBytes(chunks: readonly Buffer[]): Buffer {
  const kept: Buffer[] = []
  let length = 0
  for (const chunk of chunks) {
    if (length >= keptOnFailureBytes) break
    kept.push(chunk)
    length += chunk.length
  }
  return Buffer.concat(kept, Math.min(length, keptOnFailureBytes))
}

function errnoOf(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code
  return error instanceof Error ? error.name : 'an unknown error'
}
