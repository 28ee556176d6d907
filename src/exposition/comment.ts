import { byteAt, decodeUtf8, QUOTE, SPACE, skipBlanks, TAB } from './bytes.ts'
import { closingQuote, nameEnd, unescaped } from './labels.ts'

/** What a `# TYPE` line says; `word` as written. */
export interface TypeLine {
  readonly family: string
  readonly word: string
}

export type CommentVerdict = 'text' | 'malformed' | 'label_length' | TypeLine

const TEXT = 'TYPE'

/**
 * Reads a comment from the byte behind its `#` up to its line feed at `end`.
 *
 * - `# TYPE family word` with a family's name, quoted where it is not a plain one
 * - any other comment is text: `# HELP`, `# UNIT` and `# EOF` say nothing that is needed here
 * - bytes that are not UTF-8 make any comment malformed
 */
export function readComment(
  body: Uint8Array,
  start: number,
  end: number,
  maxNameBytes: number,
): CommentVerdict {
  let seen = 0
  for (let at = start; at < end; at += 1) seen |= byteAt(body, at)
  if (seen >= 0x80 && decodeUtf8(body, start, end) === undefined) return 'malformed'

  let at = skipBlanks(body, start)
  for (let index = 0; index < TEXT.length; index += 1) {
    if (byteAt(body, at) !== TEXT.charCodeAt(index)) return 'text'
    at += 1
  }
  if (!isBlank(byteAt(body, at))) return at === end ? 'malformed' : 'text'
  const nameStart = skipBlanks(body, at)
  const quoted = byteAt(body, nameStart) === QUOTE
  const from = quoted ? nameStart + 1 : nameStart
  const to = quoted ? closingQuote(body, from) : nameEnd(body, from)
  if (to <= from) return 'malformed'
  if (to - from > maxNameBytes) return 'label_length'
  const wordStart = skipBlanks(body, quoted ? to + 1 : to)
  let wordEnd = end
  while (wordEnd > wordStart && isBlank(byteAt(body, wordEnd - 1))) wordEnd -= 1
  if (!isBlank(byteAt(body, wordStart - 1)) || wordEnd === wordStart) return 'malformed'
  const name = decodeUtf8(body, from, to)
  const word = decodeUtf8(body, wordStart, wordEnd)
  if (name === undefined || word === undefined) return 'malformed'
  return { family: quoted ? unescaped(name) : name, word }
}

function isBlank(byte: number): boolean {
  return byte === SPACE || byte === TAB
}
