import assert from 'node:assert/strict'
import type { Scenario } from '../../src/demo/scenario.ts'
import { targetStates } from '../../src/rules/health.ts'
import type { HealthBody, ReasonBody, SuppressedBody } from '../../src/web/health.ts'
import { labelsOf, type Sample, type Sight, startToldDaemon } from './told-daemon.ts'
import type { SmiFailure } from './told-machine.ts'

/** How one server is watched. Times are in seconds of its scenario. */
export interface Watching {
  readonly scenario: Scenario
  readonly from: number
  readonly to: number
  readonly every?: number
  readonly settings?: Readonly<Record<string, unknown>>
  /** How nvidia-smi fails, and when. */
  readonly failing?: { readonly from: number; readonly to: number; readonly as: SmiFailure }
}

/** Watches a server, and returns what was seen. */
export async function watch(watching: Watching): Promise<readonly Sight[]> {
  const { scenario, from, to, every = 5, settings = {}, failing } = watching
  const told = await startToldDaemon({ scenarios: [scenario], from, settings, every })
  try {
    const sights = [await told.look()]
    if (failing !== undefined) {
      sights.push(...(await told.passTo(failing.from - every)))
      told.fail(failing.as)
      sights.push(...(await told.passTo(failing.to - every)))
      told.fail(undefined)
    }
    sights.push(...(await told.passTo(to)))
    return sights
  } finally {
    await told.stop()
  }
}

/** Every firing alert that `/health` gives as a reason, of whatever it speaks. */
export function reasonsIn(body: HealthBody): readonly ReasonBody[] {
  return subjectsIn(body).flatMap(({ reasons }) => reasons)
}

/** Every firing alert that `/health` says is held back. */
export function suppressedIn(body: HealthBody): readonly SuppressedBody[] {
  return subjectsIn(body).flatMap(({ suppressed = [] }) => suppressed)
}

function subjectsIn({ targets, gpus, gpu_source: source }: HealthBody) {
  return [...targets, ...gpus, ...(source === undefined ? [] : [source])]
}

/** Every pending alert in `/api/v1/status`. */
export function pendingIn({ status }: Sight): readonly ReasonBody[] {
  const { targets, gpus, gpu_source: source, daemon } = status
  const all = [...targets, ...gpus, ...(source === undefined ? [] : [source]), daemon]
  return all.flatMap(({ pending }) => pending)
}

/** The alerts in `vllm_vitals_alert_active`, all or those called `name`. */
export function activeIn(sight: Sight, name?: string): readonly Sample['labels'][] {
  return sight.samples
    .filter((sample) => sample.name === 'alert_active')
    .map(({ labels }) => labels)
    .filter(({ alertname }) => name === undefined || alertname === name)
}

export function names(alerts: readonly { readonly alert: string }[]): readonly string[] {
  return alerts.map(({ alert }) => alert).sort()
}

/** The sight at so many seconds of the scenario. */
export function seenAt(sights: readonly Sight[], seconds: number): Sight {
  const found = sights.find(({ at }) => at === seconds)
  assert.ok(found, `expected a look at ${seconds} s`)
  return found
}

/** The states of the first target in their order, each with the time at which it was first seen. */
export function statesIn(sights: readonly Sight[]): readonly (readonly [string, number])[] {
  const seen: (readonly [string, number])[] = []
  for (const { at, health } of sights) {
    const state = health.targets[0]?.state ?? 'none'
    if (seen.at(-1)?.[0] !== state) seen.push([state, at])
  }
  return seen
}

/** When an alert was pending, firing and over again, in seconds of the scenario. */
export interface Story {
  readonly pending: number
  readonly firing: number
  readonly over: number | undefined
}

/** What became of an alert that fired, as `vllm_vitals_alert_active` told it. Fails where it did not fire. */
export function storyOf(sights: readonly Sight[], name: string): Story {
  const stateAt = (sight: Sight | undefined) =>
    sight === undefined ? undefined : activeIn(sight, name)[0]?.['state']
  const firing = sights.findIndex((sight) => stateAt(sight) === 'firing')
  assert.ok(firing >= 0, `expected ${name} to fire`)
  let pending = firing
  while (stateAt(sights[pending - 1]) === 'pending') pending -= 1
  assert.ok(pending < firing, `expected ${name} to be pending before it fired`)
  const over = sights.find((sight, index) => index > firing && stateAt(sight) === undefined)
  const at = (index: number) => sights[index]?.at ?? Number.NaN
  return { pending: at(pending), firing: at(firing), over: over?.at }
}

