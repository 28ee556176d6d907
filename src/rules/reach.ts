import type { CollectErrorCode } from '../errors.ts'
import type { Attempt, HealthProbe } from '../reading.ts'
import type { Finding, Rule, Watched } from './rule.ts'

/** Failures that mean that nobody answers there. */
const unreachableCodes: ReadonlySet<CollectErrorCode> = new Set(['refused', 'reset', 'resolve'])

/** Failures of the GPU source that another alert tells, or that say that there is nothing to read. */
const notBlindCodes: ReadonlySet<CollectErrorCode> = new Set(['gpu_lost'])

export const down: Rule = {
  name: 'VllmDown',
  severity: 'critical',
  forMs: 30_000,
  keepFiringForMs: 0,
  windowMs: 60_000,
  description:
    'Nobody answers at the address of vLLM, or the answers are 5xx: its process has ended or its engine is dead.',
  judge: ({ targets }) => targets.map(judgeDown),
}

export const engineStalled: Rule = {
  name: 'VllmEngineStalled',
  severity: 'critical',
  forMs: 45_000,
  keepFiringForMs: 0,
  windowMs: 60_000,
  description:
    'Work is pending and nothing has progressed, though the server may answer /health with 200: its engine hangs.',
  judge: ({ targets }) => targets.map(judgeStalled),
}

export const blind: Rule = {
  name: 'VllmVitalsBlind',
  severity: 'warning',
  forMs: 120_000,
  keepFiringForMs: 0,
  windowMs: 60_000,
  description:
    'A source cannot be read: scrapes time out or are unreadable, or nvidia-smi hangs or fails where it worked.',
  judge: ({ targets, gpu }) => {
    const findings = targets.map(judgeBlind)
    // A GPU source that never worked is a host without GPUs, not one that went dark.
    if (gpu?.target.lastRead !== undefined) findings.push(judgeBlind(gpu))
    return findings
  },
}

function judgeStalled({ target, fresh, stall, state }: Watched): Finding {
  const subject = { target: target.name }
  if (stall === undefined) {
    const isKnown = fresh && target.last?.kind === 'read' && state !== 'unknown'
    return { outcome: isKnown ? 'pass' : 'unknown', subject }
  }
  const { certainty, summary, evidence } = stall
  return { outcome: certainty === 'certain' ? 'fail' : 'suspected', subject, summary, evidence }
}

function judgeDown({ target, loading }: Watched): Finding {
  const subject = { target: target.name }
  const { last, health } = target
  if (last === undefined) return { outcome: 'unknown', subject }
  // Until the model is loaded nobody listens: a cold start is no outage.
  if (loading !== undefined) return { outcome: 'pass', subject }
  if (last.kind === 'missed' && isNoAnswer(last) && !answersWell(health)) {
    return {
      outcome: 'fail',
      subject,
      summary: `vLLM does not answer: ${last.message}`,
      evidence: { code: last.code, missed_in_a_row: target.missedInARow },
    }
  }
  if (health?.kind === 'answered' && health.status >= 500) {
    return {
      outcome: 'fail',
      subject,
      summary: `vLLM answers /health with ${health.status}: its engine is dead`,
      evidence: { health_status: health.status },
    }
  }
  return { outcome: last.kind === 'read' ? 'pass' : 'unknown', subject }
}

function judgeBlind({ target }: Watched): Finding {
  const subject = { target: target.name }
  const { last } = target
  if (last === undefined) return { outcome: 'unknown', subject }
  if (last.kind === 'read') return { outcome: 'pass', subject }
  if ((isNoAnswer(last) && !answersWell(last.health)) || notBlindCodes.has(last.code)) {
    return { outcome: 'pass', subject }
  }
  return {
    outcome: 'fail',
    subject,
    summary: `cannot read ${target.name}: ${last.message}`,
    evidence: { code: last.code, missed_in_a_row: target.missedInARow },
  }
}

function isNoAnswer({ code, status }: Extract<Attempt, { kind: 'missed' }>): boolean {
  return unreachableCodes.has(code) || (code === 'status' && status !== undefined && status >= 500)
}

/** Whether the server says itself that it is well: then it is its page that is broken. */
function answersWell(health: HealthProbe | undefined): boolean {
  return health?.kind === 'answered' && health.status < 500
}
