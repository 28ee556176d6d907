import type { Label } from '../../src/demo/label.ts'
import { findScenario, vary } from '../../src/demo/scenarios.ts'
import type { Outcome } from './outcome.ts'

/** What is to be said of one run, held against what is true of it. */
export interface Marks {
  readonly outcome: Outcome
  readonly label: Label
  /** Alerts that fired and should not have, with the second. */
  readonly falseAlarms: readonly string[]
  readonly missed: readonly string[]
  readonly rightFinding: boolean
  /** Milliseconds from the onset to the alert; absent where it did not fire. */
  readonly stallFiredAfterMs: number | undefined
  readonly stallSuspectedAfterMs: number | undefined
  /** Probes sent although something had progressed in the ten seconds before. */
  readonly needlessProbes: number
}

/** A stall with visible demand has so long to fire: 60 s and two intervals. */
export const stallBoundMs = 70_000
/** In the first minutes of a process, which may compile, it has so much longer. */
const youngMoreMs = 65_000

export function marksOf(outcome: Outcome): Marks {
  const { label } = vary(findScenario(outcome.scenario), outcome.seed)
  const allowed = new Set<string>([...label.mustFire, ...label.mayFire])
  const falseAlarms = Object.entries(outcome.shown).flatMap(([alert, atMs]) =>
    !allowed.has(alert) || (label.pain !== 'none' && atMs < label.fromMs)
      ? [`${alert} at ${seconds(atMs)}`]
      : [],
  )
  const missed = label.mustFire.filter((alert) => outcome.fired[alert] === undefined)
  const right = [label.pain, ...label.alsoRight] as readonly string[]
  const fired = outcome.fired['VllmEngineStalled']
  const suspected = Math.min(
    outcome.suspectedMs ?? Number.POSITIVE_INFINITY,
    outcome.pendingMs ?? Number.POSITIVE_INFINITY,
  )
  return {
    outcome,
    label,
    falseAlarms,
    missed,
    rightFinding: right.includes(outcome.finding),
    stallFiredAfterMs: fired === undefined ? undefined : fired - label.fromMs,
    stallSuspectedAfterMs: Number.isFinite(suspected) ? suspected - label.fromMs : undefined,
    needlessProbes: outcome.probes.filter(
      ({ atMs, workedMs }) => workedMs !== undefined && atMs - workedMs < 10_000,
    ).length,
  }
}

/** How long a visible stall of this scenario may take to fire. */
export function boundOf(scenario: string): number {
  return scenario === 'stall-cold' ? stallBoundMs + youngMoreMs : stallBoundMs
}

/** Returns the whole report as text: goals, confusion matrix, delays. */
export function report(
  outcomes: readonly Outcome[],
  options: { readonly details: boolean; readonly seeds: string },
): string {
  const all = outcomes.map(marksOf)
  const plain = all.filter(({ outcome }) => !outcome.probe)
  return [
    `Seeds ${options.seeds}; scrapes every 5 s, nvidia-smi every 10 s, default configuration.`,
    '',
    ...matrix(plain),
    '',
    ...delays(all),
    '',
    ...goals(all),
    ...(options.details ? ['', ...details(all)] : []),
    '',
  ].join('\n')
}

function matrix(plain: readonly Marks[]): readonly string[] {
  const columns = [...new Set(plain.flatMap(({ outcome }) => outcome.finding))].sort(byNumber)
  const lines = [
    'First finding of each run (the one that stood first for longest), without the probe:',
    row('scenario', 'right', columns),
  ]
  for (const [name, runs] of byScenario(plain)) {
    const counts = columns.map((column) => {
      const count = runs.filter(({ outcome }) => outcome.finding === column).length
      return count === 0 ? '.' : String(count)
    })
    const [first] = runs
    const right = [first?.label.pain, ...(first?.label.alsoRight ?? [])].join(' ')
    lines.push(row(name, right, counts))
  }
  return lines
}

function row(name: string, right: string, cells: readonly string[]): string {
  return `${name.padEnd(20)} ${right.padEnd(12)} ${cells.map((cell) => cell.padStart(5)).join('')}`
}

function delays(all: readonly Marks[]): readonly string[] {
  const lines = [
    'Seconds from the onset, median and longest (– where it never fired, with how many runs did):',
    `${'scenario'.padEnd(20)} ${['suspected', 'stalled', 'with probe', 'any alert', 'p99 > 10 s', 'up == 0'].map((one) => one.padStart(14)).join('')}`,
  ]
  for (const [name, runs] of byScenario(all)) {
    if (runs[0]?.label.pain === 'none') continue
    const without = runs.filter(({ outcome }) => !outcome.probe)
    const probed = runs.filter(({ outcome }) => outcome.probe)
    const cells = [
      spread(without.map(({ stallSuspectedAfterMs }) => stallSuspectedAfterMs)),
      spread(without.map(({ stallFiredAfterMs }) => stallFiredAfterMs)),
      spread(probed.map(({ stallFiredAfterMs }) => stallFiredAfterMs)),
      spread(without.map(firstAlertAfter)),
      spread(without.map(({ outcome, label }) => since(outcome.plain.quantileMs, label))),
      spread(without.map(({ outcome, label }) => since(outcome.plain.upMs, label))),
    ]
    lines.push(`${name.padEnd(20)} ${cells.map((cell) => cell.padStart(14)).join('')}`)
  }
  return lines
}

