import { CollectError, type LimitName, shorten } from '../errors.ts'
import {
  decodeBytes,
  decodeStart,
  decodeUtf8,
  HASH,
  LESS_THAN,
  LF,
  nextLine,
  skipBlanks,
  viewOf,
} from './bytes.ts'
import { readComment } from './comment.ts'
import type { Exposition, ExpositionFormat, FamilyType, ParseLimits, Series } from './exposition.ts'
import { type Key, KeyReader } from './key.ts'
import type { LineVerdict } from './labels.ts'
import { PageBuilder } from './page.ts'
import { RememberedPage, ValueLines } from './recall.ts'
import { KeyScanner, ValueReader } from './sample.ts'

/** How much of a body that is no exposition is shown. */
const SHOWN_BYTES = 80

const EOF_LINE = '# EOF'

/** Returns the format that a `Content-Type` announces: text, unless it says OpenMetrics. */
export function formatOf(contentType: string | undefined): ExpositionFormat {
  const mediaType = contentType?.split(';', 1)[0]?.trim().toLowerCase()
  return mediaType === 'application/openmetrics-text' ? 'openmetrics' : 'text'
}

/**
 * Reads the pages of one target, Prometheus text 0.0.4 and 1.0.0 or OpenMetrics 1.0.0.
 *
 * The last page is kept, so that one which differs from it in values alone costs little; what is
 * returned never depends on it, except that `series` and `families` stay the same objects.
 */
export class ExpositionParser {
  readonly #limits: ParseLimits
  readonly #scanner: KeyScanner
  readonly #reader: ValueReader
  #last: RememberedPage | undefined
  #pages = 0

  constructor(limits: ParseLimits) {
    this.#limits = limits
    this.#scanner = new KeyScanner(limits)
    this.#reader = new ValueReader(limits)
  }

