import {
  BACKSLASH,
  byteAt,
  CLOSE_BRACE,
  COMMA,
  classOf,
  EQUALS,
  LABEL,
  LABEL_START,
  LF,
  NAME,
  NAME_START,
  QUOTE,
  skipBlanks,
} from './bytes.ts'
import type { ParseLimits } from './exposition.ts'

/** What became of a line or a part of it: usable, not of the grammar, or beyond one of the limits. */
export type LineVerdict = 'valid' | 'malformed' | 'labels' | 'label_length'

/** Returns the position of the quote that closes the string whose text begins at `start`; -1 without. */
export function closingQuote(body: Uint8Array, start: number): number {
  let at = start
  for (;;) {
    const byte = byteAt(body, at)
    if (byte === QUOTE) return at
    if (byte === LF) return -1
    at += byte === BACKSLASH && byteAt(body, at + 1) !== LF ? 2 : 1
  }
}

/**
 * Returns the text that a string in quotes stands for: `\\`, `\"` and `\n` are a backslash, a quote and a
 * line feed. Before any other character a backslash is itself, as Prometheus' own scrape parser reads it.
 */
export function unescaped(text: string): string {
  if (!text.includes('\\')) return text
  return text.replace(/\\([\\"n])/g, (_, char: string) => (char === 'n' ? '\n' : char))
}

/** Returns the position behind an unquoted metric name at `start`; `start` when there is none. */
export function nameEnd(body: Uint8Array, start: number): number {
  if ((classOf(byteAt(body, start)) & NAME_START) === 0) return start
  let at = start + 1
  while ((classOf(byteAt(body, at)) & NAME) !== 0) at += 1
  return at
}

/**
 * Finds the parts of a label set, `{a="1",b="2"}`, without making a string of any.
 *
 * A metric name in quotes may stand before the labels, and label names may be quoted (the UTF-8 names
 * of text format 1.0.0). Labels beyond the limit end the scan.
 */
export class LabelScanner {
  readonly #limits: ParseLimits
  /** For each label: where its name begins and ends, where its value begins and ends, without quotes. */
  readonly offsets: Int32Array
  count = 0
  /** Where a metric name in the braces begins; -1 when there is none. */
  metricStart = -1
  metricEnd = -1
  /** The position behind the closing brace. */
  end = 0
  /** Whether the labels could not be written in another way: no blanks, escapes, quoted names, empty set. */
  plain = true
  /** Whether some byte of it is outside ASCII, so that its UTF-8 still has to be checked. */
  foreign = false

  constructor(limits: ParseLimits) {
    this.#limits = limits
    this.offsets = new Int32Array(4 * limits.maxLabels)
  }

  /** Scans the set whose opening brace is just before `start`. The other fields hold after `valid`. */
  scan(body: Uint8Array, start: number): LineVerdict {
    this.count = 0
    this.metricStart = -1
    this.plain = true
    this.foreign = false
    let at = this.#skip(body, start)
    if (byteAt(body, at) === CLOSE_BRACE) this.plain = false
    while (byteAt(body, at) !== CLOSE_BRACE) {
      if (this.count === this.#limits.maxLabels) return 'labels'
      const verdict = this.#scanLabel(body, at)
      if (verdict !== 'valid') return verdict
      at = this.#skip(body, this.end)
      const byte = byteAt(body, at)
      if (byte === COMMA) {
        at = this.#skip(body, at + 1)
        if (byteAt(body, at) === CLOSE_BRACE) this.plain = false
      } else if (byte !== CLOSE_BRACE) {
        return 'malformed'
      }
    }
    this.end = at + 1
    return 'valid'
  }

  #scanLabel(body: Uint8Array, start: number): LineVerdict {
    const { maxLabelBytes } = this.#limits
    const quoted = byteAt(body, start) === QUOTE
    const from = quoted ? start + 1 : start
    const to = quoted ? this.#scanQuoted(body, from) : labelEnd(body, start)
    if (to <= from) return 'malformed'
    if (to - from > maxLabelBytes) return 'label_length'
    let at = this.#skip(body, quoted ? to + 1 : to)
    if (byteAt(body, at) !== EQUALS) {
      if (!quoted || this.count > 0 || this.metricStart >= 0) return 'malformed'
      this.metricStart = from
      this.metricEnd = to
      this.plain = false
      this.end = at
      return 'valid'
    }
    if (quoted) this.plain = false
    at = this.#skip(body, at + 1)
    if (byteAt(body, at) !== QUOTE) return 'malformed'
    const valueFrom = at + 1
    const valueTo = this.#scanQuoted(body, valueFrom)
    if (valueTo < 0) return 'malformed'
    if (valueTo - valueFrom > maxLabelBytes) return 'label_length'
    const offset = 4 * this.count
    this.offsets[offset] = from
    this.offsets[offset + 1] = to
    this.offsets[offset + 2] = valueFrom
    this.offsets[offset + 3] = valueTo
    this.count += 1
    this.end = valueTo + 1
    return 'valid'
  }

  /** Returns the position of the quote that closes the string whose text begins at `start`; -1 without. */
  #scanQuoted(body: Uint8Array, start: number): number {
    let at = start
    let seen = 0
    for (;;) {
      const byte = byteAt(body, at)
      if (byte === QUOTE) {
        if (seen >= 0x80) this.foreign = true
        return at
      }
      if (byte === LF) return -1
      seen |= byte
      at += 1
      if (byte === BACKSLASH) {
        this.plain = false
        const escaped = byteAt(body, at)
        // A line feed is never skipped: an escape at the end of a line leaves the string open.
        if (escaped !== LF) at += 1
        seen |= escaped
      }
    }
  }

  #skip(body: Uint8Array, at: number): number {
    const end = skipBlanks(body, at)
    if (end !== at) this.plain = false
    return end
  }
}

function labelEnd(body: Uint8Array, start: number): number {
  if ((classOf(byteAt(body, start)) & LABEL_START) === 0) return start
  let at = start + 1
  while ((classOf(byteAt(body, at)) & LABEL) !== 0) at += 1
  return at
}
