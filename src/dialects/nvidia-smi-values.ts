import { CollectError } from '../errors.ts'

/** One GPU as a document tells it, in base units. What the driver does not tell is `undefined`. */
export interface Gpu {
  /** As printed; empty where the driver prints none. */
  readonly uuid: string
  /** As printed; empty where the driver prints none. */
  readonly pciBusId: string
  readonly name: string
  readonly minorNumber: number | undefined
  readonly utilizationRatio: number | undefined
  readonly memoryActivityRatio: number | undefined
  readonly memoryTotalBytes: number | undefined
  readonly memoryReservedBytes: number | undefined
  readonly memoryUsedBytes: number | undefined
  readonly memoryFreeBytes: number | undefined
  readonly temperatureCelsius: number | undefined
  readonly memoryTemperatureCelsius: number | undefined
  readonly powerDrawWatts: number | undefined
  readonly powerAverageWatts: number | undefined
  readonly powerInstantWatts: number | undefined
  readonly powerLimitWatts: number | undefined
  readonly clocksHertz: Readonly<Record<'sm' | 'memory' | 'graphics' | 'video', number | undefined>>
  readonly fanSpeedRatio: number | undefined
  /** 0 to 15. */
  readonly performanceState: number | undefined
  /** Every reason the driver lists, without its prefix, and whether it is active. */
  readonly throttleReasons: ReadonlyMap<string, boolean>
  readonly eccMode: string | undefined
  readonly eccErrors: readonly EccErrors[]
  readonly remappedRows: Readonly<Record<'corrected' | 'uncorrected', number | undefined>>
  readonly rowRemapPending: boolean | undefined
  /** The driver's word in snake case. */
  readonly recoveryAction: string | undefined
  readonly mig: boolean | undefined
  readonly migDevices: readonly MigDevice[]
  readonly processes: readonly GpuProcess[]
  /** Which of `failureTexts` stand in place of a value. */
  readonly failureTexts: readonly string[]
}

export interface EccErrors {
  readonly type: 'corrected' | 'uncorrected'
  readonly scope: 'volatile' | 'aggregate'
  readonly errors: number
}

export interface MigDevice {
  readonly index: number | undefined
  readonly gpuInstanceId: number | undefined
  readonly computeInstanceId: number | undefined
  /** Of the whole GPU instance: compute instances of one repeat it. */
  readonly memoryTotalBytes: number | undefined
  readonly memoryUsedBytes: number | undefined
}

export interface GpuProcess {
  readonly pid: number
  readonly type: string | undefined
  /** As printed, often a whole command line; empty where the driver prints none. */
  readonly name: string
  readonly memoryUsedBytes: number | undefined
}

/** A document of `nvidia-smi -q -x`. */
export interface GpuDocument {
  readonly driverVersion: string | undefined
  readonly cudaVersion: string | undefined
  /** What the driver counts, which may differ from the number of `gpus`. */
  readonly attachedGpus: number | undefined
  readonly gpus: readonly Gpu[]
  /** Values that begin like a number and are none that we know: another unit, a decimal comma. */
  readonly unusableValues: number
}

/** What the driver writes in place of values when it cannot reach a GPU. */
export const failureTexts = [
  'GPU is lost',
  'Unknown Error',
  'GPU requires reset',
  'GPU is inaccessible',
] as const

/**
 * Reads the tree that node-nvidia-smi makes of a document: one GPU is an object and several are an
 * array, and every value is a string with its unit or a form of "not available". Elements are found
 * under the names of all driver generations by their presence alone; unknown ones are ignored. A text
 * that is not a number with the unit we know is no value, and never 0.
 *
 * Throws `CollectError` `malformed` for a tree without an `nvidia_smi_log`.
 */
