import type { RankLoad } from './engine.ts'
import { gpuElements, type SimulatedGpu, smiDocument } from './gpu-document.ts'

/** What a run of the program prints; it ends with status 0 in either case. */
export interface SmiAnswer {
  readonly stdout: string
  readonly stderr: string
}

export interface SimulatedGpusOptions {
  readonly count: number
  /** When the last GPU falls off the bus, in the scenario's milliseconds. */
  readonly lostAtMs?: number | undefined
  /** The wall clock at the start of the scenario, Unix milliseconds. */
  readonly startWallMs: number
}

/** An H100 as the driver counts its memory, and what vLLM takes of it at its default of 0.92. */
const totalMiB = 81_559
const reservedMiB = 480
const engineMiB = Math.floor(totalMiB * 0.92) - 520
const contextMiB = 16

const idleWatts = 70
const limitWatts = 700
const idleClockMhz = 345
const fullClockMhz = 1980
/** A heat sink follows the power with about this delay. */
const warmingMs = 15_000

interface Rest {
  utilizationRatio: number
  watts: number
  celsius: number
  load: RankLoad | undefined
}

/** GPUs that are as busy as the engines on them; those beyond the number of engines stand idle. */
export class SimulatedGpus {
  readonly #options: SimulatedGpusOptions
  readonly #gpus: readonly Rest[]
  #atMs: number | undefined

  constructor(options: SimulatedGpusOptions) {
    this.#options = options
    this.#gpus = Array.from({ length: options.count }, () => ({
      utilizationRatio: 0,
      watts: idleWatts,
      celsius: 31,
      load: undefined,
    }))
  }

  /** Takes in how much the engines have worked up to `atMs`: one load for each GPU in use. */
  observe(loads: readonly RankLoad[], atMs: number): void {
    const passedMs = atMs - (this.#atMs ?? atMs)
    this.#atMs = atMs
    for (const [index, gpu] of this.#gpus.entries()) {
      const load = loads[index]
      const before = gpu.load
      gpu.load = load
      // Without two looks at the same process there is no share of time to speak of.
      if (passedMs <= 0) continue
      const sameProcess = load !== undefined && load.pid === before?.pid
      const busyMs = sameProcess ? load.busyMs - before.busyMs : 0
      const occupancy = load?.occupancyRatio ?? 0
      gpu.utilizationRatio = Math.min(busyMs / passedMs, 1) * (0.82 + 0.17 * occupancy)
      gpu.watts = idleWatts + gpu.utilizationRatio * (250 + 330 * occupancy)
      const restingCelsius = 28 + (42 * gpu.watts) / limitWatts
      gpu.celsius += (restingCelsius - gpu.celsius) * (1 - Math.exp(-passedMs / warmingMs))
    }
  }

  /** Returns what `nvidia-smi -q -x` prints at the time of the last observation. */
  answer(): SmiAnswer {
    const atMs = this.#atMs ?? 0
    const { lostAtMs, startWallMs, count } = this.#options
    const lost = lostAtMs !== undefined && atMs >= lostAtMs ? count - 1 : undefined
    const alive = this.#gpus.map((gpu, index) =>
      describe(gpu, index, loadedName(index, this.#gpus)),
    )
    return {
      stdout: smiDocument({
        wallMs: startWallMs + atMs,
        attached: count,
        gpus: alive.filter((gpu) => gpu.index !== lost).map(gpuElements),
      }),
      // A newer driver goes on with the other GPUs; only this line tells of the loss.
      stderr:
        lost === undefined
          ? ''
          : `Unable to determine the device handle for GPU${lost}: ${busId(lost).slice(4)}: Unknown Error\n`,
    }
  }
}

/** Several engines of one server carry their rank in their title. */
function loadedName(index: number, gpus: readonly Rest[]): string {
  const loaded = gpus.filter((gpu) => gpu.load !== undefined).length
  return loaded > 1 ? `VLLM::EngineCore_DP${index}` : 'VLLM::EngineCore'
}

function busId(index: number): string {
  const bus = (0x1b + 0x11 * index).toString(16).toUpperCase()
  return `00000000:${bus}:00.0`
}

function describe(gpu: Rest, index: number, name: string): SimulatedGpu {
  const usedMiB = gpu.load === undefined ? 1 : engineMiB + contextMiB
  const working = gpu.utilizationRatio > 0
  return {
    index,
    busId: busId(index),
    uuid: `GPU-de300000-0000-4000-8000-00000000000${index.toString(16)}`,
    utilizationPercent: Math.round(100 * gpu.utilizationRatio),
    memoryActivityPercent: Math.round(45 * gpu.utilizationRatio),
    totalMiB,
    reservedMiB,
    usedMiB,
    celsius: Math.round(gpu.celsius),
    watts: gpu.watts,
    limitWatts,
    clockMhz: working ? fullClockMhz : idleClockMhz,
    fullClockMhz,
    process: gpu.load === undefined ? undefined : { pid: gpu.load.pid, name, usedMiB: engineMiB },
  }
}
