import { gpuLost, gpuMemoryHigh, gpuUtilizationHigh } from './gpu.ts'
import { blind, down } from './reach.ts'
import { errorRatioHigh, latencyP99High, queueWaitHigh, throughputLow } from './requests.ts'
import type { Rule } from './rule.ts'

/** The alert catalogue, in the order in which alerts are shown. */
export const builtinRules: readonly Rule[] = [
  down,
  latencyP99High,
  queueWaitHigh,
  errorRatioHigh,
  throughputLow,
  gpuUtilizationHigh,
  gpuMemoryHigh,
  gpuLost,
  blind,
]
