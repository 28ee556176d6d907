import type { FinishReason, StatusClass } from './truth.ts'

/** vLLM's bucket edges since 0.8.4, and those of the HTTP instrumentation in front of it. */
export const edges = {
  firstToken: [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40,
    80, 160, 640, 2560,
  ],
  betweenTokens: [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
  ],
  requestLatency: [
    0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
  ],
  tokensOfStep: [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384],
  choices: [1, 2, 5, 10, 20],
  httpFine: [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5, 10, 30,
    60,
  ],
  httpCoarse: [0.1, 0.5, 1],
} as const satisfies Record<string, readonly number[]>

/** A cumulative histogram as the Python client keeps it: `le` means less or equal. */
export class Histogram {
  readonly bounds: readonly number[]
  sum = 0
  readonly #counts: Float64Array

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.#counts = new Float64Array(bounds.length + 1)
  }

  observe(value: number, times = 1): void {
    let bucket = 0
    for (const bound of this.bounds) {
      if (value <= bound) break
      bucket += 1
    }
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + times
    this.sum += value * times
  }

  /** Observations up to `bounds[index]`; with `index` equal to `bounds.length`, all of them. */
  upTo(index: number): number {
    let total = 0
    for (let bucket = 0; bucket <= index; bucket += 1) total += this.#counts[bucket] ?? 0
    return total
  }

  get count(): number {
    return this.upTo(this.bounds.length)
  }
}

/** 1, 2 and 5 times the powers of ten up to the longest sequence. */
function tokenEdges(maxModelTokens: number): readonly number[] {
  const found: number[] = []
  for (let decade = 1; decade <= maxModelTokens; decade *= 10) {
    found.push(...[1, 2, 5].map((digit) => digit * decade))
  }
  return found.filter((edge) => edge <= maxModelTokens)
}

/** What vLLM counts for one engine. Counters only rise; gauges are set at the end of each step. */
export class RankLedger {
  running = 0
  waiting = 0
  /** How many of the waiting ones wait for something other than room. */
  deferred = 0
  sleepState: 'awake' | 'weights_offloaded' = 'awake'
  kvCacheUsageRatio = 0
  prefixCacheQueries = 0
  prefixCacheHits = 0
  preemptions = 0
  promptTokens = 0
  promptTokensCached = 0
  generationTokens = 0
  readonly speculation: {
    drafts: number
    draftTokens: number
    acceptedTokens: number
    readonly acceptedAt: number[]
  } = { drafts: 0, draftTokens: 0, acceptedTokens: 0, acceptedAt: [] }
  readonly finished: Record<FinishReason, number> = {
    stop: 0,
    length: 0,
    abort: 0,
    error: 0,
    repetition: 0,
  }
  readonly requestPromptTokens: Histogram
  readonly requestGenerationTokens: Histogram
  readonly stepTokens = new Histogram(edges.tokensOfStep)
  readonly maxGenerationTokens: Histogram
  readonly choices = new Histogram(edges.choices)
  readonly maxTokens: Histogram
  readonly ttft = new Histogram(edges.firstToken)
  readonly interTokenLatency = new Histogram(edges.betweenTokens)
  readonly timePerOutputToken = new Histogram(edges.betweenTokens)
  readonly e2e = new Histogram(edges.requestLatency)
  readonly queue = new Histogram(edges.requestLatency)
  readonly inference = new Histogram(edges.requestLatency)
  readonly prefill = new Histogram(edges.requestLatency)
  readonly decode = new Histogram(edges.requestLatency)
  readonly prefillComputedTokens: Histogram

  constructor(maxModelTokens: number) {
    const tokens = tokenEdges(maxModelTokens)
    this.requestPromptTokens = new Histogram(tokens)
    this.requestGenerationTokens = new Histogram(tokens)
    this.maxGenerationTokens = new Histogram(tokens)
    this.maxTokens = new Histogram(tokens)
    this.prefillComputedTokens = new Histogram(tokens)
  }
}

/** What is counted for one route of the HTTP server. */
export interface RouteLedger {
  readonly handler: string
  readonly method: string
  readonly createdSeconds: number
  readonly duration: Histogram
  answers: number
  requestBytes: number
  responseBytes: number
}

/** What is counted for one class of answers on one route. */
export interface AnswerCell {
  readonly handler: string
  readonly method: string
  readonly status: StatusClass
  readonly createdSeconds: number
  count: number
}

/** Everything that one life of the server's process has counted. It dies with the process. */
export class Ledger {
  /** Unix seconds at which the process began, and at which it began to count. */
  readonly processStartSeconds: number
  readonly createdSeconds: number
  readonly ranks: readonly RankLedger[]
  /** Both in the order of their first answer, which is the order on the page. */
  readonly routes: RouteLedger[] = []
  readonly answers: AnswerCell[] = []
  readonly httpDuration = new Histogram(edges.httpFine)
  /** Rises with each new series: the page has to be laid out again. */
  shape = 0

  constructor(options: {
    readonly engines: number
    readonly maxModelTokens: number
    readonly processStartSeconds: number
    readonly createdSeconds: number
  }) {
    this.processStartSeconds = options.processStartSeconds
    this.createdSeconds = options.createdSeconds
    this.ranks = Array.from({ length: options.engines }, () => {
      return new RankLedger(options.maxModelTokens)
    })
  }

  /** Counts an HTTP answer when it has ended; its series appear with the first of their kind. */
  answer(answer: {
    readonly handler: string
    readonly method: string
    readonly status: StatusClass
    readonly atSeconds: number
    readonly tookSeconds: number
    readonly requestBytes: number
    readonly responseBytes: number
  }): void {
    const { handler, method, status, atSeconds } = answer
    let route = this.routes.find((known) => known.handler === handler && known.method === method)
    if (route === undefined) {
      route = {
        handler,
        method,
        createdSeconds: atSeconds,
        duration: new Histogram(edges.httpCoarse),
        answers: 0,
        requestBytes: 0,
        responseBytes: 0,
      }
      this.routes.push(route)
    }
    let cell = this.answers.find(
      (known) => known.handler === handler && known.method === method && known.status === status,
    )
    if (cell === undefined) {
      cell = { handler, method, status, createdSeconds: atSeconds, count: 0 }
      this.answers.push(cell)
      this.shape += 1
    }
    cell.count += 1
    route.answers += 1
    route.requestBytes += answer.requestBytes
    route.responseBytes += answer.responseBytes
    route.duration.observe(answer.tookSeconds)
    this.httpDuration.observe(answer.tookSeconds)
  }
}
