import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Scenario } from '../../src/demo/scenario.ts'
import { findScenario, scenarioNames, vary } from '../../src/demo/scenarios.ts'
import { outcomeOf } from './outcome.ts'
import { boundOf, type Marks, marksOf, stallBoundMs } from './report.ts'

/** What lasts for hours is scraped less often: minutes are no matter there. */
const longMs = 3_600_000
const sparseMs = 15_000

async function marksWith(
  scenario: Scenario,
  options: { readonly seed: number; readonly probe: boolean },
): Promise<Marks> {
  const scrapeEveryMs = scenario.label.runMs > longMs ? sparseMs : 5_000
  return marksOf(await outcomeOf(scenario, { ...options, scrapeEveryMs }))
}

/** A test for one variation of each of the scenarios that `wanted` names; the message says which. */
function eachRun(
  wanted: (scenario: Scenario) => boolean,
  options: { readonly seed: number; readonly probe: boolean },
  hold: (marks: Marks, run: string) => void,
): void {
  for (const name of scenarioNames) {
    if (!wanted(findScenario(name))) continue
    const run = `${name}, seed ${options.seed}${options.probe ? ', with the probe' : ''}`
    it(`in ${run}`, async () => {
      hold(await marksWith(vary(findScenario(name), options.seed), options), run)
    })
  }
}

function assertNoneFalse({ falseAlarms, needlessProbes }: Marks, run: string): void {
  assert.deepEqual(falseAlarms, [], `${run}: alerts that say what is not so`)
  assert.equal(needlessProbes, 0, `${run}: probes sent while something progressed`)
}

function assertTold({ missed, rightFinding, label, outcome }: Marks, run: string): void {
  assert.deepEqual(missed, [], `${run}: alerts that had to fire`)
  const right = [label.pain, ...label.alsoRight].join(' or ')
  const found = `${outcome.finding} of ${JSON.stringify(outcome.findings)}`
  assert.ok(rightFinding, `${run}: expected the first finding ${right}, found ${found}`)
}

function assertInTime({ stallFiredAfterMs: ms, outcome }: Marks, run: string): void {
  const boundMs = boundOf(outcome.scenario)
  assert.ok(
    ms !== undefined && ms >= 0 && ms <= boundMs,
    `${run}: expected the stall to fire within ${boundMs} ms, found ${ms}`,
  )
}

function assertSuspected({ stallSuspectedAfterMs: ms }: Marks, run: string): void {
  assert.ok(
    ms !== undefined && ms >= 0 && ms <= stallBoundMs,
    `${run}: expected the stall to be suspected within ${stallBoundMs} ms, found ${ms}`,
  )
}

describe('a server with nothing wrong raises no alarm, and is probed in silence alone', () => {
  const isWell = ({ label }: Scenario) => label.pain === 'none'
  eachRun(isWell, { seed: 2, probe: true }, (marks, run) => {
    assertNoneFalse(marks, run)
    assert.ok(marks.rightFinding, `${run}: found ${JSON.stringify(marks.outcome.findings)}`)
  })
})

describe('what is wrong is told as it is, and nothing else', () => {
  const isIll = ({ label }: Scenario) => label.pain !== 'none' && label.stall === undefined
  eachRun(isIll, { seed: 1, probe: false }, (marks, run) => {
    assertNoneFalse(marks, run)
    assertTold(marks, run)
  })
})

describe('a stall with requests at hand fires in time', () => {
  const isVisible = ({ label }: Scenario) => label.stall === 'visible'
  eachRun(isVisible, { seed: 1, probe: false }, (marks, run) => {
    assertNoneFalse(marks, run)
    assertTold(marks, run)
    assertInTime(marks, run)
  })
})

describe('a stall that nothing on the page proves is suspected in time', () => {
  const isHidden = ({ label }: Scenario) => label.stall === 'hidden'
  eachRun(isHidden, { seed: 1, probe: false }, (marks, run) => {
    assertNoneFalse(marks, run)
    assertTold(marks, run)
    assertSuspected(marks, run)
  })
})

describe('with the probe every stall fires, and no probe is sent while anything progresses', () => {
  const stalls = ({ label }: Scenario) => label.stall !== undefined
  eachRun(stalls, { seed: 2, probe: true }, (marks, run) => {
    assertNoneFalse(marks, run)
    if (marks.label.stall === 'visible') assertInTime(marks, run)
    else {
      assertSuspected(marks, run)
      assert.notEqual(marks.stallFiredAfterMs, undefined, `${run}: expected the stall to fire`)
    }
  })
})
