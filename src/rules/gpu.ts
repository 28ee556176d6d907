import type { CollectErrorCode } from '../errors.ts'
import type { Labels } from '../reading.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import { eachEngineGpu, eachGpu, gaugeOf, type OneGpu } from './each-gpu.ts'
import type { Finding, Rule, Watched } from './rule.ts'
import { percent } from './words.ts'

/** Failures of the GPU source that say that no GPU can be seen: not that reading one failed once. */
const unseenCodes: ReadonlySet<CollectErrorCode> = new Set([
  'not_found',
  'permission',
  'driver_unavailable',
  'library_mismatch',
  'no_gpu',
])

/**
 * Reasons for which a GPU runs slower than it should, against its owner's will. An idle GPU and a power cap
 * that somebody set are none.
 */
const faultyReasons: ReadonlySet<string> = new Set([
  'hw_slowdown',
  'hw_thermal_slowdown',
  'hw_power_brake_slowdown',
  'sw_thermal_slowdown',
])

export const gpuUtilizationHigh: Rule = {
  name: 'VllmGpuUtilizationHigh',
  severity: 'warning',
  forMs: 600_000,
  keepFiringForMs: 0,
  windowMs: 60_000,
  description:
    'A GPU is busier than thresholds.gpu_utilization_ratio all the time while requests wait: it is the bottleneck.',
  judge: (context) => {
    const waiting = waitingAt(context.targets)
    return eachEngineGpu(context, 'gpu_utilization', ({ position, subject, value }) => {
      // A GPU that had time to spare is no bottleneck, whoever can be read.
      if (value <= context.thresholds.gpuUtilizationRatio || waiting === 0) {
        return { outcome: 'pass', subject }
      }
      if (waiting === undefined) return { outcome: 'unknown', subject }
      return {
        outcome: 'fail',
        subject,
        summary: `GPU ${position} is ${percent(value)} busy while ${waiting} requests wait`,
        evidence: { gpu_utilization_ratio: value, requests_waiting: waiting },
      }
    })
  },
}

export const gpuLost: Rule = {
  name: 'VllmGpuLost',
  severity: 'critical',
  forMs: 30_000,
  keepFiringForMs: 0,
  windowMs: 60_000,
  description: 'A GPU that was there is gone, lost, or asks to be reset.',
  judge: (context) => {
    const { gpu } = context
    const last = gpu?.target.last
    if (gpu === undefined || last === undefined) return []
    if (last.kind === 'missed') {
      const subject = { target: gpu.target.name }
      if (last.code !== 'gpu_lost') return [{ outcome: 'unknown', subject }]
      const summary = `nvidia-smi reports a lost GPU: ${last.message}`
      return [{ outcome: 'fail', subject, summary, evidence: { code: last.code } }]
    }
    return eachGpu(context, 'gpu_lost', judgeLost)
  },
}

export const gpuThrottled: Rule = {
  name: 'VllmGpuThrottled',
  severity: 'warning',
  forMs: 300_000,
  keepFiringForMs: 0,
  windowMs: 60_000,
  description:
    'A GPU is slowed down by its hardware or its temperature: everything on it takes longer.',
  judge: (context) => eachGpu(context, 'gpu_info', judgeThrottled),
}

export const noGpu: Rule = {
  name: 'VllmNoGpu',
  severity: 'critical',
  forMs: 60_000,
  keepFiringForMs: 0,
  windowMs: 60_000,
  description: 'No GPU can be seen, though gpu.enabled says that there is one.',
  judge: ({ gpu, gpuExpected }) => (gpu === undefined || !gpuExpected ? [] : [judgeSeen(gpu)]),
}

function judgeLost({ target, position, subject, value: lost }: OneGpu): Finding {
  const action = resetAskedFor(target, position)
  if (lost === 0 && action === undefined) return { outcome: 'pass', subject }
  const bus = identityOf(target, position)?.['pci_bus_id'] ?? ''
  const what = lost === 0 ? `asks for recovery: ${action}` : 'is lost'
  return {
    outcome: 'fail',
    subject,
    summary: `GPU ${position} ${bus} ${what}`.replaceAll('  ', ' '),
    evidence: { gpu_lost: lost, recovery_action: action ?? 'none', pci_bus_id: bus },
  }
}

function judgeThrottled({ target, position, subject }: OneGpu): Finding {
  const told = target.gauges.filter(
    ({ instrument, labels }) => instrument === 'gpu_throttle' && labels['gpu'] === position,
  )
  if (told.length === 0) return { outcome: 'unknown', subject }
  const reasons = told.flatMap(({ labels: { reason = '' }, value }) =>
    value === 1 && faultyReasons.has(reason) ? [reason] : [],
  )
  if (reasons.length === 0) return { outcome: 'pass', subject }
  const celsius = gaugeOf(target, 'gpu_temperature', position)
  const clock = target.gauges.find(
    ({ instrument, labels }) =>
      instrument === 'gpu_clock' && labels['gpu'] === position && labels['clock'] === 'sm',
  )?.value
  const beside = [
    ...(celsius === undefined ? [] : [`${celsius} °C`]),
    ...(clock === undefined ? [] : [`SM clock at ${Math.round(clock / 1e6)} MHz`]),
  ]
  return {
    outcome: 'fail',
    subject,
    summary: [`GPU ${position} is slowed down: ${reasons.join(', ')}`, ...beside].join(', '),
    evidence: {
      reasons: reasons.join(', '),
      ...(celsius === undefined ? {} : { gpu_temperature_celsius: celsius }),
      ...(clock === undefined ? {} : { gpu_sm_clock_hertz: clock }),
    },
  }
}

function judgeSeen({ target }: Watched): Finding {
  const subject = { target: target.name }
  const { last } = target
  if (last === undefined) return { outcome: 'unknown', subject }
  // GPUs that are all lost were seen: each of them has an alert of its own.
  if (last.kind === 'read' || last.code === 'gpu_lost') return { outcome: 'pass', subject }
  if (!unseenCodes.has(last.code)) return { outcome: 'unknown', subject }
  return {
    outcome: 'fail',
    subject,
    summary: `no GPU can be seen: ${last.message}`,
    evidence: { code: last.code, missed_in_a_row: target.missedInARow },
  }
}

/**
 * How many requests wait, of all targets. Where some cannot be read it is a number only if those that can
 * have some waiting: what nobody could read is not zero.
 */
function waitingAt(targets: readonly Watched[]): number | undefined {
  let waiting = 0
  let isWhole = targets.length > 0
  for (const { target } of targets) {
    const own = target.gauges.filter(({ instrument }) => instrument === 'requests_waiting')
    for (const { value } of own) waiting += value
    if (own.length === 0) isWhole = false
  }
  return isWhole || waiting > 0 ? waiting : undefined
}

function identityOf(target: TargetWindows, position: string): Labels | undefined {
  return target.gauges.find(
    (one) => one.instrument === 'gpu_info' && one.labels['gpu'] === position,
  )?.labels
}

/** The recovery that the driver asks for, if any. */
function resetAskedFor(target: TargetWindows, position: string): string | undefined {
  return target.gauges.find(
    ({ instrument, labels, value }) =>
      instrument === 'gpu_recovery_action' &&
      labels['gpu'] === position &&
      value === 1 &&
      labels['action'] !== 'none',
  )?.labels['action']
}
