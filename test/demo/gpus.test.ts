import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SimulatedEngine } from '../../src/demo/engine.ts'
import { SimulatedGpus, type SimulatedGpusOptions, type SmiAnswer } from '../../src/demo/gpus.ts'
import type { Incident } from '../../src/demo/incident.ts'
import type { GpuLoad } from '../../src/demo/processes.ts'
import { findScenario } from '../../src/demo/scenarios.ts'
import { toReading } from '../../src/dialects/nvidia-smi.ts'
import { emptyRoster, type GpuRoster } from '../../src/dialects/nvidia-smi-roster.ts'
import { cutDocument, lostBusIds } from '../../src/dialects/nvidia-smi-text.ts'
import { type GpuDocument, readGpus } from '../../src/dialects/nvidia-smi-values.ts'
import type { Reading } from '../../src/reading.ts'
import { treeOf } from '../../src/sources/nvidia-smi.ts'

const startWallMs = Date.UTC(2026, 10, 22, 10, 0, 0)
const mebibyte = 1_048_576

function gpusOf(rest: Partial<SimulatedGpusOptions> = {}): SimulatedGpus {
  return new SimulatedGpus({ count: 1, startWallMs, ...rest })
}

function load(busyMs: number, rest: Partial<GpuLoad> = {}): GpuLoad {
  return {
    gpu: 0,
    pid: 4242,
    name: 'VLLM::EngineCore',
    usedMiB: 74_514,
    residentMiB: 6200,
    busyMs,
    occupancyRatio: 0,
    ...rest,
  }
}

/** Incidents of which a GPU is lost at `fromMs`. */
function losing(gpu: number, fromMs: number): readonly Incident[] {
  return [{ kind: 'gpu-lost', gpu, fromMs }]
}

/** Reads an answer as the daemon does. */
async function read(answer: SmiAnswer, roster: GpuRoster = emptyRoster) {
  const output = { end: { kind: 'exited', exitCode: 0 }, ...answer } as const
  const document = cutDocument(output, { processes: true })
  assert.equal(document.kind, 'whole')
  if (document.kind !== 'whole') throw new Error('expected a whole document')
  const gpus = readGpus(await treeOf(document.xml))
  const { remarks } = document
  const options = { processes: true, lostBusIds: lostBusIds(remarks), remarks }
  return { document: gpus, ...toReading(gpus, roster, options) }
}

async function documentOf(gpus: SimulatedGpus): Promise<GpuDocument> {
  return (await read(gpus.answer())).document
}

/** The values of one gauge by the label `gpu`. */
function values(reading: Reading, instrument: string): Readonly<Record<string, number>> {
  const found: Record<string, number> = {}
  for (const channel of reading.channels) {
    if (channel.instrument !== instrument) continue
    found[channel.labels['gpu'] ?? ''] = reading.values[channel.offset] ?? Number.NaN
  }
  return found
}

