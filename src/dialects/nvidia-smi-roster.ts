import { shorten, unreachable } from '../errors.ts'
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
  const known = recognise(roster.entries, listed, notes)
  const newcomers = newcomersAmong(listed, known, lostBusIds)
  const seats = [...known, ...numbered(newcomers, known)]
    .map((card) => ({ ...card, named: lostBusIds.includes(card.entry.busKey) }))
    .sort((a, b) => a.entry.index - b.entry.index)
  for (const { entry, gpu } of seats) if (gpu === undefined) notes.push(missing(entry))
  const kept = seats.slice(0, maxGpus)
  return { seats: kept, notes, leftOut: gpus.length - listed.length + seats.length - kept.length }
}

/** A GPU that has its index. */
type Card = Omit<Seat, 'named'>

/** What became of a GPU that was known before. */
type Fate =
  | { readonly kind: 'listed'; readonly as: Listed }
  | { readonly kind: 'replaced'; readonly by: Listed }
  /** What only a bus id was known of turns out to be another known GPU, which has moved there. */
  | { readonly kind: 'merged' }
  | { readonly kind: 'missing' }

/** The known GPUs that are still of this machine, whether or not the document lists them. */
function recognise(
  entries: readonly RosterEntry[],
  listed: readonly Listed[],
  notes: string[],
): readonly Card[] {
  const fateOf = fatesIn(entries, listed)
  return entries.flatMap((entry): readonly Card[] => {
    const fate = fateOf(entry)
    switch (fate.kind) {
      case 'listed': {
        const { uuid, busKey: bus, gpu } = fate.as
        return [{ entry: { ...entry, uuid, busKey: bus }, gpu }]
      }
      case 'missing':
        return [{ entry, gpu: undefined }]
      case 'replaced':
        notes.push(`GPU ${entry.index} (${entry.uuid}) was replaced by ${fate.by.uuid}`)
        return []
      case 'merged':
        return []
      default:
        return unreachable(fate)
    }
  })
}

function fatesIn(
  entries: readonly RosterEntry[],
  listed: readonly Listed[],
): (entry: RosterEntry) => Fate {
  const byUuid = new Map(listed.map((one) => [one.uuid, one]))
  const byBus = new Map(listed.map((one) => [one.busKey, one]))
  const knownUuids = new Set(entries.map(({ uuid }) => uuid))
  return ({ uuid, busKey: bus }) => {
    const atBus = bus === '' ? undefined : byBus.get(bus)
    const same = uuid === '' ? atBus : byUuid.get(uuid)
    if (same === undefined) {
      return atBus === undefined ? { kind: 'missing' } : { kind: 'replaced', by: atBus }
    }
    const isOther = uuid === '' && same.uuid !== '' && knownUuids.has(same.uuid)
    return isOther ? { kind: 'merged' } : { kind: 'listed', as: same }
  }
}

/** A GPU that was not known before; without `gpu` one that the program names and nothing lists. */
type Newcomer = Omit<Listed, 'gpu'> & Pick<Seat, 'gpu'>

function newcomersAmong(
  listed: readonly Listed[],
  known: readonly Card[],
  lostBusIds: readonly string[],
): readonly Newcomer[] {
  const seated = new Set(known.map(({ gpu }) => gpu))
  const occupied = new Set([...known.map(({ entry }) => entry), ...listed].map((one) => one.busKey))
  return [
    ...listed.filter(({ gpu }) => !seated.has(gpu)),
    ...lostBusIds
      .filter((bus) => !occupied.has(bus))
      .map((bus) => ({ uuid: '', busKey: bus, gpu: undefined })),
  ]
}

/** Gives each newcomer, in the order of the bus, the lowest index that is free. */
function numbered(newcomers: readonly Newcomer[], known: readonly Card[]): readonly Card[] {
  const used = new Set(known.map(({ entry }) => entry.index))
  return newcomers.toSorted(inBusOrder).map(({ uuid, busKey: bus, gpu }) => {
    const index = lowestFree(used)
    used.add(index)
    return { entry: { index, uuid, busKey: bus, actions: [] }, gpu }
  })
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
