import { longSpeed } from './healthy.ts'
import type { AlertName } from './label.ts'
import {
  forever,
  ill,
  interrupted,
  minuteMs,
  onset,
  ordinary,
  type Recipe,
  slowAlerts,
  trafficAt,
} from './recipe.ts'

const hang = { kind: 'hang', engines: 'all', onset: 'busy' } as const

/** What may be said beside a stall, when those who waited are answered or give up. */
const mayFire: readonly AlertName[] = slowAlerts

/** Engines that hang. */
export const stallRecipes: readonly Recipe[] = [
  {
    name: 'stall',
    make: (dials) => {
      const fromMs = onset(dials)
      return {
        ...ordinary,
        summary: 'the engine hangs behind a healthy /health, its GPU idle',
        incident:
          'After 25 s the engine deadlocks: no counter moves and running stays above zero, while ' +
          '/health says 200 at once. VllmEngineStalled fires within a minute or so.',
        traffic: trafficAt(dials.between(5, 2, 6.5)),
        incidents: [{ ...hang, fromMs, untilMs: forever }],
        label: ill({
          pain: 'P1',
          fromMs,
          stall: 'visible',
          mustFire: ['VllmEngineStalled'],
          mayFire,
          lastsMs: 5 * minuteMs,
        }),
      }
    },
  },
  {
    name: 'stall-spin',
    make: (dials) => {
      const fromMs = onset(dials)
      const gpusPerEngine = dials.pick(2, 4)
      return {
        ...ordinary,
        summary: 'the GPUs of one engine wait for each other for ever, busy at little power',
        incident:
          'After 25 s a collective between the two GPUs hangs: both are at 100 % and draw a third ' +
          'of what they draw at work, and no token comes. VllmEngineStalled fires.',
        gpusPerEngine,
        gpus: gpusPerEngine,
        traffic: trafficAt(dials.between(5, 3, 6.5)),
        incidents: [{ ...hang, fromMs, untilMs: forever, spinWatts: dials.between(120, 110, 135) }],
        label: ill({
          pain: 'P3',
          alsoRight: ['P1'],
          fromMs,
          stall: 'visible',
          mustFire: ['VllmEngineStalled'],
          mayFire,
          lastsMs: 5 * minuteMs,
        }),
      }
    },
  },
  {
    name: 'stall-hidden',
    make: (dials) => {
      const fromMs = onset(dials)
      return {
        ...ordinary,
        summary: 'the engine hangs while it has no work, and its gauges say that all is quiet',
        incident:
          'After 25 s the engine hangs between two requests. Running and waiting read 0 although ' +
          'requests keep coming; each client gives up in the end and is counted as answered.',
        traffic: trafficAt(dials.between(0.4, 0.15, 0.5), {
          abortRatio: 0,
          outputTokens: { median: 60, sigma: 0.5, max: 500 },
        }),
        incidents: [{ ...hang, onset: 'idle', fromMs, untilMs: forever }],
        label: ill({
          pain: 'P1',
          fromMs,
          stall: 'hidden',
          mayFire: ['VllmEngineStalled', ...mayFire],
        }),
      }
    },
  },
  {
    name: 'stall-abandoned',
    make: (dials) => {
      const fromMs = onset(dials)
      const traffic = { fromMs: fromMs + 5000, untilMs: forever, rampMs: 5000 }
      return {
        ...ordinary,
        summary: 'the engine hangs, all clients give up, and nobody comes any more',
        incident:
          'After 25 s the engine hangs, and a little later nobody is there who would notice: it ' +
          'looks like an idle server after a mass abort. Only a request would tell.',
        traffic: trafficAt(interrupted(dials.between(4, 2, 6), 0, traffic)),
        incidents: [{ ...hang, fromMs, untilMs: forever }],
        label: ill({
          pain: 'P1',
          alsoRight: ['P2'],
          fromMs,
          stall: 'hidden',
          mayFire: ['VllmEngineStalled', ...mayFire],
        }),
      }
    },
  },
  {
    name: 'stall-recovers',
    make: (dials) => {
      const fromMs = onset(dials)
      const lengthMs = dials.between(120, 85, 200) * 1000
      const untilMs = fromMs + lengthMs
      return {
        ...ordinary,
        summary: 'the engine hangs for two minutes and goes on as if nothing had been',
        incident:
          'After 25 s the engine hangs for two minutes and then goes on. VllmEngineStalled fires ' +
          'meanwhile, and the latencies of those who waited are seen afterwards.',
        traffic: trafficAt(dials.between(5, 2, 6.5)),
        incidents: [{ ...hang, fromMs, untilMs }],
        label: ill({
          pain: 'P1',
          fromMs,
          untilMs,
          stall: 'visible',
          mustFire: ['VllmEngineStalled'],
          mayFire,
          lastsMs: lengthMs + 8 * minuteMs,
        }),
      }
    },
  },
  {
    name: 'stall-rank',
    make: (dials) => {
      const fromMs = onset(dials)
      const engine = dials.pick(2, 0, 1, 3)
      return {
        ...ordinary,
        summary: 'one of four data-parallel ranks hangs, the others go on',
        incident:
          'After 25 s rank 2 of four hangs with what it has. The totals of the server move on, ' +
          'for the other three ranks work. VllmEngineStalled fires for the one.',
        engines: 4,
        gpus: 4,
        traffic: trafficAt(dials.between(4, 2, 5)),
        incidents: [{ ...hang, engines: [engine], fromMs, untilMs: forever }],
        label: ill({
          pain: 'P1',
          alsoRight: ['P18'],
          fromMs,
          stall: 'visible',
          mustFire: ['VllmEngineStalled'],
          mayFire,
          lastsMs: 5 * minuteMs,
        }),
      }
    },
  },
  {
    name: 'stall-cold',
    make: (dials) => {
      const fromMs = Math.round(dials.between(25_000, 15_000, 90_000))
      return {
        ...ordinary,
        summary: 'a server hangs in its first minutes, and it is no compilation',
        incident:
          'The server is young. After 25 s it hangs, which looks like a compilation at first but ' +
          'never ends. VllmEngineStalled fires, later than it would for an older server.',
        traffic: trafficAt(dials.between(5, 2, 6.5)),
        ageMs: 40_000,
        incidents: [{ ...hang, fromMs, untilMs: forever }],
        label: ill({
          pain: 'P1',
          fromMs,
          stall: 'visible',
          mustFire: ['VllmEngineStalled'],
          mayFire,
          pastMs: 30_000,
        }),
      }
    },
  },
  {
    name: 'stall-prefill',
    make: (dials) => {
      const callMs = onset(dials) - 12_000
      const fromMs = callMs + dials.between(15, 5, 25) * 1000
      return {
        ...ordinary,
        summary: 'the engine hangs in the middle of a very long prompt',
        incident:
          'After 13 s a prompt of 600 000 tokens comes to a quiet server, and 15 s later the ' +
          'kernels spin: the GPU is as busy as before, but the KV cache fills no further.',
        traffic: trafficAt(0.01, { patienceSeconds: [1200, 1800] }),
        speed: longSpeed,
        incidents: [
          { kind: 'call', atMs: callMs, promptTokens: 600_000, maxTokens: 60 },
          { ...hang, fromMs, untilMs: forever, spinWatts: dials.between(130, 115, 150) },
        ],
        label: ill({
          pain: 'P1',
          alsoRight: ['P3'],
          fromMs,
          stall: 'visible',
          mustFire: ['VllmEngineStalled'],
          mayFire,
        }),
      }
    },
  },
]
