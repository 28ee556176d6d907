import { shorten } from '../errors.ts'
import type { Channel } from '../reading.ts'
import { busKey } from './nvidia-smi-text.ts'
import type { Gpu } from './nvidia-smi-values.ts'

/** What is remembered of a GPU for the life of the daemon. */
export interface RosterEntry {
  /** Position in PCI-bus order among the GPUs that were there first; the label `gpu`. */
  readonly index: number
  /** As printed; empty for a GPU that only its bus id is known of. */
  readonly uuid: string
  /** Spelled by `busKey`; empty where the driver prints none. */
  readonly busKey: string
  /** Recovery actions that the driver asked for so far. */
  readonly actions: readonly string[]
}

/** What is known of a machine's GPUs from the readings so far. */
export interface GpuRoster {
  readonly entries: readonly RosterEntry[]
  /** The page as it last was. */
  readonly channels: readonly Channel[]
}

export const emptyRoster: GpuRoster = { entries: [], channels: [] }

/** One GPU of the machine in one reading: listed by the document, or known of and missing. */
export interface Seat {
  readonly entry: RosterEntry
  readonly gpu: Gpu | undefined
  /** Whether the program named it as one that it cannot reach. */
  readonly named: boolean
}

const maxGpus = 128

/**
 * Joins the GPUs of a document with those known before, in the order of their index.
 *
 * The uuid tells who a GPU is. A GPU whose uuid is not printed is the one known at its bus id. One that is
 * no longer listed stays and is missing, unless another uuid now sits at its bus id: then it was replaced,
 * and its index is free again. `leftOut` counts entries that cannot be told from others, or are too many.
 */
export function enrol(
  gpus: readonly Gpu[],
  roster: GpuRoster,
  lostBusIds: readonly string[],
): {
  readonly seats: readonly Seat[]
  readonly notes: readonly string[]
  readonly leftOut: number
} {
  const notes: string[] = []
  const listed = distinct(gpus, roster, notes)
  const byUuid = new Map(listed.map((one) => [one.uuid, one]))
  const byBus = new Map(listed.map((one) => [one.busKey, one]))
  const known = new Set(roster.entries.map((entry) => entry.uuid))
  const seats: Seat[] = []
  const found = new Set<Listed>()
  for (const entry of roster.entries) {
    const there = entry.busKey === '' ? undefined : byBus.get(entry.busKey)
    const it = entry.uuid === '' ? there : byUuid.get(entry.uuid)
    if (it === undefined && there !== undefined) {
      notes.push(`GPU ${entry.index} (${entry.uuid}) was replaced by ${there.uuid}`)
      continue
    }
    // What had only a bus id so far turns out to be a known GPU that moved there.
    if (entry.uuid === '' && it !== undefined && it.uuid !== '' && known.has(it.uuid)) continue
    if (it === undefined) {
      notes.push(missing(entry))
      seats.push({ entry, gpu: undefined, named: lostBusIds.includes(entry.busKey) })
    } else {
      found.add(it)
      const { uuid, busKey: bus } = it
      seats.push({
        entry: { ...entry, uuid, busKey: bus },
        gpu: it.gpu,
        named: lostBusIds.includes(bus),
      })
    }
  }
  const placed = new Set([...seats.map((seat) => seat.entry.busKey), ...byBus.keys()])
  const newcomers: (Omit<Listed, 'gpu'> & { readonly gpu: Gpu | undefined })[] = [
    ...listed.filter((one) => !found.has(one)),
    ...lostBusIds
      .filter((id) => !placed.has(id))
      .map((id) => ({ uuid: '', busKey: id, gpu: undefined })),
  ]
  const used = new Set(seats.map((seat) => seat.entry.index))
  for (const { uuid, busKey: bus, gpu } of newcomers.sort(inBusOrder)) {
    const index = lowestFree(used)
    used.add(index)
    const entry: RosterEntry = { index, uuid, busKey: bus, actions: [] }
    if (gpu === undefined) notes.push(missing(entry))
    seats.push({ entry, gpu, named: lostBusIds.includes(bus) })
  }
  const kept = seats.sort((a, b) => a.entry.index - b.entry.index).slice(0, maxGpus)
  return { seats: kept, notes, leftOut: gpus.length - listed.length + seats.length - kept.length }
}

interface Listed {
  /** As printed, else as known of the GPU at this bus id, else empty. */
  readonly uuid: string
  readonly busKey: string
  readonly gpu: Gpu
}

/**
 * The entries of a document that name one GPU each. Two with one uuid are the same card listed twice, or
 * cards whose identity somebody masked; joined they would be a third thing, so the first alone is taken.
 */
function distinct(gpus: readonly Gpu[], roster: GpuRoster, notes: string[]): readonly Listed[] {
  const listed: Listed[] = []
  const printed = new Set(gpus.map((gpu) => gpu.uuid))
  const seen = new Set<string>()
  for (const gpu of gpus) {
    const bus = busKey(gpu.pciBusId)
    const atBus = roster.entries.find((entry) => bus !== '' && entry.busKey === bus)?.uuid ?? ''
    const uuid = gpu.uuid === '' && !printed.has(atBus) ? atBus : gpu.uuid
    const who = uuid === '' ? bus : uuid
    const name = shorten(who === '' ? gpu.name : who)
    if (who === '') notes.push(`a GPU without uuid and bus id is left out: ${name}`)
    else if (seen.has(who)) notes.push(`a second GPU ${name} (bus ${shorten(bus)}) is left out`)
    else listed.push({ uuid, busKey: bus, gpu })
    seen.add(who)
  }
  return listed
}

function missing(entry: RosterEntry): string {
  const who = entry.uuid === '' ? `bus ${entry.busKey}` : `${entry.uuid}, bus ${entry.busKey}`
  return `GPU ${entry.index} (${who}) cannot be reached: the document does not list it`
}

function lowestFree(used: ReadonlySet<number>): number {
  let index = 0
  while (used.has(index)) index += 1
  return index
}

/** Numbers of domain, bus, device and function; what is no bus id comes last. */
function inBusOrder(a: { readonly busKey: string }, b: { readonly busKey: string }): number {
  const left = placeOf(a.busKey)
  const right = placeOf(b.busKey)
  return left < right ? -1 : left > right ? 1 : 0
}

function placeOf(key: string): string {
  const [, domain, rest] = /^([0-9a-f]+):([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])$/.exec(key) ?? []
  return domain === undefined ? `~${key}` : `${domain.padStart(8, '0')}:${rest}`
}
