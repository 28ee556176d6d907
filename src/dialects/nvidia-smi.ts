import { CollectError, type LimitHits, type LimitName } from '../errors.ts'
import type { GaugeId } from '../instruments.ts'
import type { Channel, Labels, Reading } from '../reading.ts'
import { enrol, type GpuRoster, type RosterEntry, type Seat } from './nvidia-smi-roster.ts'
import type { Gpu, GpuDocument } from './nvidia-smi-values.ts'

export interface GpuReadingOptions {
  /** Whether memory by process is wanted. */
  readonly processes: boolean
  /** GPUs that the program said it cannot reach, spelled by `busKey`. */
  readonly lostBusIds: readonly string[]
  /** What the program said beside the document. */
  readonly remarks: readonly string[]
  /** What is known of the host's memory; absent where nobody asked. */
  readonly host?: HostMemory | undefined
}

/** What the kernel tells of the memory of the host, in bytes. What it does not tell is `undefined`. */
export interface HostMemory {
  readonly totalBytes: number | undefined
  readonly availableBytes: number | undefined
  /** Of the processes on the GPUs those that could be read, each once. */
  readonly processes: readonly HostProcess[]
  /** Why there is less than was asked for. */
  readonly note: string | undefined
}

export interface HostProcess {
  readonly pid: number
  /** The program's base name. */
  readonly process: string
  readonly residentBytes: number
  /**
   * When it started, and before it its parent, and so on, in Unix seconds: a server says when it started,
   * and its engine's processes descend from it.
   */
  readonly startsSeconds?: readonly number[]
}

/** A process that a document lists, and the name it goes by there. */
export interface ListedProcess {
  readonly pid: number
  readonly name: string
}

const maxProcesses = 64
const maxMigInstances = 16
const maxThrottleReasons = 32
const maxLabelLength = 128
const maxNotes = 32

/** What is read off a GPU without further labels. */
const plainGauges: readonly (readonly [GaugeId, (gpu: Gpu) => number | undefined])[] = [
  ['gpu_utilization', (gpu) => gpu.utilizationRatio],
  ['gpu_memory_activity', (gpu) => gpu.memoryActivityRatio],
  ['gpu_memory_used', (gpu) => gpu.memoryUsedBytes],
  ['gpu_memory_total', (gpu) => gpu.memoryTotalBytes],
  ['gpu_memory_reserved', (gpu) => gpu.memoryReservedBytes],
  ['gpu_temperature', (gpu) => gpu.temperatureCelsius],
  ['gpu_power_draw', (gpu) => gpu.powerDrawWatts],
  ['gpu_power_limit', (gpu) => gpu.powerLimitWatts],
  ['gpu_fan_speed', (gpu) => gpu.fanSpeedRatio],
  ['gpu_performance_state', (gpu) => gpu.performanceState],
  ['gpu_row_remap_pending', (gpu) => state(gpu.rowRemapPending)],
]

const clocks = ['sm', 'memory', 'graphics', 'video'] as const

/**
 * Puts a document into our words, and tells what is known of the machine's GPUs from now on.
 *
 * - values the driver does not tell: no channel
 * - a GPU of the roster that the document misses, and one that the program names as unreachable though it
 *   was never listed: `gpu_lost` 1 and nothing else; its `uuid` is empty where it was never seen
 * - two entries with one uuid: the first is taken, the other counted under `series` and noted
 * - no GPU in the document, none known and none named: throws `CollectError` `no_gpu`
 *
 * Names, units and labels: CONTRACT.md, sections 8 and 9. A channel's group is its GPU.
 */
export function toReading(
  document: GpuDocument,
  roster: GpuRoster,
  options: GpuReadingOptions,
): { readonly reading: Reading; readonly roster: GpuRoster } {
  const { seats, notes, leftOut } = enrol(document.gpus, roster, options.lostBusIds)
  if (seats.length === 0) {
    throw new CollectError('no_gpu', 'expected at least one GPU in the document, found none')
  }
  const page = new Page()
  if (leftOut > 0) page.hit('series', leftOut)
  const kept = options.processes ? keptProcesses(seats, page) : new Set<HeldMemory>()
  const entries = seats.map((seat) => describeSeat(seat, document, kept, page))
  if (options.host !== undefined) describeHost(options.host, page)
  const attached = document.attachedGpus
  const explained = Math.max(seats.length, document.gpus.length)
  const counted =
    attached !== undefined && attached > explained
      ? [`the driver counts ${attached} GPUs, its document lists ${document.gpus.length}`]
      : []
  const noted = options.host?.note === undefined ? [] : [options.host.note]
  // Windows remember series by the identity of this array, so an unchanged page must keep it.
  const channels = sameChannels(roster.channels, page.channels) ? roster.channels : page.channels
  return {
    reading: {
      channels,
      values: Float64Array.from(page.values),
      processStartSeconds: undefined,
      version: document.driverVersion,
      capabilities: new Set(),
      malformedLines: document.unusableValues,
      limitHits: page.limitHits,
      notes: [...options.remarks, ...notes, ...counted, ...noted].slice(0, maxNotes),
    },
    roster: { entries, channels },
  }
}

