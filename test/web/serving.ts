import type { FastifyBaseLogger } from 'fastify'
import { createServer, type WebOptions, type WebServer } from '../../src/web/server.ts'
import { ManualClock } from '../fakes/manual-clock.ts'
import { snapshotOf } from '../fakes/snapshots.ts'

/** One line that was logged. */
export interface LoggedLine {
  readonly level: string
  readonly message: string
  readonly fields: object
}

/** A logger that keeps its lines. */
export function keepingLog(lines: LoggedLine[]): FastifyBaseLogger {
  const at =
    (level: string) =>
    (fields: unknown, message?: unknown): void => {
      lines.push({ level, message: String(message), fields: Object(fields) })
    }
  const log: FastifyBaseLogger = {
    level: 'debug',
    fatal: at('fatal'),
    error: at('error'),
    warn: at('warn'),
    info: at('info'),
    debug: at('debug'),
    trace: at('trace'),
    silent: () => {},
    child: () => log,
  }
  return log
}

export const about = { version: '0.1.0', revision: 'abc1234', nodeVersion: '24.0.0' } as const

/** A daemon that lives and has evaluated once, changed by what is given; without an address. */
export function webOptions(given: Partial<WebOptions> = {}): WebOptions {
  const snapshot = snapshotOf()
  return {
    listen: [],
    log: keepingLog([]),
    clock: new ManualClock(),
    about,
    enableLifecycle: false,
    snapshot: () => snapshot,
    alive: () => true,
    stopping: () => false,
    reload: async () => {},
    lastReloadSuccessful: () => true,
    runbooks: new Map(),
    ...given,
  }
}

/** Serves for as long as `use` runs. */
export async function serving<T>(
  given: Partial<WebOptions>,
  use: (server: WebServer) => Promise<T>,
): Promise<T> {
  const server = await createServer(webOptions(given))
  try {
    return await use(server)
  } finally {
    await server.close()
  }
}
