import { CollectError } from '../errors.ts'
import type { TypeLine } from './comment.ts'
import type { ExpositionFormat, FamilyType, ParseLimits, Series } from './exposition.ts'
import type { Key } from './key.ts'

/** All samples of one name on a page. */
interface NameGroup {
  readonly name: string
  family: string
  type: FamilyType
  /** What gave it its family: nothing yet, a TYPE for one of the family's suffixes, or for this name. */
  owner: 'none' | 'suffix' | 'name'
  /** The label names that all `keys` have in common, in their order. */
  shape: string | undefined
  keys: Key[]
  /** The label sets without regard to their order, once the order differs between samples. */
  sets: Set<string> | undefined
}

const typeOfWord: ReadonlyMap<string, FamilyType> = new Map([
  ['counter', 'counter'],
  ['gauge', 'gauge'],
  ['histogram', 'histogram'],
  ['gaugehistogram', 'gaugehistogram'],
  ['summary', 'summary'],
  ['info', 'info'],
  ['stateset', 'stateset'],
  ['unknown', 'unknown'],
  ['untyped', 'unknown'],
])

const TOTAL = '_total'

/** Collects the series of one page: finds each one's family and type, and refuses the second of two equals. */
export class PageBuilder {
  readonly #limits: ParseLimits
  readonly #format: ExpositionFormat
  readonly #number: number
  readonly #groups = new Map<string, NameGroup>()
  #group: NameGroup | undefined
  readonly families = new Map<string, FamilyType>()
  /** All keys of the page by their bytes. */
  readonly known = new Map<string, Key>()
  /** The keys of `series`. */
  readonly keys: Key[] = []
  readonly series: Series[] = []
  readonly values: number[] = []

  /** `number` tells this page from all others that the same keys were on. */
  constructor(limits: ParseLimits, format: ExpositionFormat, number: number) {
    this.#limits = limits
    this.#format = format
    this.#number = number
  }

  /** Returns whether the line holds: its family had neither a type nor samples, and its word is known. */
  addType(line: TypeLine): boolean {
    const type = typeOfWord.get(line.word) ?? 'unknown'
    const base = this.#baseOf(line.family, type)
    const family = this.#format === 'openmetrics' && type === 'counter' ? base + TOTAL : base
    const suffixes = this.#suffixesOf(type)
    if (this.families.has(family) || this.#hasSamples(family, 'name')) return false
    if (suffixes.some((suffix) => this.#hasSamples(base + suffix, 'suffix'))) return false
    if (this.families.size === this.#limits.maxSamples) throw this.#tooMany('families')
    this.families.set(family, type)
    if (ownsItsName(type)) this.#claim(this.#groupOf(family), family, type, 'name')
    for (const suffix of suffixes) {
      const group = this.#groupOf(base + suffix)
      if (group.owner === 'none') this.#claim(group, family, type, 'suffix')
    }
    return typeOfWord.has(line.word)
  }

  /**
   * Returns whether the sample is the first of its series; only then its value is taken. `text` is
   * what finds the key again: its bytes, one character for each.
   */
  addSample(key: Key, text: string, value: number): boolean {
    if (key.page === this.#number) return false
    // Every spelling of a series is a key of its own, so it is keys that the limit has to hold down.
    if (this.known.size === this.#limits.maxSamples) throw this.#tooMany('samples')
    // Also where its series has come in another spelling: no text may ever have two keys.
    key.page = this.#number
    this.known.set(text, key)
    const group = this.#group?.name === key.name ? this.#group : this.#groupOf(key.name)
    this.#group = group
    if (this.#isSecond(group, key)) return false
    this.keys.push(key)
    this.series.push(seriesOf(key, group))
    this.values.push(value)
    return true
  }

  #groupOf(name: string): NameGroup {
    const known = this.#groups.get(name)
    if (known !== undefined) return known
    const group: NameGroup = {
      name,
      family: name,
      type: 'unknown',
      owner: 'none',
      shape: undefined,
      keys: [],
      sets: undefined,
    }
    this.#groups.set(name, group)
    return group
  }

  #claim(group: NameGroup, family: string, type: FamilyType, owner: 'name' | 'suffix'): void {
    group.family = family
    group.type = type
    group.owner = owner
  }

  /** Returns whether a TYPE line comes too late to own the samples of a name, by itself or by a suffix. */
  #hasSamples(name: string, owner: 'name' | 'suffix'): boolean {
    const group = this.#groups.get(name)
    if (group === undefined || (group.keys.length === 0 && group.sets === undefined)) return false
    return owner === 'name' || group.owner === 'none'
  }

  /**
   * Returns whether the page had a series of the same name and labels, and keeps this one in mind.
   *
   * Plain keys with label names in the same order are equal only as texts, and those were told apart
   * before. So label sets are put in order and compared only for names that are written in two ways.
   */
  #isSecond(group: NameGroup, key: Key): boolean {
    if (group.sets === undefined && key.plain) {
      group.shape ??= key.shape
      if (group.shape === key.shape) {
        group.keys.push(key)
        return false
      }
    }
    if (group.sets === undefined) {
      group.sets = new Set(group.keys.map(labelSetOf))
      group.keys = []
    }
    const before = group.sets.size
    return group.sets.add(labelSetOf(key)).size === before
  }

  #baseOf(family: string, type: FamilyType): string {
    const strip = this.#format === 'openmetrics' && type === 'counter' && family.endsWith(TOTAL)
    return strip ? family.slice(0, -TOTAL.length) : family
  }

  /** The suffixes of samples that belong to a family of the type although their name is another. */
  #suffixesOf(type: FamilyType): readonly string[] {
    const open = this.#format === 'openmetrics'
    switch (type) {
      case 'histogram':
        return open ? ['_bucket', '_sum', '_count', '_created'] : ['_bucket', '_sum', '_count']
      case 'summary':
        return open ? ['_sum', '_count', '_created'] : ['_sum', '_count']
      case 'gaugehistogram':
        return ['_bucket', '_gsum', '_gcount']
      case 'counter':
        return open ? ['_created'] : []
      case 'info':
        return open ? ['_info'] : []
      default:
        return []
    }
  }

  #tooMany(what: 'samples' | 'families'): CollectError {
    return new CollectError(
      'limit',
      `expected at most ${this.#limits.maxSamples} ${what} on a page, found more`,
      { limit: 'samples' },
    )
  }
}

/** Whether a sample with the family's own name belongs to it. */
function ownsItsName(type: FamilyType): boolean {
  return type !== 'histogram' && type !== 'gaugehistogram'
}

function seriesOf(key: Key, group: NameGroup): Series {
  const last = key.series
  if (last !== undefined && last.family === group.family && last.type === group.type) return last
  return { name: key.name, labels: key.labels, family: group.family, type: group.type }
}

function labelSetOf(key: Key): string {
  const labels = [...key.labels].sort(([one], [other]) => (one < other ? -1 : 1))
  return JSON.stringify(labels)
}
