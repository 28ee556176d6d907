import type { GaugeId } from '../instruments.ts'
import type { Labels } from '../reading.ts'
import { runsEngine } from '../signals/gpu-processes.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import type { Finding, JudgeContext } from './rule.ts'

/** One GPU that a gauge speaks of. */
export interface OneGpu {
  /** The GPU source. */
  readonly target: TargetWindows
  readonly labels: Labels
  /** Its position, the label `gpu`. */
  readonly position: string
  readonly subject: { readonly uuid: string }
  readonly value: number
}

/** A finding for each GPU that has `gauge` now; none while the GPUs cannot be read. */
export function eachGpu(
  { gpu }: JudgeContext,
  gauge: GaugeId,
  judge: (one: OneGpu) => Finding,
): readonly Finding[] {
  if (gpu === undefined) return []
  const { target } = gpu
  return target.gauges
    .filter(({ instrument }) => instrument === gauge)
    .map(({ labels, value }) => {
      const { gpu: position = '', uuid = '' } = labels
      return judge({ target, labels, position, subject: { uuid }, value })
    })
}

/** As `eachGpu`; GPUs on which only other programs than the engine run pass. */
export function eachEngineGpu(
  context: JudgeContext,
  gauge: GaugeId,
  judge: (one: OneGpu) => Finding,
): readonly Finding[] {
  return eachGpu(context, gauge, (one) =>
    runsEngine(one.target, one.position) === false
      ? { outcome: 'pass', subject: one.subject }
      : judge(one),
  )
}

/** What a gauge without labels of its own says of the GPU at a position. */
export function gaugeOf(
  target: TargetWindows,
  gauge: GaugeId,
  position: string,
): number | undefined {
  return target.gauges.find((one) => one.instrument === gauge && one.labels['gpu'] === position)
    ?.value
}
