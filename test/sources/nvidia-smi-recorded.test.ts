import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { toReading } from '../../src/dialects/nvidia-smi.ts'
import { emptyRoster } from '../../src/dialects/nvidia-smi-roster.ts'
import type { Gpu, GpuDocument } from '../../src/dialects/nvidia-smi-values.ts'
import { CollectError, type CollectErrorCode } from '../../src/errors.ts'
import type { Channel, Reading } from '../../src/reading.ts'
import { createNvidiaSmi } from '../../src/sources/nvidia-smi.ts'
import { documentOf } from '../dialects/nvidia-smi-documents.ts'
import { fakeNvidiaSmi, recordedSmi, type SmiCase } from '../fakes/fake-nvidia-smi.ts'

const folder = recordedSmi()
const skip =
  folder === undefined ? 'the recorded documents beside the repository are absent' : false
const mebibyte = 1_048_576

/** What the publisher's own reading of a document found; null is "not told". */
interface ExpectedGpu extends Readonly<Record<string, unknown>> {
  readonly uuid: string
  readonly pci_bus_id: string
  readonly processes: readonly Readonly<Record<string, unknown>>[]
}

interface ExpectedDocument extends Readonly<Record<string, unknown>> {
  readonly gpus: readonly ExpectedGpu[]
}

function expectedDocuments(): ReadonlyMap<string, ExpectedDocument> {
  if (folder === undefined) return new Map()
  const all: Readonly<Record<string, ExpectedDocument>> = JSON.parse(
    readFileSync(join(folder, 'expected.json'), 'utf8'),
  )
  return new Map(Object.entries(all).filter(([path]) => path.startsWith('xml/')))
}

const expected = expectedDocuments()

/**
 * Leaves out what our reader has no use for: the number of the DTD, and where MIG processes run. The
 * recovery action stands in our spelling; 535 and 536 tell it by a flag that the publisher does not read.
 */
function inOurSpelling(document: ExpectedDocument, xml: string): unknown {
  const { kind: _kind, schema: _schema, gpus, ...rest } = document
  const flagged = xml.includes('<reset_required>No<') ? 'none' : null
  const kept = gpus.map((gpu) => ({
    ...gpu,
    recovery_action: gpu['recovery_action'] === 'None' ? 'none' : flagged,
    processes: gpu.processes.map(({ gpu_instance_id: _g, compute_instance_id: _c, ...own }) => own),
  }))
  return { ...rest, gpus: kept }
}

/** Our reading in the words and units of the expectation. */
function inTheirWords(document: GpuDocument): unknown {
  return {
    driver_version: document.driverVersion ?? null,
    cuda_version: document.cudaVersion ?? null,
    attached_gpus: document.attachedGpus ?? null,
    gpu_count: document.gpus.length,
    gpus: document.gpus.map(gpuInTheirWords),
  }
}

