import { byteAt, DOT, decodeUtf8, LF, MINUS, NINE, PLUS, SPACE, TAB, ZERO } from './bytes.ts'

/** Powers of ten that are doubles without rounding. */
const powersOfTen = Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`))

/** Every integer below is a double, and a sum of digits that stays below was never rounded. */
const EXACT_INTEGERS = 2 ** 53

const MAX_EXPONENT = 1_000_000

/**
 * Reads numbers as Go's `strconv.ParseFloat` does in base ten, from bytes: decimals, `Inf`, `Infinity`
 * and `NaN` in any case. Refused are hexadecimals, underscores and decimals beyond the largest double.
 */
export class NumberReader {
  /** The position behind the number last read; -1 when there was none. */
  end = -1

  /**
   * Returns the double nearest to the number that begins at `start`. It has to be followed by a blank
   * or the end of its line; otherwise `end` is -1 and the result means nothing.
   */
  read(body: Uint8Array, start: number): number {
    let at = start
    let byte = byteAt(body, at)
    const negative = byte === MINUS
    if (negative || byte === PLUS) {
      at += 1
      byte = byteAt(body, at)
    }
    const first = at
    let mantissa = 0
    while (byte >= ZERO && byte <= NINE) {
      mantissa = mantissa * 10 + (byte - ZERO)
      at += 1
      byte = byteAt(body, at)
    }
    let digits = at - first
    let scale = 0
    if (byte === DOT) {
      at += 1
      byte = byteAt(body, at)
      const fraction = at
      while (byte >= ZERO && byte <= NINE) {
        mantissa = mantissa * 10 + (byte - ZERO)
        at += 1
        byte = byteAt(body, at)
      }
      scale = fraction - at
      digits -= scale
    }
    if (digits === 0) return this.#readWord(body, first, negative ? -1 : first === start ? 0 : 1)
    const mantissaEnd = at
    if ((byte | 0x20) === 0x65) {
      at = this.#readExponent(body, at + 1)
      scale += this.#exponent
      byte = byteAt(body, at)
    }
    if (at < 0 || (byte !== LF && byte !== SPACE && byte !== TAB)) {
      this.end = -1
      return 0
    }
    this.end = at
    const size =
      mantissa < EXACT_INTEGERS && scale >= -22 && scale <= 22
        ? scaled(mantissa, scale)
        : this.#readLong(body, first, mantissaEnd, scale)
    return negative ? -size : size
  }

  #exponent = 0

  /** Returns the position behind an exponent that begins at `start`, -1 when there is none. */
  #readExponent(body: Uint8Array, start: number): number {
    let at = start
    let byte = byteAt(body, at)
    const negative = byte === MINUS
    if (negative || byte === PLUS) {
      at += 1
      byte = byteAt(body, at)
    }
    const first = at
    let exponent = 0
    while (byte >= ZERO && byte <= NINE) {
      exponent = Math.min(exponent * 10 + (byte - ZERO), MAX_EXPONENT)
      at += 1
      byte = byteAt(body, at)
    }
    this.#exponent = negative ? -exponent : exponent
    return at === first ? -1 : at
  }

  /** Reads a decimal without its sign whose digits or exponent are too many for one exact division. */
  #readLong(body: Uint8Array, first: number, mantissaEnd: number, scale: number): number {
    const near = divideLong(body, first, mantissaEnd, scale)
    if (near !== undefined) return near
    const value = Number(decodeUtf8(body, first, this.end))
    if (!Number.isFinite(value)) this.end = -1
    return value
  }

  /** Reads `nan`, `inf` or `infinity`; `sign` is 0 where none was written. */
  #readWord(body: Uint8Array, start: number, sign: number): number {
    let end = start
    while (end - start <= 8 && !isEnd(byteAt(body, end))) end += 1
    const word = decodeUtf8(body, start, end)?.toLowerCase()
    this.end = end
    if (word === 'nan' && sign === 0) return Number.NaN
    if (word === 'inf' || word === 'infinity') return sign < 0 ? -Infinity : Infinity
    this.end = -1
    return 0
  }
}

function isEnd(byte: number): boolean {
  return byte === LF || byte === SPACE || byte === TAB
}

/** Returns `mantissa` × 10^`scale`, rounded once, for a scale from -22 to 22. */
function scaled(mantissa: number, scale: number): number {
  if (scale === 0) return mantissa
  return scale < 0 ? mantissa / (powersOfTen[-scale] ?? 1) : mantissa * (powersOfTen[scale] ?? 1)
}

/**
 * Returns the double nearest to a decimal of 16 to 30 digits, such as most sums are printed with, and
 * `undefined` where doubles cannot prove it: other lengths and scales, and results close to a tie.
 *
 * The digits are two exact integers; Dekker's products carry every remainder, so the quotient is known
 * to about 100 bits, and rounding it from both ends of its error gives the same double (Ziv's test).
 */
function divideLong(
  body: Uint8Array,
  first: number,
  mantissaEnd: number,
  scale: number,
): number | undefined {
  let head = 0
  let rest = 0
  let digits = 0
  for (let at = first; at < mantissaEnd; at += 1) {
    const byte = byteAt(body, at)
    if (byte === DOT) continue
    if (digits < 15) head = head * 10 + (byte - ZERO)
    else rest = rest * 10 + (byte - ZERO)
    digits += 1
  }
  if (digits < 16 || digits > 30 || scale > -1 || scale < -22) return undefined
  const shift = powersOfTen[digits - 15] ?? 1
  const divisor = powersOfTen[-scale] ?? 1

  const product = head * shift
  const high = product + rest
  // Knuth's sum: what `high` lost of the two.
  const back = high - product
  const low = productError(head, shift, product) + (product - (high - back)) + (rest - back)

  const quotient = high / divisor
  const whole = quotient * divisor
  const correction = (high - whole - productError(quotient, divisor, whole) + low) / divisor
  const margin = quotient * 2 ** -90
  const nearest = quotient + (correction - margin)
  return nearest === quotient + (correction + margin) ? nearest : undefined
}

/** Returns exactly what `product`, the rounded product of the two, has lost. */
function productError(one: number, other: number, product: number): number {
  const oneHigh = upperHalf(one)
  const otherHigh = upperHalf(other)
  const oneLow = one - oneHigh
  const otherLow = other - otherHigh
  return (
    oneLow * otherLow - (product - oneHigh * otherHigh - oneLow * otherHigh - oneHigh * otherLow)
  )
}

/** Returns the upper 26 bits of a double's mantissa (Veltkamp's split). */
function upperHalf(value: number): number {
  const spread = value * 134_217_729
  return spread - (spread - value)
}
