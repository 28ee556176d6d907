import { systemClock } from '../clock.ts'
import { SimulatedEngine } from './engine.ts'
import { SimulatedGpus } from './gpus.ts'
import type { Scenario } from './scenario.ts'
import { describeScenarios, findScenario, scenarioNames, vary } from './scenarios.ts'
import { type SimulatedServer, startSimulatedServer } from './server.ts'
import { createSmiProgram, type MachineState, type SmiProgram } from './smi-program.ts'
import type { Truth } from './truth.ts'

export { describeScenarios, scenarioNames }

export interface DemoOptions {
  /** One of `scenarioNames`, or a scenario of one's own. */
  readonly scenario: string | Scenario
  /** Ends everything when it aborts, as `stop` does. */
  readonly signal: AbortSignal
  /** Unset, every demonstration shows the same; set, another variation of its scenario. */
  readonly seed?: number
  /** Data-parallel ranks, 1 to 8; unset, as many as the scenario says. */
  readonly engines?: number
}

export interface Demo {
  /** What the daemon should watch: name and base URL. */
  readonly targets: readonly { readonly name: string; readonly url: string }[]
  /** Path of a program that answers `-q -x` as `nvidia-smi` does. */
  readonly gpuCommand: string
  /** A folder that holds of the simulated machine what `/proc` holds of a real one. */
  readonly procRoot: string
  /** The server behind the target, for those who want to know more than it exposes. */
  readonly engine: SimulatedEngine
  /** Several lines for a person: what runs, what to open, what to curl, what will happen. */
  banner(daemonUrl: string): string
  /** What truly happened to the requests since the last call; the newest 20 000 of each kind. */
  drainTruth(): Truth
  /** Closes the port, stops every timer and removes every file. Can be called again. */
  stop(): Promise<void>
}

/** So much of the past has happened before the start: counters are not at zero at the first scrape. */
const prewarmMs = 300_000
const gpuEveryMs = 1000
const maxEngines = 8
/** A computer that slept does not catch up with the hours it missed. */
const maxLeapMs = 5000

/**
 * Starts a simulated vLLM on 127.0.0.1 and simulated GPUs, both as `scenario` says. Throws an
 * `Error` that names the known scenarios for an unknown one, and a `RangeError` for a number of
 * engines that is not 1 to 8.
 */
export async function startDemo(options: DemoOptions): Promise<Demo> {
  const asWritten =
    typeof options.scenario === 'string' ? findScenario(options.scenario) : options.scenario
  const scenario = options.seed === undefined ? asWritten : vary(asWritten, options.seed)
  options.signal.throwIfAborted()
  const { engine, gpus, engines, gpuCount } = prepare(scenario, options)
  const program = await createSmiProgram(stateOf(gpus))
  const server = await startSimulatedServer({ engine, nowMs: scenarioTime() }).catch(
    async (error: unknown) => {
      await program.remove()
      throw error
    },
  )
  const ending = new AbortController()
  const signal = AbortSignal.any([options.signal, ending.signal])
  const publishing = keepPublishing({ engine, gpus, program, server, signal }).then(
    () => undefined,
    (error: unknown) => error,
  )

  async function stopAll(): Promise<void> {
    ending.abort()
    const failure = await publishing
    await server.stop()
    await program.remove()
    if (failure !== undefined) throw failure
  }

  let stopping: Promise<void> | undefined
  const stop = async () => {
    stopping ??= stopAll()
    await stopping
  }
  // What goes wrong then is told to whoever calls `stop`.
  const stopQuietly = () => stop().catch(() => undefined)
  if (options.signal.aborted) await stopQuietly()
  else options.signal.addEventListener('abort', stopQuietly, { once: true })
  const about = { scenario, engines, gpuCount, vllmUrl: server.url }
  return {
    targets: [{ name: 'vllm', url: server.url }],
    gpuCommand: program.path,
    procRoot: program.procRoot,
    engine,
    banner: (daemonUrl) => describe({ ...about, daemonUrl: daemonUrl.replace(/\/$/, '') }),
    drainTruth: () => engine.drainTruth(),
    stop,
  }
}

