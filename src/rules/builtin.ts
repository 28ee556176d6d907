import { gpuLost, gpuThrottled, gpuUtilizationHigh, noGpu } from './gpu.ts'
import { gpuMemoryHigh, gpuMemoryLeak } from './gpu-memory.ts'
import { blind, down, engineStalled } from './reach.ts'
import {
  errorRatioHigh,
  kvCachePressure,
  latencyP99High,
  queueWaitHigh,
  throughputLow,
  ttftP99High,
} from './requests.ts'
import type { Rule } from './rule.ts'

/** The alert catalogue, in the order in which alerts are shown. */
export const builtinRules: readonly Rule[] = [
  down,
  engineStalled,
  latencyP99High,
  ttftP99High,
  queueWaitHigh,
  errorRatioHigh,
  throughputLow,
  kvCachePressure,
  gpuUtilizationHigh,
  gpuMemoryHigh,
  gpuMemoryLeak,
  gpuLost,
  gpuThrottled,
  noGpu,
  blind,
]
