import { decodeUtf8, sameBytes, viewOf } from './bytes.ts'
import type { Series } from './exposition.ts'
import { unescaped } from './labels.ts'
import type { KeyScanner } from './sample.ts'

/**
 * A longer slice of a text is no copy but keeps the whole text alive (in V8), and labels live longer
 * than their page.
 */
const COPIED_LENGTH = 12

/**
 * A sample's name and labels as one page after the other writes them. Everything readonly follows from
 * its bytes alone, whatever else is on the page; the rest says what became of it there.
 */
export interface Key {
  readonly name: string
  readonly labels: ReadonlyMap<string, string>
  /** The label names in the order written. */
  readonly shape: string
  /** Whether name, shape and label values could not be written in another way. */
  readonly plain: boolean
  /** How many bytes it has, the blanks before the value left out. */
  readonly bytes: number
  /** The series it was on the last good page. */
  series: Series | undefined
  /** Which of the lines with a value it was there. */
  position: number
  /** The number of the page that last had it. */
  page: number
}

/**
 * Makes keys of what a scanner found. Neighbouring lines differ in little, so a part with the same bytes
 * as its counterpart on the line before is the same string.
 */
export class KeyReader {
  readonly #body: Uint8Array
  readonly #text: string
  readonly #view: DataView
  /** The parts of the last key, as `LabelScanner.offsets` has them. */
  #offsets: number[] = []
  #names: string[] = []
  #values: string[] = []
  #shape = ''
  #metric = ''
  #foreign = false
  #metricStart = 0
  #metricEnd = 0

  /** `text` is `body` with one character for each byte. */
  constructor(body: Uint8Array, text: string) {
    this.#body = body
    this.#text = text
    this.#view = viewOf(body)
  }

  /** Returns the key that `scanner` has just found at `start`; `undefined` for a label name that comes twice. */
  read(scanner: KeyScanner, start: number): Key | undefined {
    this.#foreign = scanner.foreign
    this.#readMetric(scanner)
    const labels = this.#readLabels(scanner)
    if (labels.size !== scanner.labelCount) return undefined
    return {
      name: this.#metric,
      labels,
      shape: this.#shape,
      plain: scanner.plain,
      bytes: scanner.end - start,
      series: undefined,
      position: 0,
      page: 0,
    }
  }

  #readMetric(scanner: KeyScanner): void {
    const { metricStart, metricEnd } = scanner
    const length = metricEnd - metricStart
    if (
      length !== this.#metricEnd - this.#metricStart ||
      !sameBytes(this.#view, metricStart, this.#view, this.#metricStart, length)
    ) {
      this.#metric = this.#decode(metricStart, metricEnd)
    }
    this.#metricStart = metricStart
    this.#metricEnd = metricEnd
  }

  #readLabels(scanner: KeyScanner): Map<string, string> {
    const labels = new Map<string, string>()
    const count = scanner.labelCount
    let sameShape = count === this.#names.length
    const { offsets } = scanner.labels
    for (let index = 0; index < count; index += 1) {
      const offset = 4 * index
      const nameFrom = offsets[offset] ?? 0
      const nameTo = offsets[offset + 1] ?? 0
      const valueFrom = offsets[offset + 2] ?? 0
      const valueTo = offsets[offset + 3] ?? 0
      let name = this.#names[index]
      if (name === undefined || !this.#isLast(offset, nameFrom, nameTo)) {
        name = this.#decode(nameFrom, nameTo)
        this.#names[index] = name
        sameShape = false
      }
      let value = this.#values[index]
      if (value === undefined || !this.#isLast(offset + 2, valueFrom, valueTo)) {
        value = this.#decode(valueFrom, valueTo)
        this.#values[index] = value
      }
      this.#offsets[offset] = nameFrom
      this.#offsets[offset + 1] = nameTo
      this.#offsets[offset + 2] = valueFrom
      this.#offsets[offset + 3] = valueTo
      labels.set(name, value)
    }
    if (!sameShape) {
      this.#names.length = count
      this.#values.length = count
      this.#shape = this.#names.join(',')
    }
    return labels
  }

  #isLast(offset: number, from: number, to: number): boolean {
    const lastFrom = this.#offsets[offset] ?? 0
    const length = to - from
    return (
      length === (this.#offsets[offset + 1] ?? 0) - lastFrom &&
      sameBytes(this.#view, from, this.#view, lastFrom, length)
    )
  }

  #decode(from: number, to: number): string {
    if (!this.#foreign && to - from <= COPIED_LENGTH) return unescaped(this.#text.slice(from, to))
    // The key's UTF-8 was checked as a whole.
    return unescaped(decodeUtf8(this.#body, from, to) ?? '')
  }
}
