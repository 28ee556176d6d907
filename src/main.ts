#!/usr/bin/env node
import './heap.ts'
import { readFileSync } from 'node:fs'
import { systemClock } from './clock.ts'
import { type CommandLine, type Request, readCommandLine } from './config/flags.ts'
import type { Override } from './config/issues.ts'
import { type Loaded, type LoadOptions, loadConfig } from './config/load.ts'
import { type Daemon, startDaemon } from './daemon.ts'
import { ConfigError, StartError } from './errors.ts'
import { createLogger, type Log } from './log.ts'
import { startNotify } from './notify.ts'
import { Reloader } from './reload.ts'

const exitCodes = { ended: 0, failed: 1, misconfigured: 78 } as const

/** The daemon stops in less; what hangs beyond is left to the end of the process. */
const stopWithinMs = 4_500
const flushWithinMs = 300

const { version, revision } = readPackage()

process.exit(await run(process.argv.slice(2)))

async function run(args: readonly string[]): Promise<number> {
  const line = readCommandLine(args, version)
  const { request } = line
  try {
    switch (request.kind) {
      case 'text':
        process.stdout.write(request.text)
        return exitCodes.ended
      case 'check-config':
        return await checkConfig(line, request)
      case 'generate':
        return await generate(line, request)
      case 'demo':
        return await demo(line, request)
      case 'serve':
        return await serve(line, request.configFile)
    }
  } catch (error) {
    if (error instanceof ConfigError) return refuse(error.issues, line)
    throw error
  }
}

/** Prints every mistake, one a line, and how the command is called where that was one of them. */
function refuse(issues: readonly string[], { usage, issues: misuses }: CommandLine): number {
  for (const issue of issues) process.stderr.write(`${issue}\n`)
  if (misuses.length > 0 && usage !== '') process.stderr.write(`${usage}\n`)
  return exitCodes.misconfigured
}

/** Reads the configuration. Throws `ConfigError` with the mistakes of the command line and all others. */
async function load(
  line: CommandLine,
  path: string | undefined,
  how: Pick<LoadOptions, 'withSecrets'> = {},
): Promise<Loaded> {
  const options = { path, env: process.env, flags: line.flags, ...how }
  const found = await loadConfig(options).catch((error: unknown) => {
    if (!(error instanceof ConfigError)) throw error
    return error
  })
  const mistakes = found instanceof ConfigError ? found.issues : []
  if (line.issues.length > 0) throw new ConfigError([...line.issues, ...mistakes])
  if (found instanceof ConfigError) throw found
  return found
}

