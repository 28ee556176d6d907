import type { Scenario } from '../../src/demo/scenario.ts'
import { straightLine } from '../../src/window/straight-line.ts'
import { play, type Seen, type SentProbe } from './play.ts'

/** What one run of a scenario showed. Times are those of the scenario, in milliseconds. */
export interface Outcome {
  readonly scenario: string
  readonly seed: number
  readonly probe: boolean
  /** When each alert first fired, whether or not it was held back. */
  readonly fired: Readonly<Record<string, number>>
  /** Alerts that fired and were not held back. */
  readonly shown: Readonly<Record<string, number>>
  /** When a stall was first suspected, and first pending for certain. */
  readonly suspectedMs: number | undefined
  readonly pendingMs: number | undefined
  /** For how long each finding stood first during the incident, in evaluations. */
  readonly findings: Readonly<Record<string, number>>
  /** The finding that stood first for longest. */
  readonly finding: string
  readonly states: Readonly<Record<string, number>>
  readonly probes: readonly SentProbe[]
  /** When a plain rule would have fired: `histogram_quantile(0.99) > 10` for 2 m, `up == 0` for 30 s. */
  readonly plain: { readonly quantileMs: number | undefined; readonly upMs: number | undefined }
}

/** A finding may take so long to come first; of an incident that lasts for hours half of it. */
const graceMs = 60_000
const longMs = 1_800_000

/** Plays a scenario, scraped every 5 s unless another interval is given, and notes what the verdicts were. */
export async function outcomeOf(
  scenario: Scenario,
  options: { readonly seed: number; readonly probe: boolean; readonly scrapeEveryMs?: number },
): Promise<Outcome> {
  const { scrapeEveryMs = 5_000, ...watching } = options
  const { label, name } = scenario
  const fired: Record<string, number> = {}
  const shown: Record<string, number> = {}
  const findings: Record<string, number> = {}
  const states: Record<string, number> = {}
  let suspectedMs: number | undefined
  let pendingMs: number | undefined
  const plain = new PlainRules()
  const until = Math.min(label.untilMs, label.runMs)
  const lastsMs = until - label.fromMs
  const from = label.fromMs + (lastsMs > longMs ? lastsMs / 2 : Math.min(graceMs, lastsMs / 2))
  const see = (seen: Seen): void => {
    const { atMs, snapshot } = seen
    plain.see(seen)
    for (const { alert, state, certainty, heldBack } of snapshot.alerts) {
      if (state === 'firing') {
        fired[alert] ??= atMs
        if (heldBack === undefined) shown[alert] ??= atMs
      }
      if (alert !== 'VllmEngineStalled' || atMs < label.fromMs) continue
      if (certainty === 'suspected') suspectedMs ??= atMs
      else pendingMs ??= atMs
    }
    const state = snapshot.targets[0]?.state ?? 'unknown'
    if (atMs >= label.fromMs) states[state] = (states[state] ?? 0) + 1
    if (atMs < from || atMs > until) return
    const first = snapshot.diagnosis[0]?.pain ?? 'none'
    findings[first] = (findings[first] ?? 0) + 1
  }
  const probes = await play(scenario, { ...watching, scrapeEveryMs, gpuEveryMs: 10_000 }, see)
  const [finding = 'none'] = Object.entries(findings).sort(([, a], [, b]) => b - a)[0] ?? []
  return {
    scenario: name,
    seed: options.seed,
    probe: options.probe,
    fired,
    shown,
    suspectedMs,
    pendingMs,
    findings,
    finding,
    states,
    probes,
    plain: plain.fired,
  }
}

/** The rules that one would write without all this, on the same scrapes. */
class PlainRules {
  #quantile: { readonly sinceMs: number } | undefined
  #up: { readonly sinceMs: number } | undefined
  #quantileMs: number | undefined
  #upMs: number | undefined

  get fired(): Outcome['plain'] {
    return { quantileMs: this.#quantileMs, upMs: this.#upMs }
  }

  see({ atMs, windows, attempt }: Seen): void {
    const target = windows.target('vllm')
    const view = target.view(300_000)
    const [model = ''] = target.models
    const delta = view?.histogram('e2e_latency', { model_name: model })
    const p99 = delta === undefined ? Number.NaN : (straightLine(delta, 0.99) ?? Number.NaN)
    const isSlow = attempt.kind === 'read' && p99 > 10
    this.#quantile = isSlow ? (this.#quantile ?? { sinceMs: atMs }) : undefined
    if (this.#quantile !== undefined && atMs - this.#quantile.sinceMs >= 120_000) {
      this.#quantileMs ??= atMs
    }
    this.#up = attempt.kind === 'missed' ? (this.#up ?? { sinceMs: atMs }) : undefined
    if (this.#up !== undefined && atMs - this.#up.sinceMs >= 30_000) this.#upMs ??= atMs
  }
}
