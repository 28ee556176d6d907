import assert from 'node:assert/strict'
import { CollectError, type CollectErrorCode } from '../../src/errors.ts'
import type { Attempt, HealthProbe, Reading } from '../../src/reading.ts'
import { type LoopOptions, runLoop } from '../../src/sources/loop.ts'
import type { Source } from '../../src/sources/source.ts'
import { ManualClock } from '../fakes/manual-clock.ts'

export const reading: Reading = {
  channels: [],
  values: new Float64Array(0),
  processStartSeconds: undefined,
  version: undefined,
  capabilities: new Set(),
  malformedLines: 0,
  limitHits: {},
  notes: [],
}

/** What a collection does: `index` counts them from 0. */
export type Collect = (index: number, signal: AbortSignal, clock: ManualClock) => Promise<Reading>

export interface WorldOptions extends Partial<LoopOptions> {
  readonly collect?: Collect
  readonly probe?: (signal: AbortSignal) => Promise<HealthProbe>
  readonly newLife?: (attempt: Attempt) => boolean
  readonly world?: { readonly clock: ManualClock; readonly stop: AbortController }
}

export interface LogLine {
  readonly level: 'warn' | 'info' | 'debug'
  readonly message: string
  readonly fields: object
}

/** One loop over a source whose collections a test has in hand. Times count from the loop's start. */
export class LoopWorld {
  readonly clock: ManualClock
  readonly stop: AbortController
  readonly attempts: Attempt[] = []
  readonly log: LogLine[] = []
  /** When each collection was started. */
  readonly startedMs: number[] = []
  readonly skipped: number[] = []
  readonly intervals: number[] = []
  /** Most collections that were ever under way at a time. */
  mostAtOnce = 0
  newLives = 0
  /** Set once the loop has ended. */
  ended = false
  readonly done: Promise<void>
  readonly #beganMs: number
  #underWay = 0

  constructor(options: WorldOptions = {}) {
    const { collect, probe, newLife, world, ...rest } = options
    this.clock = world?.clock ?? new ManualClock()
    this.stop = world?.stop ?? new AbortController()
    this.#beganMs = this.clock.monotonicMs()
    this.done = runLoop({
      source: this.#source(collect, probe),
      intervalMs: 1_000,
      offsetMs: 0,
      timeoutMs: 800,
      maxOverhead: 0,
      clock: this.clock,
      log: this.#log(),
      signal: this.stop.signal,
      record: (attempt) => {
        this.attempts.push(attempt)
        return { newLife: newLife?.(attempt) ?? false }
      },
      onInterval: (intervalMs) => this.intervals.push(intervalMs),
      onSkipped: (count) => this.skipped.push(count),
      ...rest,
    }).finally(() => {
      this.ended = true
    })
  }

  /** Attempts as `[kind or code, ms since the start]`. */
  get told(): readonly (readonly [string, number])[] {
    return this.attempts.map((attempt) => [
      attempt.kind === 'read' ? 'read' : attempt.code,
      attempt.atMs - this.#beganMs,
    ])
  }

  lines(level: LogLine['level']): readonly string[] {
    return this.log.filter((line) => line.level === level).map(({ message }) => message)
  }

  /** Ends the loop and fails where that takes any time at all. */
  async end(): Promise<void> {
    this.stop.abort()
    await this.clock.settle()
    assert.ok(this.ended, 'expected the loop to end at once')
    await this.done
  }

  #source(
    collect: Collect = async () => reading,
    probe: WorldOptions['probe'] = undefined,
  ): Source {
    return {
      target: 'vllm',
      kind: 'engine',
      collect: async (signal) => {
        const index = this.startedMs.length
        this.startedMs.push(this.clock.monotonicMs() - this.#beganMs)
        this.#underWay += 1
        this.mostAtOnce = Math.max(this.mostAtOnce, this.#underWay)
        try {
          return await collect(index, signal, this.clock)
        } finally {
          this.#underWay -= 1
        }
      },
      ...(probe === undefined ? {} : { probe }),
      newLife: () => {
        this.newLives += 1
      },
      close: async () => {},
    }
  }

  #log(): LoopOptions['log'] {
    const write = (level: LogLine['level']) => (fields: object, message: string) => {
      this.log.push({ level, message, fields })
    }
    return { warn: write('warn'), info: write('info'), debug: write('debug') }
  }
}

/** A collection that takes `ms` and then reads. */
export function taking(ms: number): Collect {
  return async (_index, signal, clock) => {
    await clock.sleep(ms, signal)
    return reading
  }
}

export function missing(code: CollectErrorCode): CollectError {
  return new CollectError(code, `expected a page, found ${code}`)
}

/** Collections that end one after the other as listed, the last way for ever. */
export function inTurn(...ends: readonly ('read' | CollectErrorCode)[]): Collect {
  return async (index) => {
    const end = ends[Math.min(index, ends.length - 1)] ?? 'read'
    if (end !== 'read') throw missing(end)
    return reading
  }
}