function gpuInTheirWords(gpu: Gpu, position: number): Readonly<Record<string, unknown>> {
  const { clocksHertz } = gpu
  return {
    position,
    pci_bus_id: gpu.pciBusId,
    uuid: gpu.uuid,
    product_name: gpu.name,
    minor_number: gpu.minorNumber ?? null,
    utilization_gpu_percent: scaled(gpu.utilizationRatio, 100),
    utilization_memory_percent: scaled(gpu.memoryActivityRatio, 100),
    memory_total_mib: scaled(gpu.memoryTotalBytes, 1 / mebibyte),
    memory_reserved_mib: scaled(gpu.memoryReservedBytes, 1 / mebibyte),
    memory_used_mib: scaled(gpu.memoryUsedBytes, 1 / mebibyte),
    memory_free_mib: scaled(gpu.memoryFreeBytes, 1 / mebibyte),
    temperature_gpu_celsius: gpu.temperatureCelsius ?? null,
    temperature_memory_celsius: gpu.memoryTemperatureCelsius ?? null,
    power_draw_watts: gpu.powerDrawWatts ?? null,
    power_average_watts: gpu.powerAverageWatts ?? null,
    power_instant_watts: gpu.powerInstantWatts ?? null,
    power_limit_watts: gpu.powerLimitWatts ?? null,
    clock_sm_mhz: scaled(clocksHertz.sm, 1e-6),
    clock_memory_mhz: scaled(clocksHertz.memory, 1e-6),
    fan_speed_percent: scaled(gpu.fanSpeedRatio, 100),
    performance_state: gpu.performanceState === undefined ? null : `P${gpu.performanceState}`,
    throttle_reasons_active:
      gpu.throttleReasons.size === 0
        ? null
        : [...gpu.throttleReasons].filter(([, active]) => active).map(([reason]) => reason),
    ecc_mode: gpu.eccMode ?? null,
    recovery_action: gpu.recoveryAction ?? null,
    mig_enabled: gpu.mig ?? null,
    mig_devices: gpu.migDevices.map((device) => ({
      index: device.index ?? null,
      gpu_instance_id: device.gpuInstanceId ?? null,
      compute_instance_id: device.computeInstanceId ?? null,
      memory_total_mib: scaled(device.memoryTotalBytes, 1 / mebibyte),
      memory_used_mib: scaled(device.memoryUsedBytes, 1 / mebibyte),
    })),
    processes: gpu.processes.map((process) => ({
      pid: process.pid,
      type: process.type ?? null,
      process_name: process.name,
      used_memory_mib: scaled(process.memoryUsedBytes, 1 / mebibyte),
    })),
    failure_bodies: gpu.failureTexts,
  }
}

/** Undoes a division by 100, which is not exact in binary. */
function scaled(value: number | undefined, by: number): number | null {
  return value === undefined ? null : Number((value * by).toPrecision(12))
}

/** What must be on the page for a GPU, where the expectation has a number; MiB and percent in our units. */
const onThePage: readonly (readonly [
  key: string,
  instrument: string,
  clock: string,
  by: number,
])[] = [
  ['utilization_gpu_percent', 'gpu_utilization', '', 0.01],
  ['utilization_memory_percent', 'gpu_memory_activity', '', 0.01],
  ['memory_total_mib', 'gpu_memory_total', '', mebibyte],
  ['memory_reserved_mib', 'gpu_memory_reserved', '', mebibyte],
  ['memory_used_mib', 'gpu_memory_used', '', mebibyte],
  ['temperature_gpu_celsius', 'gpu_temperature', '', 1],
  ['power_draw_watts', 'gpu_power_draw', '', 1],
  ['power_limit_watts', 'gpu_power_limit', '', 1],
  ['clock_sm_mhz', 'gpu_clock', 'sm', 1e6],
  ['clock_memory_mhz', 'gpu_clock', 'memory', 1e6],
  ['fan_speed_percent', 'gpu_fan_speed', '', 0.01],
]

function numberOf(
  reading: Reading,
  wanted: { readonly uuid: string; readonly instrument: string; readonly clock?: string },
): number | undefined {
  const matches = reading.channels.filter(
    (channel: Channel) =>
      channel.labels['uuid'] === wanted.uuid &&
      channel.instrument === wanted.instrument &&
      (channel.labels['clock'] ?? '') === (wanted.clock ?? ''),
  )
  assert.ok(matches.length < 2, `expected one channel of ${wanted.instrument} for ${wanted.uuid}`)
  return matches[0] === undefined ? undefined : reading.values[matches[0].offset]
}

/** Every number that is expected stands there, and where none is expected none stands there, not even 0. */
function assertReading(reading: Reading, gpus: readonly ExpectedGpu[]): void {
  const uuids = new Set(gpus.map((gpu) => gpu.uuid))
  const listed = reading.channels.filter((channel) => channel.instrument === 'gpu_info')
  assert.deepEqual(new Set(listed.map((channel) => channel.labels['uuid'])), uuids)
  assert.equal(listed.length, uuids.size)
  assert.ok(reading.values.every(Number.isFinite))
  for (const gpu of gpus) {
    const { uuid } = gpu
    for (const [key, instrument, clock, by] of onThePage) {
      const told = gpu[key]
      const value = numberOf(reading, { uuid, instrument, clock })
      const inTheirs = value === undefined ? null : Number((value / by).toPrecision(12))
      assert.equal(inTheirs, told, `${instrument} of ${uuid}`)
    }
    const lost = Number(Array.isArray(gpu['failure_bodies']) && gpu['failure_bodies'].length > 0)
    assert.equal(numberOf(reading, { uuid, instrument: 'gpu_lost' }), lost)
    const held = reading.channels.filter(
      (channel) =>
        channel.labels['uuid'] === uuid && channel.instrument === 'gpu_process_memory_used',
    )
    const pids = gpu.processes.filter((process) => process['used_memory_mib'] !== null)
    assert.deepEqual(
      held.map((channel) => Number(channel.labels['pid'])),
      pids.map((process) => process['pid']).sort((a, b) => Number(a) - Number(b)),
    )
    assert.ok(held.every((channel) => !/[/\s]/.test(channel.labels['process'] ?? '')))
  }
}