async function checkConfig(
  line: CommandLine,
  { path, print }: Request & { kind: 'check-config' },
): Promise<number> {
  const { config, warnings } = await load(line, path)
  for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`)
  if (print) {
    const { effectiveConfig } = await import('./config/effective.ts')
    process.stdout.write(effectiveConfig(config))
  } else {
    process.stdout.write(`${path ?? 'configuration'}: valid\n`)
  }
  return exitCodes.ended
}

async function generate(
  line: CommandLine,
  { product, configFile, out }: Request & { kind: 'generate' },
): Promise<number> {
  // Files are written on a laptop or in CI, too, where the secrets of the hosts are not.
  const { config, warnings } = await load(line, configFile, { withSecrets: false })
  const rulesToo = product === 'prometheus-rules' || product === 'kubernetes'
  const twice =
    rulesToo && config.alertmanager.urls.length > 0
      ? ['alertmanager.urls: expected none beside rules for Prometheus, or people are told twice']
      : []
  for (const warning of [...warnings, ...twice]) process.stderr.write(`warning: ${warning}\n`)
  const { makeFiles } = await import('./generate/generate.ts')
  const { asStream, writeFiles } = await import('./generate/files.ts')
  const files = await makeFiles(product, config)
  if (out === undefined) {
    const { text, leftOut } = asStream(files)
    process.stdout.write(text)
    for (const path of leftOut) process.stderr.write(`not shown, use --out DIR: ${path}\n`)
  } else {
    for (const path of await writeFiles(files, out)) process.stdout.write(`${path}\n`)
  }
  return exitCodes.ended
}

async function serve(line: CommandLine, path: string | undefined): Promise<number> {
  const first = await load(line, path)
  return await operate(first, async () => await load(line, path), { procRoot: '/proc' })
}

async function demo(
  line: CommandLine,
  { scenario, list }: Request & { kind: 'demo' },
): Promise<number> {
  const { describeScenarios, scenarioNames, startDemo } = await import('./demo/run.ts')
  const unknown = scenario !== undefined && !scenarioNames.includes(scenario)
  const misuses = unknown
    ? [`--scenario: expected one of ${scenarioNames.join(', ')}, found "${scenario}"`]
    : []
  if (line.issues.length + misuses.length > 0) throw new ConfigError([...line.issues, ...misuses])
  if (list) {
    process.stdout.write(`${describeScenarios().trimEnd()}\n`)
    return exitCodes.ended
  }
  const ending = new AbortController()
  const running = await startDemo({
    scenario: scenario ?? 'steady',
    signal: ending.signal,
  })
  const given = (name: string, value: unknown): Override => ({
    path: name.split('.'),
    value,
    origin: 'demo',
  })
  try {
    const flags = [
      given('web.listen', ['127.0.0.1:19400']),
      given('log.format', 'pretty'),
      given('targets', running.targets),
      given('scrape.interval', '1s'),
      given('scrape.max_overhead', 0),
      given('gpu.enabled', true),
      given('gpu.command', running.gpuCommand),
      given('gpu.interval', '5s'),
      ...line.flags,
    ]
    const config = await loadConfig({ flags })
    return await operate(config, async () => config, {
      // The pids are made up, and may be those of other processes in the real one.
      procRoot: running.procRoot,
      onReady: ([url = '']) => process.stdout.write(`${running.banner(url)}\n`),
    })
  } finally {
    ending.abort()
    await running.stop()
  }
}

/** Runs the daemon until a signal or a failure ends it; returns the exit code. */
async function operate(
  { config, warnings }: Loaded,
  read: () => Promise<Loaded>,
  how: {
    readonly procRoot: string
    readonly onReady?: (urls: readonly string[]) => void
  },
): Promise<number> {
  const { log, flush } = createLogger(config.log)
  for (const warning of warnings) log.warn({ warning }, 'configuration deserves a look')
  const ending = new AbortController()
  let daemon: Daemon | undefined
  const notifier = startNotify({
    env: process.env,
    log,
    clock: systemClock,
    signal: ending.signal,
    alive: () => daemon?.alive() ?? true,
    pid: process.pid,
  })
  const started = startDaemon({
    config,
    log,
    clock: systemClock,
    about: { version, revision, nodeVersion: process.version },
    reload: () => reloader.reload(),
    procRoot: how.procRoot,
  })
  const reloader = new Reloader({ log, notifier, read, started })
  const signalled = heed(reloader)
  let code: number = exitCodes.ended
  try {
    daemon = await started
    notifier.ready()
    const { urls } = daemon
    log.info({ urls, version, targets: config.targets.map(({ name }) => name) }, 'daemon is up')
    how.onReady?.(urls)
    const signal = await Promise.race([signalled, daemon.broken])
    log.info({ signal }, 'daemon is stopping')
  } catch (err) {
    if (err instanceof StartError) log.error({ reason: err.message }, 'daemon cannot start')
    else log.error({ err }, 'daemon cannot go on')
    code = exitCodes.failed
  }
  ending.abort()
  await within(stopWithinMs, Promise.all([daemon?.stop(), notifier.done]), log)
  log.info({ code }, 'daemon has stopped')
  await flush(flushWithinMs)
  return code
}

/** Reloads at SIGHUP, and resolves with the name of the signal that asks for the end. */
function heed(reloader: Reloader): Promise<string> {
  process.on('SIGHUP', () => {
    // Told in the log and in a metric; nobody waits for the answer to a signal.
    reloader.reload().catch((error: unknown) => {
      if (!(error instanceof ConfigError)) throw error
    })
  })
  return new Promise((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, () => resolve(name))
  })
}

async function within(ms: number, work: Promise<unknown>, log: Log): Promise<void> {
  const waiting = new AbortController()
  const late = systemClock.sleep(ms, waiting.signal).then(() => 'late')
  const ended = await Promise.race([work, late])
  waiting.abort()
  if (ended === 'late') log.warn({ ms }, 'parts did not stop in time')
}

/** The package's own name for what runs; `revision` is written into it where an image is built. */
function readPackage(): { readonly version: string; readonly revision: string } {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  const found: unknown = JSON.parse(text)
  const field = (name: string) => {
    const value: unknown =
      typeof found === 'object' && found !== null ? Reflect.get(found, name) : ''
    return typeof value === 'string' && value !== '' ? value : 'unknown'
  }
  return { version: field('version'), revision: field('revision') }
}
