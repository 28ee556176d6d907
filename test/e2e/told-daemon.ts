import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { startDaemon } from '../../src/daemon.ts'
import type { Scenario } from '../../src/demo/scenario.ts'
import type { Truth } from '../../src/demo/truth.ts'
import { createLogger } from '../../src/log.ts'
import type { HealthBody } from '../../src/web/health.ts'
import type { StatusBody } from '../../src/web/status.ts'
import { configOf } from '../config/with-file.ts'
import { ManualClock } from '../fakes/manual-clock.ts'
import { type SmiFailure, startToldMachine } from './told-machine.ts'

/** What the endpoints answered at one moment. Between two moments nothing in the daemon changes. */
export interface Sight {
  /** Seconds of the scenario's time. */
  readonly at: number
  /** The same instant on the daemon's wall clock, Unix milliseconds. */
  readonly wallMs: number
  /** `/metrics`, whole. */
  readonly page: string
  /** The HTTP status of `/health`. */
  readonly code: number
  readonly health: HealthBody
  readonly status: StatusBody
  /** `/health` as text. */
  readonly text: string
  /** The lines of `/metrics` that speak of states and alerts. */
  readonly samples: readonly Sample[]
  /** How many tokens the servers were asked for over the network so far. */
  readonly posts: number
}

export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** The whole daemon with its web server beside simulated servers and GPUs, all in told time. */
export interface ToldDaemon {
  readonly url: string
  readonly fail: (failure: SmiFailure | undefined) => void
  /** What truly happened at each server since this was asked last. */
  readonly drainTruth: () => readonly Truth[]
  /** Lets time pass up to `seconds` of the scenarios, and returns what was seen at each step. */
  readonly passTo: (seconds: number) => Promise<readonly Sight[]>
  /** Asks every endpoint, now. */
  readonly look: () => Promise<Sight>
  readonly stop: () => Promise<void>
}

// No other wait is as long as these two, the deadlines of a scrape and of a reading of the GPUs. Beyond them
// the daemon waits for a second before it takes a collection for hung.
const scrapeTimeoutMs = 3_900
const gpuTimeoutMs = 4_900
const hungAfterMs = 1_000

/**
 * A probe ends after so long. Its deadline is that of a socket, the one thing here that is kept in real time: the
 * daemon is told a second, and meanwhile this much of the scenario passes and then no more.
 */
const probeLastsMs = 30_000
const probeTimeout = '1s'

/** An evaluation comes so long after the collection that it evaluates. */
const evaluateAfterMs = 20

const forever = Number.POSITIVE_INFINITY

/** Starts both at `from`, in seconds of the scenarios' time. The targets are called a, b, … */
export async function startToldDaemon(options: {
  readonly scenarios: readonly Scenario[]
  readonly from: number
  /** Seconds between two scrapes, two readings of the GPUs and two looks. */
  readonly every?: number
  /** Paths of the configuration file; `gpu.enabled` is false unless it is said otherwise. */
  readonly settings?: Readonly<Record<string, unknown>>
}): Promise<ToldDaemon> {
  const { scenarios, from, every = 5 } = options
  const clock = new ManualClock()
  // The times of the clock and of the scenarios run side by side.
  const zeroMs = clock.monotonicMs() - 1_000 * from
  const machine = await startToldMachine({
    scenarios,
    fromMs: 1_000 * from,
    startWallMs: clock.nowMs() - 1_000 * from,
  })
  const config = await configOf({
    targets: machine.urls.map((url, index) => ({ name: 'abc'.charAt(index), url })),
    'scrape.interval': `${every}s`,
    'scrape.timeout': `${scrapeTimeoutMs}ms`,
    'gpu.enabled': false,
    'gpu.command': machine.smi,
    'gpu.interval': `${every}s`,
    'gpu.timeout': `${gpuTimeoutMs}ms`,
    'probe.timeout': probeTimeout,
    ...options.settings,
  })
  const daemon = await startDaemon({
    config,
    log: createLogger(config.log, (bytes, done) => done(null, bytes.length)).log,
    clock,
    about: { version: '0.0.0-test', revision: 'unknown', nodeVersion: process.version },
    reload: async () => {},
    listen: [{ host: '127.0.0.1', port: 0 }],
  })
  const [url = ''] = daemon.urls
  const now = () => (clock.monotonicMs() - zeroMs) / 1_000
  const look = async () => ({
    ...(await lookAt(url)),
    at: Math.floor(now()),
    wallMs: clock.nowMs(),
    posts: machine.posts(),
  })
  const collect = async () => {
    const untilMs = performance.now() + 10_000
    const isCollecting = () =>
      clock.isAskedFor(scrapeTimeoutMs + hungAfterMs) ||
      clock.isAskedFor(gpuTimeoutMs + hungAfterMs)
    const isProbing = () => 1_000 * now() - (machine.waitingSinceMs() ?? forever) >= probeLastsMs
    while (isCollecting() || isProbing()) {
      assert.ok(performance.now() < untilMs, 'expected all that is under way to end within 10 s')
      await (isCollecting() ? clock.settle() : delay(10))
    }
    await clock.settle()
    await clock.jump(evaluateAfterMs)
  }
  await clock.settle()
  await collect()
  let next = from + every
  return {
    url,
    fail: machine.fail,
    drainTruth: machine.drainTruth,
    look,
    passTo: async (seconds) => {
      const sights: Sight[] = []
      for (; next <= seconds; next += every) {
        machine.follow(1_000 * next)
        await clock.settle()
        await clock.jump(1_000 * (next - now()))
        await collect()
        sights.push(await look())
      }
      return sights
    },
    stop: async () => {
      await Promise.all([daemon.stop(), clock.jump(1_000)])
      await machine.stop()
    },
  }
}

async function lookAt(url: string): Promise<Omit<Sight, 'at' | 'wallMs' | 'posts'>> {
  const response = await fetch(`${url}/health`)
  const health = (await response.json()) as HealthBody
  const status = (await (await fetch(`${url}/api/v1/status`)).json()) as StatusBody
  const text = await (await fetch(`${url}/health`, { headers: { accept: 'text/plain' } })).text()
  const page = await (await fetch(`${url}/metrics`)).text()
  return { code: response.status, health, status, text, page, samples: samplesOf(page) }
}

const line = /^vllm_vitals_(engine_state|alert_active)\{(.*)\} (\S+)$/gm

/** The labels of a sample, as they are written between its braces. */
export function labelsOf(written: string): Sample['labels'] {
  return Object.fromEntries(
    [...written.matchAll(/(\w+)="([^"]*)"/g)].map(([, label = '', text = '']) => [label, text]),
  )
}

function samplesOf(page: string): readonly Sample[] {
  return [...page.matchAll(line)].map(([, name = '', labels = '', value = '']) => ({
    name,
    labels: labelsOf(labels),
    value: Number(value),
  }))
}
