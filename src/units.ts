import { z } from 'zod'

/** Milliseconds of each unit, largest first: the order in which people write them. */
const durationUnits = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
] as const

const durationPattern = /^(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/

const sizeUnits = [
  ['GiB', 1_073_741_824],
  ['MiB', 1_048_576],
  ['KiB', 1_024],
  ['B', 1],
] as const

const sizePattern = /^(\d+)(GiB|MiB|KiB|B)$/

/**
 * Returns the milliseconds that `text` names: `500ms`, `5s`, `1m30s`, `2h`, `1d`. Units go from large
 * to small, each at most once, and every number is whole.
 *
 * - anything else (`5`, `1.5s`, `30s1m`, `-5s`, an empty text): `undefined`
 * - more than can be counted exactly in milliseconds: `undefined`
 */
export function parseDuration(text: string): number | undefined {
  const match = durationPattern.exec(text)
  if (match === null) return undefined
  let ms = 0
  for (const [index, [, unitMs]] of durationUnits.entries()) {
    ms += Number(match[index + 1] ?? 0) * unitMs
  }
  return Number.isSafeInteger(ms) ? ms : undefined
}

/**
 * Returns `ms` as people write it, with the largest units that are exact: `1m30s`, `1m`, `500ms`,
 * `0s`. It is also the value of the label `window`. Fractions of a millisecond are rounded.
 *
 * Negative, infinite and `NaN`: throws `RangeError`.
 */
export function formatDuration(ms: number): string {
  if (!(ms >= 0) || !Number.isFinite(ms)) {
    throw new RangeError(`expected milliseconds of 0 or more, found ${ms}`)
  }
  let rest = Math.round(ms)
  if (rest === 0) return '0s'
  let text = ''
  for (const [unit, unitMs] of durationUnits) {
    const amount = Math.floor(rest / unitMs)
    if (amount > 0) text += `${amount}${unit}`
    rest -= amount * unitMs
  }
  return text
}

/**
 * Returns the bytes that `text` names: `16MiB`, `64KiB`, `1GiB`, `512B`. Only binary units are read,
 * because people disagree on how much a `MB` is.
 *
 * Anything else, or more than can be counted exactly: `undefined`.
 */
export function parseSize(text: string): number | undefined {
  const match = sizePattern.exec(text)
  if (match === null) return undefined
  const unit = sizeUnits.find(([name]) => name === match[2])
  if (unit === undefined) return undefined
  const bytes = Number(match[1]) * unit[1]
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/**
 * Returns `bytes` as people write it, in the largest unit that is exact: `16MiB`, `1536KiB`, `0B`.
 *
 * Anything but a whole number of 0 or more: throws `RangeError`.
 */
export function formatSize(bytes: number): string {
  if (!Number.isSafeInteger(bytes) || bytes < 0) {
    throw new RangeError(`expected whole bytes of 0 or more, found ${bytes}`)
  }
  if (bytes === 0) return '0B'
  for (const [unit, unitBytes] of sizeUnits) {
    if (bytes % unitBytes === 0) return `${bytes / unitBytes}${unit}`
  }
  return `${bytes}B`
}

/** The schema of a duration between `minMs` and `maxMs`, both allowed; its output is milliseconds. */
export function durationSchema(range: { readonly minMs: number; readonly maxMs: number }) {
  const { minMs, maxMs } = range
  const message = `expected a duration from ${formatDuration(minMs)} to ${formatDuration(maxMs)} such as 5s or 1m30s`
  return z
    .string({ error: message })
    .regex(durationPattern, { error: message })
    .meta({ title: 'duration' })
    .transform((text, context) => {
      const ms = parseDuration(text)
      if (ms !== undefined && ms >= minMs && ms <= maxMs) return ms
      context.addIssue(message)
      return z.NEVER
    })
}

/** The schema of a size between `minBytes` and `maxBytes`, both allowed; its output is bytes. */
export function sizeSchema(range: { readonly minBytes: number; readonly maxBytes: number }) {
  const { minBytes, maxBytes } = range
  const message = `expected a size from ${formatSize(minBytes)} to ${formatSize(maxBytes)} such as 16MiB or 64KiB`
  return z
    .string({ error: message })
    .regex(sizePattern, { error: message })
    .meta({ title: 'size' })
    .transform((text, context) => {
      const bytes = parseSize(text)
      if (bytes !== undefined && bytes >= minBytes && bytes <= maxBytes) return bytes
      context.addIssue(message)
      return z.NEVER
    })
}

/** The schema of a number from `min` to `max`, both allowed. */
export function numberSchema(range: {
  readonly min: number
  readonly max: number
  readonly whole?: boolean
}) {
  const { min, max, whole = false } = range
  const error = `expected a ${whole ? 'whole ' : ''}number from ${min} to ${max}`
  // Without `abort` a number that is too large to be whole would be refused twice.
  const number = whole ? z.number({ error }).int({ error, abort: true }) : z.number({ error })
  return number.min(min, { error }).max(max, { error })
}
