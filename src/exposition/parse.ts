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
   * `not_exposition` for an empty body and for anything else, such as a page on which every sample is
   * malformed, `truncated` without the final line feed
   * (OpenMetrics: without `# EOF` as last line), `limit` above the limit of samples.
   */
  parse(body: Uint8Array, format: ExpositionFormat): Exposition {
    const last = this.#last
    const values = last?.values(body, format, this.#reader)
    if (last !== undefined && values !== undefined) return { ...last.exposition, values }

    refuseWhatIsNone(body, format, this.#scanner)
    this.#pages += 1
    const page = new PageReader({
      limits: this.#limits,
      scanner: this.#scanner,
      values: this.#reader,
      last,
      body,
      format,
      number: this.#pages,
    })
    const read = page.read()
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
  readonly #body: Uint8Array
  readonly #format: ExpositionFormat
  /** The body with one character for each byte, whose slices are compared as keys. */
  readonly #text: string
  readonly #keys: KeyReader
  readonly #page: PageBuilder
  /** The slice that is the key of the line being read: one string, so that it is hashed once. */
  #keyText = ''
  #malformedLines = 0
  #comments = 0

  constructor(options: {
    readonly limits: ParseLimits
    readonly scanner: KeyScanner
    readonly values: ValueReader
    readonly last: RememberedPage | undefined
    readonly body: Uint8Array
    readonly format: ExpositionFormat
    /** Tells this page from all that the parser read before. */
    readonly number: number
  }) {
    const { limits, body, format } = options
    this.#limits = limits
    this.#scanner = options.scanner
    this.#values = options.values
    this.#last = options.last
    this.#body = body
    this.#format = format
    this.#text = decodeBytes(body)
    this.#keys = new KeyReader(body, this.#text)
    this.#page = new PageBuilder(limits, format, options.number)
  }

  read(): RememberedPage {
    const body = this.#body
    const view = viewOf(body)
    let expected = 0
    let at = 0
    while (at < body.length) {
      const start = skipBlanks(body, at)
      const byte = body[start]
      if (byte === HASH) {
        at = this.#readComment(start)
      } else if (byte === LF || byte === undefined) {
        at = start + 1
      } else {
        const key = this.#expectedKey(expected, view, start) ?? this.#findKey(start)
        if (typeof key === 'string') {
          this.#count(key)
          at = nextLine(body, start)
        } else {
          expected = key.page === 0 ? expected : key.position + 1
          at = this.#readValue(key, start)
        }
      }
    }
    // Comments alone are a page without samples; with lines beside them that are none, a text for people.
    const commentsAlone = this.#comments > 0 && this.#malformedLines === 0
    if (this.#page.series.length === 0 && !commentsAlone) throw notExposition(body)
    return this.#remember()
  }

  #count(verdict: LineVerdict): void {
    if (verdict === 'malformed') this.#malformedLines += 1
    else if (verdict !== 'valid') this.#limitHits[verdict] = (this.#limitHits[verdict] ?? 0) + 1
  }

  #readComment(start: number): number {
    const body = this.#body
    const next = nextLine(body, start)
    const end = body[next - 1] === LF ? next - 1 : next
    const comment = readComment(body, start + 1, end, this.#limits.maxLabelBytes)
    if (comment === 'malformed' || comment === 'label_length') this.#count(comment)
    else if (comment !== 'text' && !this.#page.addType(comment)) this.#count('malformed')
    else this.#comments += 1
    return next
  }

  /** Returns the key at `start` if it is the one that the last page had at `position`. */
  #expectedKey(position: number, view: DataView, start: number): Key | undefined {
    const key = this.#last?.keyAt(position, this.#body, view, start)
    if (key !== undefined) this.#keyText = this.#text.slice(start, start + key.bytes)
    return key
  }

  /** Returns the key at `start`: one of this page or of the last by its bytes, or else a new one. */
  #findKey(start: number): Key | LineVerdict {
    const scanner = this.#scanner
    const verdict = scanner.scan(this.#body, start)
    if (verdict !== 'valid') return verdict
    if (scanner.foreign && decodeUtf8(this.#body, start, scanner.end) === undefined) {
      return 'malformed'
    }
    const text = this.#text.slice(start, scanner.end)
    this.#keyText = text
    const known = this.#page.known.get(text) ?? this.#last?.known.get(text)
    return known ?? this.#keys.read(scanner, start) ?? 'malformed'
  }

  #readValue(key: Key, start: number): number {
    const body = this.#body
    const valueStart = skipBlanks(body, start + key.bytes)
    const value = this.#values.read(body, valueStart, this.#format)
    const { end } = this.#values
    if (end < 0) {
      this.#count('malformed')
      return nextLine(body, start)
    }
    const slot = this.#page.series.length
    const first = this.#page.addSample(key, this.#keyText, value)
    if (!first) this.#count('malformed')
    this.#lines.add({ key, keyStart: start, valueStart, lineEnd: end, slot: first ? slot : -1 })
    return end
  }

  #remember(): RememberedPage {
    const page = this.#page
    for (let index = 0; index < page.keys.length; index += 1) {
      const key = page.keys[index]
      if (key !== undefined) key.series = page.series[index]
    }
    this.#lines.number()
    const exposition = {
      series: kept(this.#last?.exposition.series, page.series),
      values: new Float64Array(page.values),
      families: keptTypes(this.#last?.exposition.families, page.families),
      malformedLines: this.#malformedLines,
      limitHits: this.#limitHits,
    }
    return new RememberedPage({
      body: this.#body,
      format: this.#format,
      exposition,
      known: page.known,
      lines: this.#lines,
    })
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
  if (first !== HASH && !beginsSample(body, start, scanner)) throw notExposition(body)
  const wanted = format === 'openmetrics' ? `"${EOF_LINE}"` : 'a line feed'
  throw new CollectError('truncated', `expected ${wanted} at the end of the page, found it cut off`)
}

/** Returns whether a line is that of a sample as far as it goes: a key, and the first byte of a number. */
function beginsSample(body: Uint8Array, start: number, scanner: KeyScanner): boolean {
  if (scanner.scan(body, start) !== 'valid') return false
  const value = body[scanner.valueStart]
  return value === undefined || /[-+.\dIN]/i.test(String.fromCharCode(value))
}

function notExposition(body: Uint8Array): CollectError {
  const found = body.length === 0 ? 'an empty body' : `"${shorten(decodeStart(body, SHOWN_BYTES))}"`
  return new CollectError('not_exposition', `expected a page of metrics, found ${found}`)
}
