import type { InstrumentId } from '../instruments.ts'
import type { Channel } from '../reading.ts'
import { Conservation, type Present, type ServerCounts, type Stock } from './conservation.ts'

/** One engine of a target at its last good reading: a data-parallel rank, of one model where a page has several. */
export interface EngineProgress {
  readonly model: string
  /** As the producer names the rank; empty where it names none. */
  readonly rank: string
  readonly running: number
  readonly waiting: number
  /** Those of the waiting ones that wait for something else than the engine; absent where it does not say. */
  readonly deferred: number | undefined
  readonly kvCacheUsageRatio: number | undefined
  /**
   * The reading at which the engine last showed that it works: a token, a prompt, a finish or a step was
   * counted, more requests run, or the KV cache filled up further. Absent before the first time.
   */
  readonly workedMs: number | undefined
  /** Since when this engine is watched without a break. */
  readonly sinceMs: number
  /**
   * How long at least one request is proven to have been inside without any such sign, milliseconds. Once
   * proven it stays so until the engine works again, for clients who give up do not mend an engine.
   */
  readonly stillMs: number
  /** The last reading that proved it; absent before one did. */
  readonly provenMs: number | undefined
  /**
   * Since when requests are shown without any such sign. Their clients may have hung up: gauges can go on
   * showing them until the next step. Absent while none is shown.
   */
  readonly shownSinceMs: number | undefined
  /**
   * Clients of the whole server that seem to have hung up since the engine last showed a change; absent
   * where no HTTP answers are counted.
   */
  readonly hungUp: number | undefined
  /** Requests that the whole server has finished since that sign, or since the watch of the engine began. */
  readonly finishedSince: number
  /** The last time that it stood still with requests inside and then went on. */
  readonly pause: Pause | undefined
  /** How long at least some request has waited that still waits. */
  readonly oldestWait: { readonly ms: number; readonly certain: boolean } | undefined
}

/** A stretch without work that ended. */
export interface Pause {
  readonly ms: number
  readonly endedMs: number
}

/** A shorter one is no matter: a step may take long, and a scrape comes late. */
const shortestPauseMs = 8_000

/** What a series of an engine tells of its work. */
export type Role = 'running' | 'waiting' | 'deferred' | 'kv' | 'finished' | 'preempted' | 'work'

const roles: Readonly<Partial<Record<InstrumentId, Role>>> = {
  requests_running: 'running',
  requests_waiting: 'waiting',
  requests_deferred: 'deferred',
  kv_cache_usage: 'kv',
  requests_finished: 'finished',
  preemptions: 'preempted',
  generation_tokens: 'work',
  prompt_tokens: 'work',
  engine_steps: 'work',
  ttft: 'work',
}

/** Where one engine's numbers are in the readings of a shape. */
export interface EnginePlaces {
  /** The group of its series. */
  readonly key: string
  readonly model: string
  readonly rank: string
  readonly at: Readonly<Record<Role, readonly number[]>>
}

/** More engines than this on one page are not followed. */
const maxEngines = 512

/** Finds the engines of a page that tell how many requests they have, and where. */
export function placesOf(channels: readonly Channel[]): readonly EnginePlaces[] {
  const found = new Map<string, { model: string; rank: string; at: Record<Role, number[]> }>()
  for (const { instrument, labels, group, rank = '', offset, bounds } of channels) {
    const role = roles[instrument]
    const model = labels['model_name']
    if (role === undefined || model === undefined) continue
    let places = found.get(group)
    if (places === undefined) {
      if (found.size >= maxEngines) continue
      const at = {
        running: [],
        waiting: [],
        deferred: [],
        kv: [],
        finished: [],
        preempted: [],
        work: [],
      }
      places = { model, rank, at }
      found.set(group, places)
    }
    places.at[role].push(bounds === undefined ? offset : offset + bounds.length)
  }
  return [...found]
    .filter(([, { at }]) => at.running.length + at.waiting.length > 0)
    .map(([key, places]) => ({ key, ...places }))
}

/** Adds up the numbers at `places`. */
export function sumAt(values: ArrayLike<number>, places: readonly number[]): number {
  let total = 0
  for (const place of places) total += values[place] ?? 0
  return total
}

/** A reading as one engine sees it. */
export interface EngineReading {
  readonly values: Float64Array
  readonly increments: Float64Array
  /** What the server had counted at the reading before, and at this one. */
  readonly before: ServerCounts
  readonly present: Present
}

