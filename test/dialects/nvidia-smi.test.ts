import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type GpuReadingOptions, programName, toReading } from '../../src/dialects/nvidia-smi.ts'
import { emptyRoster, type GpuRoster } from '../../src/dialects/nvidia-smi-roster.ts'
import type { Reading } from '../../src/reading.ts'
import { smiFixture } from '../fakes/fake-nvidia-smi.ts'
import { documentOf, logOf, nest } from './nvidia-smi-documents.ts'

const mebibyte = 1_048_576
const plain: GpuReadingOptions = { processes: true, lostBusIds: [], remarks: [] }

async function pageOf(
  xml: string,
  options: Partial<GpuReadingOptions> = {},
  roster: GpuRoster = emptyRoster,
): Promise<{ readonly reading: Reading; readonly roster: GpuRoster }> {
  return toReading(await documentOf(xml), roster, { ...plain, ...options })
}

/** What the page says of one GPU: the instrument with its further labels, and the value. */
function saidOf(reading: Reading, gpu: string): Readonly<Record<string, number | undefined>> {
  const said: Record<string, number | undefined> = {}
  for (const { instrument, labels, offset } of reading.channels) {
    const { gpu: index, uuid: _uuid, ...further } = labels
    if (index !== gpu || instrument === 'gpu_info') continue
    said[[instrument, ...Object.values(further)].join(' ')] = reading.values[offset]
  }
  return said
}

function infoOf(reading: Reading): readonly unknown[] {
  return reading.channels
    .filter((channel) => channel.instrument === 'gpu_info')
    .map((channel) => channel.labels)
}

function processOf(process: { pid: number; name?: string; used?: string }): string {
  const { pid, name = 'python3', used = '1 MiB' } = process
  const parts = nest('pid', `${pid}`) + nest('process_name', name) + nest('used_memory', used)
  return nest('process_info', parts)
}

function oneGpu(body: string): string {
  return logOf(`<gpu id="00000000:01:00.0">${nest('uuid', 'GPU-1')}${body}</gpu>`)
}

function heldBy(reading: Reading): readonly (readonly [string, string, number])[] {
  return reading.channels
    .filter((channel) => channel.instrument === 'gpu_process_memory_used')
    .map(({ labels, offset }) => [
      labels['pid'] ?? '',
      labels['process'] ?? '',
      (reading.values[offset] ?? Number.NaN) / mebibyte,
    ])
}

describe('the page of two GPUs', () => {
  it('tells everything of the one that tells everything, in base units', async () => {
    const { reading } = await pageOf(smiFixture('two-gpus.xml'))
    assert.deepEqual(saidOf(reading, '1'), {
      gpu_lost: 0,
      gpu_utilization: 0.87,
      gpu_memory_activity: 0.4,
      gpu_memory_used: 20_480 * mebibyte,
      gpu_memory_total: 24_576 * mebibyte,
      gpu_memory_reserved: 512 * mebibyte,
      gpu_temperature: 64,
      gpu_power_draw: 231.5,
      gpu_power_limit: 300,
      gpu_fan_speed: 1.05,
      gpu_performance_state: 2,
      gpu_row_remap_pending: 1,
      'gpu_clock sm': 1.79e9,
      'gpu_clock memory': 9.001e9,
      'gpu_clock graphics': 1.8e9,
      'gpu_clock video': 1.5e9,
      'gpu_throttle gpu_idle': 0,
      'gpu_throttle hw_slowdown': 1,
      // 1 + 10, 2 + 3 + 20 and 0 + 100; the fourth number has an unknown part.
      'gpu_ecc_errors corrected volatile': 11,
      'gpu_ecc_errors uncorrected volatile': 25,
      'gpu_ecc_errors corrected aggregate': 100,
      'gpu_remapped_rows corrected': 7,
      'gpu_remapped_rows uncorrected': 1,
      'gpu_recovery_action none': 1,
      // Process 12 is listed twice, with 100 and with 50 MiB; process 13 tells no memory.
      'gpu_process_memory_used 12 a': 150 * mebibyte,
      'gpu_process_memory_used 4711 VLLM::EngineCore': 20_000 * mebibyte,
    })
    assert.equal(reading.version, '580.10.01')
    assert.deepEqual([reading.malformedLines, reading.limitHits, reading.notes], [0, {}, []])
  })

  it('tells of the other what it tells, and no 0 in place of the rest', async () => {
    const { reading } = await pageOf(smiFixture('two-gpus.xml'))
    assert.deepEqual(saidOf(reading, '0'), {
      gpu_lost: 0,
      gpu_utilization: 0,
      gpu_memory_used: 0,
      gpu_memory_total: 24_576 * mebibyte,
    })
  })

  it('names both, by their place on the PCI bus and not in the document', async () => {
    const { reading } = await pageOf(smiFixture('two-gpus.xml'))
    const both = { driver_version: '580.10.01', cuda_version: '13.0', mig: '' }
    assert.deepEqual(infoOf(reading), [
      {
        ...both,
        gpu: '0',
        uuid: 'GPU-bbbbbbbb-0000-0000-0000-000000000002',
        name: 'NVIDIA Example 24',
        pci_bus_id: '00000000:01:00.0',
      },
      {
        ...both,
        gpu: '1',
        uuid: 'GPU-aaaaaaaa-0000-0000-0000-000000000001',
        name: 'NVIDIA Example 24 & Co',
        pci_bus_id: '00000000:41:00.0',
      },
    ])
  })

  it('has a key of its own for each series, and groups them by GPU', async () => {
    const { reading } = await pageOf(smiFixture('two-gpus.xml'))
    assert.equal(new Set(reading.channels.map(({ key }) => key)).size, reading.channels.length)
    assert.deepEqual(
      reading.channels.map(({ offset }) => offset),
      [...reading.values.keys()],
    )
    assert.ok(reading.channels.every(({ group, labels }) => group === labels['uuid']))
  })
})

