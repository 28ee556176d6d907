import type { Outage } from './incident.ts'
import {
  forever,
  healthy,
  hourMs,
  ill,
  minuteMs,
  onset,
  ordinary,
  type Recipe,
  slowAlerts,
  trafficAt,
} from './recipe.ts'

/** Servers, GPUs or metrics that are gone, or on their way. */
export const deathRecipes: readonly Recipe[] = [
  {
    name: 'restart',
    make: (dials) => {
      const fromMs = Math.round(dials.between(30_000, 20_000, 2 * minuteMs))
      const everyMs = Math.round(dials.between(90_000, 80_000, 200_000))
      const downMs = Math.round(dials.between(45_000, 45_000, 60_000))
      const untilMs = fromMs + 3000 + downMs
      return {
        ...ordinary,
        summary:
          'the server dies after 30 s and again every 90 s, and comes back with counters at zero',
        incident:
          'After 30 s, and every 90 s from then on, the engine dies: /health says 503 for 3 s, then ' +
          'connections are refused for 45 s, and the server comes back with every counter at zero. ' +
          'VllmDown fires before it is back; totals of the daemon never fall.',
        traffic: trafficAt(dials.between(5, 2.5, 6.5)),
        incidents: [{ kind: 'outage', fromMs, untilMs, dyingForMs: 3000, loadMs: 0, everyMs }],
        label: ill({
          pain: 'P4',
          alsoRight: ['P7'],
          fromMs,
          // The first time; the others are as it.
          untilMs,
          mustFire: ['VllmDown'],
          mayFire: ['VllmErrorRatioHigh', 'VllmThroughputLow'],
        }),
      }
    },
  },
  {
    name: 'engine-died',
    make: (dials) => {
      const fromMs = onset(dials)
      const dyingForMs = dials.pick(forever, 5000)
      return {
        ...ordinary,
        summary: 'the engine dies, and the half that is left answers 500 to everybody',
        incident:
          'After 25 s the engine dies. The API server lives on: /health says 503, every request ' +
          'gets 500, and the process is gone from the GPU. VllmDown fires.',
        traffic: trafficAt(dials.between(5, 2.5, 6.5)),
        incidents: [{ kind: 'outage', fromMs, untilMs: forever, dyingForMs, loadMs: 0 }],
        label: ill({
          pain: 'P4',
          fromMs,
          mustFire: ['VllmDown'],
          mayFire: ['VllmErrorRatioHigh', 'VllmEngineStalled', 'VllmThroughputLow', 'VllmNoGpu'],
        }),
      }
    },
  },
  {
    name: 'orphan',
    make: (dials) => {
      const fromMs = onset(dials)
      const everyMs = Math.round(dials.between(25_000, 20_000, 60_000))
      // A start that finds too little memory free ends soon after it has opened the GPU.
      const failures = { everyMs, lastMs: dials.between(16_000, 13_500, 17_000), loadMs: 200_000 }
      const starts: Pick<Outage, 'failures'> = dials.pick<Pick<Outage, 'failures'>>(
        { failures },
        {},
      )
      const outage = { kind: 'outage', fromMs, untilMs: forever, dyingForMs: 2000 } as const
      return {
        ...ordinary,
        summary: 'a crash leaves a process on the GPU, and no start finds memory free',
        incident:
          'After 25 s the server crashes, but the process of its engine stays on the GPU with all ' +
          'its memory: every new start ends after seconds. VllmDown fires, and keeps firing.',
        traffic: trafficAt(dials.between(5, 2.5, 6.5)),
        incidents: [{ ...outage, loadMs: 0, orphan: true, ...starts }],
        label: ill({
          pain: 'P5',
          alsoRight: ['P4'],
          fromMs,
          mustFire: ['VllmDown'],
          // Nobody who runs planned for the memory that is held.
          mayFire: ['VllmErrorRatioHigh', 'VllmThroughputLow', 'VllmGpuMemoryHigh'],
        }),
      }
    },
  },
  {
    name: 'crash-loop',
    make: (dials) => {
      const fromMs = onset(dials)
      const loadMs = dials.between(160, 140, 400) * 1000
      const lastMs = loadMs * dials.between(0.45, 0.3, 0.7)
      const failures = { everyMs: lastMs + dials.between(12, 5, 30) * 1000, lastMs, loadMs }
      const outage = { kind: 'outage', fromMs, untilMs: forever, dyingForMs: 0 } as const
      return {
        ...ordinary,
        summary: 'the server is killed while it loads, each time before it listens',
        incident:
          'After 25 s the server ends, and each new one is killed long before it has loaded: memory ' +
          'on the GPU rises and falls like the teeth of a saw, and nothing ever listens.',
        traffic: trafficAt(dials.between(5, 2.5, 6.5)),
        incidents: [{ ...outage, loadMs: 0, failures }],
        label: ill({
          pain: 'P7',
          alsoRight: ['P4'],
          fromMs,
          mustFire: ['VllmDown'],
          mayFire: ['VllmErrorRatioHigh', 'VllmThroughputLow'],
          lastsMs: 20 * minuteMs,
        }),
      }
    },
  },
  {
    name: 'gpu-lost',
    make: (dials) => {
      const fromMs = Math.round(dials.between(20_000, 15_000, 2 * minuteMs))
      return {
        ...ordinary,
        summary: 'the second of two GPUs, a spare, falls off the bus after 20 s',
        incident:
          'After 20 s the spare second GPU falls off the bus: nvidia-smi ends with status 0 all the ' +
          'same and says so on standard error alone. VllmGpuLost fires; the first GPU stays readable.',
        gpus: 2,
        traffic: trafficAt(dials.between(5, 2.5, 6.5)),
        incidents: [{ kind: 'gpu-lost', gpu: 1, fromMs }],
        label: ill({ pain: 'P16', fromMs, mustFire: ['VllmGpuLost'], lastsMs: 5 * minuteMs }),
      }
    },
  },
  {
    name: 'gpu-lost-serving',
    make: (dials) => {
      const fromMs = onset(dials)
      const gpu = dials.pick(1, 0)
      const diesMs = fromMs + dials.between(60, 20, 240) * 1000
      const spinWatts = dials.between(125, 110, 140)
      const outage = { kind: 'outage', fromMs: diesMs, untilMs: forever, dyingForMs: 5000 } as const
      return {
        ...ordinary,
        summary: 'a GPU that the engine needs falls off the bus, and the engine hangs and dies',
        incident:
          'After 25 s one of the two GPUs of the engine falls off the bus. The other one spins, no ' +
          'token comes, and a minute later the engine gives up. VllmGpuLost fires first.',
        gpusPerEngine: 2,
        gpus: 2,
        traffic: trafficAt(dials.between(5, 2.5, 6.5)),
        incidents: [
          { kind: 'gpu-lost', gpu, fromMs },
          { kind: 'hang', engines: 'all', onset: 'at-once', fromMs, untilMs: forever, spinWatts },
          { ...outage, loadMs: 0 },
        ],
        label: ill({
          pain: 'P16',
          fromMs,
          mustFire: ['VllmGpuLost', 'VllmDown'],
          mayFire: ['VllmEngineStalled', 'VllmErrorRatioHigh', 'VllmNoGpu', ...slowAlerts],
        }),
      }
    },
  },
  {
    name: 'no-metrics',
    make: (dials) => ({
      ...ordinary,
      summary: 'the server was started without statistics: /metrics has nothing of the engine',
      incident:
        'From the start /metrics answers with the families of Python and HTTP alone, as after ' +
        '--disable-log-stats. Nothing can be said of the engine, and that is what is said.',
      traffic: trafficAt(dials.between(5, 1, 6.5)),
      incidents: [
        { kind: 'metrics', fromMs: -forever, untilMs: forever, answer: 'no-engine-families' },
      ],
      label: { ...healthy(8 * minuteMs), pain: 'P22', mayFire: ['VllmVitalsBlind'] },
    }),
  },
  {
    name: 'metrics-500',
    make: (dials) => {
      const fromMs = onset(dials)
      return {
        ...ordinary,
        summary: '/metrics answers 500 while the server serves',
        incident:
          'After 25 s /metrics answers 500, while /health says 200 and requests are served as ever. ' +
          'The server is not down, but nobody can see it: VllmVitalsBlind fires.',
        traffic: trafficAt(dials.between(5, 1, 6.5)),
        incidents: [{ kind: 'metrics', fromMs, untilMs: forever, answer: 'status-500' }],
        label: ill({ pain: 'P22', fromMs, mustFire: ['VllmVitalsBlind'] }),
      }
    },
  },
]