export function readGpus(tree: unknown): GpuDocument {
  const log = child(tree, 'nvidia_smi_log')
  if (!isNode(log)) {
    throw new CollectError(
      'malformed',
      'expected an element nvidia_smi_log with content, found none',
    )
  }
  const tally: Tally = { unusableValues: 0 }
  return {
    // From 610 on the old elements hold a text that points to the new ones.
    driverVersion: firstVersion(log, ['kmd_version', 'driver_version']),
    cudaVersion: firstVersion(log, ['cuda_umd_version', 'cuda_version']),
    attachedGpus: quantity(log, 'attached_gpus', count, tally),
    gpus: nodes(child(log, 'gpu')).map((gpu) => readGpu(gpu, tally)),
    unusableValues: tally.unusableValues,
  }
}

interface Tally {
  unusableValues: number
}

interface Quantity {
  /** The unit that must stand behind the number; empty where none may. */
  readonly unit: string
  readonly min: number
  readonly max: number
  readonly toBase: (value: number) => number
}

const count: Quantity = { unit: '', min: 0, max: Number.MAX_SAFE_INTEGER, toBase: (n) => n }
const percent: Quantity = { unit: '%', min: 0, max: 100, toBase: (n) => n / 100 }
const fanPercent: Quantity = { ...percent, max: 1_000 }
const mebibytes: Quantity = { unit: 'MiB', min: 0, max: 2 ** 32, toBase: (n) => n * 1_048_576 }
const celsius: Quantity = { unit: 'C', min: -273.15, max: 1_000, toBase: (n) => n }
const watts: Quantity = { unit: 'W', min: 0, max: 100_000, toBase: (n) => n }
const megahertz: Quantity = { unit: 'MHz', min: 0, max: 100_000, toBase: (n) => n * 1e6 }

function readGpu(gpu: Node, tally: Tally): Gpu {
  const read = (path: string, kind: Quantity) => quantity(gpu, path, kind, tally)
  const average = read('gpu_power_readings/average_power_draw', watts)
  const instant = read('gpu_power_readings/instant_power_draw', watts)
  return {
    uuid: identity(textAt(gpu, 'uuid')),
    pciBusId: identity(textAt(gpu, '$/id') ?? textAt(gpu, 'pci/pci_bus_id')),
    name: identity(textAt(gpu, 'product_name')),
    minorNumber: read('minor_number', count),
    utilizationRatio: read('utilization/gpu_util', percent),
    memoryActivityRatio: read('utilization/memory_util', percent),
    memoryTotalBytes: read('fb_memory_usage/total', mebibytes),
    memoryReservedBytes: read('fb_memory_usage/reserved', mebibytes),
    memoryUsedBytes: read('fb_memory_usage/used', mebibytes),
    memoryFreeBytes: read('fb_memory_usage/free', mebibytes),
    temperatureCelsius: read('temperature/gpu_temp', celsius),
    memoryTemperatureCelsius: read('temperature/memory_temp', celsius),
    powerDrawWatts:
      read('power_readings/power_draw', watts) ??
      read('gpu_power_readings/power_draw', watts) ??
      average ??
      instant,
    powerAverageWatts: average,
    powerInstantWatts: instant,
    powerLimitWatts:
      read('gpu_power_readings/current_power_limit', watts) ??
      read('gpu_power_readings/gpu_ceiling_power_limit/current_power_limit', watts) ??
      read('power_readings/enforced_power_limit', watts),
    clocksHertz: {
      sm: read('clocks/sm_clock', megahertz),
      memory: read('clocks/mem_clock', megahertz),
      graphics: read('clocks/graphics_clock', megahertz),
      video: read('clocks/video_clock', megahertz),
    },
    fanSpeedRatio: read('fan_speed', fanPercent),
    performanceState: performanceState(textAt(gpu, 'performance_state')),
    throttleReasons: throttleReasons(gpu),
    eccMode: told(textAt(gpu, 'ecc_mode/current_ecc')),
    eccErrors: eccErrors(at(gpu, 'ecc_errors'), tally),
    remappedRows: {
      corrected: read('remapped_rows/remapped_row_corr', count),
      uncorrected: read('remapped_rows/remapped_row_unc', count),
    },
    rowRemapPending: flag(textAt(gpu, 'remapped_rows/remapped_row_pending')),
    recoveryAction: recoveryAction(gpu),
    mig: flag(textAt(gpu, 'mig_mode/current_mig')),
    migDevices: nodes(at(gpu, 'mig_devices/mig_device')).map((device) => migDevice(device, tally)),
    processes: processes(gpu, tally),
    failureTexts: failureTextsOf(gpu),
  }
}

