import { gpuElements, type SimulatedGpu, smiDocument } from './gpu-document.ts'
import { at, type Incident, incidentsOf, overlapMs } from './incident.ts'
import type { GpuLoad } from './processes.ts'

/** What a run of the program prints; it ends with status 0 in either case. */
export interface SmiAnswer {
  readonly stdout: string
  readonly stderr: string
}

/** The memory of the host, as `/proc` tells it. */
export interface HostMemory {
  readonly totalBytes: number
  readonly availableBytes: number
  readonly processes: readonly {
    readonly pid: number
    readonly name: string
    readonly rssBytes: number
  }[]
}

export interface SimulatedGpusOptions {
  readonly count: number
  /** The wall clock at the start of the scenario, Unix milliseconds. */
  readonly startWallMs: number
  /** Those of the scenario: some of them befall the GPUs. */
  readonly incidents?: readonly Incident[]
}

/** An H100 as the driver counts its memory. */
const totalMiB = 81_559
const reservedMiB = 480
const driverMiB = 16

const idleWatts = 70
const limitWatts = 700
const idleClockMhz = 345
const fullClockMhz = 1980
/** A heat sink follows the power with about this delay. */
const warmingMs = 15_000

const mebibyte = 1_048_576
const hostMiB = 256 * 1024
/** What the system and the API server keep for themselves. */
const otherHostMiB = 24 * 1024

interface Rest {
  utilizationRatio: number
  watts: number
  celsius: number
  loads: readonly GpuLoad[]
}

/** GPUs that are as busy as the processes on them; those without a process stand idle. */
export class SimulatedGpus {
  readonly #options: SimulatedGpusOptions
  readonly #incidents: readonly Incident[]
  readonly #gpus: readonly Rest[]
  #atMs: number | undefined

