import { deathRecipes, memoryRecipes } from './deaths.ts'
import { healthyRecipes } from './healthy.ts'
import { Random } from './random.ts'
import { type Dials, healthy, minuteMs, ordinary, type Recipe, trafficAt } from './recipe.ts'
import type { Scenario } from './scenario.ts'
import { slownessRecipes } from './slowness.ts'
import { stallRecipes } from './stalls.ts'

const steady: Recipe = {
  name: 'steady',
  make: (dials) => ({
    ...ordinary,
    summary: 'ordinary load on one engine, nothing goes wrong',
    incident: 'No incident: the server stays healthy.',
    traffic: trafficAt(dials.between(5, 2.5, 6.5)),
    label: healthy(10 * minuteMs),
  }),
}

const firstNames = ['steady', 'overload', 'errors', 'restart', 'gpu-lost']

const recipes = [
  steady,
  ...slownessRecipes,
  ...stallRecipes,
  ...deathRecipes,
  ...memoryRecipes,
  ...healthyRecipes,
].sort((a, b) => placeOf(a.name) - placeOf(b.name))

/** The names that `demo --scenario` takes, the default first. */
export const scenarioNames: readonly string[] = recipes.map((recipe) => recipe.name)

/** Returns the scenario called `name`; throws an `Error` that lists the known ones when there is none. */
export function findScenario(name: string): Scenario {
  return scenarioOf(name, {
    between: (asWritten) => asWritten,
    pick: (asWritten) => asWritten,
  })
}

/**
 * Returns another scenario of the same kind: begun at another time, under another load, of another
 * severity or length. The label says what is true of it. The same seed gives the same scenario.
 */
export function vary(scenario: Scenario, seed: number): Scenario {
  // The same seed must not mean an early begin and a heavy load in every scenario.
  let stream = 11
  for (const letter of scenario.name) stream = Math.imul(stream, 31) + letter.charCodeAt(0)
  const random = new Random(seed).fork(stream)
  return scenarioOf(scenario.name, {
    between: (_, low, high) => random.between(low, high),
    pick: (asWritten, ...others) => random.pick([asWritten, ...others]),
  })
}

/** Returns one line for each scenario: its name and what it shows. */
export function describeScenarios(): string {
  const width = Math.max(...scenarioNames.map((name) => name.length))
  return scenarioNames
    .map((name) => `${name.padEnd(width)}  ${findScenario(name).summary}`)
    .join('\n')
}

function scenarioOf(name: string, dials: Dials): Scenario {
  const recipe = recipes.find((known) => known.name === name)
  if (recipe === undefined) {
    throw new Error(`expected one of the scenarios ${scenarioNames.join(', ')}, found "${name}"`)
  }
  return { name, ...recipe.make(dials) }
}

function placeOf(name: string): number {
  const place = firstNames.indexOf(name)
  return place < 0 ? firstNames.length : place
}
