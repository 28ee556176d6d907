import type { Finding, Rule, Subject, Trouble } from './rule.ts'
import type { AlertSettings, Severity } from './settings.ts'

/** An alert that is pending or firing about one subject. */
export interface Alert {
  readonly alert: string
  readonly severity: Severity
  readonly subject: Subject
  readonly state: 'pending' | 'firing'
  /** Whether its condition holds for certain, as of when it last held. */
  readonly certainty: 'certain' | 'suspected'
  /** Monotonic time since which the condition holds. */
  readonly sinceMs: number
  /** The same instant on the wall clock, Unix milliseconds; told once, since the two clocks drift apart. */
  readonly sinceWallMs?: number
  /** Monotonic time at which the condition last held. */
  readonly lastFailMs: number
  readonly summary: string
  readonly evidence: Readonly<Record<string, number | string>>
  readonly runbook: string
  /** What holds it back, where another alert or state tells its cause; set by `holdBack`. */
  readonly heldBack?: HeldBack
}

/** Why an alert is not shown as a reason of its own. */
export interface HeldBack {
  /** The cause: the name of an alert. */
  readonly by: string
  readonly subject: Subject
}

/**
 * How long an alert stays what it was while its rule cannot tell. One lost scrape must not begin a wait
 * of ten minutes anew, and a subject that is gone must not ring for ever.
 */
const unknownGraceMs = 60_000

const gravity: Readonly<Record<Finding['outcome'], number>> = {
  pass: 0,
  unknown: 0,
  suspected: 1,
  fail: 2,
}

/** The key by which an alert is the same alert at the next evaluation. */
export function alertKey(alert: string, subject: Subject): string {
  const { target = '', model_name = '', uuid = '' } = subject
  return JSON.stringify([alert, target, model_name, uuid])
}

/** Returns the rule as the configuration wants it, or nothing when it is switched off. */
export function configure(rule: Rule, settings: AlertSettings | undefined): Rule | undefined {
  if (settings === undefined) return rule
  if (settings.enabled === false) return undefined
  const { forMs, keepFiringForMs, severity, windowMs } = settings
  return {
    ...rule,
    forMs: forMs ?? rule.forMs,
    keepFiringForMs: keepFiringForMs ?? rule.keepFiringForMs,
    severity: severity ?? rule.severity,
    windowMs: windowMs ?? rule.windowMs,
  }
}

/**
 * Carries a rule's alerts one evaluation on: inactive, pending while the condition holds, firing once it
 * has held for `for`, and firing on for `keep firing for` after it last held.
 *
 * `previous` are the rule's alerts of the evaluation before; the result those of now, inactive ones left
 * out. Of two findings about one subject, as of two lost GPUs without a uuid, the graver one counts.
 */
export function step(
  rule: Rule,
  previous: ReadonlyMap<string, Alert>,
  now: {
    readonly findings: readonly Finding[]
    readonly atMs: number
    readonly wallMs?: number
  },
): readonly Alert[] {
  const { findings, atMs, wallMs } = now
  const judged = new Map<string, Finding>()
  for (const finding of findings) {
    const key = alertKey(rule.name, finding.subject)
    const other = judged.get(key)
    if (other === undefined || gravity[finding.outcome] > gravity[other.outcome]) {
      judged.set(key, finding)
    }
  }
  const alerts: Alert[] = []
  for (const [key, finding] of judged) {
    const before = previous.get(key)
    const alert =
      finding.outcome === 'fail' || finding.outcome === 'suspected'
        ? raise(rule, finding, { before, atMs, wallMs })
        : linger(rule, before, { atMs, known: finding.outcome === 'pass' })
    if (alert !== undefined) alerts.push(alert)
  }
  for (const [key, before] of previous) {
    if (judged.has(key) || before.alert !== rule.name) continue
    // The subject itself is gone: nothing more can be known of it.
    const alert = linger(rule, before, { atMs, known: false })
    if (alert !== undefined) alerts.push(alert)
  }
  return alerts
}

function raise(
  rule: Rule,
  finding: Trouble,
  {
    before,
    atMs,
    wallMs,
  }: {
    readonly before: Alert | undefined
    readonly atMs: number
    readonly wallMs: number | undefined
  },
): Alert {
  const sinceMs = before?.sinceMs ?? atMs
  const sinceWallMs = before === undefined ? wallMs : before.sinceWallMs
  const isCertain = finding.outcome === 'fail'
  // What fires goes on until it is known to be over; what is only suspected never begins to.
  const firing = before?.state === 'firing' || (isCertain && atMs - sinceMs >= rule.forMs)
  return {
    alert: rule.name,
    severity: rule.severity,
    subject: finding.subject,
    state: firing ? 'firing' : 'pending',
    certainty: isCertain ? 'certain' : 'suspected',
    sinceMs,
    ...(sinceWallMs === undefined ? {} : { sinceWallMs }),
    lastFailMs: atMs,
    summary: finding.summary,
    evidence: finding.evidence,
    runbook: `docs/runbooks/${rule.name}.md`,
  }
}

function linger(
  rule: Rule,
  before: Alert | undefined,
  { atMs, known }: { readonly atMs: number; readonly known: boolean },
): Alert | undefined {
  if (before === undefined) return undefined
  const quietMs = atMs - before.lastFailMs
  const lingers =
    (before.state === 'firing' && quietMs < rule.keepFiringForMs) ||
    (!known && quietMs < unknownGraceMs)
  // A new configuration may have changed how severe it is.
  const { heldBack: _, ...alert } = before
  return lingers ? { ...alert, severity: rule.severity } : undefined
}
