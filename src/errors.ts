/** Why a collection yielded nothing. Values of the label `code`; listed in CONTRACT order, never renamed. */
export const collectErrorCodes = [
  // An HTTP source.
  'refused',
  'reset',
  'resolve',
  'timeout',
  'status',
  'tls',
  'too_large',
  'truncated',
  'not_exposition',
  'redirect',
  'limit',
  // The GPU source; `timeout` and `too_large` serve both.
  'not_found',
  'permission',
  'driver_unavailable',
  'library_mismatch',
  'no_gpu',
  'gpu_lost',
  'malformed',
  'exit',
] as const

export type CollectErrorCode = (typeof collectErrorCodes)[number]

/** Failures of the GPU source that say that this host has no GPU to read, and not that reading one failed. */
export const absenceCodes: ReadonlySet<CollectErrorCode> = new Set([
  'not_found',
  'driver_unavailable',
  'no_gpu',
])

/** Names of the limits that input can hit. Values of the label `limit`. */
export const limitNames = ['samples', 'labels', 'label_length', 'series', 'processes'] as const

export type LimitName = (typeof limitNames)[number]

/** How often each limit was hit. A limit that was not hit has no key. */
export type LimitHits = Readonly<Partial<Record<LimitName, number>>>

/**
 * An expected failure of one collection: thrown by an edge, or by a parser that was given something
 * which is not its format at all. The collect loop alone catches it.
 */
export class CollectError extends Error {
  readonly code: CollectErrorCode
  /** For `status`: the HTTP status that came instead of 200. */
  readonly status: number | undefined
  /** For `limit`: which of our limits the input was beyond; absent where a limit of the host was. */
  readonly limit: LimitName | undefined

  constructor(
    code: CollectErrorCode,
    message: string,
    options: {
      readonly cause?: unknown
      readonly status?: number
      readonly limit?: LimitName
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'CollectError'
    this.code = code
    this.status = options.status
    this.limit = options.limit
  }
}

/** What keeps the daemon from starting though its configuration is good, told in one line. */
export class StartError extends Error {
  constructor(message: string, options: { readonly cause?: unknown } = {}) {
    super(message, options)
    this.name = 'StartError'
  }
}

/** A configuration that cannot be used. `issues` holds one line for each mistake. */
export class ConfigError extends Error {
  readonly issues: readonly string[]

  constructor(issues: readonly string[]) {
    super(issues.join('\n'))
    this.name = 'ConfigError'
    this.issues = issues
  }
}

/** Closes a `switch` over a union: reaching it is a programming error. */
export function unreachable(value: never): never {
  throw new TypeError(`expected no further case, found ${JSON.stringify(value)}`)
}

/**
 * Returns `text` fit for a message: control characters and line separators escaped, at most `maxLength`
 * characters with an ellipsis for the rest.
 */
export function shorten(text: string, maxLength = 80): string {
  const cut = text.length > maxLength ? `${text.slice(0, maxLength)}…` : text
  return escapedJson(cut).slice(1, -1)
}

/** Returns `value` as JSON on one line of a terminal: control characters are escaped, those beyond ASCII too. */
export function escapedJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007f-\u009f\u2028\u2029]/g,
    (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
