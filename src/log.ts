import { fstatSync, write } from 'node:fs'
import { type Logger, pino } from 'pino'
import { escapedJson } from './errors.ts'

/** The daemon's logger and its children. */
export type Log = Logger

export interface LogOptions {
  readonly level: string
  /** `json`: one object a line. `pretty`: a line for people. */
  readonly format: 'json' | 'pretty'
}

/** Where lines go; stdout unless a test says otherwise. */
export type WriteBytes = (
  bytes: Uint8Array,
  done: (error: NodeJS.ErrnoException | null, written: number) => void,
) => void

/** Lines beyond this wait for a reader that does not read; further ones are dropped and counted. */
const maxWaitingChars = 1_048_576

const retryMs = 100

const stdoutDescriptor = 1

/**
 * Makes the daemon's logger. It writes to stdout without ever blocking or failing the daemon: lines wait, up to
 * 1 MiB, while the reader is slow. Beyond that, and where they cannot be written, since the reader has gone or a
 * disk is full, they are dropped and counted; the next line that can be written is followed by the count.
 *
 * `flush` resolves when everything is written, or after `timeoutMs`.
 */
export function createLogger(
  options: LogOptions,
  writeBytes: WriteBytes = stdoutWriter(),
): { readonly log: Logger; readonly flush: (timeoutMs: number) => Promise<void> } {
  const sink = new LineSink(writeBytes, options.format === 'pretty' ? prettyLine : (line) => line)
  const log = pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    sink,
  )
  return { log, flush: (timeoutMs) => sink.flush(timeoutMs) }
}

/**
 * Returns a line of the log as people read it: time, level, message, then `key=value` for each field. The stack
 * of an error follows on lines of its own. Text with spaces or control characters is quoted, so that no value
 * can pass for a line. What is no JSON object stays as it is.
 */
export function prettyLine(line: string): string {
  let entry: unknown
  try {
    entry = JSON.parse(line)
  } catch {
    return line
  }
  if (typeof entry !== 'object' || entry === null) return line
  const { time, level, msg, err, ...fields } = entry as Readonly<Record<string, unknown>>
  const words = [plain(time), plain(level).toUpperCase().padEnd(5), plain(msg)]
  for (const [key, value] of Object.entries(fields)) words.push(`${plain(key)}=${quoted(value)}`)
  const stack = typeof err === 'object' && err !== null && 'stack' in err ? err.stack : err
  const rows =
    typeof stack === 'string' ? stack.split('\n').map((row) => `\n    ${plain(row)}`) : []
  return `${words.join(' ')}${rows.join('')}\n`
}

/**
 * Returns how stdout is written to without holding anything back. A pipe or socket that nobody reads would keep a
 * thread of `fs.write` for ever, for which the end of the process waits; Node's stream waits without a thread. A
 * file or a terminal, where that stream stops the whole process instead, is given to a thread.
 */
function stdoutWriter(): WriteBytes {
  const kind = fstatSync(stdoutDescriptor)
  if (!kind.isFIFO() && !kind.isSocket()) {
    return (bytes, done) => write(stdoutDescriptor, bytes, done)
  }
  // The callback of each write tells its failure; without a listener the first would end the process.
  process.stdout.on('error', () => {})
  return (bytes, done) => {
    process.stdout.write(bytes, (error) => done(error ?? null, error ? 0 : bytes.length))
  }
}

function plain(value: unknown): string {
  return escapedJson(String(value ?? '')).slice(1, -1)
}

function quoted(value: unknown): string {
  if (typeof value === 'string' && /^[\w./:@%+-]+$/.test(value)) return value
  return escapedJson(value)
}

/** A queue of lines in front of a file descriptor that may be slow, full or closed. */
class LineSink {
  readonly #write: WriteBytes
  readonly #format: (line: string) => string
  #waiting: string[] = []
  #waitingChars = 0
  #dropped = 0
  #busy = false
  #onIdle: (() => void)[] = []

  constructor(write: WriteBytes, format: (line: string) => string) {
    this.#write = write
    this.#format = format
  }

  write(line: string): void {
    if (this.#waitingChars + line.length > maxWaitingChars) {
      this.#dropped += 1
      return
    }
    this.#waiting.push(this.#format(line))
    this.#waitingChars += line.length
    if (!this.#busy) this.#next()
  }

  async flush(timeoutMs: number): Promise<void> {
    if (!this.#busy) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs)
      this.#onIdle.push(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  #next(): void {
    const lines = this.#waiting
    this.#waiting = []
    this.#waitingChars = 0
    this.#busy = lines.length > 0
    if (!this.#busy) {
      for (const idle of this.#onIdle.splice(0)) idle()
      return
    }
    const dropped = this.#dropped
    this.#dropped = 0
    const count = lines.length + dropped
    if (dropped > 0) {
      const time = new Date().toISOString()
      const notice = { level: 'warn', time, dropped, msg: 'log lines were dropped' }
      lines.push(this.#format(`${JSON.stringify(notice)}\n`))
    }
    this.#send(Buffer.from(lines.join('')), count)
  }

  /** Writes `bytes`, which tell of `count` lines, those among them that were dropped before. */
  #send(bytes: Uint8Array, count: number): void {
    this.#write(bytes, (error, written) => {
      if (error?.code === 'EAGAIN') {
        setTimeout(() => this.#send(bytes, count), retryMs)
      } else if (error !== null) {
        // A log that cannot be written is no reason to stop watching, and a full disk is mended some day.
        this.#dropped += count
        this.#next()
      } else if (written < bytes.length) {
        this.#send(bytes.subarray(written), count)
      } else {
        this.#next()
      }
    })
  }
}
