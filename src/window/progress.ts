import type { Channel, Reading } from '../reading.ts'
import type { Present, ServerCounts, StillThere } from './conservation.ts'
import {
  EngineBook,
  type EnginePlaces,
  type EngineProgress,
  placesOf,
  sumAt,
} from './engine-progress.ts'

/** What a target's counters and gauges tell of its work. Times are monotonic, those of readings. */
export interface TargetProgress {
  readonly engines: readonly EngineProgress[]
  /** The last sign of work of any engine. */
  readonly workedMs: number | undefined
  /** The first sign of work in this life of the process. */
  readonly firstWorkedMs: number | undefined
  /** Since when this life of the process is watched. */
  readonly sinceMs: number
  /** Nothing had been counted in this life when the watch of it began. */
  readonly fromBirth: boolean
  /**
   * Answers on serving paths that ended though no engine showed any work; those that may belong to work that
   * was seen before are left out.
   */
  readonly idleAnswers: IdleAnswers
  /** Requests finished in a second of late, as of the last of them: an average that fades by 1/e in 60 s. */
  readonly finishedPerSecond: number
  /** How many requests of `model` have waited at least `ms`, at least; all engines together. */
  waitingFor(ms: number, model: string): StillThere
  /** How many have been inside at least `ms`, waiting or running, at least. */
  insideFor(ms: number, model: string): StillThere
}

/** Requests that were answered without any work of an engine. */
export interface IdleAnswers {
  readonly count: number
  /** Those of them that were answered with 2xx, as those of clients that hung up are. */
  readonly served: number
  /** The readings that showed the first and the last of them; absent while there is none. */
  readonly firstMs: number | undefined
  readonly lastMs: number | undefined
}

const noAnswers: IdleAnswers = { count: 0, served: 0, firstMs: undefined, lastMs: undefined }

/** What `ProgressBook.record` is told of a reading. */
export interface Recording {
  /** Laid out as the reading's values: what each counter gained. */
  readonly increments: Float64Array
  readonly atMs: number
  /** The reading is the first of its producer's process, or of the watch. */
  readonly begins: boolean
  /** Groups of series that began again at zero. */
  readonly resetGroups: ReadonlySet<string>
}

const fadeMs = 60_000

/** So many more finishes than answers are counted where each request has an answer. */
const unansweredRatio = 1.1
const spare = 20

/** Where the numbers are in the readings of a shape. */
interface Layout {
  readonly channels: readonly Channel[]
  readonly capabilities: ReadonlySet<string>
  readonly engines: readonly EnginePlaces[]
  /** Answers that are no mistake of a client; absent where none are counted. */
  readonly answers: readonly number[] | undefined
  /** Those of them that are 2xx. */
  readonly served: readonly number[]
  /** Whether engines were put to sleep. */
  readonly asleep: readonly number[]
}

/** Follows the work of one target's engines from reading to reading. `record` alone changes it. */
export class ProgressBook {
  #layout: Layout | undefined
  #books = new Map<string, EngineBook>()
  #present: Present | undefined
  /** Answers counted since the watch began, also while the page does not show any. */
  #answered = 0
  #life = { sinceMs: 0, fromBirth: false }
  #workedMs: number | undefined
  #firstWorkedMs: number | undefined
  #quietReadings = 0
  #idle = noAnswers
  #rate = { perSecond: 0, atMs: 0 }
  #progress: TargetProgress | undefined

  /** What is known as of the last reading; nothing before the first with an engine that tells its queue. */
  get progress(): TargetProgress | undefined {
    return this.#progress
  }

