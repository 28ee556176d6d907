import type { Span } from './incident.ts'

/**
 * What can be wrong, by the number of the operators' complaint:
 *
 * - P1 the engine hangs behind a healthy `/health`; P2 gauges stand still after a mass abort
 * - P3 a hang in the communication between GPUs; P4 the engine died; P5 its memory is still held
 * - P6 long prompts block short ones; P7 a load that takes long, or never ends; P8 a pause to compile
 * - P9 preemptions with a full cache; P10 overload; P11 nobody is admitted although there is room
 * - P12 the API server has no CPU left; P13 a grammar stalls; P14 a leak on the host; P15 on the GPU
 * - P16 a GPU is lost; P17 throttling; P18 one rank is behind the others; P19 the prefix cache misses
 * - P20 speculation misses; P21 garbage; P22 the metrics are missing
 */
export type Pain =
  | 'none'
  | 'P1'
  | 'P2'
  | 'P3'
  | 'P4'
  | 'P5'
  | 'P6'
  | 'P7'
  | 'P8'
  | 'P9'
  | 'P10'
  | 'P11'
  | 'P12'
  | 'P13'
  | 'P14'
  | 'P15'
  | 'P16'
  | 'P17'
  | 'P18'
  | 'P19'
  | 'P20'
  | 'P21'
  | 'P22'

/** The alerts that a label can speak of. */
export const alertNames = [
  'VllmDown',
  'VllmEngineStalled',
  'VllmLatencyP99High',
  'VllmTtftP99High',
  'VllmQueueWaitHigh',
  'VllmErrorRatioHigh',
  'VllmThroughputLow',
  'VllmKvCachePressure',
  'VllmGpuUtilizationHigh',
  'VllmGpuMemoryHigh',
  'VllmGpuMemoryLeak',
  'VllmGpuLost',
  'VllmGpuThrottled',
  'VllmNoGpu',
  'VllmVitalsBlind',
] as const

export type AlertName = (typeof alertNames)[number]

/** What is true of a scenario, for those who judge a diagnosis of it. The span is the incident's. */
export interface Label extends Span {
  /** What the first finding should be; `none` for a healthy server. */
  readonly pain: Pain
  /** Findings that are as good. */
  readonly alsoRight: readonly Pain[]
  /**
   * Whether an engine hangs: `visible` when requests are certainly pending, `hidden` when nothing on
   * the page says so, or when those who waited may all have gone.
   */
  readonly stall?: 'visible' | 'hidden'
  /** Alerts that have to fire at their default duration when the run lasts. */
  readonly mustFire: readonly AlertName[]
  /** Alerts that are right as well. Any other one is a false alarm. */
  readonly mayFire: readonly AlertName[]
  /** How long a run shows all of it, from 0. */
  readonly runMs: number
  /** How much of the past before 0 an observer should have seen. */
  readonly pastMs: number
}
