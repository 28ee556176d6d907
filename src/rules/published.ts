import { entry } from '../signals/context.ts'
import { type Family, type Measured, measured } from '../signals/signal.ts'
import type { Alert } from './alert.ts'
import { type HealthStatus, healthStatuses, type TargetState, targetStates } from './health.ts'

const engineState: Family = {
  name: 'engine_state',
  type: 'gauge',
  help: '1 for what the target is doing, 0 for what it is not.',
}

const healthStatus: Family = {
  name: 'health_status',
  type: 'gauge',
  help: '1 for the target’s health, 0 for what it is not.',
}

const alertActive: Family = {
  name: 'alert_active',
  type: 'gauge',
  help: '1 for each alert that is pending or firing.',
}

const alertEvidence: Family = {
  name: 'alert_evidence',
  type: 'gauge',
  help: 'The numbers that an alert rests on which is pending or firing.',
}

/** What a target is doing, as a 1 among zeros. */
export function engineStates(target: {
  readonly name: string
  readonly state: TargetState
}): readonly Measured[] {
  return oneOf(engineState, targetStates, target.state, (state) => ({ target: target.name, state }))
}

/** How well a target is, as a 1 among zeros. */
export function healthOf(target: {
  readonly name: string
  readonly status: HealthStatus
}): readonly Measured[] {
  return oneOf(healthStatus, healthStatuses, target.status, (status) => ({
    target: target.name,
    status,
  }))
}

/** An alert that is pending or firing; labels that do not apply to it are empty. */
export function activity({ alert, severity, state, subject }: Alert): Measured {
  const { target = '', model_name = '', uuid = '' } = subject
  const labels = { alertname: alert, severity, target, model_name, uuid, state }
  return entry(alertActive, labels, measured(1))
}

/** The numbers among the evidence of an alert, each by its name; what is text stays in the API. */
export function evidenceOf({ alert, subject, evidence }: Alert): readonly Measured[] {
  const { target = '', model_name = '', uuid = '' } = subject
  return Object.entries(evidence).flatMap(([name, value]) =>
    typeof value === 'number'
      ? [
          entry(
            alertEvidence,
            { alertname: alert, target, model_name, uuid, evidence: name },
            measured(value),
          ),
        ]
      : [],
  )
}

function oneOf<T extends string>(
  family: Family,
  all: readonly T[],
  current: T,
  labelsOf: (one: T) => Measured['labels'],
): readonly Measured[] {
  return all.map((one) => entry(family, labelsOf(one), measured(one === current ? 1 : 0)))
}
