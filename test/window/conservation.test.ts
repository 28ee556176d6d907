import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { TargetWindows } from '../../src/window/target-windows.ts'
import { counter, gauge, type MadeSeries, read } from '../fakes/readings.ts'

const model = { model_name: 'm' }

/** A request inside the model engine, with the times at which it came in and last joined the queue. */
interface Inside {
  readonly arrivedMs: number
  queuedMs: number
}

type Deed =
  | 'arrive'
  | 'schedule'
  | 'finish'
  | 'preempt'
  | 'hang-up'
  | 'answer'
  | 'report'
  | 'scrape'

interface Event {
  readonly deed: Deed
  /** Picks whom it befalls, from 0 to 1. */
  readonly who: number
  readonly afterMs: number
}

/**
 * An engine that takes its work in any order. Like vLLM it tells its gauges and counts only when it
 * reports, at the end of a step. A client that hangs up ends an answer at once, but the engine learns of it
 * after the step under way: the report of that one has them still.
 */
class Model {
  atMs = 0
  readonly waiting: Inside[] = []
  readonly running: Inside[] = []
  readonly ever: Inside[] = []
  /** Finished since the last scrape, and the answer not yet at its end. */
  unanswered = 0
  finished = 0
  preempted = 0
  answered = 0
  #late = 0
  /** Who hung up during the step under way. */
  #gone = { waiting: 0, running: 0 }
  #told = { waiting: 0, running: 0, finished: 0, preempted: 0 }

  do({ deed, who, afterMs }: Event): void {
    this.atMs += afterMs
    if (deed === 'arrive') {
      const request = { arrivedMs: this.atMs, queuedMs: this.atMs }
      this.waiting.push(request)
      this.ever.push(request)
    }
    if (deed === 'schedule') move(this.waiting, this.running, who)
    if (deed === 'finish' && this.unanswered < 2 && take(this.running, who) !== undefined) {
      this.finished += 1
      this.unanswered += 1
      // A finish is in the counters as soon as its last token is read.
      this.report()
    }
    if (deed === 'preempt') {
      const moved = move(this.running, this.waiting, who)
      if (moved !== undefined) {
        moved.queuedMs = this.atMs
        this.preempted += 1
      }
    }
    if (deed === 'hang-up') this.#hangUp(who)
    if (deed === 'answer' && this.unanswered > 0) {
      this.unanswered -= 1
      this.answered += 1
    }
    if (deed === 'report') this.report()
  }

  /** An answer ends moments after its request finished: at the latest before the next scrape but one. */
  endAnswers(): void {
    this.answered += this.#late
    this.#late = this.unanswered
    this.unanswered = 0
  }

  report(): void {
    const { finished, preempted } = this
    const waiting = this.waiting.length + this.#gone.waiting
    const running = this.running.length + this.#gone.running
    this.#told = { waiting, running, finished, preempted }
    this.#gone = { waiting: 0, running: 0 }
  }

  page(options: { readonly http: boolean }): readonly MadeSeries[] {
    const { waiting, running, finished, preempted } = this.#told
    return [
      gauge('requests_waiting', waiting, model),
      gauge('requests_running', running, model),
      counter('requests_finished', finished, { ...model, reason: 'stop' }),
      counter('preemptions', preempted, model),
      ...(options.http ? [counter('http_answers', this.answered, { status: '2xx' })] : []),
    ]
  }

  #hangUp(who: number): void {
    const from = who < 0.5 ? 'waiting' : 'running'
    if (take(this[from], (2 * who) % 1) === undefined) return
    this.answered += 1
    this.#gone[from] += 1
  }
}

function take(from: Inside[], who: number): Inside | undefined {
  return from.splice(Math.floor(who * from.length), 1)[0]
}

function move(from: Inside[], to: Inside[], who: number): Inside | undefined {
  const moved = take(from, who)
  if (moved !== undefined) to.push(moved)
  return moved
}

const weights: Readonly<Record<Deed, number>> = {
  arrive: 10,
  schedule: 6,
  finish: 4,
  preempt: 1,
  'hang-up': 2,
  answer: 5,
  report: 8,
  scrape: 8,
}

function events(without: readonly Deed[]): fc.Arbitrary<readonly Event[]> {
  const deeds = Object.entries(weights).filter(([deed]) => !without.includes(deed as Deed))
  const deed = fc.oneof(
    ...deeds.map(([name, weight]) => ({ weight, arbitrary: fc.constant(name as Deed) })),
  )
  const who = fc.double({ min: 0, max: 0.999, noNaN: true })
  const event = fc.record({ deed, who, afterMs: fc.integer({ min: 1, max: 3_000 }) })
  return fc.array(event, { minLength: 20, maxLength: 300 })
}