describe('MIG', () => {
  it('memory is told once for each GPU instance, and utilization not at all', async () => {
    const { reading } = await pageOf(smiFixture('newest-mig.xml'))
    assert.deepEqual(saidOf(reading, '0'), {
      gpu_lost: 0,
      gpu_power_draw: 295.01,
      gpu_power_limit: 700,
      'gpu_recovery_action drain_p2p': 1,
      // Two compute instances share instance 2 and repeat its memory.
      'gpu_mig_memory_used 2': 300 * mebibyte,
      'gpu_mig_memory_total 2': 1_000 * mebibyte,
      'gpu_mig_memory_used 5': 20 * mebibyte,
      'gpu_mig_memory_total 5': 500 * mebibyte,
      // Process 90 runs in both instances: 250 + 10.
      'gpu_process_memory_used 90 python3': 260 * mebibyte,
    })
    const [info] = reading.channels.filter((channel) => channel.instrument === 'gpu_info')
    assert.equal(info?.labels['mig'], 'enabled')
    assert.equal(info?.labels['driver_version'], '615.23.01')
  })
})

describe('a GPU that fails', () => {
  it('is lost by what the driver says of it, not by one failing sensor or a chosen name', async () => {
    const { reading } = await pageOf(smiFixture('lost.xml'))
    assert.deepEqual(
      ['0', '1', '2'].map((gpu) => saidOf(reading, gpu)['gpu_lost']),
      [0, 1, 1],
    )
  })

  it('keeps the values that it still tells', async () => {
    const { reading } = await pageOf(smiFixture('lost.xml'))
    assert.deepEqual(saidOf(reading, '1'), { gpu_lost: 1, gpu_temperature: 31 })
    assert.deepEqual(saidOf(reading, '2'), { gpu_lost: 1 })
  })

  it('and asks for an action has that action beside those asked for before', async () => {
    const asking = (action: string) => oneGpu(nest('gpu_recovery_action', action))
    const first = await pageOf(asking('GPU Reset'))
    const second = await pageOf(asking('None'), {}, first.roster)
    const third = await pageOf(asking('N/A'), {}, second.roster)
    assert.deepEqual(saidOf(first.reading, '0'), {
      gpu_lost: 0,
      'gpu_recovery_action gpu_reset': 1,
    })
    assert.deepEqual(saidOf(second.reading, '0'), {
      gpu_lost: 0,
      'gpu_recovery_action gpu_reset': 0,
      'gpu_recovery_action none': 1,
    })
    assert.deepEqual(saidOf(third.reading, '0'), { gpu_lost: 0 })
  })
})

