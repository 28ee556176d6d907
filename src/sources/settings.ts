import { z } from 'zod'
import { durationSchema, formatDuration, numberSchema, sizeSchema } from '../units.ts'

/** How a target wants to be asked. Secrets stay in their files; see `readSecret`. */
export type TargetAuth =
  | { readonly kind: 'none' }
  | { readonly kind: 'bearer'; readonly tokenFile: string }
  | { readonly kind: 'basic'; readonly username: string; readonly passwordFile: string }

/** One server to watch. */
export interface TargetConfig {
  readonly name: string
  /** Base URL in normal form, without a trailing slash: `/metrics` is appended to it. */
  readonly url: string
  readonly auth: TargetAuth
}

/** How targets are scraped. */
export interface ScrapeConfig {
  readonly intervalMs: number
  /** Total deadline of one scrape, at most the interval. */
  readonly timeoutMs: number
  readonly maxBodyBytes: number
  readonly maxSamples: number
  /** Share of time that scraping may take before the interval is stretched; 0: never stretched. */
  readonly maxOverhead: number
}

/** How GPUs are read. */
export interface GpuConfig {
  readonly enabled: 'auto' | boolean
  readonly command: string
  readonly intervalMs: number
  /** Deadline of one call, at most the interval. */
  readonly timeoutMs: number
  readonly processes: boolean
}

/** Name of the GPU source, which no target may take. */
export const gpuTargetName = 'gpu'

export const maxTargets = 256

/** An interval below this costs the GPU host more than it tells. */
export const shortGpuIntervalMs = 5_000

const intervalRange = { minMs: 200, maxMs: 3_600_000 }

const namePattern = /^[A-Za-z0-9_.-]{1,63}$/
const nameMessage = 'expected a name of 1 to 63 of the characters A-Z a-z 0-9 _ . -'

/** The schema of a path, a command or another literal text; `${…}` is refused, since nothing expands it. */
export function literalSchema(what: string) {
  return (
    z
      .string({ error: `expected ${what}` })
      .max(4_096, { error: `expected ${what} of at most 4096 characters` })
      // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused.
      .regex(/^[^\u0000-\u001f\u007f]*$/, { error: `expected ${what} without control characters` })
      .refine((text) => !text.includes('${'), {
        error: `expected ${what} written out, since references to variables are not expanded`,
      })
  )
}

/** The schema of a base URL, http or https; its output is in normal form, without a trailing slash. */
export function baseUrlSchema(example: string) {
  return literalSchema(`a URL such as ${example}`).transform((text, context) => {
    const found = normalUrl(text, example)
    if (found.kind === 'url') return found.url
    context.addIssue(found.expected)
    return z.NEVER
  })
}

/** The keys by which a server is asked with credentials, wherever one is configured. */
export const authFields = {
  bearer_token_file: literalSchema('the path of a file')
    .prefault('')
    .describe('Path of a file whose content is sent as bearer token; empty: none is sent.'),
  basic_auth: z
    .strictObject({
      username: literalSchema('a user name')
        .min(1, { error: 'expected a user name' })
        // What stands behind a colon is a password in the wrong place, and is not shown.
        .refine((name) => !name.includes(':'), {
          error: 'expected a user name without a colon',
          params: { found: 'one with a colon' },
        })
        .describe('User name for basic authentication, without a colon.'),
      password_file: literalSchema('the path of a file')
        .min(1, { error: 'expected the path of a file' })
        .describe('Path of a file that holds the password for basic authentication.'),
    })
    .optional()
    .describe('Basic authentication; not together with bearer_token_file.'),
}

/** `authFields` as they were read. */
export interface AuthKeys {
  readonly bearer_token_file: string
  readonly basic_auth?: { readonly username: string; readonly password_file: string } | undefined
}

/** Refuses credentials of two kinds for one server. */
export const oneAuth = {
  error: 'expected either bearer_token_file or basic_auth',
  path: ['basic_auth'],
}

