import { write } from 'node:fs'
import { type Logger, pino } from 'pino'

/** The daemon's logger and its children. */
export type Log = Logger

export interface LogOptions {
  readonly level: string
  /** `json`: one object a line. `pretty`: a line for people. */
  readonly format: 'json' | 'pretty'
}

/** Where lines go; the file descriptor of stdout unless a test says otherwise. */
export type WriteBytes = (
  bytes: Uint8Array,
  done: (error: NodeJS.ErrnoException | null, written: number) => void,
) => void

/** Lines beyond this wait for a reader that does not read; further ones are dropped and counted. */
const maxWaitingChars = 1_048_576

const retryMs = 100

const stdoutDescriptor = 1

const toStdout: WriteBytes = (bytes, done) => write(stdoutDescriptor, bytes, done)

/**
 * Makes the daemon's logger. It writes to stdout without ever blocking or failing the daemon: lines wait, up to
 * 1 MiB, while the reader is slow, are dropped and counted beyond, and are dropped for good once it has gone.
 *
 * `flush` resolves when everything is written, or after `timeoutMs`.
 */
export function createLogger(
  options: LogOptions,
  writeBytes: WriteBytes = toStdout,
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

function plain(value: unknown): string {
  return JSON.stringify(String(value ?? '')).slice(1, -1)
}

function quoted(value: unknown): string {
  if (typeof value === 'string' && /^[\w./:@%+-]+$/.test(value)) return value
  return JSON.stringify(value)
}

/** A queue of lines in front of a file descriptor that may be slow, full or closed. */
class LineSink {
  readonly #write: WriteBytes
  readonly #format: (line: string) => string
  #waiting: string[] = []
  #waitingChars = 0
  #dropped = 0
  #busy = false
  #closed = false
  #onIdle: (() => void)[] = []

  constructor(write: WriteBytes, format: (line: string) => string) {
    this.#write = write
    this.#format = format
  }

  write(line: string): void {
    if (this.#closed) return
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
    if (this.#dropped > 0) {
      const time = new Date().toISOString()
      const notice = { level: 'warn', time, dropped: this.#dropped, msg: 'log lines were dropped' }
      this.#waiting.push(this.#format(`${JSON.stringify(notice)}\n`))
      this.#dropped = 0
    }
    const text = this.#waiting.join('')
    this.#waiting = []
    this.#waitingChars = 0
    this.#busy = text !== ''
    if (this.#busy) this.#send(Buffer.from(text))
    else for (const idle of this.#onIdle.splice(0)) idle()
  }

  #send(bytes: Uint8Array): void {
    this.#write(bytes, (error, written) => {
      if (error?.code === 'EAGAIN') {
        setTimeout(() => this.#send(bytes), retryMs)
      } else if (error !== null) {
        // Nobody reads any more, which is no reason to stop watching.
        this.#closed = true
        this.#waiting = []
        this.#next()
      } else if (written < bytes.length) {
        this.#send(bytes.subarray(written))
      } else {
        this.#next()
      }
    })
  }
}