  constructor(options: SimulatedGpusOptions) {
    this.#options = options
    this.#incidents = options.incidents ?? []
    this.#gpus = Array.from({ length: options.count }, () => ({
      utilizationRatio: 0,
      watts: idleWatts,
      celsius: 31,
      loads: [],
    }))
  }

  /** Takes in how much the processes on the GPUs have worked up to `atMs`. */
  observe(loads: readonly GpuLoad[], atMs: number): void {
    const passedMs = atMs - (this.#atMs ?? atMs)
    this.#atMs = atMs
    const throttle = at(incidentsOf(this.#incidents, 'throttle'), atMs)
    const all = [...loads, ...this.#neighbours(atMs)]
    for (const [index, gpu] of this.#gpus.entries()) {
      const before = gpu.loads
      gpu.loads = all.filter((load) => load.gpu === index)
      // Without two looks at the same process there is no share of time to speak of.
      if (passedMs <= 0) continue
      work(gpu, before, passedMs)
      if (throttle !== undefined) gpu.watts = idleWatts + 0.55 * (gpu.watts - idleWatts)
      const hot = throttle?.reason === 'hw_thermal_slowdown'
      const restingCelsius = hot ? 90 : 28 + (42 * gpu.watts) / limitWatts
      gpu.celsius += (restingCelsius - gpu.celsius) * (1 - Math.exp(-passedMs / warmingMs))
    }
  }

  /** Returns what `nvidia-smi -q -x` prints at the time of the last observation. */
  answer(): SmiAnswer {
    const atMs = this.#atMs ?? 0
    const { startWallMs, count } = this.#options
    const lost = incidentsOf(this.#incidents, 'gpu-lost').filter(({ fromMs }) => fromMs <= atMs)
    const alive = this.#gpus.flatMap((gpu, index) => {
      return lost.some((loss) => loss.gpu === index) ? [] : [this.#describe(gpu, index, atMs)]
    })
    return {
      stdout: smiDocument({
        wallMs: startWallMs + atMs,
        attached: count,
        gpus: alive.map(gpuElements),
      }),
      // A newer driver goes on with the other GPUs; only this line tells of the loss.
      stderr: lost
        .map(({ gpu }) => {
          const name = `GPU${gpu}: ${busId(gpu).slice(4)}`
          return `Unable to determine the device handle for ${name}: Unknown Error\n`
        })
        .join(''),
    }
  }

  /** Returns the memory of the host at the time of the last observation. */
  hostMemory(): HostMemory {
    const loads = this.#gpus.flatMap((gpu) => gpu.loads)
    let usedMiB = otherHostMiB
    for (const load of loads) usedMiB += load.residentMiB
    return {
      totalBytes: hostMiB * mebibyte,
      availableBytes: Math.max(hostMiB - usedMiB, 512) * mebibyte,
      processes: loads.map(({ pid, name, residentMiB }) => ({
        pid,
        name,
        rssBytes: residentMiB * mebibyte,
      })),
    }
  }

  #neighbours(atMs: number): readonly GpuLoad[] {
    return incidentsOf(this.#incidents, 'neighbour')
      .filter(({ fromMs, untilMs }) => fromMs <= atMs && atMs < untilMs)
      .map(({ gpu, name, mib, busyRatio, fromMs }, index) => ({
        gpu,
        pid: 91_177 + index,
        name,
        usedMiB: mib,
        residentMiB: 2900,
        busyMs: busyRatio * (atMs - fromMs),
        occupancyRatio: 0.6,
      }))
  }

  #describe(gpu: Rest, index: number, atMs: number): SimulatedGpu {
    const throttles = incidentsOf(this.#incidents, 'throttle')
    const throttle = at(throttles, atMs)
    const working = gpu.utilizationRatio > 0
    const throttledUs: Record<string, number> = {}
    for (const past of throttles) {
      const us = 1000 * Math.round(overlapMs(past, past.fromMs, atMs))
      throttledUs[past.reason] = (throttledUs[past.reason] ?? 0) + us
    }
    let usedMiB = gpu.loads.length === 0 ? 1 : driverMiB
    for (const load of gpu.loads) usedMiB += load.usedMiB
    return {
      index,
      busId: busId(index),
      uuid: `GPU-de300000-0000-4000-8000-00000000000${index.toString(16)}`,
      utilizationPercent: Math.round(100 * gpu.utilizationRatio),
      memoryActivityPercent: Math.round(45 * gpu.utilizationRatio),
      totalMiB,
      reservedMiB,
      usedMiB: Math.min(usedMiB, totalMiB - reservedMiB),
      celsius: Math.round(gpu.celsius),
      watts: gpu.watts,
      limitWatts,
      clockMhz: working ? (throttle?.clockMhz ?? fullClockMhz) : idleClockMhz,
      fullClockMhz,
      throttle: throttle?.reason,
      throttledUs,
      processes: gpu.loads,
    }
  }
}

/** Sets how busy a GPU was since the last look, `passedMs` ago, from what its processes have done. */
function work(gpu: Rest, before: readonly GpuLoad[], passedMs: number): void {
  gpu.utilizationRatio = 0
  gpu.watts = idleWatts
  for (const load of gpu.loads) {
    const earlier = before.find(({ pid }) => pid === load.pid)
    if (earlier === undefined) continue
    const busyRatio = Math.min(Math.max(load.busyMs - earlier.busyMs, 0) / passedMs, 1)
    if (load.spinWatts !== undefined) {
      gpu.utilizationRatio += busyRatio
      gpu.watts += busyRatio * (load.spinWatts - idleWatts)
      continue
    }
    const utilizationRatio = busyRatio * (0.82 + 0.17 * load.occupancyRatio)
    gpu.utilizationRatio += utilizationRatio
    gpu.watts += utilizationRatio * (250 + 330 * load.occupancyRatio)
  }
  gpu.utilizationRatio = Math.min(gpu.utilizationRatio, 1)
  gpu.watts = Math.min(gpu.watts, limitWatts)
}

function busId(index: number): string {
  const bus = (0x1b + 0x11 * index).toString(16).toUpperCase()
  return `00000000:${bus}:00.0`
}