/** The processes that a document lists, each once, those that hold the most device memory first: at most 64. */
export function listedProcesses(document: GpuDocument): readonly ListedProcess[] {
  const byPid = new Map<number, ListedProcess & { readonly bytes: number }>()
  for (const { pid, name, memoryUsedBytes = 0 } of document.gpus.flatMap((gpu) => gpu.processes)) {
    const known = byPid.get(pid)
    const bytes = (known?.bytes ?? 0) + memoryUsedBytes
    byPid.set(pid, { pid, name: known?.name || name, bytes })
  }
  return [...byPid.values()]
    .sort((a, b) => b.bytes - a.bytes || a.pid - b.pid)
    .slice(0, maxProcesses)
    .map(({ pid, name }) => ({ pid, name }))
}

/** A process stands here once, on however many GPUs it is: its memory is that of the host. */
function describeHost(host: HostMemory, page: Page): void {
  page.putOfHost('host_memory_total', host.totalBytes, {})
  page.putOfHost('host_memory_available', host.availableBytes, {})
  const processes = host.processes.toSorted((a, b) => a.pid - b.pid)
  for (const { pid, process, residentBytes, startsSeconds = [] } of processes) {
    const labels = { pid: String(pid), process }
    page.putOfHost('host_process_memory', residentBytes, labels)
    for (const [generation, seconds] of startsSeconds.entries()) {
      page.putOfHost('host_process_start', seconds, { ...labels, generation: String(generation) })
    }
  }
}

/** Emits what is known of one GPU and returns the roster's entry for it. */
function describeSeat(
  seat: Seat,
  document: GpuDocument,
  kept: ReadonlySet<HeldMemory>,
  page: Page,
): RosterEntry {
  const { entry, gpu } = seat
  const put = (instrument: GaugeId, value: number | undefined, labels: Labels = {}) =>
    page.put(entry, instrument, value, labels)
  put('gpu_lost', state(gpu === undefined || seat.named || saysLost(gpu)))
  if (gpu === undefined) return entry
  put('gpu_info', 1, {
    name: gpu.name,
    pci_bus_id: gpu.pciBusId,
    driver_version: document.driverVersion ?? '',
    cuda_version: document.cudaVersion ?? '',
    mig: gpu.mig === undefined ? '' : gpu.mig ? 'enabled' : 'disabled',
  })
  for (const [instrument, read] of plainGauges) put(instrument, read(gpu))
  for (const clock of clocks) put('gpu_clock', gpu.clocksHertz[clock], { clock })
  for (const [reason, active] of page.first(gpu.throttleReasons, maxThrottleReasons)) {
    put('gpu_throttle', state(active), { reason })
  }
  for (const { type, scope, errors } of gpu.eccErrors)
    put('gpu_ecc_errors', errors, { type, scope })
  put('gpu_remapped_rows', gpu.remappedRows.corrected, { type: 'corrected' })
  put('gpu_remapped_rows', gpu.remappedRows.uncorrected, { type: 'uncorrected' })
  const actions = actionsSeen(entry.actions, gpu.recoveryAction)
  if (gpu.recoveryAction !== undefined) {
    for (const action of actions) {
      put('gpu_recovery_action', state(action === gpu.recoveryAction), { action })
    }
  }
  for (const [id, memory] of page.first(migMemory(gpu), maxMigInstances)) {
    put('gpu_mig_memory_used', memory.usedBytes, { gpu_instance: id })
    put('gpu_mig_memory_total', memory.totalBytes, { gpu_instance: id })
  }
  for (const held of kept) {
    if (held.seat !== seat) continue
    put('gpu_process_memory_used', held.bytes, { pid: String(held.pid), process: held.process })
  }
  return { ...entry, actions }
}

/**
 * Whether the driver says that it cannot reach the GPU. `Unknown Error` also stands for a single sensor
 * that fails, so it counts only where nothing at all could be measured.
 */
function saysLost(gpu: Gpu): boolean {
  if (gpu.failureTexts.some((text) => text !== 'Unknown Error')) return true
  const measured = [
    gpu.utilizationRatio,
    gpu.memoryUsedBytes,
    gpu.temperatureCelsius,
    gpu.powerDrawWatts,
    gpu.clocksHertz.sm,
    gpu.clocksHertz.graphics,
  ]
  return gpu.failureTexts.length > 0 && measured.every((value) => value === undefined)
}

/** Actions once asked for stay on the page with 0, in the order in which they came. */
function actionsSeen(seen: readonly string[], current: string | undefined): readonly string[] {
  if (current === undefined || seen.includes(current)) return seen
  return [...seen.slice(-7), current]
}