/** Lets the past before the start happen, so that nothing is at zero or idle at the first look. */
function prepare(scenario: Scenario, options: DemoOptions) {
  const engines = options.engines ?? scenario.engines
  if (!Number.isInteger(engines) || engines < 1 || engines > maxEngines) {
    throw new RangeError(`expected 1 to ${maxEngines} engines, found ${engines}`)
  }
  const startWallMs = systemClock.nowMs()
  const seed = options.seed ?? 1
  const limits = { prewarmMs, truthCapacity: 20_000 }
  const engine = new SimulatedEngine({ scenario, engines, seed, startWallMs, ...limits })
  const gpuCount = Math.max(engines * scenario.gpusPerEngine, scenario.gpus)
  const { incidents } = scenario
  const gpus = new SimulatedGpus({ count: gpuCount, startWallMs, incidents })
  for (const atMs of [-60_000, -gpuEveryMs, 0]) {
    engine.advance(atMs)
    gpus.observe(engine.loads(), atMs)
  }
  engine.drainTruth()
  return { engine, gpus, engines, gpuCount }
}

function stateOf(gpus: SimulatedGpus): MachineState {
  return { answer: gpus.answer(), memory: gpus.hostMemory() }
}

/** Tells the stand-in for `nvidia-smi` each second what to print. */
async function keepPublishing(parts: {
  readonly engine: SimulatedEngine
  readonly gpus: SimulatedGpus
  readonly program: SmiProgram
  readonly server: SimulatedServer
  readonly signal: AbortSignal
}): Promise<void> {
  const { engine, gpus, program, server, signal } = parts
  for (;;) {
    await systemClock.sleep(gpuEveryMs, signal)
    if (signal.aborted) return
    server.follow()
    gpus.observe(engine.loads(), engine.nowMs)
    await program.publish(stateOf(gpus))
  }
}

/** Returns a clock that shows the milliseconds since now, leaps left out. */
function scenarioTime(): () => number {
  let shownMs = 0
  let beforeMs = systemClock.monotonicMs()
  return () => {
    const nowMs = systemClock.monotonicMs()
    shownMs += Math.min(nowMs - beforeMs, maxLeapMs)
    beforeMs = nowMs
    return shownMs
  }
}

function describe(about: {
  readonly scenario: Scenario
  readonly engines: number
  readonly gpuCount: number
  readonly daemonUrl: string
  readonly vllmUrl: string
}): string {
  const { scenario, engines, gpuCount, daemonUrl, vllmUrl } = about
  const others = scenarioNames.filter((name) => name !== scenario.name)
  return [
    `Demonstration "${scenario.name}": ${scenario.summary}.`,
    '',
    `  simulated vLLM   ${vllmUrl}/metrics   (${several(engines, 'engine')})`,
    `  simulated GPUs   ${several(gpuCount, 'H100')}, read with a stand-in for nvidia-smi`,
    '',
    `  open   ${daemonUrl}/`,
    `  curl   ${daemonUrl}/health`,
    `  curl   ${daemonUrl}/api/v1/status`,
    `  curl -s ${daemonUrl}/metrics | grep e2e_latency`,
    `  curl -s ${daemonUrl}/metrics | grep queue_time`,
    `  curl -s ${daemonUrl}/metrics | grep _gpu_`,
    '',
    ...wrapped(scenario.incident),
    ...wrapped(`Other scenarios: ${others.join(', ')} (--scenario=NAME). Stop with Ctrl-C.`),
    '',
  ].join('\n')
}

/** Breaks a text into lines that fit on a terminal. */
function wrapped(text: string): readonly string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line.length + word.length >= 100) {
      lines.push(line)
      line = ''
    }
    line += line === '' ? word : ` ${word}`
  }
  return [...lines, line]
}

function several(count: number, noun: string): string {
  return count === 1 ? `1 ${noun}` : `${count} ${noun}s`
}
