import { byteAt, OPEN_BRACE, sameBytes, skipBlanks, viewOf } from './bytes.ts'
import type { Exposition, ExpositionFormat } from './exposition.ts'
import type { Key } from './key.ts'
import type { ValueReader } from './sample.ts'

/** The lines of a page that have a value, as they were found. */
export class ValueLines {
  readonly keys: Key[] = []
  readonly keyStarts: number[] = []
  readonly valueStarts: number[] = []
  readonly lineEnds: number[] = []
  /** Which of the values each one is; -1 where its series had one already. */
  readonly slots: number[] = []

  add(line: {
    key: Key
    keyStart: number
    valueStart: number
    lineEnd: number
    slot: number
  }): void {
    this.keys.push(line.key)
    this.keyStarts.push(line.keyStart)
    this.valueStarts.push(line.valueStart)
    this.lineEnds.push(line.lineEnd)
    this.slots.push(line.slot)
  }

  /** Tells each key which of the lines is its own, the last one where there are more. */
  number(): void {
    for (let position = 0; position < this.keys.length; position += 1) {
      const key = this.keys[position]
      if (key !== undefined) key.position = position
    }
  }
}

/**
 * A page that was read. All of it but the values is expected to come again, byte for byte: what lies
 * between the end of one value's line and the next value is a gap, compared as a whole, and only the
 * values are read.
 */
export class RememberedPage {
  readonly exposition: Exposition
  /** The page's keys by their bytes. */
  readonly known: ReadonlyMap<string, Key>
  readonly #format: ExpositionFormat
  readonly #view: DataView
  readonly #keys: readonly Key[]
  readonly #keyStarts: Int32Array
  readonly #valueStarts: Int32Array
  readonly #lineEnds: Int32Array
  readonly #slots: Int32Array

  constructor(page: {
    readonly body: Uint8Array
    readonly format: ExpositionFormat
    readonly exposition: Exposition
    readonly known: ReadonlyMap<string, Key>
    readonly lines: ValueLines
  }) {
    this.exposition = page.exposition
    this.known = page.known
    this.#format = page.format
    // The caller goes on to use its bytes.
    this.#view = viewOf(new Uint8Array(page.body))
    this.#keys = page.lines.keys
    this.#keyStarts = new Int32Array(page.lines.keyStarts)
    this.#valueStarts = new Int32Array(page.lines.valueStarts)
    this.#lineEnds = new Int32Array(page.lines.lineEnds)
    this.#slots = new Int32Array(page.lines.slots)
  }

  /** Returns the values of a page that differs from this one in nothing else; otherwise `undefined`. */
  values(
    body: Uint8Array,
    format: ExpositionFormat,
    reader: ValueReader,
  ): Float64Array<ArrayBuffer> | undefined {
    if (format !== this.#format) return undefined
    const view = viewOf(body)
    const values = new Float64Array(this.exposition.series.length)
    let at = 0
    let gapStart = 0
    for (let line = 0; line < this.#slots.length; line += 1) {
      const gap = (this.#valueStarts[line] ?? 0) - gapStart
      if (!sameBytes(view, at, this.#view, gapStart, gap)) return undefined
      const value = reader.read(body, at + gap, format)
      at = reader.end
      if (at < 0) return undefined
      gapStart = this.#lineEnds[line] ?? 0
      const slot = this.#slots[line] ?? -1
      if (slot >= 0) values[slot] = value
    }
    const rest = this.#view.byteLength - gapStart
    if (body.length - at !== rest) return undefined
    return sameBytes(view, at, this.#view, gapStart, rest) ? values : undefined
  }

  /** Returns the key of the value line at `position`, when the line of `body` at `start` begins with it. */
  keyAt(position: number, body: Uint8Array, view: DataView, start: number): Key | undefined {
    const key = this.#keys[position]
    if (key === undefined) return undefined
    const keyStart = this.#keyStarts[position] ?? 0
    const length = (this.#valueStarts[position] ?? 0) - keyStart
    if (!sameBytes(view, start, this.#view, keyStart, length)) return undefined
    // A name alone may be the beginning of a key with labels.
    return byteAt(body, skipBlanks(body, start + length)) === OPEN_BRACE ? undefined : key
  }
}
