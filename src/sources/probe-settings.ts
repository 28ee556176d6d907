import { z } from 'zod'
import { durationSchema } from '../units.ts'
import { isMap, literalSchema, timeoutWithinInterval } from './settings.ts'

/** How an engine is probed when the evidence about it does not decide. */
export interface ProbeConfig {
  readonly enabled: boolean
  /** Least time between the starts of two probes of a target. */
  readonly intervalMs: number
  /** Total deadline of one probe, at most the interval. */
  readonly timeoutMs: number
  /** The model that is asked; empty: the first that the target is known to serve. */
  readonly model: string
  readonly prompt: string
}

const intervalRange = { minMs: 5_000, maxMs: 86_400_000 }
const defaultTimeoutMs = 30_000
const promptMessage = 'expected a prompt of 1 to 1000 characters'

export const probeSchema = z
  .strictObject({
    enabled: z
      .boolean({ error: 'expected true or false' })
      .prefault(false)
      .describe(
        'Whether a completion of one token is asked for when nothing else tells a hung engine from stale gauges.',
      ),
    interval: durationSchema(intervalRange)
      .prefault('60s')
      .describe('Least time between two probes of a target, 5s to 1d.'),
    timeout: durationSchema({ minMs: 1_000, maxMs: 600_000 })
      .optional()
      .describe(
        'Total deadline of a probe, 1s to 10m, at most the interval; unset: 30s, or the interval if less.',
      ),
    model: literalSchema('the name of a model')
      .prefault('')
      .describe('Model that is asked; empty: the first that the target is known to serve.'),
    prompt: z
      .string({ error: promptMessage })
      .min(1, { error: promptMessage })
      .max(1_000, { error: promptMessage })
      .prefault('ping')
      .describe('Prompt of the completion, 1 to 1000 characters.'),
  })
  .superRefine(timeoutWithinInterval, { when: isMap })
  .transform(
    (probe): ProbeConfig => ({
      enabled: probe.enabled,
      intervalMs: probe.interval,
      timeoutMs: probe.timeout ?? Math.min(defaultTimeoutMs, probe.interval),
      model: probe.model,
      prompt: probe.prompt,
    }),
  )