/** Compute instances of one GPU instance repeat its memory, so it is taken once and never added. */
function migMemory(gpu: Gpu) {
  const byInstance = new Map<
    string,
    { readonly usedBytes: number | undefined; readonly totalBytes: number | undefined }
  >()
  for (const device of gpu.migDevices) {
    if (device.gpuInstanceId === undefined) continue
    const id = String(device.gpuInstanceId)
    const known = byInstance.get(id)
    byInstance.set(id, {
      usedBytes: known?.usedBytes ?? device.memoryUsedBytes,
      totalBytes: known?.totalBytes ?? device.memoryTotalBytes,
    })
  }
  return byInstance
}

interface HeldMemory {
  readonly seat: Seat
  readonly pid: number
  readonly process: string
  readonly bytes: number
}

/**
 * The processes that hold the most memory. A process that a GPU lists twice, under MIG or for compute
 * and graphics, is one whose parts add. Those kept stand in the order of GPU and pid, so that the page
 * keeps its shape while their sizes change.
 */
function keptProcesses(seats: readonly Seat[], page: Page): ReadonlySet<HeldMemory> {
  const held: HeldMemory[] = []
  for (const seat of seats) {
    const byPid = new Map<number, HeldMemory>()
    for (const { pid, name, memoryUsedBytes } of seat.gpu?.processes ?? []) {
      if (memoryUsedBytes === undefined) continue
      const known = byPid.get(pid)
      const bytes = (known?.bytes ?? 0) + memoryUsedBytes
      byPid.set(pid, { seat, pid, process: known?.process || programName(name), bytes })
    }
    held.push(...byPid.values())
  }
  if (held.length > maxProcesses) page.hit('processes', held.length - maxProcesses)
  const largest = held.toSorted((a, b) => b.bytes - a.bytes).slice(0, maxProcesses)
  return new Set(largest.sort((a, b) => a.seat.entry.index - b.seat.entry.index || a.pid - b.pid))
}

/**
 * The base name of the program that a process runs, without its arguments, which may hold secrets and
 * make each process a series of its own. Names that a program gave itself (`VLLM::EngineCore`) are kept.
 */
export function programName(commandLine: string): string {
  const line = commandLine.trim()
  if (/^(?:[A-Za-z]:)?[^/\s]*\\/.test(line)) {
    // Windows paths hold blanks; the suffix tells where the program ends.
    const path = /^.*?\.exe(?=\s|$)/i.exec(line)?.[0] ?? line
    return path.slice(path.lastIndexOf('\\') + 1)
  }
  const word = /^\S*/.exec(line)?.[0] ?? ''
  return word.slice(word.lastIndexOf('/') + 1) || word
}

function state(value: boolean | undefined): number | undefined {
  return value === undefined ? undefined : Number(value)
}

function sameChannels(before: readonly Channel[], now: readonly Channel[]): boolean {
  return before.length === now.length && before.every((channel, i) => channel.key === now[i]?.key)
}

/** Collects the channels of one reading with their values. */
class Page {
  readonly channels: Channel[] = []
  readonly values: number[] = []
  readonly #hits = new Map<LimitName, number>()

  put(entry: RosterEntry, instrument: GaugeId, value: number | undefined, by: Labels): void {
    const subject = { gpu: String(entry.index), uuid: entry.uuid }
    const group = entry.uuid === '' ? entry.busKey : entry.uuid
    this.#put(instrument, value, { labels: { ...subject, ...by }, group })
  }

  putOfHost(instrument: GaugeId, value: number | undefined, labels: Labels): void {
    this.#put(instrument, value, { labels, group: 'host' })
  }

  #put(
    instrument: GaugeId,
    value: number | undefined,
    place: Pick<Channel, 'labels' | 'group'>,
  ): void {
    if (value === undefined) return
    const labels: Record<string, string> = {}
    for (const [name, text] of Object.entries(place.labels)) labels[name] = this.#limited(text)
    this.channels.push({
      instrument,
      key: `${instrument}${JSON.stringify(labels)}`,
      labels,
      group: place.group,
      offset: this.values.length,
    })
    this.values.push(value)
  }

  /** The first `limit` of a map; the rest is counted. */
  first<K, V>(map: ReadonlyMap<K, V>, limit: number): readonly (readonly [K, V])[] {
    if (map.size > limit) this.hit('series', map.size - limit)
    return [...map].slice(0, limit)
  }

  hit(limit: LimitName, times: number): void {
    this.#hits.set(limit, (this.#hits.get(limit) ?? 0) + times)
  }

  get limitHits(): LimitHits {
    return Object.fromEntries(this.#hits)
  }

  #limited(text: string): string {
    if (text.length <= maxLabelLength) return text
    this.hit('label_length', 1)
    return text.slice(0, maxLabelLength)
  }
}
