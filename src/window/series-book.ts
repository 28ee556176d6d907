import { instruments } from '../instruments.ts'
import type { Channel, Reading } from '../reading.ts'
import { sameBounds } from './histogram.ts'

/** What a reading added to what was known before it. */
export interface Growth {
  /** Laid out as the reading's values: what each counter and histogram slot gained. Gauges gain 0. */
  readonly increments: Float64Array
  /** Some series began again at zero. */
  readonly reset: boolean
  /** The producer's process is another one than at the reading before. */
  readonly newLife: boolean
  /** Groups most of whose series began again at zero. */
  readonly resetGroups: ReadonlySet<string>
}

interface Known {
  readonly values: Float64Array
  bounds: readonly number[] | undefined
  startSeconds: number
  group: string
  seenMs: number
}

type Fate = 'fresh' | 'grown' | 'anew'

/** Series that were only missing are remembered this long before memory may be taken back. */
const forgetMs = 300_000

/**
 * The last cumulative value of every series of one target, and the rules by which two of them make an
 * increment: taken for each series, so that a reset of one engine does not hide in a sum.
 *
 * - a series that fell, or that says it began later than before, was reset: its value is its increment
 * - a histogram is reset as a whole, when any bucket falls; changed bounds make it a new one
 * - when most of an engine's series fell, all of them were reset, those that did not fall too
 * - a series never seen in this life of the process was zero before
 * - one that was only missing goes on from its last value
 */
export class SeriesBook {
  readonly #maxSeries: number
  readonly #known = new Map<string, Known>()
  /** Series that the target's first page had but not in a usable way: their first value is no increment. */
  readonly #leftOut = new Set<string>()
  /** The first page had lines that named no series: what the next one has more may be older than the watch. */
  #firstWasTorn = false
  #processStartSeconds: number | undefined
  #channels: readonly Channel[] | undefined
  #cached: (Known | undefined)[] = []

  constructor(limits: { readonly maxSeries: number }) {
    this.#maxSeries = limits.maxSeries
  }

  /**
   * Takes `reading` in and returns what it added. `baseline` says that it is the target's first, which
   * adds nothing: what was counted before the watch began is not ours.
   */
  advance(
    reading: Reading,
    { atMs, baseline }: { readonly atMs: number; readonly baseline: boolean },
  ): Growth {
    const { channels, values } = reading
    const known = this.#resolve(channels)
    const startMoved = this.#startMoved(reading)
    const { fates, resetGroups, reset, all } = judge(reading, known, startMoved)
    const newLife = startMoved || all
    // What began while we watched was zero then, whatever the page of another life held.
    if (newLife) this.#leftOut.clear()
    const unsure = baseline || (this.#firstWasTorn && !newLife)
    this.#firstWasTorn = baseline && reading.malformedLines > 0
    const increments = new Float64Array(values.length)
    for (const [position, channel] of channels.entries()) {
      const fate = fates[position]
      if (fate === undefined) continue
      const before = known[position]
      const counts = fate !== 'fresh' || !(unsure || this.#leftOut.delete(channel.key))
      const width = counts ? widthOf(channel) : 0
      for (let index = 0; index < width; index += 1) {
        const last = fate === 'grown' ? (before?.values[index] ?? 0) : 0
        increments[channel.offset + index] = (values[channel.offset + index] ?? 0) - last
      }
      known[position] = this.#remember(channel, { values, before, atMs })
    }
    this.#cached = known
    if (baseline) this.#leaveOut(reading)
    this.#forget({ atMs, newLife, resetGroups })
    return { increments, reset: reset || startMoved, newLife, resetGroups }
  }

  #leaveOut({ leftOut = [] }: Reading): void {
    for (const key of leftOut) {
      if (this.#leftOut.size < this.#maxSeries) this.#leftOut.add(key)
    }
  }

  #resolve(channels: readonly Channel[]): (Known | undefined)[] {
    if (channels === this.#channels) return this.#cached
    this.#channels = channels
    return channels.map(({ key }) => this.#known.get(key))
  }

  #startMoved({ processStartSeconds }: Reading): boolean {
    const before = this.#processStartSeconds
    if (processStartSeconds === undefined) return false
    this.#processStartSeconds = processStartSeconds
    return before !== undefined && isLater(processStartSeconds, before)
  }

  #remember(
    channel: Channel,
    { values, before, atMs }: { values: Float64Array; before: Known | undefined; atMs: number },
  ): Known {
    const { offset, bounds, group } = channel
    const width = widthOf(channel)
    const startSeconds = channel.startOffset === undefined ? 0 : (values[channel.startOffset] ?? 0)
    if (before === undefined || before.values.length !== width) {
      const copy = values.slice(offset, offset + width)
      const fresh = { values: copy, bounds, startSeconds, group, seenMs: atMs }
      this.#known.set(channel.key, fresh)
      return fresh
    }
    for (let index = 0; index < width; index += 1) {
      before.values[index] = values[offset + index] ?? 0
    }
    before.bounds = bounds
    before.startSeconds = startSeconds
    before.group = group
    before.seenMs = atMs
    return before
  }

  /** Drops missing series that were zeroed by a reset, and the oldest ones when there are too many. */
  #forget(now: {
    readonly atMs: number
    readonly newLife: boolean
    readonly resetGroups: ReadonlySet<string>
  }): void {
    const crowded = this.#known.size > this.#maxSeries
    if (!crowded && !now.newLife && now.resetGroups.size === 0) return
    for (const [key, known] of this.#known) {
      if (known.seenMs === now.atMs) continue
      const zeroed = now.newLife || now.resetGroups.has(known.group)
      if (zeroed || (crowded && now.atMs - known.seenMs > forgetMs)) this.#known.delete(key)
    }
    // What came back from a shape seen before must not find a series that is forgotten by now.
    this.#channels = undefined
    for (const [key, known] of this.#known) {
      if (this.#known.size <= this.#maxSeries) break
      if (known.seenMs !== now.atMs) this.#known.delete(key)
    }
  }
}