export function isOneAuth({ bearer_token_file, basic_auth }: AuthKeys): boolean {
  return bearer_token_file === '' || basic_auth === undefined
}

export function authOf({ bearer_token_file, basic_auth }: AuthKeys): TargetAuth {
  if (basic_auth !== undefined) {
    const { username, password_file: passwordFile } = basic_auth
    return { kind: 'basic', username, passwordFile }
  }
  if (bearer_token_file === '') return { kind: 'none' }
  return { kind: 'bearer', tokenFile: bearer_token_file }
}

const targetFields = z
  .strictObject({
    name: z
      .string({ error: nameMessage })
      .regex(namePattern, { error: nameMessage })
      .refine((name) => name !== gpuTargetName, {
        error: `expected a name other than ${gpuTargetName}, which is the GPU source`,
      })
      .describe('Value of the label `target`; unique, 1 to 63 of the characters A-Z a-z 0-9 _ . -'),
    url: baseUrlSchema('http://127.0.0.1:8000').describe(
      'Base URL of the server, http or https; /metrics, /health and /version are below it.',
    ),
    ...authFields,
  })
  .refine(isOneAuth, oneAuth)
  .transform(
    (target): TargetConfig => ({ name: target.name, url: target.url, auth: authOf(target) }),
  )

export const targetsSchema = z
  .array(targetFields)
  .min(1, { error: 'expected at least one target' })
  .max(maxTargets, { error: `expected at most ${maxTargets} targets` })
  .superRefine(
    (targets, context) => {
      for (const key of ['name', 'url'] as const) {
        const seen = new Set<string>()
        for (const [index, target] of targets.slice(0, maxTargets).entries()) {
          const value: unknown = target?.[key]
          if (typeof value !== 'string') continue
          if (seen.has(value)) {
            const message = `expected a ${key} that no other target has`
            context.addIssue({ code: 'custom', message, path: [index, key] })
          }
          seen.add(value)
        }
      }
    },
    // Runs beside other mistakes, so that all of them are told at once.
    { when: (payload) => Array.isArray(payload.value) },
  )

/** The targets of a host where nothing is configured. */
export const defaultTargets = [{ name: 'vllm', url: 'http://127.0.0.1:8000' }]

export const scrapeSchema = z
  .strictObject({
    interval: durationSchema(intervalRange)
      .prefault('5s')
      .describe('Time between two scrapes of a target, 200ms to 1h.'),
    timeout: durationSchema({ minMs: 10, maxMs: intervalRange.maxMs })
      .optional()
      .describe(
        'Total deadline of a scrape, at most the interval; unset: 0.8 of the interval, at most 10s.',
      ),
    max_body: sizeSchema({ minBytes: 1_024, maxBytes: 268_435_456 })
      .prefault('16MiB')
      .describe('Largest answer that is read, 1KiB to 256MiB; a longer one is a failed scrape.'),
    max_samples: numberSchema({ min: 1, max: 5_000_000, whole: true })
      .prefault(200_000)
      .describe('Most samples of one answer; one with more is a failed scrape.'),
    max_overhead: numberSchema({ min: 0, max: 1 })
      .prefault(0.01)
      .describe(
        'Share of time that scraping may take before the interval is stretched, to 15s at most; 0: never.',
      ),
  })
  .superRefine(timeoutWithinInterval, { when: isMap })
  .transform(
    (scrape): ScrapeConfig => ({
      intervalMs: scrape.interval,
      timeoutMs: scrape.timeout ?? Math.min(Math.floor(0.8 * scrape.interval), 10_000),
      maxBodyBytes: scrape.max_body,
      maxSamples: scrape.max_samples,
      maxOverhead: scrape.max_overhead,
    }),
  )