function quantity(node: Node, path: string, kind: Quantity, tally: Tally): number | undefined {
  const text = textAt(node, path)
  if (text === undefined || !/^[+-]?\d/.test(text)) return undefined
  const [, digits, unit = ''] =
    /^([+-]?\d+(?:\.\d+)?)(?: ?([A-Za-z%][A-Za-z%/()]*))?$/.exec(text) ?? []
  const value = Number(digits)
  if (digits === undefined || unit !== kind.unit || value < kind.min || value > kind.max) {
    tally.unusableValues += 1
    return undefined
  }
  return kind.toBase(value)
}

function throttleReasons(gpu: Node): ReadonlyMap<string, boolean> {
  const reasons = new Map<string, boolean>()
  for (const parent of ['clocks_throttle_reasons', 'clocks_event_reasons']) {
    const listed = at(gpu, parent)
    if (!isNode(listed)) continue
    for (const element of Object.keys(listed)) {
      const reason = /^clocks_(?:throttle|event)_reason_([a-z0-9_]{1,64})$/.exec(element)?.[1]
      const active = flag(textAt(listed, element))
      if (reason !== undefined && active !== undefined) reasons.set(reason, active)
    }
  }
  return reasons
}

/**
 * Adds the counts of a scope. Up to Volta each type has a total of its locations; since Turing memory
 * kinds are listed without one, and the uncorrectable ones of SRAM later by how they were found.
 */
function eccErrors(ecc: unknown, tally: Tally): readonly EccErrors[] {
  const found: EccErrors[] = []
  for (const scope of ['volatile', 'aggregate'] as const) {
    const part = at(ecc, scope)
    if (!isNode(part)) continue
    const sram = isNotOffered(textAt(part, 'sram_uncorrectable') ?? '')
      ? ['sram_uncorrectable_parity', 'sram_uncorrectable_secded']
      : ['sram_uncorrectable']
    const corrected =
      sumOf(part, ['sram_correctable', 'dram_correctable'], tally) ??
      totalOf(at(part, 'single_bit'), tally)
    const uncorrected =
      sumOf(part, [...sram, 'dram_uncorrectable'], tally) ?? totalOf(at(part, 'double_bit'), tally)
    if (corrected !== undefined) found.push({ type: 'corrected', scope, errors: corrected })
    if (uncorrected !== undefined) found.push({ type: 'uncorrected', scope, errors: uncorrected })
  }
  return found
}

function totalOf(locations: unknown, tally: Tally): number | undefined {
  if (!isNode(locations)) return undefined
  const names = Object.keys(locations).filter((name) => name !== 'total')
  return quantity(locations, 'total', count, tally) ?? sumOf(locations, names, tally)
}

/** The sum of what is told, unless a part of it could not be read: what is unknown is not 0. */
function sumOf(node: Node, names: readonly string[], tally: Tally): number | undefined {
  let sum: number | undefined
  for (const name of names) {
    const text = textAt(node, name)
    if (text === undefined || isNotOffered(text)) continue
    const value = quantity(node, name, count, tally)
    if (value === undefined) return undefined
    sum = (sum ?? 0) + value
  }
  return sum
}

function recoveryAction(gpu: Node): string | undefined {
  const word = textAt(gpu, 'gpu_recovery_action')
  if (word === 'None') return 'none'
  if (told(word) !== undefined && word !== undefined && /^[A-Za-z][A-Za-z0-9 ]{0,39}$/.test(word)) {
    return word.toLowerCase().replaceAll(/ +/g, '_')
  }
  // Before 570 the same was told by two flags.
  const drain = flag(textAt(gpu, 'gpu_reset_status/drain_and_reset_recommended'))
  const reset = flag(textAt(gpu, 'gpu_reset_status/reset_required'))
  if (reset === true) return 'reset'
  if (drain === true) return 'drain_and_reset'
  return reset === false ? 'none' : undefined
}

