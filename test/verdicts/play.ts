import { SimulatedEngine } from '../../src/demo/engine.ts'
import { SimulatedGpus } from '../../src/demo/gpus.ts'
import type { Scenario } from '../../src/demo/scenario.ts'
import type { Submission } from '../../src/demo/submissions.ts'
import { type HostMemory, programName, toReading } from '../../src/dialects/nvidia-smi.ts'
import { emptyRoster, type GpuRoster } from '../../src/dialects/nvidia-smi-roster.ts'
import { cutDocument, lostBusIds } from '../../src/dialects/nvidia-smi-text.ts'
import { readGpus } from '../../src/dialects/nvidia-smi-values.ts'
import { VllmDialect } from '../../src/dialects/vllm.ts'
import { type EvaluateInput, evaluate } from '../../src/evaluate.ts'
import { ExpositionParser } from '../../src/exposition/parse.ts'
import type { Attempt, HealthProbe, ProbeResult } from '../../src/reading.ts'
import { builtinRules } from '../../src/rules/builtin.ts'
import type { Thresholds } from '../../src/rules/settings.ts'
import type { Snapshot } from '../../src/snapshot.ts'
import { treeOf } from '../../src/sources/nvidia-smi.ts'
import { Windows } from '../../src/window/windows.ts'

/** How a scenario is watched. Times are those of the scenario; no clock runs. */
export interface Watching {
  readonly seed: number
  readonly probe: boolean
  readonly scrapeEveryMs: number
  readonly gpuEveryMs: number
}

/** What a run saw at one evaluation. */
export interface Seen {
  readonly atMs: number
  readonly snapshot: Snapshot
  readonly windows: Windows
  /** What the scrape before it yielded. */
  readonly attempt: Attempt
}

/** A probe that was sent, and whether anything had progressed by itself since the evaluation before. */
export interface SentProbe {
  readonly atMs: number
  readonly workedMs: number | undefined
}

const target = 'vllm'
const gpuTarget = 'gpu'
const startWallMs = 1_700_000_000_000
const scrapeTimeoutMs = 4_000
const healthTimeoutMs = 2_000
const probeEveryMs = 60_000
const probeTimeoutMs = 30_000
const keepMs = 3_600_000

/** The defaults of the configuration. */
const thresholds: Thresholds = {
  e2eLatencyP99Seconds: 10,
  queueTimeP95Seconds: 5,
  ttftP99Seconds: 0,
  errorRatio: 0.01,
  gpuUtilizationRatio: 0.95,
  gpuMemoryRatio: 0.9,
  generationTokensPerSecondMin: 0,
}

/**
 * Watches a simulated server and its GPUs through the real parsers and the real core, from its past on to
 * the end of its label, and tells `see` of each evaluation. Resolves with the probes that were sent.
 */
export async function play(
  scenario: Scenario,
  watching: Watching,
  see: (seen: Seen) => void,
): Promise<readonly SentProbe[]> {
  const { pastMs, runMs } = scenario.label
  const prewarmMs = pastMs + 300_000
  const { seed, scrapeEveryMs, gpuEveryMs } = watching
  const engine = new SimulatedEngine({ scenario, seed, prewarmMs, startWallMs, truthCapacity: 1 })
  const world = new World(scenario, engine)
  const prober = new Prober(engine, world.windows)
  let snapshot: Snapshot | undefined
  let gpuDueMs = -pastMs
  for (let atMs = -pastMs; atMs <= runMs; atMs += scrapeEveryMs) {
    engine.advance(atMs)
    if (atMs >= gpuDueMs) {
      await world.readGpus(atMs)
      gpuDueMs += gpuEveryMs
    }
    const attempt = world.scrape(atMs)
    prober.settle(atMs)
    snapshot = evaluate(snapshot, world.input(atMs + 20))
    if (watching.probe) prober.consider(snapshot, atMs)
    see({ atMs, snapshot, windows: world.windows, attempt })
  }
  return prober.sent
}