function firstAlertAfter({ outcome, label }: Marks): number | undefined {
  const times = Object.values(outcome.shown).filter((atMs) => atMs >= label.fromMs)
  return times.length === 0 ? undefined : Math.min(...times) - label.fromMs
}

function since(atMs: number | undefined, label: Label): number | undefined {
  return atMs === undefined || atMs < label.fromMs ? undefined : atMs - label.fromMs
}

function spread(delaysMs: readonly (number | undefined)[]): string {
  const known = delaysMs.flatMap((ms) => (ms === undefined ? [] : [ms])).sort((a, b) => a - b)
  const median = known[Math.floor((known.length - 1) / 2)]
  const longest = known.at(-1)
  if (median === undefined || longest === undefined) return '–'
  const whole = known.length === delaysMs.length ? '' : ` (${known.length}/${delaysMs.length})`
  return `${seconds(median)} ${seconds(longest)}${whole}`
}

function goals(all: readonly Marks[]): readonly string[] {
  const healthy = all.filter(({ label }) => label.pain === 'none')
  const ill = all.filter(({ label, outcome }) => label.pain !== 'none' && !outcome.probe)
  const loud = healthy.filter(({ falseAlarms }) => falseAlarms.length > 0)
  const wrong = all.filter(
    ({ label, falseAlarms }) => label.pain !== 'none' && falseAlarms.length > 0,
  )
  const visible = all.filter(({ label }) => label.stall === 'visible')
  const inTime = visible.filter(
    ({ stallFiredAfterMs, outcome }) =>
      stallFiredAfterMs !== undefined && stallFiredAfterMs <= boundOf(outcome.scenario),
  )
  const hidden = all.filter(({ label }) => label.stall === 'hidden')
  const suspected = hidden.filter(
    ({ stallSuspectedAfterMs: ms }) => ms !== undefined && ms <= stallBoundMs,
  )
  const probed = hidden.filter(({ outcome }) => outcome.probe)
  const proven = probed.filter(({ stallFiredAfterMs }) => stallFiredAfterMs !== undefined)
  const right = ill.filter(({ rightFinding }) => rightFinding)
  const missed = ill.filter(({ missed: alerts }) => alerts.length > 0)
  const needless = all.reduce((total, { needlessProbes }) => total + needlessProbes, 0)
  const of = (part: readonly unknown[], whole: readonly unknown[]) =>
    `${part.length} of ${whole.length}`
  return [
    `healthy runs with a false alarm                      ${of(loud, healthy)}`,
    `incident runs with an alert that tells something else ${of(
      wrong,
      all.filter(({ label }) => label.pain !== 'none'),
    )}`,
    `incident runs that miss an alert                     ${of(missed, ill)}`,
    `visible stalls that fire within 60 s + 2 intervals   ${of(inTime, visible)} (stall-cold: 65 s later, while it may compile)`,
    `other stalls at least suspected by then              ${of(suspected, hidden)}`,
    `other stalls that fire once the probe is on          ${of(proven, probed)}`,
    `right first finding in incident runs                 ${of(right, ill)} (${((100 * right.length) / Math.max(1, ill.length)).toFixed(1)} %)`,
    `probes sent while something progressed               ${needless}`,
  ]
}

function details(all: readonly Marks[]): readonly string[] {
  return all.flatMap(({ outcome, falseAlarms, missed, rightFinding, label, ...times }) => {
    const said: string[] = []
    if (falseAlarms.length > 0) said.push(`false: ${falseAlarms.join(', ')}`)
    if (missed.length > 0 && !outcome.probe) said.push(`missed: ${missed.join(', ')}`)
    if (!rightFinding) said.push(`found ${JSON.stringify(outcome.findings)}, right ${label.pain}`)
    const { stallFiredAfterMs: fired } = times
    if (label.stall === 'visible' && (fired === undefined || fired > boundOf(outcome.scenario))) {
      said.push(`stall fired after ${fired === undefined ? 'never' : seconds(fired)}`)
    }
    if (said.length === 0) return []
    const probe = outcome.probe ? ' +probe' : ''
    return [
      `${outcome.scenario} ${outcome.seed}${probe} (from ${seconds(label.fromMs)}): ${said.join('; ')} ${JSON.stringify(outcome.states)}`,
    ]
  })
}

function byScenario(all: readonly Marks[]): ReadonlyMap<string, readonly Marks[]> {
  const groups = new Map<string, Marks[]>()
  for (const marks of all) {
    const group = groups.get(marks.outcome.scenario)
    if (group === undefined) groups.set(marks.outcome.scenario, [marks])
    else group.push(marks)
  }
  return groups
}

function byNumber(a: string, b: string): number {
  return Number(a.slice(1)) - Number(b.slice(1)) || a.localeCompare(b)
}

function seconds(ms: number): string {
  return (ms / 1_000).toFixed(0)
}
