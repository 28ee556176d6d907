import { systemClock } from '../../src/clock.ts'
import { type Daemon, startDaemon } from '../../src/daemon.ts'
import { type Demo, startDemo } from '../../src/demo/run.ts'
import type { Scenario } from '../../src/demo/scenario.ts'
import { createLogger } from '../../src/log.ts'
import { configOf } from '../config/with-file.ts'

/** The daemon beside the simulator, both as a user has them, in this process. */
export interface WholeDaemon {
  readonly url: string
  readonly daemon: Daemon
  readonly demo: Demo
  /** The lines logged so far, parsed. */
  readonly logged: () => readonly Readonly<Record<string, unknown>>[]
  /** Reads an endpoint as JSON. */
  readonly json: (path: string) => Promise<unknown>
  readonly stop: () => Promise<void>
}

/** Starts both: scraping 5 times a second, GPUs once a second. `settings` are paths of the file. */
export async function startWholeDaemon(
  options: { readonly scenario: string | Scenario; readonly engines?: number },
  settings: Readonly<Record<string, unknown>> = {},
): Promise<WholeDaemon> {
  const ending = new AbortController()
  const demo = await startDemo({ ...options, signal: ending.signal })
  const given = {
    targets: demo.targets,
    'scrape.interval': '200ms',
    'scrape.timeout': '200ms',
    'scrape.max_overhead': 0,
    'gpu.enabled': true,
    'gpu.command': demo.gpuCommand,
    'gpu.interval': '1s',
    ...settings,
  }
  const config = await configOf(given)
  let text = ''
  const { log } = createLogger(config.log, (bytes, done) => {
    text += new TextDecoder().decode(bytes)
    done(null, bytes.length)
  })
  const daemon = await startDaemon({
    config,
    log,
    clock: systemClock,
    about: { version: '0.0.0-test', revision: 'unknown', nodeVersion: process.version },
    reload: async () => {},
    listen: [{ host: '127.0.0.1', port: 0 }],
    procRoot: demo.procRoot,
  })
  const [url = ''] = daemon.urls
  return {
    url,
    daemon,
    demo,
    logged: () =>
      text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line)),
    json: async (path) => await (await fetch(`${url}${path}`)).json(),
    stop: async () => {
      await daemon.stop()
      ending.abort()
      await demo.stop()
    },
  }
}
