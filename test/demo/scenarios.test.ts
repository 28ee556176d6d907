import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SimulatedEngine } from '../../src/demo/engine.ts'
import { type AlertName, alertNames } from '../../src/demo/label.ts'
import type { Scenario } from '../../src/demo/scenario.ts'
import { findScenario, scenarioNames, vary } from '../../src/demo/scenarios.ts'
import { arrivalsPerSecond } from '../../src/demo/traffic.ts'
import type { Truth } from '../../src/demo/truth.ts'
import { variants } from './watch.ts'

const seeds = Array.from({ length: 30 }, (_, index) => index + 1)

describe('every scenario', () => {
  it('begins within half a minute of a demonstration', () => {
    for (const name of scenarioNames) assert.ok(findScenario(name).label.fromMs <= 30_000, name)
  })

  it('has a label that is about something there is', () => {
    for (const name of scenarioNames) {
      for (const scenario of [findScenario(name), ...seeds.map((seed) => varied(name, seed))]) {
        const { label } = scenario
        assert.ok(label.fromMs >= 0 && label.fromMs < label.untilMs, name)
        assert.ok(label.fromMs < label.runMs && label.runMs <= 4 * 3_600_000, name)
        assert.ok(label.pastMs > 0 && label.pastMs < (scenario.ageMs ?? Infinity), name)
        assert.ok(!label.alsoRight.includes(label.pain), name)
        for (const alert of [...label.mustFire, ...label.mayFire]) {
          assert.ok(alertNames.includes(alert), name)
        }
        // What is right to be silent about cannot have to ring as well, a stall's reason aside.
        if (label.stall === 'hidden') assert.deepEqual(label.mustFire, [], name)
        if (label.stall === 'visible') assert.ok(label.mustFire.includes('VllmEngineStalled'))
      }
    }
  })

  it('names GPUs, engines and times that it has', () => {
    for (const name of scenarioNames) {
      for (const seed of seeds) {
        const { incidents, engines, gpus, gpusPerEngine, label } = varied(name, seed)
        assert.ok(gpus >= engines * gpusPerEngine, name)
        for (const incident of incidents) {
          if ('gpu' in incident) assert.ok(incident.gpu < gpus, name)
          if ('engine' in incident) assert.ok(incident.engine < engines, name)
          if ('engines' in incident && incident.engines !== 'all') {
            assert.ok(incident.engines.every((engine) => engine < engines))
          }
          if (incident.kind === 'memory-growth') assert.ok(incident.untilMs < Infinity, name)
          const startMs = 'atMs' in incident ? incident.atMs : incident.fromMs
          assert.ok(startMs < label.runMs, `${name}: ${incident.kind} at ${startMs}`)
        }
      }
    }
  })
})

function varied(name: string, seed: number): Scenario {
  return vary(findScenario(name), seed)
}

describe('a variation', () => {
  it('is the same for the same seed, another for another, and of the same name', () => {
    for (const name of scenarioNames) {
      const first = varied(name, 7)
      assert.deepEqual(varied(name, 7), first)
      assert.equal(first.name, name)
      const others = seeds.map((seed) => JSON.stringify(varied(name, seed)))
      assert.ok(new Set(others).size > 25, name)
      // A variation of a variation is that of the original.
      assert.deepEqual(vary(varied(name, 3), 7), first)
    }
  })

  it('leaves the scenario as it is written alone', () => {
    for (const name of scenarioNames) {
      const before = JSON.stringify(findScenario(name))
      varied(name, 5)
      assert.equal(JSON.stringify(findScenario(name)), before)
    }
  })

  it('moves its label with its incident', () => {
    for (const name of scenarioNames) {
      const asWritten = findScenario(name)
      const starts = new Set<number>()
      for (const seed of seeds) {
        const { incidents, label } = varied(name, seed)
        starts.add(label.fromMs)
        const [first] = incidents
        if (label.pain === 'none' || first === undefined || 'atMs' in first) continue
        // The shape that makes an engine compile comes just before; a condition has no begin.
        if (first.fromMs === -Infinity || name === 'jit-shape') continue
        assert.equal(first.fromMs, label.fromMs, name)
      }
      if (asWritten.label.fromMs > 0) assert.ok(starts.size > 20, name)
    }
  })

  it('has another load, within what the label allows', () => {
    for (const name of scenarioNames) {
      const loads = seeds.map((seed) => arrivalsPerSecond(varied(name, seed).traffic, -60_000))
      assert.ok(Math.max(...loads) < 14, name)
      // An engine is good for eleven ordinary requests in a second.
      if (name !== 'full-cache') assert.ok(Math.max(...loads) <= 9, name)
    }
  })
})

