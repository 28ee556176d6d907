/** The bytes that the grammar of an exposition names. */
export const TAB = 0x09
export const LF = 0x0a
export const SPACE = 0x20
export const QUOTE = 0x22
export const HASH = 0x23
export const PLUS = 0x2b
export const COMMA = 0x2c
export const MINUS = 0x2d
export const DOT = 0x2e
export const ZERO = 0x30
export const NINE = 0x39
export const LESS_THAN = 0x3c
export const EQUALS = 0x3d
export const BACKSLASH = 0x5c
export const OPEN_BRACE = 0x7b
export const CLOSE_BRACE = 0x7d

/** Bits of `classOf`: what a byte may be part of without quotes. */
export const NAME_START = 1
export const NAME = 2
export const LABEL_START = 4
export const LABEL = 8

const classes = new Uint8Array(256)
for (let byte = 0; byte < 128; byte += 1) {
  const char = String.fromCharCode(byte)
  if (/[a-zA-Z_]/.test(char)) classes[byte] = NAME_START | NAME | LABEL_START | LABEL
  else if (/[0-9]/.test(char)) classes[byte] = NAME | LABEL
  else if (char === ':') classes[byte] = NAME_START | NAME
}

/** Returns the classes of a byte as a set of bits; 0 for bytes that need quotes. */
export function classOf(byte: number): number {
  return classes[byte] ?? 0
}

/** Returns the byte at `at`, and a line feed beyond the end, so that every scan ends there. */
export function byteAt(body: Uint8Array, at: number): number {
  return body[at] ?? LF
}

/** Returns the first position from `at` on that holds neither space nor tab. */
export function skipBlanks(body: Uint8Array, at: number): number {
  let end = at
  for (;;) {
    const byte = body[end]
    if (byte !== SPACE && byte !== TAB) return end
    end += 1
  }
}

/** Returns the position behind the line feed that ends the line which holds `at`. */
export function nextLine(body: Uint8Array, at: number): number {
  const end = body.indexOf(LF, at)
  return end === -1 ? body.length : end + 1
}

export function viewOf(body: Uint8Array): DataView {
  return new DataView(body.buffer, body.byteOffset, body.byteLength)
}

/**
 * Returns whether `length` bytes are certainly equal. Eight bytes are compared at once as a double, which
 * is the widest load that the engine does without an allocation. Doubles have values that are equal with
 * other bits (the two zeros) or unequal with the same bits (NaN): both give `false`, and the caller
 * takes its slow way. Neither occurs in the bytes of readable text.
 */
export function sameBytes(
  one: DataView,
  oneAt: number,
  other: DataView,
  otherAt: number,
  length: number,
): boolean {
  if (oneAt + length > one.byteLength || otherAt + length > other.byteLength) return false
  if (length < 8) {
    for (let index = 0; index < length; index += 1) {
      if (one.getUint8(oneAt + index) !== other.getUint8(otherAt + index)) return false
    }
    return true
  }
  const last = length - 8
  for (let index = 0; index < last; index += 8) {
    const word = one.getFloat64(oneAt + index, true)
    if (word !== other.getFloat64(otherAt + index, true) || word === 0) return false
  }
  const word = one.getFloat64(oneAt + last, true)
  return word === other.getFloat64(otherAt + last, true) && word !== 0
}

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true })
const byteText = new TextDecoder('latin1')
const encoder = new TextEncoder()

/** Returns the text of valid UTF-8; `undefined` for bytes that are not. */
export function decodeUtf8(body: Uint8Array, from: number, to: number): string | undefined {
  const bytes = body.subarray(from, to)
  const text = utf8.decode(bytes)
  if (!text.includes('\ufffd')) return text
  // Either U+FFFD itself was written or it stands for bytes that are no text: then others come back.
  // A decoder that throws would tell as much, but costs so much time that a bad page could stall us.
  const again = encoder.encode(text)
  if (again.length !== bytes.length) return undefined
  return again.every((byte, index) => byte === bytes[index]) ? text : undefined
}

/** Returns one character for each byte, the same for the same byte: something to compare, not to show. */
export function decodeBytes(body: Uint8Array): string {
  const text = utf8.decode(body)
  // A character outside ASCII takes more than one byte, so a text that is as long has none.
  return text.length === body.length ? text : byteText.decode(body)
}

/** Returns at most the first `length` bytes as text to show, U+FFFD where they are none. */
export function decodeStart(body: Uint8Array, length: number): string {
  return utf8.decode(body.subarray(0, length))
}
