import assert from 'node:assert/strict'
import type { Labels } from '../../src/reading.ts'
import type { Measurement } from '../../src/signals/signal.ts'
import { quantilesAround, type Replayed } from './replay-run.ts'

/** The latencies of which the truth is known: our stem, the truth's name, and what it counts. */
export const latencies = [
  { stem: 'e2e_latency', key: 'e2e', counted: 'finished' },
  { stem: 'ttft', key: 'ttft', counted: 'first_tokens' },
  { stem: 'queue_time', key: 'queue', counted: 'finished' },
] as const

export const percentiles = [
  { q: 0.5, named: 'p50' },
  { q: 0.95, named: 'p95' },
  { q: 0.99, named: 'p99' },
] as const

/** Which measurement of a family is meant, where it has several. */
interface Wanted {
  readonly suffix?: string
  readonly labels?: Labels
}

/** The value of the measurement that is meant; nothing where it is absent or not there at all. */
export function readValue(one: Replayed, name: string, wanted: Wanted = {}): number | undefined {
  const measurement = find(one, name, wanted)
  return measurement?.kind === 'value' ? measurement.value : undefined
}

/** How many happenings stand behind the only measurement of a family. */
export function readCount(one: Replayed, name: string): number | undefined {
  const measurement = find(one, name, {})
  return measurement?.kind === 'value' ? measurement.count : undefined
}

/** Why the measurement that is meant has no value; nothing where it has one. */
export function whyAbsent(one: Replayed, name: string, wanted: Wanted = {}): string | undefined {
  const measurement = find(one, name, wanted)
  if (measurement === undefined) return 'not published'
  return measurement.kind === 'absent' ? measurement.why : undefined
}

/** What is published of one quantile, all of it a value. */
export interface PublishedQuantile {
  readonly value: number
  readonly lower: number
  readonly upper: number
  readonly atLeast: boolean
}

export function quantileOf(one: Replayed, stem: string, q: number): PublishedQuantile | undefined {
  const labels = { quantile: String(q) }
  const estimate = find(one, `${stem}_seconds`, { labels })
  const lower = readValue(one, `${stem}_lower_bound_seconds`, { labels })
  const upper = readValue(one, `${stem}_upper_bound_seconds`, { labels })
  if (estimate?.kind !== 'value') return undefined
  assert.ok(lower !== undefined && upper !== undefined, `expected bounds of ${stem} ${q}`)
  return { value: estimate.value, lower, upper, atLeast: estimate.atLeast }
}

/** The edges between which a percentile lies that is read between two neighbouring observations. */
export function boundsAround(
  one: Replayed,
  stem: string,
  { q, n }: { readonly q: number; readonly n: number },
): { readonly lower: number; readonly upper: number } | undefined {
  const [below, above] = quantilesAround(q, n)
  const lower = quantileOf(one, stem, below)?.lower
  const upper = quantileOf(one, stem, above)?.upper
  return lower === undefined || upper === undefined ? undefined : { lower, upper }
}

/** What the counters of a family gained from one page to another, by a label; those at rest left out. */
export function gainedBy(
  [earlier, one]: readonly [Replayed, Replayed],
  { name, label }: { readonly name: string; readonly label: string },
): Readonly<Record<string, number>> {
  const before = totalsBy(earlier, name, label)
  const gained: Record<string, number> = {}
  for (const [by, value] of totalsBy(one, name, label)) {
    const gain = value - (before.get(by) ?? 0)
    if (gain !== 0) gained[by] = gain
  }
  return gained
}

/** Every page with the one before it. */
export function steps(all: readonly Replayed[]): readonly (readonly [Replayed, Replayed])[] {
  const pairs: (readonly [Replayed, Replayed])[] = []
  for (const [position, earlier] of all.entries()) {
    const one = all[position + 1]
    if (one !== undefined) pairs.push([earlier, one])
  }
  return pairs
}

export function total(values: Readonly<Record<string, number>>): number {
  return Object.values(values).reduce((sum, value) => sum + value, 0)
}

function totalsBy(one: Replayed, name: string, label: string): ReadonlyMap<string, number> {
  const totals = new Map<string, number>()
  for (const { family, labels, measurement } of one.published) {
    if (family.name !== name || measurement.kind === 'absent') continue
    const by = labels[label] ?? ''
    assert.ok(!totals.has(by), `expected one ${name} of ${label} ${by}, found two`)
    totals.set(by, measurement.value)
  }
  return totals
}

function find(
  one: Replayed,
  name: string,
  { suffix = '', labels = {} }: Wanted,
): Measurement | undefined {
  const found = one.published.filter(
    (each) =>
      each.family.name === name &&
      each.suffix === suffix &&
      Object.entries(labels).every(([label, value]) => each.labels[label] === value),
  )
  assert.ok(found.length < 2, `expected one ${name}, found ${found.length} (${one.truth.file})`)
  return found[0]?.measurement
}
