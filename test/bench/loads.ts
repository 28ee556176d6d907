import type { HistogramDelta } from '../../src/window/histogram.ts'

/** The requests of one window: when each finished, from 0 to 300 s, and the seconds that were observed. */
export interface Requests {
  readonly atSeconds: Float64Array
  readonly seconds: Float64Array
}

/** A kind of traffic, and the edges of the histogram that vLLM would put it in. */
export interface Load {
  readonly name: string
  readonly bounds: readonly number[]
  draw(random: () => number, n: number): Requests
}

const WINDOW_SECONDS = 300

/** Edges of e2e and queue time in vLLM since 0.8.4. */
const e2eBounds = [
  0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
]
const ttftBounds = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
  160, 640, 2560,
]

/** Returns numbers from 0 to below 1, the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Returns what vLLM would expose of these observations: bucket counts, their number and their sum. */
export function exposed(bounds: readonly number[], values: Iterable<number>): HistogramDelta {
  const counts = new Float64Array(bounds.length + 1)
  let count = 0
  let sum = 0
  for (const value of values) {
    const bucket = bounds.findIndex((bound) => value <= bound)
    const at = bucket < 0 ? bounds.length : bucket
    counts[at] = (counts[at] ?? 0) + 1
    count++
    sum += value
  }
  return { bounds, counts, count, sum }
}

/** Draws from a lognormal distribution (Box and Muller). */
function lognormal(random: () => number, median: number, sigma: number): number {
  const radius = Math.sqrt(-2 * Math.log(1 - random()))
  return median * Math.exp(sigma * radius * Math.cos(2 * Math.PI * random()))
}

function exponential(random: () => number, mean: number): number {
  return -mean * Math.log(1 - random())
}

function load(
  name: string,
  bounds: readonly number[],
  one: (random: () => number, atSeconds: number) => number,
): Load {
  return { name, bounds, draw: (random, n) => drawEach(random, n, one) }
}

/** Finishes spread evenly over the window, each with its own seconds. */
function drawEach(
  random: () => number,
  n: number,
  one: (random: () => number, atSeconds: number) => number,
): Requests {
  const atSeconds = Float64Array.from({ length: n }, () => WINDOW_SECONDS * random()).sort()
  const seconds = Float64Array.from(atSeconds, (at) => one(random, at))
  return { atSeconds, seconds }
}

/** Every request of a second is slowed by the same factor, which changes from second to second. */
function drawSharedSlowness(random: () => number, n: number): Requests {
  const factors = Float64Array.from({ length: WINDOW_SECONDS }, () => lognormal(random, 1, 0.5))
  return drawEach(random, n, (draw, at) => lognormal(draw, 5, 0.3) * (factors[Math.floor(at)] ?? 1))
}

/** Finishes come in bursts, and the larger the burst the slower its requests. */
function drawSlowWhenMany(random: () => number, n: number): Requests {
  const spanSeconds = 5
  const rates = Float64Array.from({ length: WINDOW_SECONDS / spanSeconds }, () =>
    lognormal(random, 1, 1),
  )
  const total = rates.reduce((sum, rate) => sum + rate, 0)
  const drawn: { at: number; seconds: number }[] = []
  while (drawn.length < n) {
    let left = random() * total
    let span = 0
    while (span < rates.length - 1 && left > (rates[span] ?? 0)) {
      left -= rates[span] ?? 0
      span++
    }
    const at = (span + random()) * spanSeconds
    drawn.push({ at, seconds: lognormal(random, 2 * (1 + (rates[span] ?? 0)), 0.3) })
  }
  drawn.sort((a, b) => a.at - b.at)
  return {
    atSeconds: Float64Array.from(drawn, ({ at }) => at),
    seconds: Float64Array.from(drawn, ({ seconds }) => seconds),
  }
}

/** The last three break the assumption that the requests of a window are alike and independent. */
export const loads: readonly Load[] = [
  load('e2e, lognormal wide', e2eBounds, (r) => lognormal(r, 4, 1)),
  load('e2e, lognormal narrow', e2eBounds, (r) => lognormal(r, 12, 0.25)),
  load('e2e, bimodal', e2eBounds, (r) =>
    r() < 0.7 ? lognormal(r, 1.2, 0.3) : lognormal(r, 25, 0.3),
  ),
  load('e2e, Pareto', e2eBounds, (r) => 0.6 * (1 - r()) ** (-1 / 1.5)),
  load('e2e, capped by max_tokens', e2eBounds, (r) => {
    const tokens = Math.min(lognormal(r, 300, 1), 512)
    return 0.2 + tokens * 0.02 * lognormal(r, 1, 0.05)
  }),
  load('e2e, near constant', e2eBounds, (r) => lognormal(r, 7, 0.02)),
  load('queue, spike near zero', e2eBounds, (r) =>
    r() < 0.8 ? exponential(r, 0.003) : lognormal(r, 1.5, 0.8),
  ),
  load('ttft, lognormal wide', ttftBounds, (r) => lognormal(r, 0.15, 0.8)),
  load('ttft, bimodal', ttftBounds, (r) =>
    r() < 0.6 ? lognormal(r, 0.05, 0.2) : lognormal(r, 0.6, 0.4),
  ),
  load('e2e, drift', e2eBounds, (r, at) => lognormal(r, 3 + (9 * at) / WINDOW_SECONDS, 0.3)),
  { name: 'e2e, shared slowness', bounds: e2eBounds, draw: drawSharedSlowness },
  { name: 'e2e, slow when many', bounds: e2eBounds, draw: drawSlowWhenMany },
]
