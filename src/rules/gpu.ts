import type { GaugeId } from '../instruments.ts'
import type { Labels } from '../reading.ts'
import { plannedShare } from '../signals/gpu-memory.ts'
import { runsEngine } from '../signals/gpu-processes.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import type { Finding, JudgeContext, Rule, Watched } from './rule.ts'
import { gibibytes, percent } from './words.ts'

/**
 * Above its plan vLLM also holds captured CUDA graphs and communication buffers: a few hundredths of the
 * card at most, and not a leak.
 */
const planSlackRatio = 0.02

export const gpuUtilizationHigh: Rule = {
  name: 'VllmGpuUtilizationHigh',
  severity: 'warning',
  forMs: 600_000,
  keepFiringForMs: 0,
  windowMs: 60_000,
  description:
    'A GPU is busier than thresholds.gpu_utilization_ratio all the time while requests wait: it is the bottleneck.',
  judge: (context) => {
    const waiting = sumOf(context.targets, 'requests_waiting')
    return eachEngineGpu(context, 'gpu_utilization', (labels, value) => {
      const subject = { uuid: labels['uuid'] ?? '' }
      if (waiting === undefined) return { outcome: 'unknown', subject }
      if (value <= context.thresholds.gpuUtilizationRatio || waiting === 0) {
        return { outcome: 'pass', subject }
      }
      return {
        outcome: 'fail',
        subject,
        summary: `GPU ${labels['gpu']} is ${percent(value)} busy while ${waiting} requests wait`,
        evidence: { gpu_utilization_ratio: value, requests_waiting: waiting },
      }
    })
  },
}

export const gpuMemoryHigh: Rule = {
  name: 'VllmGpuMemoryHigh',
  severity: 'warning',
  forMs: 300_000,
  keepFiringForMs: 0,
  windowMs: 60_000,
  description:
    'More GPU memory is in use than thresholds.gpu_memory_ratio and more, by 2 % of the card, than the running vLLM planned to take.',
  judge: (context) => {
    const planned = plannedShare(context.targets.map(({ target }) => target))?.share
    return eachEngineGpu(context, 'gpu_memory_used', (labels, used, target) => {
      const subject = { uuid: labels['uuid'] ?? '' }
      const total = gaugeOf(target, 'gpu_memory_total', labels['gpu'])
      // Without the plan nothing tells a full card from a healthy one.
      if (planned === undefined || total === undefined || total <= 0) {
        return { outcome: 'unknown', subject }
      }
      const allowed = Math.max(context.thresholds.gpuMemoryRatio, planned + planSlackRatio)
      if (used / total <= allowed) return { outcome: 'pass', subject }
      return {
        outcome: 'fail',
        subject,
        summary: `GPU ${labels['gpu']} has ${gibibytes(used)} of ${gibibytes(total)} in use (${percent(used / total)}), vLLM planned ${percent(planned)}`,
        evidence: {
          gpu_memory_used_ratio: used / total,
          gpu_memory_used_bytes: used,
          planned_ratio: planned,
        },
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
    return eachGpu(context, 'gpu_lost', (labels, lost, target) => {
      const subject = { uuid: labels['uuid'] ?? '' }
      const action = resetAskedFor(target, labels['gpu'])
      if (lost === 0 && action === undefined) return { outcome: 'pass', subject }
      const bus = identityOf(target, labels['gpu'])?.['pci_bus_id'] ?? ''
      const what = lost === 0 ? `asks for recovery: ${action}` : 'is lost'
      return {
        outcome: 'fail',
        subject,
        summary: `GPU ${labels['gpu']} ${bus} ${what}`.replaceAll('  ', ' '),
        evidence: { gpu_lost: lost, recovery_action: action ?? 'none', pci_bus_id: bus },
      }
    })
  },
}

/** As `eachGpu`, without the GPUs on which other programs than the engine run. */
function eachEngineGpu(
  context: JudgeContext,
  gauge: GaugeId,
  judge: (labels: Labels, value: number, target: TargetWindows) => Finding,
): readonly Finding[] {
  return eachGpu(context, gauge, (labels, value, target) =>
    runsEngine(target, labels['gpu']) === false
      ? { outcome: 'pass', subject: { uuid: labels['uuid'] ?? '' } }
      : judge(labels, value, target),
  )
}

function eachGpu(
  { gpu }: JudgeContext,
  gauge: GaugeId,
  judge: (labels: Labels, value: number, target: TargetWindows) => Finding,
): readonly Finding[] {
  if (gpu === undefined) return []
  const { target } = gpu
  return target.gauges
    .filter(({ instrument }) => instrument === gauge)
    .map(({ labels, value }) => judge(labels, value, target))
}

function sumOf(targets: readonly Watched[], gauge: GaugeId): number | undefined {
  let sum: number | undefined
  for (const { target } of targets) {
    for (const { instrument, value } of target.gauges) {
      if (instrument === gauge) sum = (sum ?? 0) + value
    }
  }
  return sum
}

function gaugeOf(
  target: TargetWindows,
  gauge: GaugeId,
  gpu: string | undefined,
): number | undefined {
  return target.gauges.find((one) => one.instrument === gauge && one.labels['gpu'] === gpu)?.value
}

function identityOf(target: TargetWindows, gpu: string | undefined): Labels | undefined {
  return target.gauges.find((one) => one.instrument === 'gpu_info' && one.labels['gpu'] === gpu)
    ?.labels
}

/** The recovery that the driver asks for, if any. */
function resetAskedFor(target: TargetWindows, gpu: string | undefined): string | undefined {
  return target.gauges.find(
    ({ instrument, labels, value }) =>
      instrument === 'gpu_recovery_action' &&
      labels['gpu'] === gpu &&
      value === 1 &&
      labels['action'] !== 'none',
  )?.labels['action']
}