  record(reading: Reading, now: Recording): void {
    const layout = this.#layOut(reading)
    if (now.begins) this.#begin(reading, layout, now.atMs)
    const before: ServerCounts = this.#present ?? { finished: 0, answered: undefined }
    const present = this.#count(layout, now)
    this.#present = present
    const books = new Map<string, EngineBook>()
    let worked = false
    for (const places of layout.engines) {
      const known = now.resetGroups.has(places.key) ? undefined : this.#books.get(places.key)
      const book = known ?? new EngineBook(present)
      const { values } = reading
      const { increments } = now
      if (book.record(places, { values, increments, before, present })) worked = true
      books.set(places.key, book)
    }
    this.#books = books
    this.#noteWork(worked, {
      count: sumAt(now.increments, layout.answers ?? []),
      served: sumAt(now.increments, layout.served),
      atMs: now.atMs,
    })
    this.#noteFinished(present)
    // Nobody asks an engine that sleeps: its silence, and that after it wakes up, is not missing anything.
    const isAsleep = layout.asleep.some((place) => reading.values[place] === 1)
    if (isAsleep) this.#rate = { perSecond: 0, atMs: now.atMs }
    this.#progress = layout.engines.length === 0 ? undefined : this.#describe(layout, present)
  }

  #layOut({ channels, capabilities }: Reading): Layout {
    if (this.#layout?.channels === channels && this.#layout.capabilities === capabilities) {
      return this.#layout
    }
    const answers = channels.filter(
      ({ instrument, labels }) =>
        instrument === 'http_answers' && /^[25]xx$/.test(labels['status'] ?? ''),
    )
    // Answers that are counted as they begin tell nothing of who is gone.
    const counted = capabilities.has('http-at-end')
    this.#layout = {
      channels,
      capabilities,
      engines: placesOf(channels),
      answers: counted ? answers.map(({ offset }) => offset) : undefined,
      served: (counted ? answers : [])
        .filter(({ labels }) => labels['status'] === '2xx')
        .map(({ offset }) => offset),
      asleep: channels
        .filter(({ instrument }) => instrument === 'engine_asleep')
        .map(({ offset }) => offset),
    }
    return this.#layout
  }

  #begin({ values }: Reading, { engines }: Layout, atMs: number): void {
    const counted = engines.flatMap(({ at }) => [...at.work, ...at.finished])
    this.#books.clear()
    this.#life = { sinceMs: atMs, fromBirth: sumAt(values, counted) === 0 }
    this.#workedMs = undefined
    this.#firstWorkedMs = undefined
    this.#quietReadings = 0
    this.#idle = noAnswers
    this.#rate = { perSecond: 0, atMs }
  }

  #count({ engines, answers }: Layout, { increments, atMs }: Recording): Present {
    const justFinished = sumAt(
      increments,
      engines.flatMap(({ at }) => at.finished),
    )
    this.#answered += sumAt(increments, answers ?? [])
    const finished = (this.#present?.finished ?? 0) + justFinished
    // A page that has lost its answers for a while tells nothing then, and is compared with before once they are
    // back. Where far more finishes than is answered, requests have no answer of their own: several come in one,
    // or on a path that is not counted. Then nobody can tell who hung up.
    const isTold = answers !== undefined && finished <= unansweredRatio * this.#answered + spare
    return { atMs, justFinished, answered: isTold ? this.#answered : undefined, finished }
  }

  #noteWork(
    worked: boolean,
    answers: { readonly count: number; readonly served: number; readonly atMs: number },
  ): void {
    const { count, served, atMs } = answers
    if (worked) {
      this.#workedMs = atMs
      this.#firstWorkedMs ??= atMs
      this.#quietReadings = 0
      this.#idle = noAnswers
      return
    }
    this.#quietReadings += 1
    // Until the first quiet reading, answers may still end to what finished with the last sign of work. Before
    // any was seen, that may have come just before the watch, whose first reading counts for nothing.
    const leftOut = this.#workedMs === undefined ? 2 : 1
    if (count <= 0 || this.#quietReadings <= leftOut) return
    this.#idle = {
      count: this.#idle.count + count,
      served: this.#idle.served + served,
      firstMs: this.#idle.firstMs ?? atMs,
      lastMs: atMs,
    }
  }

  #noteFinished({ justFinished, atMs }: Present): void {
    // A silence is judged by the rate before it, so the average does not fade while nothing finishes.
    const passedMs = atMs - this.#rate.atMs
    if (justFinished <= 0 || passedMs <= 0) return
    const kept = Math.exp(-passedMs / fadeMs)
    const rate = (1_000 * justFinished) / passedMs
    this.#rate = { perSecond: kept * this.#rate.perSecond + (1 - kept) * rate, atMs }
  }

  #describe({ engines }: Layout, present: Present): TargetProgress {
    const books = this.#books
    const followed = engines.flatMap((places) => {
      const book = books.get(places.key)
      return book?.stock === undefined ? [] : [{ places, book, stock: book.stock }]
    })
    const over =
      (which: 'waitingFor' | 'insideFor') =>
      (ms: number, model: string): StillThere => {
        let count = 0
        let certain = true
        for (const { places, book, stock } of followed) {
          if (places.model !== model) continue
          const there = book.conservation[which](ms, stock, present)
          count += there.count
          certain &&= there.certain
        }
        return { count, certain }
      }
    return {
      engines: followed.map(({ places, book }) => book.describe(places, present)),
      workedMs: this.#workedMs,
      firstWorkedMs: this.#firstWorkedMs,
      sinceMs: this.#life.sinceMs,
      fromBirth: this.#life.fromBirth,
      idleAnswers: this.#idle,
      finishedPerSecond: this.#rate.perSecond,
      waitingFor: over('waitingFor'),
      insideFor: over('insideFor'),
    }
  }
}
