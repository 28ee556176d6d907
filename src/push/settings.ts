import { z } from 'zod'
import { shorten } from '../errors.ts'
import {
  authFields,
  authOf,
  baseUrlSchema,
  isMap,
  isOneAuth,
  literalSchema,
  oneAuth,
  type TargetAuth,
} from '../sources/settings.ts'
import { durationSchema, formatDuration } from '../units.ts'

/** To which Alertmanagers the daemon pushes its alerts, and how. */
export interface AlertmanagerConfig {
  /** Base URLs in normal form, distinct: `/api/v2/alerts` is appended. Without one nothing is pushed. */
  readonly urls: readonly string[]
  /** Value of the label `instance`; empty: the host's name and the first port that is listened on. */
  readonly instance: string
  /** Total deadline of one try, at most `resendMs`. */
  readonly timeoutMs: number
  /** How often an alert that goes on firing is sent again. */
  readonly resendMs: number
  /** Labels that every alert carries beside its own. */
  readonly labels: Readonly<Record<string, string>>
  readonly auth: TargetAuth
}

/** The labels that alerts have of themselves. */
export const ownLabels = [
  'alertname',
  'severity',
  'instance',
  'job',
  'target',
  'model_name',
  'uuid',
] as const

const maxUrls = 8
const maxLabels = 16
const example = 'http://alertmanager:9093'

const instanceMessage = 'expected HOST:PORT such as gpu-host-1:19400, or nothing'

const instanceSchema = z
  .string({ error: instanceMessage })
  .max(255, { error: instanceMessage })
  // It stands in links to the daemon, which must not lead elsewhere.
  .regex(/^(?:(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?)?$/, { error: instanceMessage })

const labelsSchema = z
  .record(
    z.string(),
    literalSchema('a text')
      .min(1, { error: 'expected a text' })
      .max(256, { error: 'expected a text of at most 256 characters' }),
  )
  .meta({ title: 'map of texts' })
  .superRefine(wellNamed, {
    when: (payload) => isMap(payload) && !Array.isArray(payload.value),
  })

export const alertmanagerSchema = z
  .strictObject({
    urls: z
      .array(baseUrlSchema(example))
      .max(maxUrls, { error: `expected at most ${maxUrls} URLs` })
      .superRefine(distinct, { when: ({ value }) => Array.isArray(value) })
      .prefault([])
      .describe(
        'Base URLs of the Alertmanagers that alerts are pushed to, at most 8; /api/v2/alerts is below each.',
      ),
    instance: instanceSchema
      .prefault('')
      .describe(
        'Label instance of the alerts, HOST:PORT at which people reach the daemon; empty: the host name and first port.',
      ),
    timeout: durationSchema({ minMs: 100, maxMs: 60_000 })
      .prefault('5s')
      .describe('Total deadline of a try to deliver, 100ms to 1m, at most resend.'),
    resend: durationSchema({ minMs: 5_000, maxMs: 3_600_000 })
      .prefault('1m')
      .describe(
        'How often what goes on firing is sent again, 5s to 1h; an alert not renewed for four times as long ends by itself.',
      ),
    labels: labelsSchema
      .prefault({})
      .describe('Further labels of every alert, at most 16, such as cluster.'),
    ...authFields,
  })
  .refine(isOneAuth, oneAuth)
  .superRefine(timeoutWithinResend, { when: isMap })
  .transform(
    (push): AlertmanagerConfig => ({
      urls: push.urls,
      instance: push.instance,
      timeoutMs: push.timeout,
      resendMs: push.resend,
      labels: push.labels,
      auth: authOf(push),
    }),
  )

function wellNamed(labels: Readonly<Record<string, unknown>>, context: z.RefinementCtx): void {
  const names = Object.keys(labels)
  if (names.length > maxLabels) {
    context.addIssue({ code: 'custom', message: `expected at most ${maxLabels} labels` })
  }
  for (const name of names.slice(0, maxLabels)) {
    const message = nameComplaint(name)
    if (message === undefined) continue
    const found = `"${shorten(name)}"`
    context.addIssue({ code: 'custom', message, path: [name], params: { found } })
  }
}

function nameComplaint(name: string): string | undefined {
  if (ownLabels.some((own) => own === name))
    return 'expected a label that alerts do not have already'
  // Names that begin with two underscores are Prometheus' own.
  if (/^(?!__)[A-Za-z_][A-Za-z0-9_]*$/.test(name) && name.length <= 63) return undefined
  return 'expected the name of a label: letters, digits and _, not beginning with a digit or __'
}

/** A URL with a mistake of its own has not been transformed, and is passed over. */
function distinct(urls: readonly unknown[], context: z.RefinementCtx): void {
  const seen = new Set<unknown>()
  for (const [index, url] of urls.slice(0, maxUrls).entries()) {
    if (typeof url !== 'string') continue
    if (seen.has(url)) {
      context.addIssue({ code: 'custom', message: 'expected each URL once', path: [index] })
    }
    seen.add(url)
  }
}

function timeoutWithinResend(
  { timeout, resend }: { readonly timeout: unknown; readonly resend: unknown },
  context: z.RefinementCtx,
): void {
  if (typeof timeout !== 'number' || typeof resend !== 'number' || timeout <= resend) return
  context.addIssue({
    code: 'custom',
    message: `expected at most resend, ${formatDuration(resend)}`,
    path: ['timeout'],
    params: { found: formatDuration(timeout) },
  })
}
