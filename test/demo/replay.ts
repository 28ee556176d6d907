import { SimulatedEngine } from '../../src/demo/engine.ts'
import { findScenario } from '../../src/demo/scenarios.ts'
import type { Truth } from '../../src/demo/truth.ts'
import { VllmDialect } from '../../src/dialects/vllm.ts'
import { ExpositionParser } from '../../src/exposition/parse.ts'
import type { latencyInstruments } from '../../src/instruments.ts'
import { Windows } from '../../src/window/windows.ts'

export type LatencyId = (typeof latencyInstruments)[number]

/** How a scenario is played and watched. */
export interface Play {
  readonly scenario: string
  readonly seed: number
  readonly engines: number
  readonly prewarmMs: number
  /** Times of scrapes, ascending, and whether each one fails on its way. */
  readonly scrapes: readonly { readonly atMs: number; readonly fails: boolean }[]
  /** A death beside those of the scenario. */
  readonly restart: { atMs: number; dyingForMs: number; downForMs: number } | undefined
}

/** An observation that was made `times` times. */
export interface Observed {
  readonly seconds: number
  readonly times: number
}

/** What truly happened between two good scrapes and can be known from the second one. */
export interface Gain {
  readonly atMs: number
  readonly latencies: Readonly<Record<LatencyId, readonly Observed[]>>
  readonly reasons: readonly string[]
  readonly promptTokens: number
  readonly generationTokens: number
  /** Answers of the serving paths by class. */
  readonly statuses: readonly string[]
  /** Requests that failed, each once however often it was counted. */
  readonly failures: number
}

export const targetName = 'vllm'

/**
 * Plays a scenario by its own clock and hands each page through parser, dialect and windows. After each
 * good scrape but the first, `check` is told what could be known until then.
 *
 * What happened in a life of the process that nobody scraped any more is in no page: it is left out.
 */
export function replay(
  play: Play,
  keepMs: number,
  check: (windows: Windows, gains: readonly Gain[]) => void,
): void {
  const { scenario, seed, engines, prewarmMs } = play
  const startWallMs = 1_700_000_000_000
  const engine = new SimulatedEngine({
    scenario: findScenario(scenario),
    seed,
    engines,
    prewarmMs,
    startWallMs,
    truthCapacity: 1_000_000,
  })
  if (play.restart !== undefined) {
    const { atMs, downForMs, dyingForMs } = play.restart
    engine.restart(atMs, downForMs, dyingForMs)
  }
  const parser = new ExpositionParser({ maxSamples: 50_000, maxLabels: 64, maxLabelBytes: 4096 })
  const dialect = new VllmDialect()
  const windows = new Windows({ keepMs })
  const gains: Gain[] = []
  let isFirst = true
  for (const { atMs, fails } of play.scrapes) {
    engine.advance(atMs)
    const attempt = { target: targetName, atMs, wallMs: startWallMs + atMs, tookMs: 1 }
    if (fails || !engine.portOpen) {
      windows.record({ ...attempt, kind: 'missed', code: 'refused', message: 'nobody there' })
      continue
    }
    const page = parser.parse(Buffer.from(engine.page()), 'text')
    const reading = dialect.translate(page, { version: '0.27.0' })
    windows.record({ ...attempt, kind: 'read', reading })
    const { life } = engine
    const truth = engine.drainTruth()
    if (!isFirst) {
      gains.push(gainOf(truth, atMs, life))
      check(windows, gains)
    }
    isFirst = false
  }
}

function gainOf(truth: Truth, atMs: number, life: number): Gain {
  const finished = truth.finished.filter((one) => one.life === life)
  const firstTokens = truth.firstTokens.filter((one) => one.life === life)
  const gaps = truth.gaps.filter((one) => one.life === life)
  const once = (seconds: number) => ({ seconds, times: 1 })
  const answers = truth.answers.filter((one) => one.life === life && one.method === 'POST')
  const errors = finished.filter(({ reason }) => reason === 'error')
  // An answer of 500 at the moment in which the engine gave up is one failure, told twice.
  const told = new Set(errors.map((one) => one.atMs))
  const alone = answers.filter((one) => one.status === '5xx' && !told.has(one.atMs))
  let generationTokens = firstTokens.length
  for (const { tokens } of gaps) generationTokens += tokens
  let promptTokens = 0
  for (const one of firstTokens) promptTokens += one.promptTokens
  return {
    atMs,
    latencies: {
      e2e_latency: finished.map((one) => once(one.e2eSeconds)),
      ttft: firstTokens.map((one) => once(one.ttftSeconds)),
      itl: gaps,
      tpot: finished.map((one) => once(one.timePerOutputTokenSeconds)),
      queue_time: finished.map((one) => once(one.queueSeconds)),
      prefill_time: finished.map((one) => once(one.prefillSeconds)),
      decode_time: finished.map((one) => once(one.decodeSeconds)),
    },
    reasons: finished.map(({ reason }) => reason),
    promptTokens,
    generationTokens,
    statuses: answers.map(({ status }) => status),
    failures: errors.length + alone.length,
  }
}
