import {
  byteAt,
  CLOSE_BRACE,
  decodeUtf8,
  HASH,
  LF,
  MINUS,
  NINE,
  OPEN_BRACE,
  PLUS,
  SPACE,
  skipBlanks,
  TAB,
  ZERO,
} from './bytes.ts'
import type { ExpositionFormat, ParseLimits } from './exposition.ts'
import { LabelScanner, type LineVerdict, nameEnd } from './labels.ts'
import { NumberReader } from './number.ts'

/** The most digits that a timestamp of 64 bits has. */
const TIMESTAMP_DIGITS = 19

/**
 * Finds the parts of a sample's key, which is its name and labels, without making a string of any.
 * The fields hold after `valid`, until the next scan.
 */
export class KeyScanner {
  readonly #limits: ParseLimits
  readonly labels: LabelScanner
  metricStart = 0
  metricEnd = 0
  /** The position behind the name or the closing brace. */
  end = 0
  /** The position of the first byte of the value. */
  valueStart = 0
  /** Whether the same name and labels, in this order, could not be written in another way. */
  plain = true
  /** Whether some byte is outside ASCII, so that the UTF-8 of the key still has to be checked. */
  foreign = false
  labelCount = 0

  constructor(limits: ParseLimits) {
    this.#limits = limits
    this.labels = new LabelScanner(limits)
  }

  scan(body: Uint8Array, start: number): LineVerdict {
    this.metricStart = start
    this.metricEnd = nameEnd(body, start)
    this.end = this.metricEnd
    this.plain = true
    this.foreign = false
    this.labelCount = 0
    const brace = skipBlanks(body, this.end)
    if (byteAt(body, brace) === OPEN_BRACE) {
      const verdict = this.#scanLabels(body, brace)
      if (verdict !== 'valid') return verdict
    } else if (this.end === start) {
      return 'malformed'
    }
    if (this.metricEnd - this.metricStart > this.#limits.maxLabelBytes) return 'label_length'
    this.valueStart = skipBlanks(body, this.end)
    // Without a blank the name has not ended where the value begins, unless a brace has closed it.
    if (this.valueStart === this.end && byteAt(body, this.end - 1) !== CLOSE_BRACE)
      return 'malformed'
    return 'valid'
  }

  #scanLabels(body: Uint8Array, brace: number): LineVerdict {
    const verdict = this.labels.scan(body, brace + 1)
    if (verdict !== 'valid') return verdict
    const { metricStart, metricEnd } = this.labels
    if (metricStart >= 0) {
      // Either a name before the brace or one inside it.
      if (this.metricEnd > this.metricStart) return 'malformed'
      this.metricStart = metricStart
      this.metricEnd = metricEnd
    } else if (this.metricEnd === this.metricStart) {
      return 'malformed'
    }
    this.plain = this.labels.plain && brace === this.end
    this.foreign = this.labels.foreign
    this.labelCount = this.labels.count
    this.end = this.labels.end
    return 'valid'
  }
}

/** Reads what follows a sample's key: the value and, only to be validated, timestamp and exemplar. */
export class ValueReader {
  readonly #numbers = new NumberReader()
  readonly #exemplar: LabelScanner
  /** The position behind the line last read; -1 when it was malformed. */
  end = -1

  constructor(limits: ParseLimits) {
    this.#exemplar = new LabelScanner(limits)
  }

  /** Returns the value that begins at `start`; means nothing when `end` is -1. */
  read(body: Uint8Array, start: number, format: ExpositionFormat): number {
    const value = this.#numbers.read(body, start)
    const at = this.#numbers.end
    if (at >= 0 && body[at] === LF) this.end = at + 1
    else this.end = at < 0 ? -1 : this.#readRest(body, at, format)
    return value
  }

  /** Returns the position behind the line whose value ends at `start`; -1 when it is malformed. */
  #readRest(body: Uint8Array, start: number, format: ExpositionFormat): number {
    let at = skipBlanks(body, start)
    if (at === start) return -1
    if (byteAt(body, at) !== LF && byteAt(body, at) !== HASH) {
      at = skipBlanks(body, this.#timestampEnd(body, at, format))
      if (at < 0) return -1
    }
    if (byteAt(body, at) === HASH) {
      at = format === 'openmetrics' ? this.#exemplarEnd(body, at + 1) : -1
    }
    return at >= 0 && body[at] === LF ? at + 1 : -1
  }

  #timestampEnd(body: Uint8Array, start: number, format: ExpositionFormat): number {
    if (format === 'openmetrics') {
      const seconds = this.#numbers.read(body, start)
      return Number.isFinite(seconds) ? this.#numbers.end : -1
    }
    const sign = byteAt(body, start)
    const first = sign === MINUS || sign === PLUS ? start + 1 : start
    let at = first
    while (byteAt(body, at) >= ZERO && byteAt(body, at) <= NINE) at += 1
    if (at === first || at - first > TIMESTAMP_DIGITS) return -1
    const byte = byteAt(body, at)
    return byte === LF || byte === SPACE || byte === TAB ? at : -1
  }

  /** Returns the position of the line feed behind an exemplar whose `#` is just before `start`; -1 without. */
  #exemplarEnd(body: Uint8Array, start: number): number {
    const brace = skipBlanks(body, start)
    if (byteAt(body, brace) !== OPEN_BRACE) return -1
    const labels = this.#exemplar
    if (labels.scan(body, brace + 1) !== 'valid' || labels.metricStart >= 0) return -1
    if (labels.foreign && decodeUtf8(body, brace, labels.end) === undefined) return -1
    this.#numbers.read(body, skipBlanks(body, labels.end))
    if (this.#numbers.end < 0) return -1
    const at = skipBlanks(body, this.#numbers.end)
    if (byteAt(body, at) === LF) return at
    const end = this.#timestampEnd(body, at, 'openmetrics')
    return end < 0 ? -1 : skipBlanks(body, end)
  }
}