type Outcome =
  | { readonly code: CollectErrorCode; readonly message: RegExp }
  | {
      /** Whose numbers must be found, and which of its GPUs are in the output. */
      readonly document: string
      readonly gpus?: number
      readonly notes: readonly RegExp[]
      /** Bus ids of GPUs that are on the page as lost though the document does not list them. */
      readonly lost?: readonly string[]
    }

const t4 = 'xml/tesla-t4__515.105.01.xml'
const windows = 'xml/rtx-3080__536.40.xml'
const infoRom = /^WARNING: infoROM is corrupted at gpu 0000:B3:00\.0$/

const outcomes: Readonly<Record<string, Outcome>> = {
  '01-driver-not-loaded': { code: 'driver_unavailable', message: /status 9: NVIDIA-SMI has fail/ },
  '02-driver-library-mismatch': { code: 'library_mismatch', message: /status 18: Failed to init/ },
  '03-driver-library-mismatch-old': { code: 'library_mismatch', message: /library version mism/ },
  '04-nvml-library-missing': { code: 'driver_unavailable', message: /find libnvidia-ml\.so/ },
  '05-nvml-unknown-error': { code: 'driver_unavailable', message: /NVML: Unknown Error/ },
  '06-nvml-insufficient-permissions': { code: 'permission', message: /Insufficient Permissions/ },
  '07-nvml-blocked-by-operating-system': { code: 'permission', message: /blocked by the operatin/ },
  '08-no-devices-found': { code: 'no_gpu', message: /No devices were found/ },
  '09-no-supported-gpus': { code: 'no_gpu', message: /No supported GPUs were found/ },
  '10-gpu-lost-old-driver': { code: 'gpu_lost', message: /0000:02:00\.0: GPU is lost/ },
  '11-gpu-handle-unknown-error-old-driver': { code: 'gpu_lost', message: /0000:04:00\.0: Unknown/ },
  '12-gpu-handle-unknown-error-no-space': { code: 'gpu_lost', message: /GPU0000:07:00\.0: Unkno/ },
  // We ask for XML alone, so a table of commas is no document.
  '13-one-of-eight-lost-csv': { code: 'malformed', message: /expected a document/ },
  '14-one-of-two-lost-xml': {
    document: 'xml/rtx-2080-ti-x2__410.73.xml',
    gpus: 1,
    notes: [/^Unable to determine the device handle/, /cannot be reached/],
    lost: ['0:03:00.0'],
  },
  '15-invalid-query-field': { code: 'exit', message: /status 2: Field .*is not a valid field/ },
  '16-option-without-value': { code: 'exit', message: /status 255: ERROR: Option -m is missing/ },
  '17-inforom-warning-table': { code: 'exit', message: /status 14/ },
  '18-inforom-warning-after-xml': { document: t4, notes: [infoRom] },
  '19-inforom-warning-before-xml': { document: t4, notes: [infoRom] },
  '20-inforom-warning-on-stderr-status-14': {
    document: t4,
    notes: [infoRom, /ended with status 14 after a complete document/],
  },
  '21-missing-binary-shell': { code: 'not_found', message: /status 127: .*not found/ },
  '22-missing-binary-spawn': { code: 'not_found', message: /found none \(ENOENT\)/ },
  '23-not-executable-spawn': { code: 'not_found', message: /cannot be executed \(EACCES\)/ },
  '24-hang': { code: 'timeout', message: /to end within 400 ms$/ },
  '25-killed-with-partial-xml': {
    code: 'exit',
    message: /ended by SIGKILL with an incomplete doc/,
  },
  '26-truncated-xml-status-0': { code: 'malformed', message: /an incomplete document$/ },
  '27-empty-output-status-0': { code: 'malformed', message: /found nothing$/ },
  '28-segmentation-fault': { code: 'exit', message: /ended by SIGSEGV$/ },
  '29-not-xml-status-0': { code: 'malformed', message: /found Segmentation fault/ },
  '30-process-name-not-utf-8': { document: windows, notes: [] },
  '31-process-name-not-escaped': { document: windows, notes: [] },
  // In the second document gpu_util is 37 %; the first is the one to be found.
  '32-stream-two-documents-and-a-half': {
    document: t4,
    notes: [/^more than one document was written/, /ended by SIGTERM after a complete document/],
  },
  '33-csv-values-without-number': { code: 'malformed', message: /expected a document/ },
  '34-gpu-lost-inside-xml': { document: 'xml/sim-gb200-x2-one-lost__580.65.06.xml', notes: [] },
  // The same eight GPUs many times over: each counts once.
  '35-large-document': { document: 'xml/h100-80gb-x8__580.105.08.xml', notes: [/second GPU/] },
}