  /**
   * Returns the samples of a page in the order written, with a `values` of its own; `body` is not kept.
   *
   * - a line that is not valid, or beyond a limit of its length or labels, is left out and counted
   * - a series that comes twice has its first value; the second line counts as malformed
   * - a TYPE for a family that has a type or samples already counts as malformed and changes nothing
   * - timestamps and exemplars are validated and left out; the page's `NaN` and `Inf` are kept
   * - bare carriage returns are no blanks, so lines that end in CRLF are malformed
   *
   * OpenMetrics is allowed the blanks, comments and missing UNITs of text. Throws `CollectError`:
   * `not_exposition` for an empty body and for anything else, `truncated` without the final line feed
   * (OpenMetrics: without `# EOF` as last line), `limit` above the limit of samples.
   */
  parse(body: Uint8Array, format: ExpositionFormat): Exposition {
    const last = this.#last
    const values = last?.values(body, format, this.#reader)
    if (last !== undefined && values !== undefined) return { ...last.exposition, values }

    const page = new PageReader(this.#limits, this.#scanner, this.#reader, last)
    this.#pages += 1
    const read = page.read(body, format, this.#pages)
    this.#last = read
    return read.exposition
  }
}

/** Reads one page line by line, with the page before it as a guess of what comes. */
class PageReader {
  readonly #limits: ParseLimits
  readonly #scanner: KeyScanner
  readonly #values: ValueReader
  readonly #last: RememberedPage | undefined
  readonly #lines = new ValueLines()
  readonly #limitHits: Partial<Record<LimitName, number>> = {}
  #malformedLines = 0
  #comments = 0

  constructor(
    limits: ParseLimits,
    scanner: KeyScanner,
    values: ValueReader,
    last: RememberedPage | undefined,
  ) {
    this.#limits = limits
    this.#scanner = scanner
    this.#values = values
    this.#last = last
  }

  read(body: Uint8Array, format: ExpositionFormat, number: number): RememberedPage {
    refuseWhatIsNone(body, format, this.#scanner)
    const page = new PageBuilder(this.#limits, format, number)
    const keys = new KeyReader(body)
    const view = viewOf(body)
    let expected = 0
    let at = 0
    while (at < body.length) {
      const start = skipBlanks(body, at)
      const byte = body[start]
      if (byte === HASH) {
        at = this.#readComment(page, body, start)
      } else if (byte === LF || byte === undefined) {
        at = start + 1
      } else {
        const key =
          this.#last?.keyAt(expected, body, view, start) ?? this.#findKey(page, keys, body, start)
        if (typeof key === 'string') {
          this.#count(key)
          at = nextLine(body, start)
        } else {
          expected = key.page === 0 ? expected : key.position + 1
          at = this.#readValue(page, { key, body, start, format })
        }
      }
    }
    if (page.series.length === 0 && this.#comments === 0) throw notExposition(body)
    return this.#remember(page, body, format)
  }

  #count(verdict: LineVerdict): void {
    if (verdict === 'malformed') this.#malformedLines += 1
    else if (verdict !== 'valid') this.#limitHits[verdict] = (this.#limitHits[verdict] ?? 0) + 1
  }

  #readComment(page: PageBuilder, body: Uint8Array, start: number): number {
    const next = nextLine(body, start)
    const end = body[next - 1] === LF ? next - 1 : next
    const comment = readComment(body, start + 1, end, this.#limits.maxLabelBytes)
    if (comment === 'malformed' || comment === 'label_length') this.#count(comment)
    else if (comment !== 'text' && !page.addType(comment)) this.#count('malformed')
    else this.#comments += 1
    return next
  }

  /** Returns the key at `start`: one of this page or of the last by its bytes, or else a new one. */
  #findKey(page: PageBuilder, keys: KeyReader, body: Uint8Array, start: number): Key | LineVerdict {
    const verdict = this.#scanner.scan(body, start)
    if (verdict !== 'valid') return verdict
    const text = decodeBytes(body.subarray(start, this.#scanner.end))
    const known = page.known.get(text) ?? this.#last?.known.get(text)
    if (known !== undefined) return known
    if (decodeUtf8(body, start, this.#scanner.end) === undefined) return 'malformed'
    return keys.read(this.#scanner, text) ?? 'malformed'
  }

  #readValue(
    page: PageBuilder,
    line: {
      readonly key: Key
      readonly body: Uint8Array
      readonly start: number
      readonly format: ExpositionFormat
    },
  ): number {
    const { key, body, start, format } = line
    const valueStart = skipBlanks(body, start + key.bytes)
    const value = this.#values.read(body, valueStart, format)
    const { end } = this.#values
    if (end < 0) {
      this.#count('malformed')
      return nextLine(body, start)
    }
    const slot = page.series.length
    const first = page.addSample(key, value)
    if (!first) this.#count('malformed')
    this.#lines.add({ key, keyStart: start, valueStart, lineEnd: end, slot: first ? slot : -1 })
    return end
  }

  #remember(page: PageBuilder, body: Uint8Array, format: ExpositionFormat): RememberedPage {
    for (const [index, key] of page.keys.entries()) key.series = page.series[index]
    for (const [position, key] of this.#lines.keys.entries()) key.position = position
    const exposition = {
      series: kept(this.#last?.exposition.series, page.series),
      values: Float64Array.from(page.values),
      families: keptTypes(this.#last?.exposition.families, page.families),
      malformedLines: this.#malformedLines,
      limitHits: this.#limitHits,
    }
    return new RememberedPage({ body, format, exposition, known: page.known, lines: this.#lines })
  }
}

function kept(before: readonly Series[] | undefined, now: readonly Series[]): readonly Series[] {
  if (before?.length !== now.length) return now
  return now.every((series, index) => series === before[index]) ? before : now
}

function keptTypes(
  before: ReadonlyMap<string, FamilyType> | undefined,
  now: ReadonlyMap<string, FamilyType>,
): ReadonlyMap<string, FamilyType> {
  if (before?.size !== now.size) return now
  for (const [family, type] of now) if (before.get(family) !== type) return now
  return before
}

/** Throws unless `body` may be a page of metrics, and a whole one. */
function refuseWhatIsNone(body: Uint8Array, format: ExpositionFormat, scanner: KeyScanner): void {
  let start = 0
  while (body[start] === LF || skipBlanks(body, start) !== start)
    start = skipBlanks(body, start + 1)
  const first = body[start]
  if (first === undefined || first === LESS_THAN) throw notExposition(body)
  const lineFeed = body[body.length - 1] === LF
  const end = lineFeed ? body.length - 1 : body.length
  const eof = decodeStart(body.subarray(Math.max(0, end - EOF_LINE.length - 1), end), SHOWN_BYTES)
  if (format === 'openmetrics' ? eof === EOF_LINE || eof === `\n${EOF_LINE}` : lineFeed) return
  // A page that was cut off still begins as one; a word or a line of JSON does not.
  if (first !== HASH && scanner.scan(body, start) !== 'valid') throw notExposition(body)
  const wanted = format === 'openmetrics' ? `"${EOF_LINE}"` : 'a line feed'
  throw new CollectError('truncated', `expected ${wanted} at the end of the page, found it cut off`)
}

function notExposition(body: Uint8Array): CollectError {
  const found = body.length === 0 ? 'an empty body' : `"${shorten(decodeStart(body, SHOWN_BYTES))}"`
  return new CollectError('not_exposition', `expected a page of metrics, found ${found}`)
}