describe('processes', () => {
  const names: readonly (readonly [commandLine: string, program: string])[] = [
    ['/usr/bin/python3 -m vllm --api-key=secret', 'python3'],
    ['python3', 'python3'],
    ['VLLM::EngineCore', 'VLLM::EngineCore'],
    ['VLLM::Worker_TP0 extra', 'VLLM::Worker_TP0'],
    ['C:\\Program Files\\App\\my app.exe --token x', 'my app.exe'],
    ['C:\\Program Files\\App\\tool', 'tool'],
    ['/opt/dir/', '/opt/dir/'],
    ['  /bin/a  b', 'a'],
    ['', ''],
  ]
  for (const [commandLine, program] of names) {
    it(`of "${commandLine}" run the program "${program}"`, () => {
      assert.equal(programName(commandLine), program)
    })
  }

  it('are told by their base name, so that no argument gets out', async () => {
    const name = '/opt/venv/bin/python3 -m server --token=secret'
    const { reading } = await pageOf(oneGpu(nest('processes', processOf({ pid: 7, name }))))
    assert.deepEqual(heldBy(reading), [['7', 'python3', 1]])
    assert.ok(!JSON.stringify(reading).includes('secret'))
  })

  it('are at most 64, the largest ones, and the others are counted', async () => {
    // Process 1 holds 1 MiB and so on up to process 100; 37 to 100 are the largest 64.
    const all = Array.from({ length: 100 }, (_, i) =>
      processOf({ pid: i + 1, used: `${i + 1} MiB` }),
    )
    const { reading } = await pageOf(oneGpu(nest('processes', all.reverse().join(''))))
    assert.deepEqual(
      heldBy(reading).map(([pid]) => Number(pid)),
      Array.from({ length: 64 }, (_, i) => i + 37),
    )
    assert.deepEqual(reading.limitHits, { processes: 36 })
  })

  it('are at most 64 over all GPUs together', async () => {
    const gpus = [0, 1, 2].map((gpu) => {
      const own = Array.from({ length: 30 }, (_, i) => processOf({ pid: 100 * gpu + i }))
      const parts = nest('uuid', `GPU-${gpu}`) + nest('processes', own.join(''))
      return `<gpu id="00000000:0${gpu}:00.0">${parts}</gpu>`
    })
    const { reading } = await pageOf(logOf(gpus.join('')))
    assert.equal(heldBy(reading).length, 64)
    assert.deepEqual(reading.limitHits, { processes: 26 })
  })

  it('are not told when they are not wanted', async () => {
    const { reading } = await pageOf(smiFixture('two-gpus.xml'), { processes: false })
    assert.deepEqual(heldBy(reading), [])
    assert.deepEqual(reading.limitHits, {})
  })

  it('without memory or pid are no series', async () => {
    const list = processOf({ pid: 7, used: 'N/A' }) + nest('process_info', nest('pid', 'N/A'))
    const { reading } = await pageOf(oneGpu(nest('processes', list)))
    assert.deepEqual(heldBy(reading), [])
  })
})

describe('a page', () => {
  it('is the same array while its shape stays, and another one when it changes', async () => {
    const used = (text: string) => oneGpu(nest('fb_memory_usage/used', text))
    const first = await pageOf(used('1 MiB'))
    const second = await pageOf(used('2 MiB'), {}, first.roster)
    const third = await pageOf(used('N/A'), {}, second.roster)
    const fourth = await pageOf(used('3 MiB'), {}, third.roster)
    assert.equal(second.reading.channels, first.reading.channels)
    assert.notEqual(second.reading.values, first.reading.values)
    assert.notEqual(third.reading.channels, second.reading.channels)
    assert.deepEqual(fourth.reading.channels, first.reading.channels)
    assert.equal(saidOf(fourth.reading, '0')['gpu_memory_used'], 3 * mebibyte)
  })

  it('counts what begins like a number and is none', async () => {
    const { reading } = await pageOf(oneGpu(nest('temperature/gpu_temp', '64,5 C')))
    assert.deepEqual(saidOf(reading, '0'), { gpu_lost: 0 })
    assert.equal(reading.malformedLines, 1)
  })

  it('cuts labels at 128 characters, and counts it', async () => {
    const { reading } = await pageOf(oneGpu(nest('product_name', 'x'.repeat(200))))
    assert.deepEqual(reading.limitHits, { label_length: 1 })
    assert.ok(JSON.stringify(infoOf(reading)).includes(`"${'x'.repeat(128)}"`))
  })

  it('has at most 32 reasons of throttling and 16 GPU instances of a GPU, and counts the rest', async () => {
    const reasons = Array.from({ length: 40 }, (_, i) =>
      nest(`clocks_event_reason_r${i}`, 'Not Active'),
    )
    const devices = Array.from({ length: 20 }, (_, i) =>
      nest('mig_device', nest('gpu_instance_id', `${i}`) + nest('fb_memory_usage/used', '1 MiB')),
    )
    const { reading } = await pageOf(
      oneGpu(
        nest('clocks_event_reasons', reasons.join('')) + nest('mig_devices', devices.join('')),
      ),
    )
    // 40 − 32 and 20 − 16.
    assert.deepEqual(reading.limitHits, { series: 12 })
    // 32 reasons, 16 instances, and whether it is lost.
    assert.equal(Object.keys(saidOf(reading, '0')).length, 49)
  })

  it('has the remarks of the program as notes, at most 32', async () => {
    const remarks = Array.from({ length: 50 }, (_, i) => `remark ${i}`)
    const { reading } = await pageOf(oneGpu(''), { remarks })
    assert.deepEqual(reading.notes, remarks.slice(0, 32))
  })

  it('of a document without GPUs is refused on a machine without known ones', async () => {
    await assert.rejects(pageOf(logOf(nest('attached_gpus', '0'))), { code: 'no_gpu' })
  })
})