/** Memory that is used up, little by little or at once. */
export const memoryRecipes: readonly Recipe[] = [
  {
    name: 'leak',
    make: (dials) => {
      const fromMs = onset(dials)
      const lastsMs = dials.between(2.5, 2, 3) * hourMs
      const gibPerHour = dials.between(1.5, 0.3, 1.9)
      const mib = Math.round((1024 * gibPerHour * lastsMs) / hourMs)
      const steps = Math.ceil(mib / dials.between(60, 20, 100))
      const shape = dials.pick<{ readonly steps?: number }>({}, { steps })
      return {
        ...ordinary,
        summary: 'the memory of the engine on its GPU grows without end',
        incident:
          'From 25 s on the memory of the engine on its GPU grows by 1.5 GiB an hour, although its ' +
          'plan is fixed. VllmGpuMemoryLeak fires once the growth is beyond doubt.',
        traffic: trafficAt(dials.between(1, 0.5, 1.3)),
        incidents: [
          { kind: 'memory-growth', fromMs, untilMs: fromMs + lastsMs, mib, ...shape },
          { kind: 'memory-noise', fromMs: -forever, untilMs: forever, mib: 8 },
        ],
        label: ill({
          pain: 'P15',
          fromMs,
          mustFire: ['VllmGpuMemoryLeak'],
          mayFire: ['VllmGpuMemoryHigh'],
          lastsMs,
        }),
      }
    },
  },
  {
    name: 'leak-host',
    make: (dials) => {
      const fromMs = onset(dials)
      const mibPerHour = Math.round(1024 * dials.between(3, 1, 6))
      return {
        ...ordinary,
        summary: 'the memory of the engine on the host grows without end',
        incident:
          'From 25 s on the resident memory of the engine on the host grows by 3 GiB an hour, on ' +
          'its way to the limit at which the system kills it. The GPU shows nothing of it.',
        traffic: trafficAt(dials.between(1, 0.5, 1.3)),
        incidents: [{ kind: 'host-growth', fromMs, untilMs: forever, mibPerHour }],
        label: ill({ pain: 'P14', fromMs, lastsMs: 2 * hourMs }),
      }
    },
  },
  {
    name: 'foreign-process',
    make: (dials) => {
      const fromMs = onset(dials)
      return {
        ...ordinary,
        summary: 'another program takes memory on the card of the engine',
        incident:
          'After 25 s a program called train takes 5 GiB on the card of the engine, which had taken ' +
          'all that it wants: the next peak may find none. VllmGpuMemoryHigh fires.',
        traffic: trafficAt(dials.between(3, 1.5, 4)),
        incidents: [
          {
            kind: 'neighbour',
            gpu: 0,
            name: dials.pick('train', '/usr/bin/python3', 'Xorg'),
            fromMs,
            untilMs: forever,
            mib: Math.round(1024 * dials.between(5, 4, 6)),
            busyRatio: dials.between(0.3, 0, 0.4),
          },
        ],
        label: ill({
          pain: 'P15',
          alsoRight: ['none'],
          fromMs,
          mustFire: ['VllmGpuMemoryHigh'],
          mayFire: [...slowAlerts, 'VllmGpuMemoryLeak'],
          lastsMs: 15 * minuteMs,
        }),
      }
    },
  },
]
