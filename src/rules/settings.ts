import { z } from 'zod'
import { durationSchema, numberSchema } from '../units.ts'

/** Every alert that a configuration can name, in the order in which they are shown. */
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

/** How bad it is when an alert fires. */
export const severities = ['critical', 'warning'] as const

export type Severity = (typeof severities)[number]

/** What the alert rules compare with. */
export interface Thresholds {
  readonly e2eLatencyP99Seconds: number
  readonly queueTimeP95Seconds: number
  /** 0 switches the rule and its series off. */
  readonly ttftP99Seconds: number
  readonly errorRatio: number
  readonly gpuUtilizationRatio: number
  readonly gpuMemoryRatio: number
  /** 0 switches the rule off. */
  readonly generationTokensPerSecondMin: number
}

/** What a configuration changes of one alert. What is absent stays as the catalogue has it. */
export interface AlertSettings {
  readonly enabled?: boolean
  readonly forMs?: number
  readonly keepFiringForMs?: number
  readonly severity?: Severity
  readonly windowMs?: number
}

export type AlertsConfig = Readonly<Partial<Record<AlertName, AlertSettings>>>

const dayMs = 86_400_000

const limit = { minMs: 1, maxMs: dayMs }

const ratioSchema = numberSchema({ min: 0, max: 1 })

export const thresholdsSchema = z
  .strictObject({
    e2e_latency_p99: durationSchema(limit)
      .prefault('10s')
      .describe('Duration from arrival to last token that at most 1 % of requests may exceed.'),
    queue_time_p95: durationSchema(limit)
      .prefault('5s')
      .describe('Wait before being scheduled that at most 5 % of requests may exceed.'),
    error_ratio: ratioSchema
      .prefault(0.01)
      .describe('Share of failed requests, 0 to 1, above which the error alert holds.'),
    gpu_utilization_ratio: ratioSchema
      .prefault(0.95)
      .describe('Utilization of a GPU, 0 to 1, above which its alert holds while requests wait.'),
    gpu_memory_ratio: ratioSchema
      .prefault(0.9)
      .describe('Used share of GPU memory, 0 to 1, above which its alert holds if not planned.'),
    generation_tokens_per_second_min: numberSchema({ min: 0, max: 1_000_000_000 })
      .prefault(0)
      .describe(
        'Output tokens per second expected while work is pending; 0 switches the rule off.',
      ),
    ttft_p99: durationSchema({ minMs: 0, maxMs: dayMs })
      .prefault('0s')
      .describe(
        'Time to first token that at most 1 % of requests may exceed; 0s switches the rule off.',
      ),
  })
  .transform(
    (thresholds): Thresholds => ({
      e2eLatencyP99Seconds: thresholds.e2e_latency_p99 / 1_000,
      queueTimeP95Seconds: thresholds.queue_time_p95 / 1_000,
      ttftP99Seconds: thresholds.ttft_p99 / 1_000,
      errorRatio: thresholds.error_ratio,
      gpuUtilizationRatio: thresholds.gpu_utilization_ratio,
      gpuMemoryRatio: thresholds.gpu_memory_ratio,
      generationTokensPerSecondMin: thresholds.generation_tokens_per_second_min,
    }),
  )

const alertSchema = z
  .strictObject({
    enabled: z
      .boolean({ error: 'expected true or false' })
      .optional()
      .describe('Whether the alert is judged at all.'),
    for: durationSchema({ minMs: 0, maxMs: 7 * dayMs })
      .optional()
      .describe('How long the condition holds before the alert fires, 0s to 7d.'),
    keep_firing_for: durationSchema({ minMs: 0, maxMs: 7 * dayMs })
      .optional()
      .describe('How long the alert fires after the condition last held, 0s to 7d.'),
    severity: z
      .enum(severities, { error: 'expected critical or warning' })
      .optional()
      .describe('The severity it is shown with: critical or warning.'),
    window: durationSchema({ minMs: 1_000, maxMs: 7 * dayMs })
      .optional()
      .describe('The window of a condition that looks at one, at least two intervals, up to 7d.'),
  })
  .transform(
    (alert): AlertSettings => ({
      ...(alert.enabled === undefined ? {} : { enabled: alert.enabled }),
      ...(alert.for === undefined ? {} : { forMs: alert.for }),
      ...(alert.keep_firing_for === undefined ? {} : { keepFiringForMs: alert.keep_firing_for }),
      ...(alert.severity === undefined ? {} : { severity: alert.severity }),
      ...(alert.window === undefined ? {} : { windowMs: alert.window }),
    }),
  )
  // Its own entry in the JSON Schema, to which every alert refers.
  .meta({ id: 'alert' })

const alertShape = Object.fromEntries(
  alertNames.map((name) => [name, alertSchema.optional()]),
) as Record<AlertName, z.ZodOptional<typeof alertSchema>>

export const alertsSchema = z.strictObject(alertShape).transform((alerts): AlertsConfig => {
  const given: Partial<Record<AlertName, AlertSettings>> = {}
  for (const name of alertNames) {
    const settings = alerts[name]
    if (settings !== undefined) given[name] = settings
  }
  return given
})
