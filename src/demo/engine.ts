import { Arrivals } from './arrivals.ts'
import { Door } from './door.ts'
import { at, type Incident, incidentsOf, type Metrics, type Sticky } from './incident.ts'
import { Ledger } from './ledger.ts'
import { Lifecycle } from './lifecycle.ts'
import { Page } from './page.ts'
import { type GpuLoad, Processes } from './processes.ts'
import { Random } from './random.ts'
import { type Departure, Rank } from './rank.ts'
import { plainRequest, type RequestPlan, RequestSource } from './requests.ts'
import type { Scenario } from './scenario.ts'
import { Script } from './script.ts'
import { type Submission, Submissions } from './submissions.ts'
import { type StatusClass, type Truth, TruthLog } from './truth.ts'

export interface SimulatedEngineOptions {
  readonly scenario: Scenario
  /** The same seed and the same told times give the same pages and the same truth. */
  readonly seed: number
  /** The wall clock at the start of the scenario, Unix milliseconds. */
  readonly startWallMs: number
  /** Data-parallel ranks; unset, as many as the scenario says. */
  readonly engines?: number
  /**
   * How long before the start of the scenario the server began to serve; unset, 0. A scenario that says
   * how old its server is has its way.
   */
  readonly prewarmMs?: number
  /** How many entries of each kind the truth log keeps until it is drained; unset, 100 000. */
  readonly truthCapacity?: number
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
  readonly #incidents: readonly Incident[]
  readonly #sticky: readonly Sticky[]
  readonly #metrics: readonly Metrics[]
  readonly #engines: number
  readonly #truth: TruthLog
  readonly #random: Random
  readonly #arrivals: Arrivals
  readonly #chance: Random
  readonly #source: RequestSource
  readonly #door: Door
  readonly #script: Script
  readonly #lifecycle: Lifecycle
  readonly #processes: Processes
  readonly #submissions = new Submissions()
  #nowMs: number
  #pollMs: number
  #ledger: Ledger
  #ranks: readonly Rank[]
  #page: Page

  constructor(options: SimulatedEngineOptions) {
    const { scenario } = options
    const { traffic, speed, incidents } = scenario
    this.#options = options
    this.#incidents = incidents
    this.#sticky = incidentsOf(incidents, 'sticky')
    this.#metrics = incidentsOf(incidents, 'metrics')
    this.#engines = options.engines ?? scenario.engines
    this.#truth = new TruthLog(options.truthCapacity ?? 100_000)
    this.#nowMs = -(scenario.ageMs ?? options.prewarmMs ?? 0)
    this.#random = new Random(options.seed)
    this.#arrivals = new Arrivals(traffic, this.#engines, this.#random.fork(1), this.#nowMs)
    this.#chance = this.#random.fork(2)
    const { blockTokens } = speed
    const random = this.#random.fork(3)
    this.#source = new RequestSource({ traffic, incidents, blockTokens, random })
    this.#door = new Door(incidents)
    this.#script = new Script(incidents, this.#nowMs)
    this.#lifecycle = new Lifecycle(incidents, this.#nowMs)
    this.#processes = new Processes({ ...scenario, engines: this.#engines })
    this.#pollMs = this.#nowMs + pollEveryMs / 2
    // Loading the model takes a minute, in which the process lives and counts nothing.
    this.#ledger = this.#newLedger(this.#nowMs, this.#nowMs - 61_000)
    this.#ranks = this.#newRanks()
    this.#page = this.#newPage()
  }

  get nowMs(): number {
    return this.#nowMs
  }

  /** Which life of the server's process it is: 0, and one more after each time it was gone. */
  get life(): number {
    return this.#lifecycle.life
  }

  /** Whether anything listens where the server should be. */
  get portOpen(): boolean {
    return this.#lifecycle.phase.kind !== 'down'
  }

  /** What `/health` answers while the port is open, and how long it takes. */
  get healthStatus(): 200 | 503 {
    return this.#lifecycle.phase.kind === 'serving' ? 200 : 503
  }

  get healthTookMs(): number {
    return this.#door.answerMs(this.#nowMs)
  }

