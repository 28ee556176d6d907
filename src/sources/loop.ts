import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '../clock.ts'
import { absenceCodes, CollectError, type CollectErrorCode } from '../errors.ts'
import type { Attempt, HealthProbe, Reading } from '../reading.ts'
import { Pace } from './pace.ts'
import type { Source } from './source.ts'

/** The part of a pino logger that the loop uses; made for one target. */
export interface LoopLog {
  warn(fields: object, message: string): void
  info(fields: object, message: string): void
  debug(fields: object, message: string): void
}

export interface LoopOptions {
  readonly source: Source
  readonly intervalMs: number
  /** The source's place on the interval; see `spread`. */
  readonly offsetMs: number
  /** What a collection is given by its source. One that does not end then is told as hung. */
  readonly timeoutMs: number
  /** Share of the interval that collecting may take before the interval is stretched; 0: any. */
  readonly maxOverhead: number
  readonly clock: Clock
  readonly log: LoopLog
  readonly signal: AbortSignal
  /** Takes each attempt. `newLife` says that the producer was found restarted. */
  readonly record: (attempt: Attempt) => { readonly newLife: boolean }
  /** Told when the interval in force changes. */
  readonly onInterval?: (intervalMs: number) => void
  /** Told how many places on the grid went by unused before a collection, if any did. */
  readonly onSkipped?: (count: number) => void
  /**
   * Makes no complaint, and tries ever more rarely, for as long as there was never anything to read:
   * `gpu.enabled: auto` on a host without GPUs.
   */
  readonly quietWhenAbsent?: boolean
}

// A source keeps its deadline itself; this much later it is told for it.
const HUNG_AFTER_MS = 1_000
// How long a collection that was told to stop is waited for.
const STOP_WITHIN_MS = 500
const LONGEST_PAUSE_MS = 300_000

/**
 * Reads `source` at its pace until `signal` aborts, and hands each attempt to `record`.
 *
 * - a collection fails with `CollectError`: an attempt of kind `missed`
 * - a collection does not end 1 s after its deadline: `missed` with code `timeout`, and so again at each
 *   further tick; none is started beside it, and what it yields in the end is void
 * - anything else is thrown: rejects, since the program is wrong
 * - `signal` aborts: ends within 0.5 s, whatever the collection does; it is not recorded
 */
export async function runLoop(given: LoopOptions): Promise<void> {
  // A signal of its own: the many listeners of many loops on one would look like a leak to Node.
  const signal = AbortSignal.any([given.signal])
  const options = { ...given, signal }
  const { clock } = options
  const pace = new Pace({ ...options, startMs: clock.monotonicMs() })
  const condition = new Condition(options)
  let dueMs = pace.first()
  let running: Running | undefined
  try {
    while (!signal.aborted) {
      await clock.sleep(dueMs - clock.monotonicMs(), signal)
      if (signal.aborted) return
      if (running?.outcome?.kind === 'broken') throw running.outcome.error
      if (running === undefined || running.outcome !== undefined) running = start(options)
      const outcome = await outcomeOf(running, options)
      if (outcome === undefined) return
      const attempt = attemptOf(outcome, options)
      condition.see(attempt)
      if (options.record(attempt).newLife) options.source.newLife()
      if (wasRead(attempt) && pace.took(attempt.tookMs)) tellInterval(pace, options)
      const next = pace.next(clock.monotonicMs(), condition.pauseMs())
      if (next.skipped > 0) options.onSkipped?.(next.skipped)
      dueMs = next.dueMs
    }
  } finally {
    if (running !== undefined) await within(running.ended, STOP_WITHIN_MS, clock)
  }
}

interface Stamp {
  readonly tookMs: number
  readonly endMs: number
  readonly wallMs: number
}

type Outcome = Stamp & { readonly health: HealthProbe | undefined } & (
    | { readonly kind: 'read'; readonly reading: Reading }
    | { readonly kind: 'missed'; readonly error: CollectError }
  )

/** A collection under way, or ended. Its promise never rejects. */
interface Running {
  readonly startMs: number
  readonly ended: Promise<void>
  readonly outcome: Outcome | { readonly kind: 'broken'; readonly error: unknown } | undefined
}

function start(options: LoopOptions): Running {
  const startMs = options.clock.monotonicMs()
  let outcome: Running['outcome']
  const ended = collectOnce(options, startMs).then(
    (made) => {
      outcome = made
    },
    (error: unknown) => {
      outcome = { kind: 'broken', error }
    },
  )
  return {
    startMs,
    ended,
    get outcome() {
      return outcome
    },
  }
}

async function collectOnce(options: LoopOptions, startMs: number): Promise<Outcome> {
  const { source, signal } = options
  // Settled together, so that no failure of one is left unhandled while the other is waited for.
  const [collected, probed] = await Promise.allSettled([
    readOnce(options, startMs),
    source.probe?.(signal),
  ])
  if (collected.status === 'rejected') throw collected.reason
  if (probed.status === 'rejected') throw probed.reason
  return { ...collected.value, health: probed.value }
}

async function readOnce({ source, signal, clock }: LoopOptions, startMs: number) {
  try {
    const reading = await source.collect(signal)
    return { kind: 'read' as const, reading, ...stamp(clock, startMs) }
  } catch (error) {
    if (!(error instanceof CollectError)) throw error
    return { kind: 'missed' as const, error, ...stamp(clock, startMs) }
  }
}

