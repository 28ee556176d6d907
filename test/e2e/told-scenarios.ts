import type { Incident } from '../../src/demo/incident.ts'
import type { Scenario } from '../../src/demo/scenario.ts'
import { findScenario } from '../../src/demo/scenarios.ts'

export const forever = Number.POSITIVE_INFINITY

/** The scenarios of the demonstration with an end, so that alerts are over again. Times are in seconds. */

/** More requests than can be served from 15 s on, until `until`. */
export function overload(until: number): Scenario {
  const scenario = findScenario('overload')
  const { arrivals } = scenario.traffic
  const usual = { atSeconds: until + 1, perSecond: 3 }
  const heavy = arrivals.at(-1)?.perSecond ?? 0
  const end = [{ atSeconds: until, perSecond: heavy }, usual]
  return { ...scenario, traffic: { ...scenario.traffic, arrivals: [...arrivals, ...end] } }
}

/** Ordinary load, beside which `incidents` happen. */
export function steadyBut(...incidents: readonly Incident[]): Scenario {
  return { ...findScenario('steady'), incidents }
}

/** The incidents of a scenario, each of which ends at `until` if it had no end. */
export function ending(name: string, until: number): Scenario {
  const scenario = findScenario(name)
  const incidents = scenario.incidents.map((incident) =>
    'untilMs' in incident && incident.untilMs === forever
      ? { ...incident, untilMs: 1_000 * until }
      : incident,
  )
  return { ...scenario, incidents }
}

/** An engine whose memory on its GPU grows by so much, while it also varies a little. */
export function leaking(growth: {
  readonly mib: number
  readonly from: number
  readonly until: number
}): Scenario {
  const { mib, from, until } = growth
  return steadyBut(
    { kind: 'memory-growth', fromMs: 1_000 * from, untilMs: 1_000 * until, mib },
    { kind: 'memory-noise', fromMs: -forever, untilMs: forever, mib: 8 },
  )
}
