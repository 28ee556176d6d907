import { Ledger } from './ledger.ts'
import { Page } from './page.ts'
import { Random } from './random.ts'
import { type Departure, Rank } from './rank.ts'
import { type RequestPlan, RequestSource } from './requests.ts'
import { arrivalsPerSecond, type Scenario } from './scenarios.ts'
import { type StatusClass, type Truth, TruthLog } from './truth.ts'

export interface SimulatedEngineOptions {
  readonly scenario: Scenario
  /** The same seed and the same told times give the same pages and the same truth. */
  readonly seed: number
  /** The wall clock at the start of the scenario, Unix milliseconds. */
  readonly startWallMs: number
  /** Data-parallel ranks; unset, as many as the scenario says. */
  readonly engines?: number
  /** How long before the start of the scenario the server began to serve; unset, 0. */
  readonly prewarmMs?: number
  /** How many entries of each kind the truth log keeps until it is drained; unset, 100 000. */
  readonly truthCapacity?: number
}

/** What keeps one GPU busy. */
export interface RankLoad {
  readonly pid: number
  /** Milliseconds of work since the process began to serve. */
  readonly busyMs: number
  readonly occupancyRatio: number
}

type Phase =
  | { readonly kind: 'serving' }
  /** The engine is dead, the HTTP server still answers: `/health` with 503. */
  | { readonly kind: 'dying'; readonly untilMs: number; readonly downForMs: number }
  /** No process, no port. */
  | { readonly kind: 'down'; readonly untilMs: number }

interface Death {
  readonly atMs: number
  readonly dyingForMs: number
  readonly downForMs: number
}

export const simulatedVersion = '0.27.0'
export const simulatedModel = 'Qwen/Qwen2.5-32B-Instruct'

const pollEveryMs = 10_000
/** Beyond this a rank's queue is closed, so that no scenario can fill the memory. */
const maxLoadOfRank = 5000

/**
 * One vLLM server, simulated event by event: requests arrive, wait, are computed in steps and leave.
 * It lives in told time, in milliseconds since the start of the scenario (the past is negative), and
 * does nothing between two calls of `advance`. How the time is cut into calls changes no event.
 */
export class SimulatedEngine {
  readonly #options: SimulatedEngineOptions
  readonly #engines: number
  readonly #truth: TruthLog
  readonly #random: Random
  readonly #arrivals: Random
  readonly #door: Random
  readonly #source: RequestSource
  readonly #peakPerMs: number
  #nowMs: number
  #candidateMs: number
  #pollMs: number
  #phase: Phase = { kind: 'serving' }
  #death: Death | undefined
  #life = 0
  #ledger: Ledger
  #ranks: readonly Rank[]
  #page: Page