export const gpuSchema = z
  .strictObject({
    enabled: z
      .union([z.literal('auto'), z.boolean()], { error: 'expected auto, true or false' })
      .prefault('auto')
      .describe(
        'Whether GPUs are read: auto (no complaint on a host without an NVIDIA driver), true or false.',
      ),
    command: literalSchema('a command')
      .min(1, { error: 'expected a command' })
      .prefault('nvidia-smi')
      .describe('The program that is run, a name on PATH or a path.'),
    interval: durationSchema(intervalRange)
      .prefault('10s')
      .describe('Time between two readings, 200ms to 1h; below 5s a warning is given.'),
    timeout: durationSchema({ minMs: 10, maxMs: intervalRange.maxMs })
      .optional()
      .describe(
        'Deadline of a reading, at most the interval; unset: 10s, or the interval if less.',
      ),
    processes: z
      .boolean({ error: 'expected true or false' })
      .prefault(true)
      .describe('Whether memory is shown by process.'),
  })
  .superRefine(timeoutWithinInterval, { when: isMap })
  .transform(
    (gpu): GpuConfig => ({
      enabled: gpu.enabled,
      command: gpu.command,
      intervalMs: gpu.interval,
      timeoutMs: gpu.timeout ?? Math.min(10_000, gpu.interval),
      processes: gpu.processes,
    }),
  )

/**
 * Returns the target that `[NAME=]URL` names, in the spelling of the file. Without NAME it is `vllm`.
 * An `=` behind `://` belongs to the URL. Neither part is checked here.
 */
export function targetFromText(text: string): { name: string; url: string; named: boolean } {
  const equals = text.indexOf('=')
  const scheme = text.indexOf('://')
  const named = equals >= 0 && (scheme < 0 || equals < scheme)
  if (!named) return { name: 'vllm', url: text, named }
  return { name: text.slice(0, equals), url: text.slice(equals + 1), named }
}

function normalUrl(
  text: string,
  example: string,
): { readonly kind: 'url'; readonly url: string } | { kind: 'refused'; expected: string } {
  const refuse = (expected: string) => ({ kind: 'refused', expected }) as const
  // The WHATWG parser forgives `http:host` and `http:\\host`; people who wrote that meant something else.
  if (!/^https?:\/\/[^/?#]/i.test(text) || /[\s\\]/.test(text)) {
    return refuse('expected a URL that begins with http:// or https:// and a host')
  }
  // It takes `$HOST` for a host, and an empty port, which a variable may leave behind, for the default one.
  if (/^[^/]+\/\/[^/?#]*\$/.test(text)) {
    return refuse('expected a URL with its host written out')
  }
  const port = /^[^/]+\/\/[^/?#]*:(\d*)(?:[/?#]|$)/.exec(text)?.[1]
  if (port !== undefined && (Number(port) < 1 || Number(port) > 65_535)) {
    return refuse('expected a URL with a port from 1 to 65535')
  }
  let url: URL
  try {
    url = new URL(text)
  } catch {
    return refuse(`expected a URL such as ${example}`)
  }
  if (/^[^/]+\/\/[^/?#]*@/.test(text)) {
    return refuse('expected a URL without user and password, which belong in basic_auth')
  }
  if (/[?#]/.test(text)) return refuse('expected a base URL without query and fragment')
  const path = url.pathname.replace(/\/+$/, '')
  return { kind: 'url', url: `${url.protocol}//${url.host}${path}` }
}

export function isMap(payload: { readonly value: unknown }): boolean {
  return typeof payload.value === 'object' && payload.value !== null
}

export function timeoutWithinInterval(
  section: { readonly interval: unknown; readonly timeout?: unknown },
  context: z.RefinementCtx,
): void {
  const { interval, timeout } = section
  if (typeof interval !== 'number' || typeof timeout !== 'number' || timeout <= interval) return
  context.addIssue({
    code: 'custom',
    message: `expected at most the interval, ${formatDuration(interval)}`,
    path: ['timeout'],
  })
}