describe('the document of the simulated GPUs', () => {
  it('is read by our reader without a value that it cannot use', async () => {
    const gpus = gpusOf({ count: 2 })
    gpus.observe([load(0)], 0)
    gpus.observe([load(500)], 1000)
    const { document, reading } = await read(gpus.answer())
    assert.equal(document.unusableValues, 0)
    assert.equal(reading.malformedLines, 0)
    assert.deepEqual(reading.notes, [])
    assert.equal(document.driverVersion, '580.95.05')
    assert.equal(document.attachedGpus, 2)
    const [busy, idle] = document.gpus
    assert.equal(busy?.name, 'NVIDIA H100 80GB HBM3')
    assert.equal(busy?.mig, false)
    assert.deepEqual(busy?.failureTexts, [])
    assert.notEqual(busy?.uuid, idle?.uuid)
    assert.notEqual(busy?.pciBusId, idle?.pciBusId)
  })

  it('carries the date as the program prints it', async () => {
    const gpus = gpusOf()
    gpus.observe([], 90_000)
    assert.match(gpus.answer().stdout, /<timestamp>Sun Nov 22 10:01:30 2026<\/timestamp>/)
  })

  it('shows the share of the time in which the engine worked', async () => {
    const gpus = gpusOf({ count: 2 })
    gpus.observe([load(0)], 0)
    gpus.observe([load(500)], 1000)
    const [busy, idle] = (await documentOf(gpus)).gpus
    // Half of the time, and 0.82 of each GPU with an empty batch: 41 %; memory 0.45 of that.
    assert.equal(busy?.utilizationRatio, 0.41)
    assert.equal(busy?.memoryActivityRatio, 0.18)
    // 70 W idle and 250 W for a full GPU: 70 + 0.41 × 250 = 172.5.
    assert.equal(busy?.powerInstantWatts, 172.5)
    assert.equal(busy?.performanceState, 0)
    assert.equal(busy?.throttleReasons.get('gpu_idle'), false)
    assert.equal(idle?.utilizationRatio, 0)
    assert.equal(idle?.powerInstantWatts, 70)
    assert.equal(idle?.performanceState, 8)
    assert.equal(idle?.throttleReasons.get('gpu_idle'), true)
  })

  it('shows the memory and the process of an engine, and next to nothing beside it', async () => {
    const gpus = gpusOf({ count: 2 })
    gpus.observe([load(0)], 0)
    const [used, spare] = (await documentOf(gpus)).gpus
    // ⌊81559 × 0.92⌋ = 75034 MiB, less 520 that vLLM leaves: 74514, and 16 for the context.
    assert.equal(used?.memoryUsedBytes, 74_530 * mebibyte)
    assert.equal(used?.memoryTotalBytes, 81_559 * mebibyte)
    assert.deepEqual(used?.processes, [
      { pid: 4242, type: 'C', name: 'VLLM::EngineCore', memoryUsedBytes: 74_514 * mebibyte },
    ])
    assert.equal(spare?.memoryUsedBytes, mebibyte)
    assert.deepEqual(spare?.processes, [])
  })

  it('takes a restarted engine for another process that has not worked yet', async () => {
    const gpus = gpusOf()
    gpus.observe([load(0)], 0)
    gpus.observe([load(900)], 1000)
    gpus.observe([], 2000)
    assert.equal((await documentOf(gpus)).gpus[0]?.memoryUsedBytes, mebibyte)
    gpus.observe([load(100, { pid: 4342 })], 3000)
    const [gpu] = (await documentOf(gpus)).gpus
    assert.equal(gpu?.utilizationRatio, 0)
    assert.equal(gpu?.processes[0]?.pid, 4342)
  })

  it('keeps ratios within 1 and temperatures plausible when it is told of more work than time', async () => {
    const gpus = gpusOf()
    gpus.observe([load(0)], 0)
    for (let second = 1; second <= 120; second += 1) {
      gpus.observe([load(5000 * second, { occupancyRatio: 1 })], 1000 * second)
    }
    const [gpu] = (await documentOf(gpus)).gpus
    assert.equal(gpu?.utilizationRatio, 0.99)
    // 70 + 0.99 × 580 = 644.2 W; after eight times its delay the heat sink has 28 + 42 × 644.2 / 700.
    assert.equal(gpu?.powerInstantWatts, 644.2)
    assert.equal(gpu?.temperatureCelsius, 67)
  })

  it('names eight engines by their ranks and tells eight GPUs apart', async () => {
    const engine = new SimulatedEngine({
      scenario: findScenario('steady'),
      seed: 1,
      startWallMs,
      engines: 8,
    })
    const gpus = gpusOf({ count: 8 })
    for (const atMs of [0, 20_000, 21_000]) {
      engine.advance(atMs)
      gpus.observe(engine.loads(), atMs)
    }
    const found = (await documentOf(gpus)).gpus
    assert.equal(new Set(found.map(({ uuid }) => uuid)).size, 8)
    assert.equal(new Set(found.map(({ pciBusId }) => pciBusId)).size, 8)
    assert.deepEqual(
      found.map(({ processes }) => processes[0]?.name),
      [0, 1, 2, 3, 4, 5, 6, 7].map((rank) => `VLLM::EngineCore_DP${rank}`),
    )
    for (const { utilizationRatio = 0 } of found) assert.ok(utilizationRatio > 0.2)
  })
})

