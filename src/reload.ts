import type { Loaded } from './config/load.ts'
import type { Daemon } from './daemon.ts'
import { ConfigError } from './errors.ts'
import type { Log } from './log.ts'
import type { Notifier } from './notify.ts'

export interface ReloadParts {
  readonly log: Log
  readonly notifier: Pick<Notifier, 'ready' | 'reloading'>
  readonly read: () => Promise<Loaded>
  /** Resolves once the daemon is up: what is asked for before waits for it. */
  readonly started: Promise<Pick<Daemon, 'apply' | 'reloadFailed'>>
}

/**
 * Reads the configuration again and applies it, whole or not at all. One reload is under way at a time;
 * however many are asked for meanwhile become one more, so that the last state of the file counts.
 */
export class Reloader {
  readonly #parts: ReloadParts
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined

  constructor(parts: ReloadParts) {
    this.#parts = parts
  }

  /** Resolves when a configuration read after this call is in force; rejects when it was refused. */
  reload(): Promise<void> {
    if (this.#running === undefined) {
      this.#running = this.#reloadOnce().finally(() => {
        this.#running = undefined
      })
      return this.#running
    }
    this.#next ??= this.#running
      .catch(() => {})
      .then(() => {
        this.#next = undefined
        return this.reload()
      })
    return this.#next
  }

  async #reloadOnce(): Promise<void> {
    const { log, notifier, read, started } = this.#parts
    const daemon = await started
    notifier.reloading()
    try {
      const { config, warnings } = await read()
      const notes = await daemon.apply(config)
      for (const warning of warnings) log.warn({ warning }, 'configuration deserves a look')
      for (const note of notes) log.warn({ note }, 'restart needed')
      log.info({ targets: config.targets.map(({ name }) => name) }, 'configuration reloaded')
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      daemon.reloadFailed()
      log.error({ issues: error.issues }, 'configuration refused, the one before stays in force')
      throw error
    } finally {
      notifier.ready()
    }
  }
}
