import type { Signal } from './context.ts'
import { errorSignals } from './errors.ts'
import { gpuSignals } from './gpu.ts'
import { latencySignals } from './latency.ts'
import { saturationSignals } from './saturation.ts'
import { trafficSignals } from './traffic.ts'
import { probingSignals, watchingSignals } from './watching.ts'

/** Everything derived from an engine, in the order of the four golden signals, then of the watching. */
export const engineSignals: readonly Signal[] = [
  ...latencySignals,
  ...trafficSignals,
  ...errorSignals,
  ...saturationSignals,
  ...watchingSignals,
  ...probingSignals,
]

/** Everything derived from the GPU source. */
export const gpuSourceSignals: readonly Signal[] = [...gpuSignals, ...watchingSignals]