  constructor(options: SimulatedEngineOptions) {
    const { scenario, prewarmMs = 0 } = options
    this.#options = options
    this.#engines = options.engines ?? scenario.engines
    this.#truth = new TruthLog(options.truthCapacity ?? 100_000)
    this.#random = new Random(options.seed)
    this.#arrivals = this.#random.fork(1)
    this.#door = this.#random.fork(2)
    this.#source = new RequestSource(
      scenario.traffic,
      scenario.speed.blockTokens,
      this.#random.fork(3),
    )
    const peak = Math.max(...scenario.traffic.arrivals.map((corner) => corner.perSecond))
    this.#peakPerMs = (peak * this.#engines) / 1000
    this.#nowMs = -prewarmMs
    this.#candidateMs = this.#nextCandidate(this.#nowMs)
    this.#pollMs = this.#nowMs + pollEveryMs / 2
    const plan = scenario.restarts
    this.#death = plan === undefined ? undefined : { ...plan, atMs: plan.firstAtMs }
    // Loading the model takes a minute, in which the process lives and counts nothing.
    this.#ledger = this.#newLedger(this.#nowMs, this.#nowMs - 61_000)
    this.#ranks = this.#newRanks()
    this.#page = this.#newPage()
  }

  get nowMs(): number {
    return this.#nowMs
  }

  /** Whether anything listens where the server should be. */
  get portOpen(): boolean {
    return this.#phase.kind !== 'down'
  }

  /** What `/health` answers while the port is open. */
  get healthStatus(): 200 | 503 {
    return this.#phase.kind === 'serving' ? 200 : 503
  }

  /** Lets everything happen up to and including `toMs`. A time that is past already changes nothing. */
  advance(toMs: number): void {
    for (;;) {
      const rank = this.#earliestRank()
      const stepMs = rank?.stepEndMs ?? Number.POSITIVE_INFINITY
      const changeMs = this.#nextChangeMs()
      const atMs = Math.min(stepMs, changeMs, this.#candidateMs, this.#pollMs)
      if (atMs > toMs) break
      this.#nowMs = atMs
      if (atMs === changeMs) this.#changePhase(atMs)
      else if (atMs === stepMs) rank?.endStep()
      else if (atMs === this.#candidateMs) this.#considerArrival(atMs)
      else this.#poll(atMs)
    }
    this.#nowMs = Math.max(this.#nowMs, toMs)
  }

  /**
   * Lets the server die at `atMs` and come back with counters at zero: for `dyingForMs` the dead
   * engine has a live port, for `downForMs` there is none. What is in flight is lost. It takes the
   * place of a death that the scenario had planned next. Throws `RangeError` for a time that is past.
   */
  restart(atMs: number, downForMs: number, dyingForMs = 0): void {
    if (atMs < this.#nowMs) {
      throw new RangeError(`expected a time not before ${this.#nowMs} ms, found ${atMs} ms`)
    }
    this.#death = { atMs, dyingForMs, downForMs }
  }

  /** Returns the body of `/metrics` at this moment. Throws while there is no process to ask. */
  page(): string {
    if (this.#phase.kind === 'down') throw new Error('expected a living server, found none')
    if (this.#page.shape !== this.#ledger.shape) this.#page = this.#newPage()
    return this.#page.render((this.#options.startWallMs + this.#nowMs) / 1000)
  }

  /** Returns what truly happened since the last call, and forgets it. */
  drainTruth(): Truth {
    return this.#truth.drain()
  }

  /** One entry for each engine that lives, in the order of their ranks. */
  loads(): readonly RankLoad[] {
    if (this.#phase.kind === 'down') return []
    return this.#ranks.map((rank, engine) => ({
      pid: 4242 + 100 * this.#life + engine,
      busyMs: rank.busyUntil(this.#nowMs),
      occupancyRatio: rank.occupancyRatio,
    }))
  }

  #earliestRank(): Rank | undefined {
    let earliest: Rank | undefined
    for (const rank of this.#ranks) {
      if (rank.stepEndMs === undefined) continue
      if (earliest?.stepEndMs === undefined || rank.stepEndMs < earliest.stepEndMs) earliest = rank
    }
    return earliest
  }

  #nextChangeMs(): number {
    if (this.#phase.kind !== 'serving') return this.#phase.untilMs
    return this.#death?.atMs ?? Number.POSITIVE_INFINITY
  }

  #changePhase(atMs: number): void {
    switch (this.#phase.kind) {
      case 'serving':
        this.#die(atMs)
        return
      case 'dying':
        this.#phase = { kind: 'down', untilMs: atMs + this.#phase.downForMs }
        return
      case 'down':
        this.#comeBack(atMs)
        return
    }
  }

  #die(atMs: number): void {
    const { dyingForMs = 0, downForMs = 0 } = this.#death ?? {}
    const plan = this.#options.scenario.restarts
    this.#death = plan === undefined ? undefined : { ...plan, atMs: atMs + plan.everyMs }
    for (const rank of this.#ranks) {
      for (const request of rank.die(atMs)) {
        // A stream has sent its 200 already; who still waits for an answer gets a 500.
        this.#answer(request.handler, request.streamed ? '2xx' : '5xx', atMs - request.arrivedMs)
      }
    }
    this.#phase = { kind: 'dying', untilMs: atMs + dyingForMs, downForMs }
  }

  #comeBack(atMs: number): void {
    this.#life += 1
    this.#phase = { kind: 'serving' }
    this.#ledger = this.#newLedger(atMs, atMs - 1000)
    this.#ranks = this.#newRanks()
    this.#page = this.#newPage()
    this.#pollMs = atMs + pollEveryMs / 2
    // A death planned for the time in which the server was down cannot happen any more.
    if (this.#death !== undefined && this.#death.atMs < atMs) this.#death = undefined
  }

  /** Candidates come at the highest rate of all; some are not taken, so that the rate is right. */
  #nextCandidate(afterMs: number): number {
    if (this.#peakPerMs === 0) return Number.POSITIVE_INFINITY
    return afterMs + this.#arrivals.exponential(1 / this.#peakPerMs)
  }

  #considerArrival(atMs: number): void {
    this.#candidateMs = this.#nextCandidate(atMs)
    const perMs = (arrivalsPerSecond(this.#options.scenario.traffic, atMs) * this.#engines) / 1000
    if (!this.#arrivals.chance(perMs / this.#peakPerMs)) return
    // Whoever calls at a closed port is refused by the kernel and is in no count.
    if (this.#phase.kind === 'down') return
    const reception = this.#source.reception()
    // Tokenizing comes before the queue and is part of the time to first token.
    const request = this.#source.next(atMs - this.#door.between(2, 6))
    const rank = this.#idlestRank()
    if (reception === 'client-error') {
      this.#answer(request.handler, '4xx', this.#door.between(1, 8))
    } else if (
      reception === 'server-error' ||
      this.#phase.kind === 'dying' ||
      rank === undefined ||
      rank.load >= maxLoadOfRank
    ) {
      this.#answer(request.handler, '5xx', this.#door.between(2, 40))
    } else {
      rank.enqueue(request, atMs)
    }
  }

  #idlestRank(): Rank | undefined {
    let idlest: Rank | undefined
    for (const rank of this.#ranks) {
      if (idlest === undefined || rank.load < idlest.load) idlest = rank
    }
    return idlest
  }

  #poll(atMs: number): void {
    this.#pollMs = atMs + pollEveryMs
    if (this.#phase.kind === 'down') return
    this.#answer('/v1/models', '2xx', this.#door.between(1, 3))
  }

  #depart(request: RequestPlan, departure: Departure, tokens: number): void {
    const failed = departure === 'error' && !request.streamed
    this.#answer(request.handler, failed ? '5xx' : '2xx', this.#nowMs - request.arrivedMs, {
      requestBytes: 200 + Math.round(4.2 * request.promptTokens),
      responseBytes: request.streamed || departure === 'hung-up' ? 0 : 350 + 5 * tokens,
    })
  }

  #answer(
    handler: string,
    status: StatusClass,
    tookMs: number,
    bytes = { requestBytes: 0, responseBytes: 0 },
  ): void {
    const method = handler === '/v1/models' ? 'GET' : 'POST'
    const seconds = tookMs / 1000
    const atMs = this.#nowMs
    const atSeconds = (this.#options.startWallMs + atMs) / 1000
    this.#ledger.answer({ handler, method, status, atSeconds, tookSeconds: seconds, ...bytes })
    this.#truth.answers.push({ life: this.#life, atMs, handler, method, status, seconds })
  }

  #newLedger(createdMs: number, processStartMs: number): Ledger {
    const { startWallMs } = this.#options
    return new Ledger({
      engines: this.#engines,
      processStartSeconds: Math.round((startWallMs + processStartMs) / 10) / 100,
      createdSeconds: (startWallMs + createdMs) / 1000,
    })
  }

  #newRanks(): readonly Rank[] {
    return this.#ledger.ranks.map(
      (ledger, engine) =>
        new Rank({
          engine,
          life: this.#life,
          speed: this.#options.scenario.speed,
          random: this.#random.fork(1000 * (this.#life + 1) + engine),
          ledger,
          truth: this.#truth,
          onDeparture: (request, departure, tokens) => this.#depart(request, departure, tokens),
        }),
    )
  }

  #newPage(): Page {
    return new Page({
      ledger: this.#ledger,
      model: simulatedModel,
      speed: this.#options.scenario.speed,
    })
  }
}
