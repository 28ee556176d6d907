import {
  at,
  type Incident,
  incidentsOf,
  type MemoryGrowth,
  type Outage,
  overlapMs,
} from './incident.ts'
import { type Phase, portClosesMs } from './lifecycle.ts'
import { Random } from './random.ts'
import type { Rank } from './rank.ts'

/** A process on a GPU, and how it keeps it busy. */
export interface GpuLoad {
  readonly gpu: number
  readonly pid: number
  readonly name: string
  readonly usedMiB: number
  /** Its resident memory on the host. */
  readonly residentMiB: number
  /** Milliseconds of work since the process began. */
  readonly busyMs: number
  readonly occupancyRatio: number
  /** What the GPU draws while it spins without getting on; absent otherwise. */
  readonly spinWatts?: number | undefined
}

/** What vLLM takes of an H100 at its default of 0.92, and its weights among it. */
const engineMiB = Math.floor(81_559 * 0.92) - 520
const weightsMiB = 62_500
const contextMiB = 520
const graphsMiB = 900
const residentMiB = 6200

/** The GPU processes of a server: those of its engines, those that load and those left behind. */
export class Processes {
  readonly #gpusPerEngine: number
  readonly #engines: number
  readonly #incidents: readonly Incident[]
  readonly #growths: readonly MemoryGrowth[]

  constructor(options: {
    readonly engines: number
    readonly gpusPerEngine: number
    readonly incidents: readonly Incident[]
  }) {
    this.#engines = options.engines
    this.#gpusPerEngine = options.gpusPerEngine
    this.#incidents = options.incidents
    this.#growths = incidentsOf(options.incidents, 'memory-growth')
  }

  /** Those of a server in `phase`, in the order of the GPUs. */
  at(
    atMs: number,
    state: { readonly phase: Phase; readonly life: number; readonly ranks: readonly Rank[] },
  ): readonly GpuLoad[] {
    const { phase, life, ranks } = state
    if (phase.kind === 'serving') return this.#serving(atMs, life, ranks)
    const { outage } = phase
    return [
      ...(outage.orphan === true ? this.#left(life, outage.fromMs) : []),
      ...this.#failing(atMs, outage),
      ...this.#loading(atMs, life, outage),
    ]
  }

  #serving(atMs: number, life: number, ranks: readonly Rank[]): readonly GpuLoad[] {
    const sleep = at(incidentsOf(this.#incidents, 'sleep'), atMs)
    return this.#each(life, (gpu, engine) => {
      const rank = ranks[engine]
      return {
        usedMiB: sleep?.leftMiB ?? engineMiB + this.#grownMiB(atMs) + this.#noiseMiB(atMs, gpu),
        residentMiB: residentMiB + this.#grownOnHostMiB(atMs) + (sleep ? weightsMiB : 0),
        busyMs: rank?.busyUntil(atMs) ?? 0,
        occupancyRatio: rank?.occupancyRatio ?? 0,
        spinWatts: rank?.spinWatts(atMs),
      }
    })
  }

