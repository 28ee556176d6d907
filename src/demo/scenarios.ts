/** How lengths are spread: a lognormal cut off at `max`. */
export interface LengthSpread {
  readonly median: number
  readonly sigma: number
  readonly max: number
}

/** What clients send and how they behave. Ratios run from 0 to 1. */
export interface Traffic {
  /**
   * Requests in a second for each engine, as corners of a line; before the first corner and after
   * the last one it is flat. Seconds count from the start of the scenario.
   */
  readonly arrivals: readonly { readonly atSeconds: number; readonly perSecond: number }[]
  readonly promptTokens: LengthSpread
  /** What the model would say if no limit cut it short. */
  readonly outputTokens: LengthSpread
  /** The limits that clients ask for, each as likely as the next. */
  readonly maxTokens: readonly number[]
  readonly streamedRatio: number
  readonly chatRatio: number
  /** Share of requests that begin with a text seen before. */
  readonly cachedRatio: number
  /** Share refused as the client's mistake, before the engine. */
  readonly clientErrorRatio: number
  /** Share that the server fails with 500 before the engine. */
  readonly serverErrorRatio: number
  /** Share that the engine ends with `finished_reason="error"`. */
  readonly engineErrorRatio: number
  /** Share whose client hangs up within seconds. */
  readonly abortRatio: number
  /** Everyone else gives up after so many seconds, which keeps an overload's queue finite. */
  readonly patienceSeconds: readonly [low: number, high: number]
}

/** What one engine (data-parallel rank) can do. */
export interface EngineSpeed {
  /** vLLM's `max_num_seqs`. */
  readonly slots: number
  readonly kvBlocks: number
  readonly blockTokens: number
  /** vLLM's `max_num_batched_tokens`: tokens computed in one step. */
  readonly tokenBudget: number
  /** A step takes `stepMs` and, beyond it, so much for each sequence and each prompt token in it. */
  readonly stepMs: number
  readonly sequenceMs: number
  readonly promptTokenMs: number
}

/** A server that dies again and again: first a dead engine behind an open port, then no port. */
export interface RestartPlan {
  readonly firstAtMs: number
  readonly everyMs: number
  readonly dyingForMs: number
  readonly downForMs: number
}

export interface Scenario {
  readonly name: string
  /** One line for a list of scenarios. */
  readonly summary: string
  /** What comes when, and what the daemon will say of it. */
  readonly incident: string
  readonly engines: number
  /** At least one for each engine; more of them stand idle. */
  readonly gpus: number
  readonly traffic: Traffic
  readonly speed: EngineSpeed
  readonly restarts?: RestartPlan
  /** When the last GPU falls off the bus. */
  readonly gpuLostAtMs?: number
}

/** An engine that is good for about eleven of these requests in a second. */
const speed: EngineSpeed = {
  slots: 32,
  kvBlocks: 1400,
  blockTokens: 16,
  tokenBudget: 2048,
  stepMs: 14,
  sequenceMs: 0.2,
  promptTokenMs: 0.1,
}

/** Requests of 1 to 2 s with a long tail: at a step of about 17 ms, 80 tokens take 1.4 s. */
const traffic: Traffic = {
  arrivals: [{ atSeconds: 0, perSecond: 5 }],
  promptTokens: { median: 300, sigma: 0.9, max: 8000 },
  outputTokens: { median: 80, sigma: 0.7, max: 4000 },
  maxTokens: [128, 256, 256, 512, 512],
  streamedRatio: 0.7,
  chatRatio: 0.8,
  cachedRatio: 0.4,
  clientErrorRatio: 0.01,
  serverErrorRatio: 0,
  engineErrorRatio: 0,
  abortRatio: 0.01,
  patienceSeconds: [35, 60],
}

const catalogue: readonly Scenario[] = [
  {
    name: 'steady',
    summary: 'ordinary load on one engine, nothing goes wrong',
    incident: 'No incident: the server stays healthy.',
    engines: 1,
    gpus: 1,
    traffic,
    speed,
  },
  {
    name: 'overload',
    summary: 'after 15 s more requests come than the engine can serve',
    incident:
      'After 15 s twice as many requests come as the engine can serve: the queue grows at once, ' +
      'waits pass 5 s within half a minute and end-to-end latency passes 10 s soon after. ' +
      'VllmQueueWaitHigh and VllmLatencyP99High fire when that has lasted.',
    engines: 1,
    gpus: 1,
    traffic: {
      ...traffic,
      arrivals: [
        { atSeconds: 15, perSecond: 5 },
        { atSeconds: 20, perSecond: 22 },
      ],
    },
    speed,
  },
  {
    name: 'errors',
    summary: 'about one request in twenty fails, in the engine or as HTTP 500',
    incident:
      'From the start the engine ends 3.5 % of the requests with finished_reason="error" and the ' +
      'server answers a few more with 500. VllmErrorRatioHigh fires when that has lasted.',
    engines: 1,
    gpus: 1,
    traffic: { ...traffic, serverErrorRatio: 0.02, engineErrorRatio: 0.035 },
    speed,
  },
  {
    name: 'restart',
    summary:
      'the server dies after 30 s and again every 90 s, and comes back with counters at zero',
    incident:
      'After 30 s, and every 90 s from then on, the engine dies: /health says 503 for 3 s, then ' +
      'connections are refused for 45 s, and the server comes back with every counter at zero. ' +
      'VllmDown fires before it is back; totals of the daemon never fall.',
    engines: 1,
    gpus: 1,
    traffic,
    speed,
    restarts: { firstAtMs: 30_000, everyMs: 90_000, dyingForMs: 3000, downForMs: 45_000 },
  },
  {
    name: 'gpu-lost',
    summary: 'the second of two GPUs, a spare, falls off the bus after 20 s',
    incident:
      'After 20 s the spare second GPU falls off the bus: nvidia-smi ends with status 0 all the ' +
      'same and says so on standard error alone. VllmGpuLost fires; the first GPU stays readable.',
    engines: 1,
    gpus: 2,
    traffic,
    speed,
    gpuLostAtMs: 20_000,
  },
]

/** The names that `demo --scenario` takes, the default first. */
export const scenarioNames: readonly string[] = catalogue.map((scenario) => scenario.name)

/** Returns the scenario called `name`; throws an `Error` that lists the known ones when there is none. */
export function findScenario(name: string): Scenario {
  const found = catalogue.find((scenario) => scenario.name === name)
  if (found === undefined) {
    throw new Error(`expected one of the scenarios ${scenarioNames.join(', ')}, found "${name}"`)
  }
  return found
}

/** Returns one line for each scenario: its name and what it shows. */
export function describeScenarios(): string {
  const width = Math.max(...scenarioNames.map((name) => name.length))
  return catalogue
    .map((scenario) => `${scenario.name.padEnd(width)}  ${scenario.summary}`)
    .join('\n')
}

/** Returns how many requests come in a second to each engine at `atMs` of the scenario. */
export function arrivalsPerSecond(traffic: Traffic, atMs: number): number {
  const atSeconds = atMs / 1000
  let before: Traffic['arrivals'][number] | undefined
  for (const corner of traffic.arrivals) {
    if (corner.atSeconds > atSeconds) {
      if (before === undefined) return corner.perSecond
      const share = (atSeconds - before.atSeconds) / (corner.atSeconds - before.atSeconds)
      return before.perSecond + share * (corner.perSecond - before.perSecond)
    }
    before = corner
  }
  return before?.perSecond ?? 0
}
