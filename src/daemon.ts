import { hostname } from 'node:os'
import type { Clock } from './clock.ts'
import type { Config } from './config/schema.ts'
import { evaluate, type Subscription } from './evaluate.ts'
import type { Log } from './log.ts'
import { type Doubt, Prober } from './prober.ts'
import { Pusher } from './push/pusher.ts'
import { type Alert, alertKey, configure } from './rules/alert.ts'
import { builtinRules } from './rules/builtin.ts'
import type { Rule } from './rules/rule.ts'
import type { SignalSettings } from './signals/context.ts'
import type { Snapshot, TargetSnapshot } from './snapshot.ts'
import { GpuMemories } from './sources/nvidia-smi.ts'
import { gpuTargetName } from './sources/settings.ts'
import { Watch, watchesOf } from './watch.ts'
import type { About } from './web/metrics.ts'
import { readRunbooks } from './web/runbooks.ts'
import { createServer, type WebServer } from './web/server.ts'
import type { ListenAddress } from './web/settings.ts'
import { Windows } from './window/windows.ts'

/** An evaluation comes at least so often, and so soon after a collection that a burst of them shares it. */
const evaluateEveryMs = 1_000
const evaluateAfterMs = 20
/** Evaluating takes at most this share of the time, however many targets there are. */
const evaluateShare = 0.1

/** An evaluation that is older than this is none of now. */
const standstillMs = 10_000

export interface DaemonOptions {
  readonly config: Config
  readonly log: Log
  readonly clock: Clock
  readonly about: About
  /** Reads the configuration again and applies it; what `POST /-/reload` calls. */
  readonly reload: () => Promise<void>
  /** Where to listen in place of what the configuration says; port 0 lets the system choose. */
  readonly listen?: readonly Pick<ListenAddress, 'host' | 'port'>[]
  /** Where the host's memory is read: `/proc`, but for simulated processes a folder of theirs. Unset: it is not. */
  readonly procRoot?: string | undefined
}

/**
 * Starts the whole daemon: resolves once it listens, before anything was scraped. Rejects when an address
 * cannot be listened on; nothing is left running then.
 */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const daemon = new Daemon(options)
  await daemon.start()
  return daemon
}

/** What follows from a configuration for the evaluation. */
interface Judgement {
  readonly settings: SignalSettings
  readonly rules: readonly Rule[]
  readonly keepMs: number
}

/** The running parts, made from a `Config` and changed by `apply`. */
export class Daemon {
  readonly #options: DaemonOptions
  readonly #log: Log
  readonly #clock: Clock
  readonly #windows: Windows
  readonly #watches = new Map<string, Watch>()
  readonly #gpuMemories = new GpuMemories()
  readonly #prober: Prober
  readonly #pusher: Pusher
  readonly #stop = new AbortController()
  #config: Config
  #judgement: Judgement
  #server: WebServer | undefined
  #snapshot: Snapshot | undefined
  #evaluatedMs: number
  #evaluateCostMs = 0
  #nap = new AbortController()
  #evaluating: Promise<void> = Promise.resolve()
  #reloaded = true
  #fail: (error: unknown) => void = () => {}
  /** Rejects when a part of the daemon itself is broken; never resolves. */
  readonly broken: Promise<never>