const minuteMs = 60_000
const stepMs = 10_000

/** Whether `holds` was true of every step for at least `forMs`. */
function lasts(steps: readonly boolean[], forMs: number): boolean {
  let longest = 0
  let run = 0
  for (const holds of steps) {
    run = holds ? run + 1 : 0
    longest = Math.max(longest, run)
  }
  return longest * stepMs > forMs
}

/** How many of the entries of the last five minutes are as `matches` says, and of how many. */
function share<T extends { readonly atMs: number }>(
  entries: readonly T[],
  atMs: number,
  matches: (entry: T) => boolean,
): number {
  const recent = entries.filter((one) => one.atMs > atMs - 5 * minuteMs && one.atMs <= atMs)
  return recent.length < 20 ? 0 : recent.filter(matches).length / recent.length
}

/** What truly was so bad for so long that an alert is right, told without any metric. */
function rightAlerts(scenario: Scenario, seed: number): ReadonlySet<AlertName> {
  const { runMs, pastMs } = scenario.label
  const engine = new SimulatedEngine({
    scenario,
    seed,
    startWallMs: 1_700_000_000_000,
    prewarmMs: pastMs + minuteMs,
    truthCapacity: 1_000_000,
  })
  engine.advance(-pastMs)
  const deaf: boolean[] = []
  const finished: Truth['finished'][number][] = []
  const ended: { readonly atMs: number; readonly failed: boolean }[] = []
  for (let atMs = 0; atMs <= Math.min(runMs, 20 * minuteMs); atMs += stepMs) {
    engine.advance(atMs)
    const loading = engine.loads().some(({ usedMiB }) => usedMiB > 400)
    const orphaned = scenario.incidents.some((one) => one.kind === 'outage' && one.orphan === true)
    const looping = scenario.incidents.some((one) => one.kind === 'outage' && one.failures)
    const excused = loading && !orphaned && !looping && !engine.portOpen
    deaf.push((!engine.portOpen || engine.healthStatus === 503) && !excused)
    const truth = engine.drainTruth()
    finished.push(...truth.finished)
    ended.push(...ends(truth))
  }
  const found = new Set<AlertName>()
  if (lasts(deaf, 30_000)) found.add('VllmDown')
  const judge = (alert: AlertName, forMs: number, isBad: (atMs: number) => boolean) => {
    if (
      lasts(
        deaf.map((_, step) => isBad(step * stepMs)),
        forMs,
      )
    )
      found.add(alert)
  }
  judge('VllmLatencyP99High', 2 * minuteMs, (atMs) => {
    return share(finished, atMs, (one) => one.e2eSeconds > 10) > 0.01
  })
  judge('VllmQueueWaitHigh', minuteMs, (atMs) => {
    return share(finished, atMs, (one) => one.queueSeconds > 5) > 0.05
  })
  judge(
    'VllmErrorRatioHigh',
    2 * minuteMs,
    (atMs) => share(ended, atMs, (one) => one.failed) > 0.01,
  )
  return found
}

/** How requests ended: in the engine, or with an answer of 500. */
function ends(truth: Truth): readonly { readonly atMs: number; readonly failed: boolean }[] {
  const finished = truth.finished.map(({ atMs, reason }) => ({ atMs, failed: reason === 'error' }))
  const refused = truth.answers.flatMap(({ atMs, status }) => {
    return status === '5xx' ? [{ atMs, failed: true }] : []
  })
  return [...finished, ...refused]
}

const told = ['VllmDown', 'VllmLatencyP99High', 'VllmQueueWaitHigh', 'VllmErrorRatioHigh'] as const

describe('the label', () => {
  for (const name of scenarioNames) {
    it(`of ${name} asks for the alerts that are right, and for no others`, () => {
      for (const [seed, scenario] of variants(name, 1).entries()) {
        const { mustFire, mayFire } = scenario.label
        const right = rightAlerts(scenario, seed + 1)
        for (const alert of told) {
          if (mustFire.includes(alert)) assert.ok(right.has(alert), `${alert}, seed ${seed}`)
          else if (!mayFire.includes(alert)) assert.ok(!right.has(alert), `${alert}, seed ${seed}`)
        }
      }
    })
  }
})
