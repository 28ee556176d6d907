import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'

/** A child process under test, with all that it has written. */
export interface Program {
  readonly child: ChildProcess
  readonly stdout: () => string
  readonly stderr: () => string
  /** Resolves with the match once what was written, to either stream, holds `pattern`. */
  readonly said: (pattern: RegExp, withinMs?: number) => Promise<RegExpExecArray>
  /** Resolves with how it ended. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>
  /** Ends it for certain; for the end of a test. */
  readonly stop: () => Promise<void>
}

/** Starts a program and keeps what it writes. */
export function startProgram(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>> = process.env,
): Program {
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  const listeners = new Set<() => void>()
  const told = () => {
    for (const listener of listeners) listener()
  }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    told()
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    told()
  })
  const ended = once(child, 'close').then(([code, signal]) => {
    told()
    return { code, signal }
  })
  return {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    ended,
    said: (pattern, withinMs = 10_000) =>
      new Promise((resolve, reject) => {
        const fail = (why: string) => {
          settle()
          reject(new Error(`expected ${pattern} ${why}, found:\n${stdout}\n${stderr}`))
        }
        const timer = setTimeout(() => fail(`within ${withinMs} ms`), withinMs)
        const settle = () => {
          clearTimeout(timer)
          listeners.delete(look)
        }
        const look = () => {
          const match = pattern.exec(stdout) ?? pattern.exec(stderr)
          if (match !== null) {
            settle()
            resolve(match)
          } else if (child.exitCode !== null || child.signalCode !== null) {
            fail('before the end of the program')
          }
        }
        listeners.add(look)
        look()
      }),
    stop: async () => {
      child.kill('SIGKILL')
      await ended
    },
  }
}
