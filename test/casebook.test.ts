import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { findScenario } from '../src/demo/scenarios.ts'
import { builtinRules } from '../src/rules/builtin.ts'
import type { Snapshot } from '../src/snapshot.ts'
import { findingLines } from '../src/web/diagnosis.ts'
import { healthBody, healthText } from '../src/web/health.ts'
import { repositoryRoot } from './repository.ts'
import { play } from './verdicts/play.ts'

const page = readFileSync(join(repositoryRoot, 'docs/casebook.md'), 'utf8')

/** The cases in their order: the heading of each, and all that is below it. */
const cases = page
  .split(/^### /m)
  .slice(1)
  .map((section) => ({
    title: section.split('\n')[0] ?? '',
    text: section.split(/^## /m)[0] ?? '',
  }))

/** What a case says that a demonstration shows: an alert that fires, or one or any that does not, and a finding. */
interface Claim {
  readonly scenario: string
  readonly fires: boolean
  readonly alert: string
  readonly pain: string
}

const claimPattern =
  /^Reproduce: `npm run demo -- --scenario=([\w-]+)` → (no )?(\w+), (P\d+)(?:$| \()/gm

function claimsOf(text: string): readonly Claim[] {
  return [...text.matchAll(claimPattern)].map(
    ([, scenario = '', not, alert = '', pain = '']): Claim => ({
      scenario,
      fires: not === undefined,
      alert,
      pain,
    }),
  )
}

/** The lines that a case says `/health` answers. */
function linesOf(text: string): readonly string[] {
  return [...text.matchAll(/^```text\n([\s\S]*?)^```/gm)].flatMap(([, block = '']) =>
    block.trimEnd().split('\n'),
  )
}

/** What a demonstration showed, as it is written, with seed 1. */
interface Shown {
  /** Alerts that fired and were not held back. */
  readonly alerts: ReadonlySet<string>
  /** The finding that stood first most often, nothing to tell left aside. */
  readonly finding: string
  /** Every line that `/health` had, numbers and names of machines left out. */
  readonly lines: ReadonlySet<string>
}

/** What lasts for hours is scraped less often: minutes are no matter there. */
const longMs = 3_600_000

async function shownBy(name: string): Promise<Shown> {
  const scenario = findScenario(name)
  const alerts = new Set<string>()
  const lines = new Set<string>()
  const findings = new Map<string, number>()
  const scrapeEveryMs = scenario.label.runMs > longMs ? 15_000 : 5_000
  await play(
    scenario,
    { seed: 1, probe: false, scrapeEveryMs, gpuEveryMs: Math.max(10_000, scrapeEveryMs) },
    ({ atMs, snapshot }) => {
      if (atMs < scenario.label.fromMs) return
      for (const { alert, state, heldBack } of snapshot.alerts) {
        if (state === 'firing' && heldBack === undefined) alerts.add(alert)
      }
      const [first] = snapshot.diagnosis
      if (first !== undefined && first.pain !== 'none') {
        findings.set(first.pain, (findings.get(first.pain) ?? 0) + 1)
      }
      for (const line of answered(snapshot)) lines.add(bare(line))
    },
  )
  const [[finding] = ['none']] = [...findings].sort(([, a], [, b]) => b - a)
  return { alerts, finding, lines }
}

function answered(snapshot: Snapshot): readonly string[] {
  const text = healthText(healthBody(snapshot, '0.0.0'), snapshot.diagnosis.flatMap(findingLines))
  return text.trimEnd().split('\n')
}

/** A line without what differs from one run to the next. */
function bare(line: string): string {
  return line
    .replaceAll(/https?:\/\/[^\s'")/]+/g, 'URL')
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
    .replaceAll(/GPU-[\da-f-]+/g, 'UUID')
    .replaceAll(/\d+(?:\.\d+)?/g, '#')
}

/** Whether a line of a case is one of `lines`; what it leaves out is written as `…`. */
function isSaid(line: string, lines: ReadonlySet<string>): boolean {
  const parts = bare(line)
    .split('…')
    .map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
  const pattern = new RegExp(`^${parts.join('.*')}$`)
  return [...lines].some((said) => pattern.test(said))
}

describe('docs/casebook.md', () => {
  it('has 14 cases or more, each with a source and with a demonstration or the reason for none', () => {
    assert.ok(cases.length >= 14, `${cases.length} cases`)
    for (const { title, text } of cases) {
      assert.match(text, /^Sources: .*github\.com\/.*\/(issues|pull)\/\d+/m, title)
      const none = /^Reproduce: not in the simulator/m.test(text)
      assert.equal(claimsOf(text).length > 0, !none, title)
    }
  })

  it('leads from the table of symptoms to every case', () => {
    const linked = new Set([...page.matchAll(/\]\(#(\d+-[\w-]+)\)/g)].map(([, anchor]) => anchor))
    assert.equal(linked.size, cases.length)
  })

  it('claims only alerts that there are', () => {
    const names = new Set<string>(['alert', ...builtinRules.map(({ name }) => name)])
    const claimed = cases.flatMap(({ text }) => claimsOf(text).map(({ alert }) => alert))
    assert.deepEqual(
      claimed.filter((alert) => !names.has(alert)),
      [],
    )
  })

  for (const { title, text } of cases) {
    const claims = claimsOf(text)
    if (claims.length === 0) continue
    it(`is right about "${title}"`, async () => {
      const said = new Set<string>()
      for (const { scenario, fires, alert, pain } of claims) {
        const { alerts, finding, lines } = await shownBy(scenario)
        const fired = alert === 'alert' ? alerts.size > 0 : alerts.has(alert)
        assert.equal(fired, fires, `${scenario}: ${alert} of ${[...alerts].join(', ')}`)
        assert.equal(finding, pain, scenario)
        for (const line of lines) said.add(line)
      }
      const unsaid = linesOf(text).filter((line) => !isSaid(line, said))
      assert.deepEqual(unsaid, [])
    })
  }
})