  constructor(options: DaemonOptions) {
    this.#options = options
    this.#log = options.log
    this.#clock = options.clock
    this.#config = options.config
    this.#judgement = judgementOf(options.config)
    this.#windows = new Windows({ keepMs: this.#judgement.keepMs })
    this.#prober = new Prober({
      clock: options.clock,
      log: options.log,
      signal: this.#stop.signal,
      record: (result) => {
        this.#windows.recordProbe(result)
        this.#wake()
      },
      fail: (error) => this.#fail(error),
    })
    this.#pusher = new Pusher({
      clock: options.clock,
      log: options.log,
      random: Math.random,
      fail: (error) => this.#fail(error),
    })
    this.#evaluatedMs = options.clock.monotonicMs()
    this.broken = new Promise((_, reject) => {
      this.#fail = reject
    })
    // Whoever holds the daemon listens; a failure while it stops has no listener any more.
    this.broken.catch(() => {})
  }

  /** What is listened on, with the real ports. */
  get urls(): readonly string[] {
    return this.#server?.urls ?? []
  }

  /** The latest evaluation; absent before the first. */
  get snapshot(): Snapshot | undefined {
    return this.#snapshot
  }

  async start(): Promise<void> {
    const { log, clock, about, reload, listen, config } = this.#options
    this.#server = await createServer({
      listen: listen ?? config.web.listen,
      enableLifecycle: config.web.enableLifecycle,
      log,
      clock,
      about,
      reload,
      snapshot: () => this.#snapshot,
      alive: () => this.alive(),
      stopping: () => this.#stop.signal.aborted,
      lastReloadSuccessful: () => this.#reloaded,
      ownMeasured: () => this.#pusher.measured(),
      runbooks: await readRunbooks().catch((err: unknown) => {
        log.warn({ err }, 'runbooks cannot be read')
        return new Map()
      }),
    })
    this.#watchAll()
    await Promise.all([this.#prober.configure(config), this.#configurePush(config)])
    this.#evaluating = this.#evaluateForEver().catch((error: unknown) => this.#fail(error))
  }

  /** Whether the daemon's own loops turn; what vLLM and the GPUs do plays no part in it. */
  alive(): boolean {
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - this.#evaluatedMs > standstillMs) return false
    return [...this.#watches.values()].every((watch) => watch.isTurning(nowMs))
  }

  /**
   * Takes over a new configuration. Targets that stay what they were keep their loops and windows; one with
   * another URL begins anew. Returns what the new configuration asks for and only a restart can give.
   */
  async apply(config: Config): Promise<readonly string[]> {
    const before = this.#config
    this.#config = config
    this.#judgement = judgementOf(config)
    this.#windows.keep(this.#judgement.keepMs)
    this.#log.level = config.log.level
    const wanted = this.#wanted(config)
    const stopped: Watch[] = []
    for (const [name, watch] of this.#watches) {
      const now = wanted.get(name)
      if (now?.key === watch.key) {
        watch.setLevel(config.log.level)
        continue
      }
      stopped.push(watch)
      this.#watches.delete(name)
      if (now?.origin !== watch.origin) this.#windows.forget(name)
    }
    await Promise.all([
      ...stopped.map((watch) => watch.end()),
      this.#prober.configure(config),
      this.#configurePush(config),
    ])
    this.#watchAll()
    this.#reloaded = true
    this.#wake()
    return restartNotes(before, config)
  }

  /** Notes that a new configuration was refused: the one before goes on, whole. */
  reloadFailed(): void {
    this.#reloaded = false
    this.#wake()
  }

  /** Ends every loop, then the server; resolves within 2 s. Called once. */
  async stop(): Promise<void> {
    this.#stop.abort()
    this.#nap.abort()
    const ends = [...this.#watches.values()].map((watch) => watch.end())
    await Promise.all([...ends, this.#prober.stop(), this.#pusher.stop()])
    await this.#evaluating
    await this.#server?.close()
  }

  /** Begins to watch what the configuration names and nobody watches yet. */
  #watchAll(): void {
    if (this.#stop.signal.aborted) return
    for (const [name, wanted] of this.#wanted(this.#config)) {
      if (this.#watches.has(name)) continue
      const log = this.#log.child({ target: name })
      const watch = new Watch(wanted, {
        clock: this.#clock,
        log,
        record: (attempt) => {
          const recorded = this.#windows.record(attempt)
          if (recorded.rebound.length > 0) {
            log.warn({ instruments: recorded.rebound }, 'bucket edges changed, windows begin anew')
          }
          this.#wake()
          return recorded
        },
      })
      this.#watches.set(name, watch)
      watch.done.catch((error: unknown) => this.#fail(error))
    }
  }

  #configurePush({ alertmanager, links }: Config): Promise<void> {
    const host = { name: hostname(), urls: this.urls }
    return this.#pusher.configure({ alertmanager, links, host })
  }

  #wanted(config: Config): ReturnType<typeof watchesOf> {
    return watchesOf(config, this.#gpuMemories, this.#options.procRoot)
  }

  #wake(): void {
    this.#nap.abort()
  }

  async #evaluateForEver(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      this.#nap = new AbortController()
      this.#evaluate()
      await this.#clock.sleep(evaluateEveryMs, this.#nap.signal)
      const pauseMs = Math.max(evaluateAfterMs, this.#evaluateCostMs / evaluateShare)
      await this.#clock.sleep(Math.min(pauseMs, evaluateEveryMs), signal)
    }
  }

  #evaluate(): void {
    const atMs = this.#clock.monotonicMs()
    const { settings, rules } = this.#judgement
    const { targets, thresholds, gpu } = this.#config
    const before = this.#snapshot
    this.#snapshot = evaluate(before, {
      windows: this.#windows,
      targets: targets.map(({ name, url }) => ({ ...this.#subscription(name), url })),
      ...ownUrlOf(this.urls),
      gpu:
        gpu.enabled === false
          ? undefined
          : { ...this.#subscription(gpuTargetName), quiet: gpu.enabled === 'auto' },
      settings,
      thresholds,
      rules,
      atMs,
      wallMs: this.#clock.nowMs(),
    })
    this.#evaluatedMs = this.#clock.monotonicMs()
    this.#evaluateCostMs = this.#evaluatedMs - atMs
    logTransitions(this.#log, before?.alerts ?? [], this.#snapshot.alerts)
    logThresholds(this.#log, before?.targets ?? [], this.#snapshot.targets)
    this.#prober.follow(doubtIn(this.#snapshot))
    this.#pusher.follow(this.#snapshot)
  }

  #subscription(name: string): Subscription {
    return { name, staleAfterMs: this.#watches.get(name)?.staleAfterMs ?? 0 }
  }
}

/** Where this daemon can be asked on its own host. */
function ownUrlOf([first]: readonly string[]): { readonly ownUrl?: string } {
  if (first === undefined) return {}
  return { ownUrl: first.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:') }
}

function doubtIn({ probeWanted, probeKept, targets }: Snapshot): Doubt {
  const ambiguous = probeWanted.map((name) => ({
    target: name,
    model: targets.find((target) => target.name === name)?.models[0],
  }))
  return { ambiguous, kept: probeKept }
}

function judgementOf(config: Config): Judgement {
  const { windowsMs, quantiles, thresholds } = config
  const rules = builtinRules.flatMap((rule) => configure(rule, config.alerts[rule.name]) ?? [])
  return {
    rules,
    keepMs: Math.max(...windowsMs, ...rules.map(({ windowMs }) => windowMs)),
    settings: {
      windowsMs,
      quantiles,
      e2eLatencyThresholdSeconds: thresholds.e2eLatencyP99Seconds,
      queueTimeThresholdSeconds: thresholds.queueTimeP95Seconds,
      ttftThresholdSeconds: thresholds.ttftP99Seconds,
      probing: config.probe.enabled,
    },
  }
}

function restartNotes(before: Config, now: Config): readonly string[] {
  const notes: string[] = []
  const note = (what: string, changed: boolean) => {
    if (changed) notes.push(`${what} has changed, which takes a restart to come into force`)
  }
  const addresses = ({ web }: Config) => web.listen.map(({ text }) => text).join()
  note('web.listen', addresses(before) !== addresses(now))
  note('web.enable_lifecycle', before.web.enableLifecycle !== now.web.enableLifecycle)
  note('log.format', before.log.format !== now.log.format)
  return notes
}

/** Logs alerts that begin or cease to fire; what goes on is not repeated. */
function logTransitions(log: Log, before: readonly Alert[], now: readonly Alert[]): void {
  const firing = (alerts: readonly Alert[]) =>
    new Map(
      alerts
        .filter(({ state }) => state === 'firing')
        .map((alert) => [alertKey(alert.alert, alert.subject), alert]),
    )
  const was = firing(before)
  const is = firing(now)
  for (const [key, { alert, severity, subject, summary }] of is) {
    if (!was.has(key)) log.warn({ alert, severity, ...subject, summary }, 'alert is firing')
  }
  for (const [key, { alert, severity, subject }] of was) {
    if (!is.has(key)) log.info({ alert, severity, ...subject }, 'alert has ended')
  }
}

/** Warns once of each threshold that cannot be counted exactly, when its histogram is there. */
function logThresholds(
  log: Log,
  before: readonly TargetSnapshot[],
  now: readonly TargetSnapshot[],
): void {
  for (const { name, thresholdNotes } of now) {
    const said = before.find((target) => target.name === name)?.thresholdNotes
    for (const note of thresholdNotes) {
      if (said?.includes(note) !== true) {
        log.warn({ target: name, note }, 'threshold is no bucket edge')
      }
    }
  }
}