function recordedFailures(): readonly string[] {
  return folder === undefined ? [] : readdirSync(join(folder, 'errors')).sort()
}

async function replay(file: string): Promise<Reading> {
  const smi: SmiCase = JSON.parse(readFileSync(join(folder ?? '', 'errors', file), 'utf8'))
  const fake = fakeNvidiaSmi({ ...smi, folder })
  const timeoutMs = smi.hang === true ? 400 : 8_000
  try {
    const { command } = fake
    const source = createNvidiaSmi({ command, timeoutMs, processes: true })
    return await source.collect(new AbortController().signal)
  } finally {
    fake.remove()
  }
}

describe('the recorded documents', { skip }, () => {
  for (const [path, document] of expected) {
    const xml = readFileSync(join(folder ?? '', path), 'utf8')

    it(`of ${path} is read as its publisher reads it`, async () => {
      assert.deepEqual(inTheirWords(await documentOf(xml)), inOurSpelling(document, xml))
    })

    it(`of ${path} becomes a page with every number of it and no other`, async () => {
      const options = { processes: true, lostBusIds: [], remarks: [] }
      const { reading } = toReading(await documentOf(xml), emptyRoster, options)
      assertReading(reading, document.gpus)
      assert.equal(reading.malformedLines, 0)
    })
  }
})

describe('the recorded failures', { skip, concurrency: 2 }, () => {
  it('all have an expected outcome here, and the other way round', () => {
    const files = recordedFailures().map((file) => file.replace('.txt', ''))
    assert.deepEqual(files, Object.keys(outcomes))
  })

  for (const file of recordedFailures()) {
    const outcome = outcomes[file.replace('.txt', '')]
    if (outcome === undefined) continue

    if ('code' in outcome) {
      it(`${file} is told as ${outcome.code}, with the reason that was given`, async () => {
        await assert.rejects(replay(file), (error) => {
          assert.ok(error instanceof CollectError, String(error))
          assert.equal(error.code, outcome.code, error.message)
          assert.match(error.message, outcome.message)
          return true
        })
      })
      continue
    }
    it(`${file} keeps the numbers of every GPU that answers`, async () => {
      const gpus = expected.get(outcome.document)?.gpus ?? []
      const reading = await replay(file)
      assertReading(reading, gpus.slice(0, outcome.gpus))
      for (const note of outcome.notes) {
        assert.ok(
          reading.notes.some((text) => note.test(text)),
          `expected ${note} in ${JSON.stringify(reading.notes)}`,
        )
      }
      const unlisted = reading.channels.filter((channel) => channel.labels['uuid'] === '')
      assert.deepEqual(
        unlisted.map(({ instrument, group }) => [instrument, group]),
        (outcome.lost ?? []).map((bus) => ['gpu_lost', bus]),
      )
      assert.ok(unlisted.every((channel) => reading.values[channel.offset] === 1))
    })
  }
})