function stamp(clock: Clock, startMs: number): Stamp {
  const endMs = clock.monotonicMs()
  return { tookMs: endMs - startMs, endMs, wallMs: clock.nowMs() }
}

/** Waits for a collection to end, or to prove hung. Returns `undefined` when the loop is to stop. */
async function outcomeOf(running: Running, options: LoopOptions): Promise<Outcome | undefined> {
  const { clock, signal, timeoutMs } = options
  const hungMs = running.startMs + timeoutMs + HUNG_AFTER_MS
  await within(running.ended, hungMs - clock.monotonicMs(), clock, signal)
  // Timers run before sockets are read. After a moment in which the process was stopped or blocked, the
  // detour gives an answer that lies ready its chance.
  if (running.outcome === undefined) await nextTurn()
  if (signal.aborted) return undefined
  if (running.outcome?.kind === 'broken') throw running.outcome.error
  if (running.outcome !== undefined) return running.outcome
  const stamped = stamp(clock, running.startMs)
  const message = `expected a collection to end within ${timeoutMs} ms, found it running after ${Math.round(stamped.tookMs)} ms`
  const error = new CollectError('timeout', message)
  return { kind: 'missed', error, health: undefined, ...stamped }
}

/** Waits for `work`, but no longer than `ms`, nor beyond the abort of `signal`. */
async function within(
  work: Promise<void>,
  ms: number,
  clock: Clock,
  signal?: AbortSignal,
): Promise<void> {
  if (signal?.aborted === true) return
  const waiting = new AbortController()
  const stop = () => waiting.abort()
  signal?.addEventListener('abort', stop)
  try {
    await Promise.race([work, clock.sleep(ms, waiting.signal)])
  } finally {
    signal?.removeEventListener('abort', stop)
    waiting.abort()
  }
}

function attemptOf(outcome: Outcome, options: LoopOptions): Attempt {
  const common = {
    target: options.source.target,
    atMs: outcome.endMs,
    wallMs: outcome.wallMs,
    tookMs: outcome.tookMs,
    health: outcome.health,
  }
  if (outcome.kind === 'read') return { kind: 'read', reading: outcome.reading, ...common }
  const { code, message, status, limit } = outcome.error
  return { kind: 'missed', code, message, status, limit, ...common }
}

/** Whether what a collection took tells its cost: a page with too much was read as well as a good one. */
function wasRead(attempt: Attempt): boolean {
  return attempt.kind === 'read' || attempt.code === 'limit'
}

function tellInterval(pace: Pace, options: LoopOptions): void {
  const { intervalMs } = pace
  options.log.info({ intervalMs, configuredMs: options.intervalMs }, 'collection interval changed')
  options.onInterval?.(intervalMs)
}

/** Whether the source can be read, and since when. Logs what changes and stays silent on what remains. */
class Condition {
  readonly #log: LoopLog
  readonly #quiet: boolean
  readonly #intervalMs: number
  #everRead = false
  #down: { readonly sinceMs: number; count: number; code: CollectErrorCode } | undefined
  #absences = 0

  constructor(options: LoopOptions) {
    this.#log = options.log
    this.#quiet = options.quietWhenAbsent ?? false
    this.#intervalMs = options.intervalMs
  }

  see(attempt: Attempt): void {
    if (attempt.kind === 'read') this.#read(attempt.atMs, attempt.tookMs)
    else if (this.#quiet && !this.#everRead && absenceCodes.has(attempt.code)) this.#absent(attempt)
    else this.#missed(attempt)
  }

  /** How long to leave a source alone that has nothing to read: doubling, up to 5 min; otherwise 0. */
  pauseMs(): number {
    if (this.#absences === 0) return 0
    const doubled = this.#intervalMs * 2 ** Math.min(this.#absences - 1, 20)
    return Math.min(doubled, Math.max(LONGEST_PAUSE_MS, this.#intervalMs))
  }

  #read(atMs: number, tookMs: number): void {
    const down = this.#down
    if (down !== undefined) {
      const downMs = Math.round(atMs - down.sinceMs)
      this.#log.info({ missedCount: down.count, downMs, code: down.code }, 'target is up again')
    } else if (!this.#everRead) {
      this.#log.info({ tookMs: Math.round(tookMs) }, 'target is up')
    }
    this.#everRead = true
    this.#down = undefined
    this.#absences = 0
  }

  #absent(attempt: Extract<Attempt, { kind: 'missed' }>): void {
    if (this.#absences === 0) {
      this.#log.debug({ code: attempt.code, reason: attempt.message }, 'nothing to read here')
    }
    this.#absences += 1
  }

  #missed(attempt: Extract<Attempt, { kind: 'missed' }>): void {
    const { code, message, status, atMs } = attempt
    this.#absences = 0
    if (this.#down === undefined) {
      this.#down = { sinceMs: atMs, count: 1, code }
      this.#log.warn({ code, status, reason: message }, 'target went down')
      return
    }
    this.#down.count += 1
    if (this.#down.code === code) return
    this.#down.code = code
    this.#log.debug({ code, status, reason: message }, 'target is down for another reason')
  }
}
