import { z } from 'zod'
import { durationSchema, numberSchema } from '../units.ts'

/** What has been promised to users, and over how long it is counted. */
export interface SloConfig {
  /** Share of requests, 0 to 1, that are to end within `thresholds.e2e_latency_p99`. */
  readonly latencyRatio: number
  /** Share of requests, 0 to 1, that are to succeed. */
  readonly successRatio: number
  readonly periodMs: number
  /** Whether the generated rules ring when a budget burns; it is recorded in any case. */
  readonly alerts: boolean
}

const dayMs = 86_400_000

// An objective of 1 leaves no budget to burn, and one below a half is no promise.
const objectiveSchema = numberSchema({ min: 0.5, max: 0.99999 })

export const sloSchema = z
  .strictObject({
    latency: objectiveSchema
      .prefault(0.99)
      .describe('Share of requests that are to end within thresholds.e2e_latency_p99.'),
    errors: objectiveSchema.prefault(0.999).describe('Share of requests that are to succeed.'),
    period: durationSchema({ minMs: 7 * dayMs, maxMs: 92 * dayMs })
      .prefault('30d')
      .describe('Over how long the error budget is counted, 7d to 92d.'),
    alerts: z
      .boolean({ error: 'expected true or false' })
      .prefault(true)
      .describe('Whether the generated rules ring when an error budget burns too fast.'),
  })
  .transform(
    (slo): SloConfig => ({
      latencyRatio: slo.latency,
      successRatio: slo.errors,
      periodMs: slo.period,
      alerts: slo.alerts,
    }),
  )