  /** What `/metrics` answers while the port is open, and how long it takes. */
  get metricsStatus(): 200 | 500 {
    return at(this.#metrics, this.#nowMs)?.answer === 'status-500' ? 500 : 200
  }

  get metricsTookMs(): number {
    // The page is made in another thread, which waits for the same lock.
    return 1.2 * this.#door.answerMs(this.#nowMs)
  }

  /** Requests that somebody waits for. */
  get pending(): number {
    let pending = this.#door.length
    for (const rank of this.#ranks) pending += rank.pending
    return pending
  }

  /** Lets everything happen up to and including `toMs`. A time that is past already changes nothing. */
  advance(toMs: number): void {
    for (;;) {
      const rank = this.#earliestRank()
      const rankMs = rank?.nextMs ?? Number.POSITIVE_INFINITY
      const changeMs = this.#lifecycle.nextMs
      const [scriptMs, doorMs] = [this.#script.nextMs, this.#door.nextMs]
      const arrivalMs = this.#arrivals.nextMs
      const atMs = Math.min(rankMs, changeMs, scriptMs, doorMs, arrivalMs, this.#pollMs)
      if (atMs > toMs) break
      this.#nowMs = atMs
      if (atMs === changeMs) this.#changePhase(atMs)
      else if (atMs === rankMs) rank?.proceed()
      else if (atMs === scriptMs) this.#act(atMs)
      else if (atMs === doorMs) this.#letIn(atMs)
      else if (atMs === arrivalMs) this.#considerArrival(atMs)
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
    const untilMs = atMs + dyingForMs + downForMs
    this.#lifecycle.plan({ kind: 'outage', fromMs: atMs, untilMs, dyingForMs, loadMs: 0 })
  }

  /**
   * Sends a request to `/v1/completions` now. Its state follows as time advances; a dead engine fails it
   * at once. Throws while there is no process to ask.
   */
  submit(size: { readonly promptTokens: number; readonly maxTokens: number }): Submission {
    if (!this.portOpen) throw new Error('expected a living server, found none')
    const plan = plainRequest(this.#nowMs, size)
    const submission = this.#submissions.add(plan, () => this.#withdraw(plan))
    this.#receive(plan, this.#nowMs)
    return submission
  }

  /** Returns the body of `/metrics` at this moment. Throws while there is no process to ask. */
  page(): string {
    if (!this.portOpen) throw new Error('expected a living server, found none')
    const whole = at(this.#metrics, this.#nowMs) === undefined
    if (this.#page.shape !== this.#ledger.shape || this.#page.whole !== whole) {
      this.#page = this.#newPage()
    }
    return this.#page.render((this.#options.startWallMs + this.#nowMs) / 1000)
  }

  /** Returns what truly happened since the last call, and forgets it. */
  drainTruth(): Truth {
    return this.#truth.drain()
  }

  /** The processes that the server has on the GPUs, in the order of the GPUs. */
  loads(): readonly GpuLoad[] {
    const { phase, life } = this.#lifecycle
    return this.#processes.at(this.#nowMs, { phase, life, ranks: this.#ranks })
  }

  #earliestRank(): Rank | undefined {
    let earliest: Rank | undefined
    let earliestMs = Number.POSITIVE_INFINITY
    for (const rank of this.#ranks) {
      const { nextMs } = rank
      if (nextMs >= earliestMs) continue
      earliest = rank
      earliestMs = nextMs
    }
    return earliest
  }

  #changePhase(atMs: number): void {
    const before = this.#lifecycle.phase
    const { kind } = this.#lifecycle.proceed()
    if (kind === 'dying') this.#die(atMs)
    if (kind === 'serving' && before.kind === 'down') this.#comeBack(atMs, before.outage.loadMs)
  }

  #die(atMs: number): void {
    const inside = this.#ranks.flatMap((rank) => rank.die(atMs))
    const outside = this.#door.clear()
    for (const _ of outside) this.#loseAtDoor('death')
    for (const request of [...inside, ...outside]) {
      // A stream has sent its 200 already; who still waits for an answer gets a 500.
      this.#answer(request.handler, request.streamed ? '2xx' : '5xx', atMs - request.arrivedMs)
      this.#submissions.end(request, 'failed', 0)
    }
  }

  #comeBack(atMs: number, loadMs: number): void {
    this.#ledger = this.#newLedger(atMs, atMs - Math.max(loadMs, 1000))
    this.#ranks = this.#newRanks()
    this.#page = this.#newPage()
    this.#pollMs = atMs + pollEveryMs / 2
  }

  /** Does what the scenario says for this moment. */
  #act(atMs: number): void {
    const act = this.#script.proceed()
    if (act === undefined || this.#lifecycle.phase.kind !== 'serving') return
    switch (act.kind) {
      case 'hang-up':
        for (const rank of this.#ranks) rank.hangUp(atMs)
        return
      case 'call':
        this.#receive(plainRequest(atMs, act), atMs)
        return
      case 'sleep':
        for (const ledger of this.#ledger.ranks) ledger.sleepState = act.state
        return
    }
  }

  #considerArrival(atMs: number): void {
    if (!this.#arrivals.take()) return
    // Whoever calls at a closed port is refused by the kernel and is in no count.
    if (this.#lifecycle.phase.kind === 'down') return
    const { maxInside = Number.POSITIVE_INFINITY } = this.#options.scenario.traffic
    if (maxInside < Number.POSITIVE_INFINITY && this.pending >= maxInside) return
    const reception = this.#source.reception()
    // Tokenizing comes before the queue and is part of the time to first token.
    const request = this.#source.next(atMs - this.#chance.between(2, 6))
    if (reception === 'client-error') {
      this.#answer(request.handler, '4xx', this.#chance.between(1, 8))
    } else if (reception === 'server-error') {
      this.#refuse(request)
    } else {
      this.#receive(request, atMs)
    }
  }

  #receive(request: RequestPlan, atMs: number): void {
    if (this.#lifecycle.phase.kind !== 'serving') this.#refuse(request)
    else if (this.#door.admits(request, atMs)) this.#enqueue(request, atMs)
  }

  /** A request has passed the event loop. */
  #letIn(atMs: number): void {
    const { passed, gone } = this.#door.proceed()
    for (const request of gone) this.#turnAway(request)
    if (passed !== undefined) this.#enqueue(passed, atMs)
  }

  #enqueue(request: RequestPlan, atMs: number): void {
    const sticky = at(this.#sticky, atMs)
    const bound = sticky !== undefined && this.#chance.chance(sticky.ratio)
    const rank = bound ? this.#ranks[sticky.engine] : this.#idlestRank()
    if (rank === undefined || rank.load >= maxLoadOfRank) this.#refuse(request)
    else rank.enqueue(request, atMs)
  }

  #refuse(request: RequestPlan): void {
    this.#answer(request.handler, '5xx', this.#chance.between(2, 40))
    this.#submissions.end(request, 'failed', 0)
  }

  #withdraw(request: RequestPlan): void {
    if (this.#door.remove(request)) this.#turnAway(request)
    for (const rank of this.#ranks) rank.hangUp(this.#nowMs, request)
  }

  /** Its client has gone before it got to an engine. */
  #turnAway(request: RequestPlan): void {
    this.#loseAtDoor('client')
    this.#depart(request, 'hung-up', 0)
  }

  #loseAtDoor(why: 'client' | 'death'): void {
    const { life, nowMs: atMs } = this
    this.#truth.lost.push({ life, atMs, engine: undefined, why, generationTokens: 0 })
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
    if (this.portOpen) this.#answer('/v1/models', '2xx', this.#chance.between(1, 3))
  }

  #depart(request: RequestPlan, departure: Departure, tokens: number): void {
    const failed = departure === 'error' && !request.streamed
    this.#answer(request.handler, failed ? '5xx' : '2xx', this.#nowMs - request.arrivedMs, {
      requestBytes: 200 + Math.round(4.2 * request.promptTokens),
      responseBytes: request.streamed || departure === 'hung-up' ? 0 : 350 + 5 * tokens,
    })
    const whole = departure !== 'error' && departure !== 'hung-up'
    this.#submissions.end(request, whole ? 'done' : 'failed', tokens)
  }

  #answer(
    handler: string,
    status: StatusClass,
    tookMs: number,
    bytes = { requestBytes: 0, responseBytes: 0 },
  ): void {
    const method = handler === '/v1/models' ? 'GET' : 'POST'
    const seconds = tookMs / 1000
    const { life, nowMs: atMs } = this
    const atSeconds = (this.#options.startWallMs + atMs) / 1000
    this.#ledger.answer({ handler, method, status, atSeconds, tookSeconds: seconds, ...bytes })
    this.#truth.answers.push({ life, atMs, handler, method, status, seconds })
  }

  #newLedger(createdMs: number, processStartMs: number): Ledger {
    const { startWallMs, scenario } = this.#options
    return new Ledger({
      engines: this.#engines,
      maxModelTokens: scenario.speed.maxModelTokens,
      processStartSeconds: Math.round((startWallMs + processStartMs) / 10) / 100,
      createdSeconds: (startWallMs + createdMs) / 1000,
    })
  }

  #newRanks(): readonly Rank[] {
    const { life } = this
    return this.#ledger.ranks.map(
      (ledger, engine) =>
        new Rank({
          engine,
          life,
          speed: this.#options.scenario.speed,
          incidents: this.#incidents,
          random: this.#random.fork(1000 * (life + 1) + engine),
          ledger,
          truth: this.#truth,
          onDeparture: (request, departure, tokens) => this.#depart(request, departure, tokens),
        }),
    )
  }

  #newPage(): Page {
    const { startWallMs, scenario } = this.#options
    return new Page({
      ledger: this.#ledger,
      model: simulatedModel,
      speed: scenario.speed,
      whole: at(this.#metrics, this.#nowMs) === undefined,
      cpuSeconds: (fromSeconds, untilSeconds) => {
        const fromMs = 1000 * fromSeconds - startWallMs
        return this.#door.cpuSeconds(fromMs, 1000 * untilSeconds - startWallMs)
      },
    })
  }
}