/** The sources and the past that the evaluation works on. */
class World {
  readonly windows = new Windows({ keepMs })
  readonly #engine: SimulatedEngine
  readonly #gpus: SimulatedGpus
  readonly #parser = new ExpositionParser({
    maxSamples: 50_000,
    maxLabels: 64,
    maxLabelBytes: 4096,
  })
  readonly #dialect = new VllmDialect()
  #roster: GpuRoster = emptyRoster

  constructor(scenario: Scenario, engine: SimulatedEngine) {
    this.#engine = engine
    this.#gpus = new SimulatedGpus({
      count: Math.max(scenario.engines * scenario.gpusPerEngine, scenario.gpus),
      startWallMs,
      incidents: scenario.incidents,
    })
  }

  scrape(atMs: number): Attempt {
    const attempt = this.#attemptOf(atMs)
    this.windows.record(attempt)
    return attempt
  }

  #attemptOf(atMs: number): Attempt {
    const engine = this.#engine
    const tookMs = Math.min(Math.max(engine.metricsTookMs, 3), scrapeTimeoutMs)
    const common = { target, atMs, wallMs: startWallMs + atMs, tookMs, health: this.#health() }
    const missed = { ...common, kind: 'missed' as const }
    if (!engine.portOpen) {
      return { ...missed, health: undefined, code: 'refused', message: 'connection refused' }
    }
    if (engine.metricsTookMs > scrapeTimeoutMs) {
      return { ...missed, code: 'timeout', message: 'no answer within 4 s' }
    }
    if (engine.metricsStatus !== 200) {
      const status = engine.metricsStatus
      return { ...missed, code: 'status', status, message: `expected 200, found ${status}` }
    }
    const page = this.#parser.parse(Buffer.from(engine.page()), 'text')
    const reading = this.#dialect.translate(page, { version: '0.27.0' })
    return { ...common, kind: 'read', reading }
  }

  #health(): HealthProbe {
    const { healthStatus: status, healthTookMs } = this.#engine
    return healthTookMs > healthTimeoutMs
      ? { kind: 'unanswered', code: 'timeout', tookMs: healthTimeoutMs }
      : { kind: 'answered', status, tookMs: Math.max(healthTookMs, 2) }
  }

  async readGpus(atMs: number): Promise<void> {
    this.#gpus.observe(this.#engine.loads(), atMs)
    const { stdout, stderr } = this.#gpus.answer()
    const end = { kind: 'exited', exitCode: 0 } as const
    const common = { target: gpuTarget, atMs, wallMs: startWallMs + atMs, tookMs: 60 }
    const document = cutDocument({ end, stdout, stderr }, { processes: true })
    if (document.kind !== 'whole') throw new Error('expected a whole document')
    const { remarks } = document
    const told = { processes: true, lostBusIds: lostBusIds(remarks), remarks, host: this.#host() }
    const { reading, roster } = toReading(readGpus(await treeOf(document.xml)), this.#roster, told)
    this.#roster = roster
    this.windows.record({ ...common, kind: 'read', reading })
  }

  #host(): HostMemory {
    const { totalBytes, availableBytes, processes } = this.#gpus.hostMemory()
    return {
      totalBytes,
      availableBytes,
      processes: processes.map(({ pid, name, rssBytes }) => ({
        pid,
        process: programName(name),
        residentBytes: rssBytes,
      })),
      note: undefined,
    }
  }

  input(atMs: number): EvaluateInput {
    return {
      windows: this.windows,
      targets: [{ name: target, staleAfterMs: 15_000 }],
      gpu: { name: gpuTarget, staleAfterMs: 30_000, quiet: false },
      settings,
      thresholds,
      rules: builtinRules,
      atMs,
      wallMs: startWallMs + atMs,
    }
  }
}

const settings = {
  windowsMs: [60_000],
  quantiles: [0.99],
  e2eLatencyThresholdSeconds: thresholds.e2eLatencyP99Seconds,
  queueTimeThresholdSeconds: thresholds.queueTimeP95Seconds,
  ttftThresholdSeconds: thresholds.ttftP99Seconds,
}

/** The optional probe, as the daemon sends it. */
class Prober {
  readonly sent: SentProbe[] = []
  readonly #engine: SimulatedEngine
  readonly #windows: Windows
  #running: { readonly submission: Submission; readonly startMs: number } | undefined
  #dueMs = Number.NEGATIVE_INFINITY

  constructor(engine: SimulatedEngine, windows: Windows) {
    this.#engine = engine
    this.#windows = windows
  }

  consider(snapshot: Snapshot, atMs: number): void {
    if (!snapshot.probeWanted.includes(target) || this.#running !== undefined) return
    if (atMs < this.#dueMs || !this.#engine.portOpen) return
    this.#dueMs = atMs + probeEveryMs
    const submission = this.#engine.submit({ promptTokens: 1, maxTokens: 1 })
    this.#running = { submission, startMs: atMs }
    this.sent.push({ atMs, workedMs: this.#windows.target(target).progress?.workedMs })
  }

  /** Takes in the answer of a probe that has one by now, or has waited too long. */
  settle(atMs: number): void {
    const running = this.#running
    if (running === undefined) return
    const { submission, startMs } = running
    const tookMs = atMs - startMs
    const times = { target, startMs, atMs, tookMs }
    let result: ProbeResult | undefined
    if (submission.state === 'done') result = { ...times, kind: 'answered' }
    else if (submission.state === 'failed') result = { ...times, kind: 'failed', status: 500 }
    else if (tookMs >= probeTimeoutMs) result = { ...times, kind: 'unanswered', code: 'timeout' }
    if (result === undefined) return
    this.#running = undefined
    this.#windows.recordProbe(result)
  }
}
