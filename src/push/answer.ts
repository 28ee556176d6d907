import { shorten } from '../errors.ts'

const firstWaitMs = 1_000
const longestWaitMs = 60_000
/** A refused connection must not be tried again at once, however the dice fall. */
const shortestWaitMs = 100
/** A server that wants longer to be left alone is asked all the same. */
const longestAskedWaitMs = 300_000

/**
 * What came of a try.
 *
 * - `refused`: trying again would change nothing before somebody mends something
 * - `failed`: it may well succeed later; `afterMs` is how long the server asks to be left alone
 */
export type Outcome =
  | { readonly kind: 'accepted' }
  | { readonly kind: 'refused'; readonly code: string; readonly reason: string }
  | {
      readonly kind: 'failed'
      readonly code: string
      readonly reason: string
      readonly afterMs?: number | undefined
    }

/** Returns what an answer of `url` means. */
export function judgeAnswer(
  answer: {
    readonly status: number
    readonly location: string | undefined
    readonly retryAfter: string | undefined
  },
  { url, nowMs }: { readonly url: string; readonly nowMs: number },
): Outcome {
  const { status, location, retryAfter } = answer
  if (status >= 200 && status < 300) return { kind: 'accepted' }
  const where = location === undefined ? '' : ` to ${shorten(location)}`
  const reason = `expected 200 from ${url}, found ${status}${where}`
  if (status >= 300 && status < 400) return { kind: 'refused', code: 'redirect', reason }
  if (status >= 400 && status < 500 && status !== 429) {
    return { kind: 'refused', code: 'status', reason }
  }
  return { kind: 'failed', code: 'status', reason, afterMs: retryAfterMs(retryAfter, nowMs) }
}

/**
 * Returns how long to wait before the next try when `failures` have come one after the other, the first being 1.
 * It lies between 0.1 s and 1 s, 2 s, 4 s … 1 min, where `random`, from 0 to 1, puts it: many daemons that lost the
 * same Alertmanager do not come back all at once. What the server asks for comes before that, up to 5 min of it.
 */
export function retryWaitMs(
  failures: number,
  how: { readonly random: number; readonly afterMs?: number | undefined },
): number {
  const ceilingMs = Math.min(longestWaitMs, firstWaitMs * 2 ** (failures - 1))
  const askedMs = Math.min(how.afterMs ?? 0, longestAskedWaitMs)
  return Math.max(shortestWaitMs, askedMs + how.random * ceilingMs)
}

/** Reads `Retry-After` (RFC 9110, section 10.2.3): whole seconds, or a date. */
function retryAfterMs(text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined) return undefined
  if (/^\d+$/.test(text)) return Number(text) * 1_000
  const dateMs = Date.parse(text)
  return Number.isNaN(dateMs) ? undefined : Math.max(0, dateMs - nowMs)
}