function migDevice(device: Node, tally: Tally): MigDevice {
  const read = (path: string, kind: Quantity) => quantity(device, path, kind, tally)
  return {
    index: read('index', count),
    gpuInstanceId: read('gpu_instance_id', count),
    computeInstanceId: read('compute_instance_id', count),
    memoryTotalBytes: read('fb_memory_usage/total', mebibytes),
    memoryUsedBytes: read('fb_memory_usage/used', mebibytes),
  }
}

function processes(gpu: Node, tally: Tally): readonly GpuProcess[] {
  const found: GpuProcess[] = []
  for (const info of nodes(at(gpu, 'processes/process_info'))) {
    const pid = quantity(info, 'pid', count, tally)
    if (pid === undefined) continue
    found.push({
      pid,
      type: told(textAt(info, 'type')),
      name: identity(textAt(info, 'process_name')),
      memoryUsedBytes: quantity(info, 'used_memory', mebibytes, tally),
    })
  }
  return found
}

function failureTextsOf(gpu: Node): readonly string[] {
  const found = new Set<string>()
  const visit = (value: unknown, depth: number) => {
    if (typeof value === 'string') {
      const text = withoutBrackets(value.trim())
      if (failureTexts.some((failure) => failure === text)) found.add(text)
    } else if (typeof value === 'object' && value !== null && depth < 16) {
      // Users choose the names of processes, so these prove nothing.
      for (const [name, inner] of Object.entries(value)) {
        if (name !== 'processes' && name !== 'accounted_processes') visit(inner, depth + 1)
      }
    }
  }
  visit(gpu, 0)
  return failureTexts.filter((failure) => found.has(failure))
}

function performanceState(text: string | undefined): number | undefined {
  const state = Number(/^P(\d{1,2})$/.exec(text ?? '')?.[1] ?? Number.NaN)
  return state <= 15 ? state : undefined
}

function flag(text: string | undefined): boolean | undefined {
  if (text === 'Active' || text === 'Enabled' || text === 'Yes') return true
  if (text === 'Not Active' || text === 'Disabled' || text === 'No') return false
  return undefined
}

function firstVersion(log: Node, names: readonly string[]): string | undefined {
  return names
    .map((name) => textAt(log, name))
    .find((text) => text !== undefined && /^\d+(?:\.\d+)+$/.test(text) && text.length <= 32)
}

/** Texts that stand where a driver or a card does not offer a value at all. */
function isNotOffered(text: string): boolean {
  const bare = withoutBrackets(text)
  return (
    /^(?:|n\/a|none|not supported|not available)$/i.test(bare) ||
    bare === 'Requested functionality has been deprecated'
  )
}

/** A word of the driver, unless it says in any of its ways that there is none. */
function told(text: string | undefined): string | undefined {
  if (text === undefined || isNotOffered(text) || text.startsWith('[')) return undefined
  const failed = failureTexts.some((failure) => failure === text)
  return failed || /^(?:ERR!|Insufficient Permissions|(?:Function )?Not Found)$/.test(text)
    ? undefined
    : text
}

function identity(text: string | undefined): string {
  return told(text) ?? ''
}

function withoutBrackets(text: string): string {
  return text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1).trim() : text
}

type Node = Readonly<Record<string, unknown>>

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function child(node: unknown, name: string): unknown {
  return isNode(node) && Object.hasOwn(node, name) ? node[name] : undefined
}

function at(node: unknown, path: string): unknown {
  return path.split('/').reduce(child, node)
}

/** The trimmed text of an element; `undefined` where it is missing, repeated or holds elements. */
function textAt(node: Node, path: string): string | undefined {
  const value = at(node, path)
  const text = isNode(value) ? child(value, '_') : value
  return typeof text === 'string' ? text.trim() : undefined
}

/** One element is an object and several are an array; an empty one is a blank string. */
function nodes(value: unknown): readonly Node[] {
  return (Array.isArray(value) ? value : [value]).filter(isNode)
}