/** What is remembered of one engine from reading to reading. */
export class EngineBook {
  readonly conservation = new Conservation()
  readonly #sinceMs: number
  #stock: Stock | undefined
  #kv: number | undefined
  #deferred: number | undefined
  #workedMs: number | undefined
  #stillMs = 0
  #provenMs: number | undefined
  #pause: Pause | undefined
  /** What the server had finished by the last sign of work. */
  #finishedBefore = 0
  #shownSinceMs: number | undefined
  /**
   * What the server had counted before the step began whose end will show the next change: that is after the
   * change before it. Gauges that were never seen to move may have stood still since before the watch.
   */
  #stepBegan: ServerCounts

  constructor(begin: Pick<Present, 'atMs' | 'finished'>) {
    this.#sinceMs = begin.atMs
    this.#finishedBefore = begin.finished
    this.#stepBegan = { finished: begin.finished, answered: undefined }
  }

  /** The engine's numbers at its last reading. */
  get stock(): Stock | undefined {
    return this.#stock
  }

  /** Takes in a reading and tells whether the engine showed that it works. */
  record(places: EnginePlaces, reading: EngineReading): boolean {
    const { values, increments, before, present } = reading
    const { at } = places
    const last = this.#stock
    const kv =
      at.kv.length === 0 ? undefined : Math.max(...at.kv.map((place) => values[place] ?? 0))
    const running = sumAt(values, at.running)
    const waiting = sumAt(values, at.waiting)
    const justFinished = sumAt(increments, at.finished)
    const preempted = sumAt(increments, at.preempted)
    const counted = justFinished + sumAt(increments, at.work)
    const worked =
      counted > 0 ||
      (last !== undefined && running > last.running) ||
      (this.#kv !== undefined && kv !== undefined && kv > this.#kv)
    const changed =
      worked ||
      preempted > 0 ||
      (last !== undefined && (running !== last.running || waiting !== last.waiting)) ||
      kv !== this.#kv
    const stock: Stock = {
      atMs: present.atMs,
      running,
      waiting,
      finished: (last?.finished ?? 0) + justFinished,
      preempted: (last?.preempted ?? 0) + preempted,
      justFinished: changed ? justFinished : (last?.justFinished ?? 0),
      base: last !== undefined && !changed ? last.base : this.#stepBegan,
    }
    if (last !== undefined && changed) this.#stepBegan = before
    if (worked) {
      // What was only shown may have been stale gauges over an engine with nothing to do.
      if (this.#stillMs >= shortestPauseMs) {
        this.#pause = { ms: present.atMs - this.#quietSinceMs, endedMs: present.atMs }
      }
      this.#finishedBefore = present.finished
      this.#workedMs = present.atMs
      this.#stillMs = 0
      this.#shownSinceMs = undefined
    }
    // An engine that reports fewer than before is alive, though it was seen to do nothing for them.
    if (last !== undefined && running < last.running) this.#stillMs = 0
    this.#shownSinceMs = running + waiting > 0 ? (this.#shownSinceMs ?? present.atMs) : undefined
    this.#stock = stock
    this.#kv = kv
    this.#deferred = at.deferred.length === 0 ? undefined : sumAt(values, at.deferred)
    this.conservation.push(stock, present)
    const insideMs = this.conservation.insideSince(this.#quietSinceMs, stock, present)
    if (insideMs > 0) this.#provenMs = present.atMs
    this.#stillMs = Math.max(this.#stillMs, insideMs)
    return worked
  }

  describe({ model, rank }: EnginePlaces, present: Present): EngineProgress {
    const stock = this.#stock
    return {
      model,
      rank,
      running: stock?.running ?? 0,
      waiting: stock?.waiting ?? 0,
      deferred: this.#deferred,
      kvCacheUsageRatio: this.#kv,
      workedMs: this.#workedMs,
      sinceMs: this.#sinceMs,
      stillMs: this.#stillMs,
      provenMs: this.#provenMs,
      shownSinceMs: this.#shownSinceMs,
      pause: this.#pause,
      hungUp: stock === undefined ? undefined : Conservation.hungUp(stock, present),
      finishedSince: present.finished - this.#finishedBefore,
      oldestWait: stock === undefined ? undefined : this.conservation.oldestWait(stock, present),
    }
  }

  get #quietSinceMs(): number {
    return this.#workedMs ?? this.#sinceMs
  }
}