  /** What the dead engine left behind. */
  #left(life: number, diedMs: number): readonly GpuLoad[] {
    const usedMiB = engineMiB + this.#grownMiB(diedMs)
    return this.#each(life, () => ({ usedMiB, residentMiB, busyMs: 0, occupancyRatio: 0 }))
  }

  /** A start that will come to nothing. */
  #failing(atMs: number, outage: Outage): readonly GpuLoad[] {
    const { failures } = outage
    if (failures === undefined) return []
    const sinceMs = atMs - portClosesMs(outage)
    const round = Math.floor(sinceMs / failures.everyMs)
    const elapsedMs = sinceMs - round * failures.everyMs
    const progress = progressOf(elapsedMs, failures.loadMs)
    if (sinceMs < 0 || elapsedMs >= failures.lastMs || progress === undefined) return []
    return this.#each(0, () => progress).map((load) => ({
      ...load,
      pid: 60_000 + 20 * (round % 1000) + load.gpu,
    }))
  }

  #loading(atMs: number, life: number, { untilMs, loadMs }: Outage): readonly GpuLoad[] {
    const progress = loadMs > 0 ? progressOf(atMs - (untilMs - loadMs), loadMs) : undefined
    return progress === undefined ? [] : this.#each(life + 1, () => progress)
  }

  /** One process for each GPU of each engine, named as vLLM names them. */
  #each(
    life: number,
    read: (gpu: number, engine: number) => Omit<GpuLoad, 'gpu' | 'pid' | 'name'>,
  ): readonly GpuLoad[] {
    const loads: GpuLoad[] = []
    for (let engine = 0; engine < this.#engines; engine += 1) {
      const rank = this.#engines > 1 ? `_DP${engine}` : ''
      for (let part = 0; part < this.#gpusPerEngine; part += 1) {
        const gpu = engine * this.#gpusPerEngine + part
        const name =
          this.#gpusPerEngine > 1 ? `VLLM::Worker${rank}_TP${part}` : `VLLM::EngineCore${rank}`
        loads.push({ gpu, pid: 4242 + 100 * life + gpu, name, ...read(gpu, engine) })
      }
    }
    return loads
  }

  #grownMiB(atMs: number): number {
    let grown = 0
    for (const growth of this.#growths) {
      const share = overlapMs(growth, growth.fromMs, atMs) / (growth.untilMs - growth.fromMs)
      const { steps } = growth
      grown += growth.mib * (steps === undefined ? share : Math.floor(share * steps) / steps)
    }
    return Math.round(grown)
  }

  #noiseMiB(atMs: number, gpu: number): number {
    const noise = at(incidentsOf(this.#incidents, 'memory-noise'), atMs)
    if (noise === undefined) return 0
    // Buffers come and go every few seconds.
    const random = new Random(Math.floor(atMs / 4000)).fork(gpu)
    return Math.round(random.between(-noise.mib, noise.mib))
  }

  #grownOnHostMiB(atMs: number): number {
    let grown = 0
    for (const growth of incidentsOf(this.#incidents, 'host-growth')) {
      grown += (growth.mibPerHour * overlapMs(growth, growth.fromMs, atMs)) / 3_600_000
    }
    return Math.round(grown)
  }
}

/**
 * Where a process is that has loaded for `elapsedMs` of `loadMs`: it imports, opens the GPU, reads the
 * weights, compiles in bursts, takes the KV cache and captures graphs. Absent while there is none.
 */
function progressOf(
  elapsedMs: number,
  loadMs: number,
): Omit<GpuLoad, 'gpu' | 'pid' | 'name'> | undefined {
  const importMs = Math.min(12_000, 0.12 * loadMs)
  if (elapsedMs < importMs || elapsedMs >= loadMs) return undefined
  const readMs = importMs + Math.min(5000, 0.05 * loadMs)
  const compileMs = 0.55 * loadMs
  const captureMs = 0.85 * loadMs
  const busy = { occupancyRatio: 0.4, residentMiB }
  if (elapsedMs < readMs) return { ...busy, usedMiB: contextMiB, busyMs: 0 }
  if (elapsedMs < compileMs) {
    const share = (elapsedMs - readMs) / (compileMs - readMs)
    const usedMiB = Math.round(contextMiB + share * (weightsMiB - contextMiB))
    return { ...busy, usedMiB, busyMs: 0.02 * (elapsedMs - readMs) }
  }
  const readingMs = 0.02 * (compileMs - readMs)
  if (elapsedMs < captureMs) {
    return {
      ...busy,
      usedMiB: weightsMiB,
      busyMs: readingMs + burstsMs(elapsedMs - compileMs),
    }
  }
  const compilingMs = burstsMs(captureMs - compileMs)
  const share = (elapsedMs - captureMs) / (loadMs - captureMs)
  return {
    ...busy,
    usedMiB: Math.round(engineMiB - graphsMiB * (1 - share)),
    busyMs: readingMs + compilingMs + 0.5 * (elapsedMs - captureMs),
  }
}

/** Work of a compilation after so long: kernels are tried for 3 s of every 10. */
function burstsMs(elapsedMs: number): number {
  const [everyMs, lastMs] = [10_000, 3000]
  const rounds = Math.floor(elapsedMs / everyMs)
  return rounds * lastMs + Math.min(elapsedMs - rounds * everyMs, lastMs)
}