describe('a GPU in trouble', () => {
  it('shows every process on it, with their work and memory added up', async () => {
    const incidents: readonly Incident[] = [
      {
        kind: 'neighbour',
        gpu: 0,
        name: 'train',
        mib: 4096,
        busyRatio: 0.25,
        fromMs: 0,
        untilMs: 5000,
      },
    ]
    const gpus = gpusOf({ incidents })
    gpus.observe([load(0)], 0)
    gpus.observe([load(500)], 1000)
    const [gpu] = (await documentOf(gpus)).gpus
    // 0.5 × 0.82 of the engine, and 0.25 × (0.82 + 0.17 × 0.6) = 0.23 of the other: 64 %.
    assert.equal(gpu?.utilizationRatio, 0.64)
    assert.equal(gpu?.memoryUsedBytes, (74_514 + 4096 + 16) * mebibyte)
    assert.deepEqual(
      gpu?.processes.map(({ name }) => name),
      ['VLLM::EngineCore', 'train'],
    )
    gpus.observe([load(900)], 6000)
    assert.equal((await documentOf(gpus)).gpus[0]?.processes.length, 1)
  })

  it('says why its clock is low and for how long it was, and that it spins', async () => {
    const incidents: readonly Incident[] = [
      {
        kind: 'throttle',
        reason: 'hw_thermal_slowdown',
        clockMhz: 900,
        factor: 2,
        fromMs: 500,
        untilMs: 100_000,
      },
    ]
    const gpus = gpusOf({ incidents })
    gpus.observe([load(0)], 0)
    gpus.observe([load(1000)], 1000)
    const [gpu] = (await documentOf(gpus)).gpus
    assert.deepEqual(
      ['hw_thermal_slowdown', 'hw_slowdown', 'sw_power_cap'].map((reason) =>
        gpu?.throttleReasons.get(reason),
      ),
      [true, true, false],
    )
    assert.match(gpus.answer().stdout, /<sm_clock>900 MHz/)
    assert.match(gpus.answer().stdout, /counters_hw_therm_slowdown>500000 us</)
    // Above what an idle GPU draws, 0.55 of 0.82 × 250 W.
    assert.equal(gpu?.powerInstantWatts, 182.75)
    const spinning = gpusOf()
    spinning.observe([load(0)], 0)
    spinning.observe([load(1000, { spinWatts: 120 })], 1000)
    const [other] = (await documentOf(spinning)).gpus
    assert.deepEqual([other?.utilizationRatio, other?.powerInstantWatts], [1, 120])
  })

  it('tells the memory of the host without any file', () => {
    const gpus = gpusOf()
    gpus.observe([load(0), load(0, { pid: 7, residentMiB: 1000 })], 0)
    const { totalBytes, availableBytes, processes } = gpus.hostMemory()
    assert.deepEqual(
      processes.map(({ pid, rssBytes }) => [pid, rssBytes / mebibyte]),
      [
        [4242, 6200],
        [7, 1000],
      ],
    )
    // 24 GiB are taken by everything else.
    assert.equal((totalBytes - availableBytes) / mebibyte, 24 * 1024 + 7200)
  })
})

describe('the scenario of a lost GPU', () => {
  it('loses the last GPU at its time: a line on standard error, the others stay readable', async () => {
    const { incidents, label } = findScenario('gpu-lost')
    const lostAtMs = label.fromMs
    assert.equal(lostAtMs, 20_000)
    const gpus = gpusOf({ count: 2, incidents })
    gpus.observe([load(0)], lostAtMs - 1)
    const before = await read(gpus.answer())
    assert.equal(gpus.answer().stderr, '')
    assert.deepEqual(values(before.reading, 'gpu_lost'), { 0: 0, 1: 0 })
    gpus.observe([load(1)], lostAtMs)
    const answer = gpus.answer()
    assert.match(answer.stderr, /GPU1: 0000:2C:00\.0: Unknown Error\n$/)
    const after = await read(answer, before.roster)
    assert.equal(after.document.gpus.length, 1)
    assert.equal(after.document.attachedGpus, 2)
    assert.deepEqual(values(after.reading, 'gpu_lost'), { 0: 0, 1: 1 })
    assert.deepEqual(Object.keys(values(after.reading, 'gpu_memory_used')), ['0'])
  })

  it('is told of by a daemon that never saw the GPU alive', async () => {
    const gpus = gpusOf({ count: 2, incidents: losing(1, 0) })
    gpus.observe([load(0)], 0)
    const { reading } = await read(gpus.answer())
    const lost = Object.values(values(reading, 'gpu_lost'))
    assert.deepEqual(lost.sort(), [0, 1])
  })

  it('does not happen in any other scenario', () => {
    for (const name of ['steady', 'overload', 'errors', 'restart']) {
      const gpus = gpusOf({ count: 2, incidents: findScenario(name).incidents })
      gpus.observe([load(0)], 3_600_000)
      assert.equal(gpus.answer().stderr, '')
    }
  })
})