/** Holds what the four answers of one moment say against each other. */
export function assertOneVoice(sight: Sight): void {
  const { health, status, code, at } = sight
  const context = `at ${at} s`
  const mayServe = health.status === 'healthy' || health.status === 'degraded'
  assert.equal(code, mayServe ? 200 : 503, context)
  const told = ({ status: whole, targets }: HealthBody) => [
    whole,
    ...targets.map((target) => [target.name, target.status, target.state, target.detail]),
  ]
  assert.deepEqual(told(status), told(health), context)
  assert.deepEqual(reasonsIn(status), reasonsIn(health), context)
  assert.deepEqual(suppressedIn(status), suppressedIn(health), context)
  for (const { name, state } of health.targets) {
    const ones = sight.samples.filter(
      (sample) => sample.name === 'engine_state' && sample.labels['target'] === name,
    )
    assert.equal(ones.length, targetStates.length, context)
    const [shown, ...others] = ones.filter(({ value }) => value === 1)
    assert.deepEqual([shown?.labels['state'], others], [state, []], context)
  }
  assertActive(sight)
  for (const reason of reasonsIn(health)) assertTold(reason, context)
  assertText(sight)
}

/** In `vllm_vitals_alert_active` are the reasons, and pending alerts; nothing that is held back. */
function assertActive(sight: Sight): void {
  const active = activeIn(sight)
  const isFiring = ({ state }: Sample['labels']) => state === 'firing'
  const named = (labels: readonly Sample['labels'][]) =>
    labels.map(({ alertname, severity }) => `${alertname} ${severity}`).sort()
  const reasons = reasonsIn(sight.health).map(({ alert, severity }) => `${alert} ${severity}`)
  assert.deepEqual(named(active.filter(isFiring)), reasons.sort(), `at ${sight.at} s`)
  const pending = pendingIn(sight).map(({ alert, severity }) => `${alert} ${severity}`)
  for (const one of named(active.filter((labels) => !isFiring(labels)))) {
    assert.ok(pending.includes(one), `${one} at ${sight.at} s`)
  }
  assertEvidence(sight, active)
}

/** Evidence is published of what is active and of nothing else, number by number. */
function assertEvidence({ page, at, health }: Sight, active: readonly Sample['labels'][]): void {
  const whose = ({ alertname, target, model_name, uuid }: Sample['labels']) =>
    [alertname, target, model_name, uuid].join(' ')
  const shown = [...page.matchAll(/^vllm_vitals_alert_evidence\{(.*)\} (\S+)$/gm)].map(
    ([, labels = '', value = '']) => ({ labels: labelsOf(labels), value: Number(value) }),
  )
  const known = new Set(active.map(whose))
  assert.deepEqual(
    shown.filter(({ labels }) => !known.has(whose(labels))),
    [],
    `at ${at} s`,
  )
  for (const { alert, evidence } of reasonsIn(health)) {
    for (const [name, value] of Object.entries(evidence)) {
      if (typeof value !== 'number') continue
      const same = shown.filter(
        ({ labels }) => labels['alertname'] === alert && labels['evidence'] === name,
      )
      assert.ok(
        same.some((one) => one.value === value),
        `${alert} ${name} at ${at} s`,
      )
    }
  }
}

function assertTold(reason: ReasonBody, context: string): void {
  const { alert, severity, summary, evidence, runbook, since } = reason
  assert.equal(runbook, `docs/runbooks/${alert}.md`, context)
  assert.ok(severity === 'critical' || severity === 'warning', context)
  assert.ok(summary.length > 10 && Object.keys(evidence).length > 0, `${alert} ${context}`)
  assert.ok(!Number.isNaN(Date.parse(since)), context)
}

/** The text says in the first line how it is, then each reason, what is held back, and the diagnosis. */
function assertText({ health, status, text, at }: Sight): void {
  const lines = text.trimEnd().split('\n')
  assert.equal(lines[0], health.status, `at ${at} s`)
  const has = (part: string) =>
    assert.ok(
      lines.some((line) => line.includes(part)),
      `${part} at ${at} s in\n${text}`,
    )
  for (const { alert, severity, since, summary } of reasonsIn(health)) {
    has(` ${alert} ${severity} since ${since} ${summary}`)
  }
  for (const { alert, suppressed_by: by } of suppressedIn(health)) {
    has(` ${alert} suppressed by ${by} `)
  }
  for (const { name, detail } of health.targets) {
    if (detail !== undefined) has(`${name} ${detail}`)
  }
  assert.ok(status.diagnosis.length > 0, `at ${at} s`)
  for (const { pain, confidence, verdict, next } of status.diagnosis) {
    has(pain === 'none' ? ` diagnosis: ${verdict}` : ` diagnosis ${pain} ${confidence}: ${verdict}`)
    has(` next: ${next}`)
  }
}
