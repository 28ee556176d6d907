import type { AlertName } from './label.ts'
import {
  forever,
  healthy,
  ill,
  minuteMs,
  onset,
  ordinary,
  ordinarySpeed,
  type Recipe,
  slowAlerts,
  trafficAt,
} from './recipe.ts'

const mayFire: readonly AlertName[] = slowAlerts
const withPressure: readonly AlertName[] = [
  ...slowAlerts,
  'VllmKvCachePressure',
  'VllmGpuUtilizationHigh',
]

/** Servers that serve, but too slowly or with mistakes. */
export const slownessRecipes: readonly Recipe[] = [
  {
    name: 'overload',
    make: (dials) => {
      const startSeconds = dials.between(15, 15, 120)
      const fromMs = 1000 * startSeconds + 5000
      return {
        ...ordinary,
        summary: 'after 15 s more requests come than the engine can serve',
        incident:
          'After 15 s twice as many requests come as the engine can serve: the queue grows at once, ' +
          'waits pass 5 s within half a minute and end-to-end latency passes 10 s soon after. ' +
          'VllmQueueWaitHigh and VllmLatencyP99High fire when that has lasted.',
        traffic: trafficAt([
          { atSeconds: startSeconds, perSecond: dials.between(5, 2.5, 6.5) },
          { atSeconds: startSeconds + 5, perSecond: dials.between(22, 18, 30) },
        ]),
        label: ill({
          pain: 'P10',
          alsoRight: ['P9'],
          fromMs,
          mustFire: ['VllmQueueWaitHigh', 'VllmLatencyP99High'],
          mayFire: withPressure,
        }),
      }
    },
  },
  {
    name: 'errors',
    make: (dials) => ({
      ...ordinary,
      summary: 'about one request in twenty fails, in the engine or as HTTP 500',
      incident:
        'From the start the engine ends 3.5 % of the requests with finished_reason="error" and the ' +
        'server answers a few more with 500. VllmErrorRatioHigh fires when that has lasted.',
      traffic: trafficAt(dials.between(5, 2.5, 6.5), {
        serverErrorRatio: dials.between(0.02, 0.01, 0.05),
        engineErrorRatio: dials.between(0.035, 0.02, 0.1),
      }),
      label: { ...healthy(8 * minuteMs), mustFire: ['VllmErrorRatioHigh'] },
    }),
  },
  {
    name: 'slow-rank',
    make: (dials) => {
      const fromMs = onset(dials)
      const engine = dials.pick(1, 0, 2, 3)
      const span = { fromMs, untilMs: forever }
      return {
        ...ordinary,
        summary: 'one of four data-parallel ranks is slow and gets most of the traffic',
        incident:
          'After 25 s rank 1 takes more than twice as long for a step, and a sticky router sends it ' +
          'most of the requests all the same: it queues and fills its cache beside three idle ranks.',
        engines: 4,
        gpus: 4,
        traffic: trafficAt(dials.between(2.5, 2.5, 3)),
        incidents: [
          { ...span, kind: 'slow-steps', engines: [engine], factor: dials.between(2.4, 2.2, 3) },
          { ...span, kind: 'sticky', engine, ratio: dials.between(0.6, 0.55, 0.7) },
        ],
        label: ill({
          pain: 'P18',
          fromMs,
          mustFire: ['VllmQueueWaitHigh', 'VllmLatencyP99High'],
          mayFire: withPressure,
        }),
      }
    },
  },
  {
    name: 'admission-stalled',
    make: (dials) => {
      const fromMs = onset(dials)
      return {
        ...ordinary,
        summary: 'requests wait although there is room, for something they lack',
        incident:
          'After 25 s no more than three requests are let in at a time: the others are deferred, ' +
          'while the KV cache is nearly empty. VllmQueueWaitHigh fires; more GPUs would not help.',
        traffic: trafficAt(dials.between(4, 3, 6)),
        incidents: [
          {
            kind: 'admission-limit',
            fromMs,
            untilMs: forever,
            running: dials.pick(3, 2),
            deferredRatio: dials.between(0.9, 0.75, 1),
          },
        ],
        label: ill({
          pain: 'P11',
          fromMs,
          mustFire: ['VllmQueueWaitHigh', 'VllmLatencyP99High'],
          mayFire,
        }),
      }
    },
  },
  {
    name: 'preemption-storm',
    make: (dials) => {
      const fromMs = onset(dials)
      return {
        ...ordinary,
        summary: 'long answers fill the KV cache, and requests evict each other',
        incident:
          'After 25 s answers get so long that the KV cache cannot hold the batch: requests evict ' +
          'each other and are computed again. VllmKvCachePressure fires when that has lasted.',
        traffic: trafficAt(dials.between(3, 2.8, 3.6)),
        speed: { ...ordinarySpeed, slots: 128, kvBlocks: 2800 },
        incidents: [
          {
            kind: 'other-clients',
            fromMs,
            untilMs: forever,
            clients: {
              outputTokens: { median: dials.between(650, 550, 800), sigma: 0.4, max: 2000 },
              maxTokens: [2048],
              patienceSeconds: [90, 150],
            },
          },
        ],
        label: ill({
          pain: 'P9',
          alsoRight: ['P10'],
          fromMs,
          mustFire: ['VllmKvCachePressure', 'VllmLatencyP99High'],
          mayFire: withPressure,
          lastsMs: 12 * minuteMs,
        }),
      }
    },
  },
  {
    name: 'cpu-bound',
    make: (dials) => {
      const fromMs = onset(dials)
      const fromSeconds = fromMs / 1000
      const lowMs = dials.between(1500, 1200, 2000)
      return {
        ...ordinary,
        summary: 'the API server has no CPU left, and the GPU waits for it',
        incident:
          'After 25 s requests cost the API server more CPU than it has: /health and /metrics take ' +
          'seconds, requests wait before they get to the engine, and the GPU has less to do.',
        traffic: trafficAt(
          [
            { atSeconds: fromSeconds, perSecond: dials.between(3, 2.8, 3.5) },
            { atSeconds: fromSeconds + 10, perSecond: dials.between(5, 4, 6.5) },
          ],
          { outputTokens: { median: 25, sigma: 0.5, max: 200 }, patienceSeconds: [25, 45] },
        ),
        incidents: [
          {
            kind: 'busy-event-loop',
            fromMs,
            untilMs: forever,
            requestMs: dials.between(700, 650, 950),
            answerMs: [lowMs, 2 * lowMs],
            cores: dials.between(0.99, 0.95, 1.02),
          },
        ],
        label: ill({
          pain: 'P12',
          fromMs,
          mustFire: ['VllmLatencyP99High'],
          mayFire: [...mayFire, 'VllmVitalsBlind'],
        }),
      }
    },
  },
  {
    name: 'long-prompts',
    make: (dials) => {
      const fromMs = onset(dials)
      return {
        ...ordinary,
        summary: 'frequent long prompts block the short ones',
        incident:
          'After 25 s a third of the prompts have thousands of tokens: the engine computes prompts ' +
          'nearly all the time, so that first tokens and gaps between tokens get slow together.',
        traffic: trafficAt(dials.between(4, 3.6, 4.3)),
        speed: { ...ordinarySpeed, kvBlocks: 12_000 },
        incidents: [
          {
            kind: 'other-clients',
            fromMs,
            untilMs: forever,
            clients: {
              otherPrompts: {
                ratio: 0.33,
                promptTokens: { median: 5200, sigma: 0.4, max: 24_000 },
              },
              cachedRatio: 0.05,
            },
          },
        ],
        label: ill({ pain: 'P6', alsoRight: ['P10'], fromMs, mayFire }),
      }
    },
  },
  {
    name: 'jit-shape',
    make: (dials) => {
      const fromMs = onset(dials)
      const lengthMs = dials.between(20, 10, 35) * 1000
      const untilMs = fromMs + lengthMs
      return {
        ...ordinary,
        summary: 'a new shape of prompts makes the engine compile for twenty seconds, once',
        incident:
          'After 25 s prompts of another shape come: the engine compiles for 20 s, in which nothing ' +
          'moves, and then serves them as if nothing had been. Worth a note, not a call.',
        traffic: trafficAt(dials.between(3, 1, 5)),
        incidents: [
          {
            kind: 'other-clients',
            fromMs: fromMs - 1500,
            untilMs: forever,
            clients: {
              otherPrompts: { ratio: 0.1, promptTokens: { median: 1500, sigma: 0.3, max: 5000 } },
            },
          },
          { kind: 'hang', engines: 'all', onset: 'at-once', fromMs, untilMs },
        ],
        label: ill({ pain: 'P8', alsoRight: ['none'], fromMs, untilMs, mayFire }),
      }
    },
  },
  {
    name: 'throttling',
    make: (dials) => {
      const fromMs = onset(dials)
      return {
        ...ordinary,
        summary: 'the GPU lowers its clock because of heat, and every step takes longer',
        incident:
          'After 25 s the GPU gets too hot and lowers its clock: steps take twice as long at the ' +
          'same batch. VllmGpuThrottled fires after some minutes.',
        traffic: trafficAt(dials.between(2, 1, 2.6)),
        incidents: [
          {
            kind: 'throttle',
            reason: dials.pick('hw_thermal_slowdown', 'hw_slowdown'),
            fromMs,
            untilMs: forever,
            clockMhz: Math.round(dials.between(900, 600, 1100)),
            factor: dials.between(2.1, 1.5, 3),
          },
        ],
        label: ill({ pain: 'P17', fromMs, mustFire: ['VllmGpuThrottled'], mayFire }),
      }
    },
  },
  {
    name: 'cache-collapse',
    make: (dials) => {
      const fromMs = onset(dials)
      return {
        ...ordinary,
        summary: 'the prefix cache finds nothing any more, at the same traffic',
        incident:
          'After 25 s the share of prompt tokens that the prefix cache holds falls from 0.6 to next ' +
          'to nothing, at the same traffic: prompts are computed in full, and first tokens get slow.',
        traffic: trafficAt(dials.between(4, 2, 4.5), {
          promptTokens: { median: 900, sigma: 0.5, max: 8000 },
          cachedRatio: dials.between(0.96, 0.88, 1),
        }),
        speed: { ...ordinarySpeed, kvBlocks: 4000 },
        incidents: [
          {
            kind: 'other-clients',
            fromMs,
            untilMs: forever,
            clients: { cachedRatio: dials.between(0.01, 0, 0.06) },
          },
        ],
        label: ill({ pain: 'P19', fromMs, mayFire, pastMs: 10 * minuteMs }),
      }
    },
  },
  {
    name: 'acceptance-collapse',
    make: (dials) => {
      const fromMs = onset(dials)
      return {
        ...ordinary,
        summary: 'tokens guessed ahead are wrong more and more often',
        incident:
          'After 25 s the share of guessed tokens that are right falls from 0.7 to 0.2: the same ' +
          'steps yield fewer tokens, so that requests take longer.',
        traffic: trafficAt(dials.between(4, 2, 5)),
        speed: {
          ...ordinarySpeed,
          speculation: {
            draftTokens: dials.pick(3, 2, 5),
            acceptanceRatio: dials.between(0.7, 0.6, 0.8),
          },
        },
        incidents: [
          {
            kind: 'acceptance',
            fromMs,
            untilMs: forever,
            ratio: dials.between(0.2, 0.1, 0.3),
          },
        ],
        label: ill({ pain: 'P20', fromMs, mayFire, pastMs: 10 * minuteMs }),
      }
    },
  },
]