const agesMs = [0, 1_000, 5_000, 10_000, 30_000]

/** Plays `all`, and holds each scrape's claims against what is true at that moment. */
function play(
  all: readonly Event[],
  options: { readonly http: boolean; readonly trust: 'certain' | 'all' },
): { readonly claims: number; readonly longestMs: number } {
  const engine = new Model()
  const target = new TargetWindows('vllm', { keepMs: 60_000 })
  let claims = 0
  let longestMs = 0
  for (const event of all) {
    engine.do(event)
    if (event.deed !== 'scrape') continue
    engine.endAnswers()
    target.record(read(engine.atMs, engine.page(options)))
    const { progress } = target
    assert.ok(progress !== undefined)
    const wait = progress.engines[0]?.oldestWait
    if (wait !== undefined && (wait.certain || options.trust === 'all')) {
      const trueMs = Math.max(0, ...engine.waiting.map(({ queuedMs }) => engine.atMs - queuedMs))
      assert.ok(wait.ms <= trueMs, `claimed ${wait.ms} ms, the longest wait is ${trueMs} ms`)
      claims += wait.ms > 0 ? 1 : 0
      longestMs = Math.max(longestMs, wait.ms)
    }
    for (const ageMs of agesMs) {
      const waited = engine.waiting.filter(({ queuedMs }) => engine.atMs - queuedMs >= ageMs)
      const everyone = [...engine.waiting, ...engine.running]
      const stayed = everyone.filter(({ arrivedMs }) => engine.atMs - arrivedMs >= ageMs)
      for (const [claim, truth] of [
        [progress.waitingFor(ageMs, 'm'), waited.length],
        [progress.insideFor(ageMs, 'm'), stayed.length],
      ] as const) {
        if (!claim.certain && options.trust === 'certain') continue
        assert.ok(claim.count <= truth, `claimed ${claim.count} for ${ageMs} ms, found ${truth}`)
      }
    }
    const { stillMs = 0 } = progress.engines[0] ?? {}
    const oldest = Math.max(0, ...engine.ever.map(({ arrivedMs }) => engine.atMs - arrivedMs))
    assert.ok(
      stillMs <= oldest,
      `claimed ${stillMs} ms without work, the oldest came ${oldest} ms ago`,
    )
  }
  return { claims, longestMs }
}

/** Scheduling between two reports is not seen; to have exact gauges each deed is followed by a report. */
function reported(all: readonly Event[]): readonly Event[] {
  return all.flatMap((event) =>
    event.deed === 'scrape' || event.deed === 'report'
      ? [event]
      : [event, { deed: 'report' as const, who: 0, afterMs: 1 }],
  )
}

describe('the wait of those who still wait', () => {
  it('is never longer than the truth while nobody hangs up, HTTP answers counted or not', () => {
    let claims = 0
    const property = fc.property(events(['hang-up', 'report']), fc.boolean(), (all, http) => {
      claims += play(reported(all), { http, trust: 'all' }).claims
    })
    fc.assert(property, { numRuns: 400 })
    assert.ok(claims > 1_000, `a bound that says nothing proves nothing: ${claims} claims`)
  })

  it('is never longer than the truth where it says that it is certain, whoever hangs up', () => {
    let claims = 0
    const property = fc.property(events(['report']), (all) => {
      claims += play(reported(all), { http: true, trust: 'certain' }).claims
    })
    fc.assert(property, { numRuns: 400 })
    assert.ok(claims > 300, `a bound that says nothing proves nothing: ${claims} claims`)
  })

  it('is certain only where HTTP answers are counted, since each client that hangs up ends one', () => {
    const property = fc.property(events(['report']), (all) => {
      assert.equal(play(reported(all), { http: false, trust: 'certain' }).claims, 0)
    })
    fc.assert(property, { numRuns: 50 })
  })

  it('stays true where gauges are as old as the last report and clients hang up meanwhile', () => {
    // Who is scheduled is told with the report that ends the step, so none is scheduled between reports.
    const property = fc.property(events(['schedule', 'preempt']), (all) => {
      play(all, { http: true, trust: 'certain' })
    })
    fc.assert(property, { numRuns: 400 })
  })
})