/** How many numbers a channel has, its start aside. */
export function widthOf({ bounds }: Channel): number {
  return bounds === undefined ? 1 : bounds.length + 2
}

function judge(
  reading: Reading,
  known: readonly (Known | undefined)[],
  startMoved: boolean,
): {
  readonly fates: readonly (Fate | undefined)[]
  readonly resetGroups: ReadonlySet<string>
  readonly reset: boolean
  /** Every group that had counted anything was reset: the whole process began again. */
  readonly all: boolean
} {
  const fates: (Fate | undefined)[] = []
  const tallies = new Map<string, { grown: number; fell: number }>()
  for (const [position, channel] of reading.channels.entries()) {
    if (instruments[channel.instrument].kind === 'gauge') {
      fates.push(undefined)
      continue
    }
    const before = known[position]
    const fate =
      before === undefined ? 'fresh' : startMoved ? 'anew' : fateOf(channel, reading, before)
    fates.push(fate)
    // A counter that stood at zero cannot tell a reset from rest, so it has no vote.
    if (before === undefined || !hasCounted(before)) continue
    let tally = tallies.get(channel.group)
    if (tally === undefined) {
      tally = { grown: 0, fell: 0 }
      tallies.set(channel.group, tally)
    }
    if (fate === 'anew') tally.fell += 1
    else tally.grown += 1
  }
  const resetGroups = new Set<string>()
  for (const [group, { grown, fell }] of tallies) if (fell > grown) resetGroups.add(group)
  for (const [position, channel] of reading.channels.entries()) {
    if (fates[position] === 'grown' && resetGroups.has(channel.group)) fates[position] = 'anew'
  }
  const all = resetGroups.size > 0 && resetGroups.size === tallies.size
  return { fates, resetGroups, reset: fates.includes('anew'), all }
}

function fateOf(channel: Channel, { values }: Reading, before: Known): Fate {
  const { startOffset, offset, bounds } = channel
  const start = startOffset === undefined ? 0 : (values[startOffset] ?? 0)
  if (start > 0 && before.startSeconds > 0 && isLater(start, before.startSeconds)) return 'anew'
  if (bounds === undefined)
    return (values[offset] ?? 0) < (before.values[0] ?? 0) ? 'anew' : 'grown'
  if (before.bounds === undefined || !sameBounds(bounds, before.bounds)) return 'anew'
  let gainedBelow = 0
  for (let index = 0; index <= bounds.length; index += 1) {
    const gained = (values[offset + index] ?? 0) - (before.values[index] ?? 0)
    // The gain of a cumulative count below that of the edge before it is a bucket that fell.
    if (gained < gainedBelow) return 'anew'
    gainedBelow = gained
  }
  return 'grown'
}

function hasCounted({ values, bounds }: Known): boolean {
  return (values[bounds === undefined ? 0 : bounds.length] ?? 0) > 0
}

/** Start times are printed in full; a fraction of a second is a rounding, not another process. */
function isLater(startSeconds: number, thanSeconds: number): boolean {
  return startSeconds - thanSeconds > 0.5
}
