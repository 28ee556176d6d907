import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Gpu } from '../../src/dialects/nvidia-smi-values.ts'
import { documentOf, gpuOf, logOf, nest } from './nvidia-smi-documents.ts'

const mebibyte = 1_048_576

describe('a number', () => {
  const watts = 'gpu_power_readings/power_draw'
  const rows: readonly (readonly [
    path: string,
    text: string,
    read: (gpu: Gpu) => unknown,
    value: number | undefined,
  ])[] = [
    [watts, '12.5 W', (g) => g.powerDrawWatts, 12.5],
    [watts, '12.5W', (g) => g.powerDrawWatts, 12.5],
    [watts, '  12.5 W\n', (g) => g.powerDrawWatts, 12.5],
    [watts, '12,5 W', (g) => g.powerDrawWatts, undefined],
    [watts, '12.5', (g) => g.powerDrawWatts, undefined],
    [watts, '12.5 mW', (g) => g.powerDrawWatts, undefined],
    [watts, '12.5 kW', (g) => g.powerDrawWatts, undefined],
    [watts, '-1 W', (g) => g.powerDrawWatts, undefined],
    [watts, '1e3 W', (g) => g.powerDrawWatts, undefined],
    [watts, '1 2 W', (g) => g.powerDrawWatts, undefined],
    [watts, '9223372036854775794 W', (g) => g.powerDrawWatts, undefined],
    ['fb_memory_usage/used', '3 MiB', (g) => g.memoryUsedBytes, 3 * mebibyte],
    ['fb_memory_usage/used', '3 MB', (g) => g.memoryUsedBytes, undefined],
    ['fb_memory_usage/used', '3 GiB', (g) => g.memoryUsedBytes, undefined],
    ['fb_memory_usage/used', '-3 MiB', (g) => g.memoryUsedBytes, undefined],
    ['utilization/gpu_util', '87 %', (g) => g.utilizationRatio, 0.87],
    ['utilization/gpu_util', '87', (g) => g.utilizationRatio, undefined],
    ['utilization/gpu_util', '101 %', (g) => g.utilizationRatio, undefined],
    ['temperature/gpu_temp', '50 F', (g) => g.temperatureCelsius, undefined],
    ['temperature/gpu_temp', '-300 C', (g) => g.temperatureCelsius, undefined],
    ['clocks/sm_clock', '1790 MHz', (g) => g.clocksHertz.sm, 1.79e9],
    ['clocks/sm_clock', '1.79 GHz', (g) => g.clocksHertz.sm, undefined],
    ['remapped_rows/remapped_row_corr', '7', (g) => g.remappedRows.corrected, 7],
    ['remapped_rows/remapped_row_corr', '7 rows', (g) => g.remappedRows.corrected, undefined],
  ]
  for (const [path, text, read, value] of rows) {
    it(`written "${text.trim()}" in ${path} is ${value ?? 'absent'}`, async () => {
      assert.equal(read(await gpuOf(nest(path, text))), value)
    })
  }

  it('that cannot be used is counted, a text that says that there is none is not', async () => {
    const gpu = nest(watts, '12,5 W') + nest('fan_speed', '1 rpm') + nest('minor_number', 'N/A')
    const document = await documentOf(logOf(`<gpu>${gpu}</gpu>`))
    assert.equal(document.unusableValues, 2)
  })
})

/** Every place of which a number or a state is read. */
const places = [
  'minor_number',
  'utilization/gpu_util',
  'utilization/memory_util',
  'fb_memory_usage/total',
  'fb_memory_usage/reserved',
  'fb_memory_usage/used',
  'fb_memory_usage/free',
  'temperature/gpu_temp',
  'temperature/memory_temp',
  'power_readings/power_draw',
  'power_readings/enforced_power_limit',
  'gpu_power_readings/power_draw',
  'gpu_power_readings/average_power_draw',
  'gpu_power_readings/instant_power_draw',
  'gpu_power_readings/current_power_limit',
  'clocks/sm_clock',
  'clocks/mem_clock',
  'clocks/graphics_clock',
  'clocks/video_clock',
  'fan_speed',
  'performance_state',
  'ecc_errors/volatile/single_bit/total',
  'ecc_errors/volatile/dram_correctable',
  'ecc_errors/aggregate/sram_uncorrectable',
  'ecc_errors/aggregate/double_bit/l2_cache',
  'remapped_rows/remapped_row_corr',
  'remapped_rows/remapped_row_unc',
  'remapped_rows/remapped_row_pending',
  'mig_mode/current_mig',
  'clocks_event_reasons/clocks_event_reason_hw_slowdown',
  'mig_devices/mig_device/fb_memory_usage/used',
  'mig_devices/mig_device/gpu_instance_id',
  'processes/process_info/pid',
  'processes/process_info/used_memory',
]

function numbersAndStatesIn(value: unknown): readonly unknown[] {
  if (typeof value === 'number' || typeof value === 'boolean') return [value]
  if (value instanceof Map) return [...value.values()]
  if (typeof value !== 'object' || value === null) return []
  return Object.values(value).flatMap(numbersAndStatesIn)
}

describe('a text in the place of a number', () => {
  const wordsOfDrivers = [
    ['N/A', ' N/A ', '[N/A]', '[n/a]', 'n/a', '', '   ', 'Not Supported', '[Not Supported]'],
    ['Unknown Error', '[Unknown Error]', 'ERR!', '[GPU requires reset]', 'GPU requires reset'],
    ['GPU is lost', '[GPU is lost]', 'GPU is inaccessible', 'Not Found', '[Function Not Found]'],
    ['Requested functionality has been deprecated', 'Insufficient Permissions'],
    ['[Requested functionality has been deprecated]', '[Insufficient Permissions]'],
  ].flat()
  const others = [
    '-',
    'NaN',
    'nan %',
    'inf',
    'Infinity W',
    'null',
    '%',
    'MiB',
    '０ %',
    '½ W',
    '.5 W',
  ]
  for (const text of [...wordsOfDrivers, ...others, '0x10', '12,5 W', 'None', 'Disabled?']) {
    it(`such as "${text}" is nothing, and never 0`, async () => {
      const gpu = await gpuOf(places.map((place) => nest(place, text)).join(''))
      assert.deepEqual(numbersAndStatesIn(gpu), [])
    })
  }

  for (const text of wordsOfDrivers) {
    it(`such as "${text}" is no recovery action`, async () => {
      assert.equal((await gpuOf(nest('gpu_recovery_action', text))).recoveryAction, undefined)
    })
  }

  it('is told as a failure where it is one, but not from a name that a user chose', async () => {
    const lost = await gpuOf(
      nest('fan_speed', '[GPU requires reset]') + nest('clocks/sm_clock', 'GPU is lost'),
    )
    assert.deepEqual(lost.failureTexts, ['GPU is lost', 'GPU requires reset'])
    const named = nest('processes/process_info/process_name', 'GPU is lost')
    assert.deepEqual((await gpuOf(named)).failureTexts, [])
  })

  it('is no name, no uuid and no bus id', async () => {
    const { gpus } = await documentOf(
      logOf(`<gpu id="N/A">${nest('uuid', 'Unknown Error')}${nest('product_name', '[N/A]')}</gpu>`),
    )
    assert.deepEqual([gpus[0]?.uuid, gpus[0]?.name, gpus[0]?.pciBusId], ['', '', ''])
  })
})
