import type { Incident } from './incident.ts'
import {
  forever,
  healthy,
  interrupted,
  minuteMs,
  onset,
  ordinary,
  ordinarySpeed,
  type Recipe,
  trafficAt,
} from './recipe.ts'
import type { EngineSpeed } from './scenario.ts'

/** A server for contexts of a million tokens. */
export const longSpeed: EngineSpeed = {
  ...ordinarySpeed,
  kvBlocks: 70_000,
  tokenBudget: 8192,
  maxModelTokens: 1_048_576,
}

/** Servers that have nothing wrong, however it may look. */
export const healthyRecipes: readonly Recipe[] = [
  {
    name: 'idle-night',
    make: (dials) => {
      const startMs = onset(dials)
      const fallMs = dials.between(3, 2, 8) * minuteMs
      const quietMs = dials.between(10, 8, 25) * minuteMs
      const untilMs = startMs + fallMs + quietMs
      const perSecond = dials.between(5, 1, 6.5)
      const span = { fromMs: startMs, untilMs, rampMs: fallMs }
      return {
        ...ordinary,
        summary: 'traffic falls to nothing for a night and comes back',
        incident:
          'After 25 s the traffic falls to nothing within three minutes, stays away and comes ' +
          'back. A quiet server is no broken one: nothing fires.',
        traffic: trafficAt(interrupted(perSecond, 0, span)),
        label: healthy(untilMs + fallMs + 3 * minuteMs),
      }
    },
  },
  {
    name: 'burst',
    make: (dials) => {
      const startSeconds = onset(dials) / 1000
      const low = dials.between(1, 0.3, 3)
      const high = dials.between(14, 11, 16)
      const lastSeconds = dials.between(7, 4, 8)
      const everySeconds = dials.between(75, 45, 150)
      const arrivals = Array.from({ length: 12 }, (_, index) => {
        const atSeconds = startSeconds + index * everySeconds
        return [
          { atSeconds, perSecond: low },
          { atSeconds: atSeconds + 0.5, perSecond: high },
          { atSeconds: atSeconds + lastSeconds, perSecond: high },
          { atSeconds: atSeconds + lastSeconds + 0.5, perSecond: low },
        ]
      }).flat()
      return {
        ...ordinary,
        summary: 'short bursts of requests on a quiet server',
        incident:
          'After 25 s, and every 75 s from then on, fourteen requests a second come for seven ' +
          'seconds. The queue they make is gone within seconds: nothing fires.',
        traffic: trafficAt(arrivals, { maxTokens: [64, 128, 200] }),
        label: healthy(12 * minuteMs),
      }
    },
  },
  {
    name: 'full-cache',
    make: (dials) => {
      const fromSeconds = onset(dials) / 1000
      return {
        ...ordinary,
        summary: 'a KV cache that is full because the batch is good',
        incident:
          'After 25 s long prompts with a common beginning fill the KV cache to about 97 %, and ' +
          'hardly any request has to give way. That is what the cache is for: nothing fires.',
        traffic: trafficAt(
          [
            { atSeconds: fromSeconds, perSecond: 2 },
            { atSeconds: fromSeconds + 5, perSecond: dials.between(120, 100, 150) },
          ],
          {
            promptTokens: { median: 1000, sigma: 0.01, max: 1060 },
            outputTokens: { median: 4000, sigma: 0.1, max: 8000 },
            // Of several lengths, so that they do not all end at once.
            maxTokens: [64, 96, 128, 160, 192],
            cachedRatio: 1,
            cachedShare: [0.9, 0.98],
            maxInside: 66,
          },
        ),
        speed: { ...ordinarySpeed, slots: 128, kvBlocks: dials.pick(4545, 4540, 4550) },
        label: healthy(15 * minuteMs),
      }
    },
  },
  {
    name: 'long-prefill',
    make: (dials) => {
      const startMs = onset(dials)
      const rest = () => dials.between(150, 60, 240) * 1000
      const tokens = () => Math.round(dials.between(600_000, 350_000, 900_000))
      const calls: Incident[] = []
      for (let atMs = startMs; calls.length < 4; atMs += 90_000 + rest()) {
        calls.push({ kind: 'call', atMs, promptTokens: tokens(), maxTokens: 60 })
      }
      return {
        ...ordinary,
        summary: 'single prompts of hundreds of thousands of tokens on a quiet server',
        incident:
          'After 25 s a prompt of 600 000 tokens comes. For a minute no counter moves while the GPU ' +
          'works and the KV cache fills, chunk by chunk. That is work and no stall.',
        traffic: trafficAt(dials.between(0.01, 0.002, 0.02), { patienceSeconds: [600, 900] }),
        speed: { ...longSpeed, promptTokenMs: dials.between(0.1, 0.09, 0.11) },
        incidents: calls,
        label: healthy(startMs + 20 * minuteMs, {
          // It is true that its client waits long, and so do those who come behind it.
          mayFire: ['VllmLatencyP99High', 'VllmTtftP99High', 'VllmQueueWaitHigh'],
        }),
      }
    },
  },
  {
    name: 'jit-pause',
    make: (dials) => {
      const startMs = Math.round(dials.between(25_000, 20_000, 150_000))
      const untilMs = startMs + dials.between(35, 15, 60) * 1000
      const againMs = untilMs + dials.between(5, 4, 12) * minuteMs
      const hang = { kind: 'hang', engines: 'all', onset: 'at-once' } as const
      return {
        ...ordinary,
        summary: 'a young server compiles for half a minute and answers nobody',
        incident:
          'The server is young. After 25 s it compiles a kernel for 35 s, in which nothing moves; ' +
          'then it goes on. Minutes later it does so once more, for a few seconds. No stall.',
        traffic: trafficAt(dials.between(2, 0.5, 5)),
        ageMs: 40_000,
        incidents: [
          { ...hang, fromMs: startMs, untilMs },
          { ...hang, fromMs: againMs, untilMs: againMs + dials.between(12, 3, 18) * 1000 },
        ],
        label: healthy(againMs + 5 * minuteMs, {
          alsoRight: ['P8'],
          pastMs: 30_000,
          // It is true that those who came in the pause waited for its end.
          mayFire: ['VllmLatencyP99High', 'VllmTtftP99High', 'VllmQueueWaitHigh'],
        }),
      }
    },
  },
  {
    name: 'slow-load',
    make: (dials) => {
      const fromMs = -8000
      const loadMs = dials.between(3, 2, 10) * minuteMs
      const outage = { kind: 'outage', fromMs: -forever, untilMs: fromMs + loadMs } as const
      return {
        ...ordinary,
        summary: 'a server that takes minutes to load its model before it listens',
        incident:
          'For three minutes nothing listens, while on the GPU the weights arrive, kernels are ' +
          'compiled and graphs are captured. Then the server serves. It was never down: it loaded.',
        traffic: trafficAt(dials.between(5, 1, 6.5)),
        ageMs: 6000,
        incidents: [{ ...outage, dyingForMs: 0, loadMs }],
        label: healthy(loadMs + 5 * minuteMs, { alsoRight: ['P7'], pastMs: 5000 }),
      }
    },
  },
  {
    name: 'sleep',
    make: (dials) => {
      const startMs = onset(dials)
      const fromMs = startMs + 30_000
      const untilMs = fromMs + dials.between(5, 3, 20) * minuteMs
      const span = { fromMs: startMs, untilMs: untilMs + 10_000 }
      return {
        ...ordinary,
        summary: 'the engine is put to sleep for some minutes and woken up again',
        incident:
          'After 25 s no more requests come, and half a minute later the engine sleeps: its weights ' +
          'leave the GPU. Five minutes later it wakes up and serves. Nothing fires.',
        traffic: trafficAt(interrupted(dials.between(4, 1, 6), 0, span), { abortRatio: 0 }),
        incidents: [
          { kind: 'sleep', fromMs, untilMs, leftMiB: Math.round(dials.between(2900, 1500, 4500)) },
        ],
        label: healthy(untilMs + 5 * minuteMs),
      }
    },
  },
  {
    name: 'mass-abort',
    make: (dials) => {
      const atMs = onset(dials)
      const untilMs = atMs + dials.between(3, 2, 6) * minuteMs
      const span = { fromMs: atMs, untilMs, rampMs: 1 }
      return {
        ...ordinary,
        summary: 'all clients hang up at once, and the gauges stay where they were',
        incident:
          'After 25 s every client closes its connection and nobody comes for three minutes. ' +
          'Running, waiting and KV-cache usage stand still above zero, yet nothing hangs.',
        traffic: trafficAt(interrupted(dials.between(6, 5, 7), 0, span)),
        incidents: [{ kind: 'hang-up', atMs }],
        label: healthy(untilMs + 5 * minuteMs, { alsoRight: ['P2'] }),
      }
    },
  },
  {
    name: 'memory-noise',
    make: (dials) => {
      const atMs = onset(dials)
      const ageMs = 6 * minuteMs
      return {
        ...ordinary,
        summary: 'memory on the GPU that warms up, varies and steps up once, and is no leak',
        incident:
          'The memory of the young engine rises at first and then varies by tens of MiB; after 25 s ' +
          'it steps up once by 300 MiB. That is no leak: nothing fires.',
        traffic: trafficAt(dials.between(2, 1, 4)),
        ageMs,
        incidents: [
          {
            kind: 'memory-growth',
            fromMs: -ageMs,
            untilMs: -ageMs + dials.between(3, 2, 9) * minuteMs,
            mib: Math.round(dials.between(400, 150, 700)),
          },
          {
            kind: 'memory-growth',
            fromMs: atMs - 1000,
            untilMs: atMs,
            steps: 1,
            mib: Math.round(dials.between(300, 200, 600)),
          },
          {
            kind: 'memory-noise',
            fromMs: -forever,
            untilMs: forever,
            mib: Math.round(dials.between(40, 10, 60)),
          },
        ],
        label: healthy(atMs + 60 * minuteMs),
      }
    },
  },
  {
    name: 'rolling-restart',
    make: (dials) => {
      const fromMs = onset(dials)
      const untilMs = fromMs + dials.between(3, 2, 4) * minuteMs
      const span = { fromMs: fromMs - 15_000, untilMs: untilMs + 1000, rampMs: 2000 }
      const outage = { kind: 'outage', fromMs, untilMs, dyingForMs: 0 } as const
      return {
        ...ordinary,
        summary: 'a clean restart for a new version, with a load of three minutes',
        incident:
          'After 25 s the drained server ends, and a new one loads for three minutes, as can be ' +
          'seen on the GPU. It is not down, it restarts: nothing fires.',
        traffic: trafficAt(interrupted(dials.between(4, 1, 6), 0, span)),
        incidents: [{ ...outage, loadMs: untilMs - fromMs - 2000 }],
        label: healthy(untilMs + 5 * minuteMs, { alsoRight: ['P7'] }),
      }
    },
  },
]
