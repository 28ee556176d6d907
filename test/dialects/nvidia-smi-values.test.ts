import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type Gpu, readGpus } from '../../src/dialects/nvidia-smi-values.ts'
import { CollectError } from '../../src/errors.ts'
import { smiFixture } from '../fakes/fake-nvidia-smi.ts'
import { documentOf, gpuOf, logOf, nest } from './nvidia-smi-documents.ts'

const mebibyte = 1_048_576

describe('a value', () => {
  const rows: readonly (readonly [
    title: string,
    body: string,
    read: (gpu: Gpu) => unknown,
    value: unknown,
  ])[] = [
    [
      'power up to 525',
      nest('power_readings/power_draw', '26.12 W'),
      (g) => g.powerDrawWatts,
      26.12,
    ],
    [
      'power of 535',
      nest('gpu_power_readings/power_draw', '67.03 W'),
      (g) => g.powerDrawWatts,
      67.03,
    ],
    [
      'the average power since 570, before the instant one',
      `<gpu_power_readings><average_power_draw>165.9 W</average_power_draw><instant_power_draw>171 W</instant_power_draw></gpu_power_readings>`,
      (g) => [g.powerDrawWatts, g.powerAverageWatts, g.powerInstantWatts],
      [165.9, 165.9, 171],
    ],
    [
      'the instant power where the others are not told',
      `<gpu_power_readings><power_draw> N/A </power_draw><average_power_draw> N/A </average_power_draw><instant_power_draw>49.68 W</instant_power_draw></gpu_power_readings>`,
      (g) => [g.powerDrawWatts, g.powerAverageWatts],
      [49.68, undefined],
    ],
    [
      'no power of the module or of the memory',
      nest('module_power_readings/instant_power_draw', '900 W') +
        nest('gpu_memory_power_readings/average_power_draw', '90 W'),
      (g) => g.powerDrawWatts,
      undefined,
    ],
    [
      'the power limit in force up to 525',
      `<power_readings><power_limit>150 W</power_limit><enforced_power_limit>140 W</enforced_power_limit></power_readings>`,
      (g) => g.powerLimitWatts,
      140,
    ],
    [
      'the power limit since 535',
      `<gpu_power_readings><requested_power_limit>290 W</requested_power_limit><current_power_limit>300 W</current_power_limit></gpu_power_readings>`,
      (g) => g.powerLimitWatts,
      300,
    ],
    [
      'the power limit of 615',
      nest('gpu_power_readings/gpu_ceiling_power_limit/current_power_limit', '700.00 W'),
      (g) => g.powerLimitWatts,
      700,
    ],
    [
      'throttling up to 525',
      nest('clocks_throttle_reasons/clocks_throttle_reason_sw_power_cap', 'Active'),
      (g) => [...g.throttleReasons],
      [['sw_power_cap', true]],
    ],
    [
      'throttling since 535',
      nest('clocks_event_reasons/clocks_event_reason_hw_thermal_slowdown', 'Not Active'),
      (g) => [...g.throttleReasons],
      [['hw_thermal_slowdown', false]],
    ],
    [
      'no throttling that is neither active nor not',
      nest('clocks_event_reasons/clocks_event_reason_hw_slowdown', 'N/A'),
      (g) => g.throttleReasons.size,
      0,
    ],
    [
      'a needed reset of 535',
      `<gpu_reset_status><reset_required>Yes</reset_required><drain_and_reset_recommended>Yes</drain_and_reset_recommended></gpu_reset_status>`,
      (g) => g.recoveryAction,
      'reset',
    ],
    [
      'a recommended drain of 535',
      `<gpu_reset_status><reset_required>No</reset_required><drain_and_reset_recommended>Yes</drain_and_reset_recommended></gpu_reset_status>`,
      (g) => g.recoveryAction,
      'drain_and_reset',
    ],
    [
      'no needed reset of 535',
      nest('gpu_reset_status/reset_required', 'No'),
      (g) => g.recoveryAction,
      'none',
    ],
    [
      'the recovery action since 570',
      nest('gpu_recovery_action', 'Drain P2P'),
      (g) => g.recoveryAction,
      'drain_p2p',
    ],
    [
      'no need of recovery since 570',
      nest('gpu_recovery_action', 'None'),
      (g) => g.recoveryAction,
      'none',
    ],
    [
      'nothing on recovery from flags that are no longer kept',
      nest('gpu_reset_status/reset_required', 'Requested functionality has been deprecated'),
      (g) => g.recoveryAction,
      undefined,
    ],
    [
      'no recovery action that is an error',
      nest('gpu_recovery_action', 'Unknown Error'),
      (g) => g.recoveryAction,
      undefined,
    ],
    [
      'reserved memory since 510',
      nest('fb_memory_usage/reserved', '512 MiB'),
      (g) => g.memoryReservedBytes,
      512 * mebibyte,
    ],
    [
      'a bus id without attribute',
      nest('pci/pci_bus_id', '0000:04:00.0'),
      (g) => g.pciBusId,
      '00000000:01:00.0',
    ],
    [
      'a name with signs',
      nest('product_name', 'A &amp; "B", &lt;é&gt;'),
      (g) => g.name,
      'A & "B", <é>',
    ],
    ['a fan above its rated speed', nest('fan_speed', '105 %'), (g) => g.fanSpeedRatio, 1.05],
    [
      'the highest performance state',
      nest('performance_state', 'P0'),
      (g) => g.performanceState,
      0,
    ],
    [
      'no performance state beyond 15',
      nest('performance_state', 'P16'),
      (g) => g.performanceState,
      undefined,
    ],
    [
      'a temperature below zero',
      nest('temperature/gpu_temp', '-5 C'),
      (g) => g.temperatureCelsius,
      -5,
    ],
    ['a true 0', nest('utilization/gpu_util', '0 %'), (g) => g.utilizationRatio, 0],
    ['MIG on', nest('mig_mode/current_mig', 'Enabled'), (g) => g.mig, true],
    ['MIG not offered', nest('mig_mode/current_mig', 'N/A'), (g) => g.mig, undefined],
    ['no MIG devices', nest('mig_devices', '\n  None\n'), (g) => g.migDevices, []],
    ['no processes', nest('processes', '\n'), (g) => g.processes, []],
    [
      'nothing of an element that occurs twice',
      '<fan_speed>1 %</fan_speed><fan_speed>2 %</fan_speed>',
      (g) => g.fanSpeedRatio,
      undefined,
    ],
    [
      'text beside an attribute',
      '<fan_speed unit="x">40 %</fan_speed>',
      (g) => g.fanSpeedRatio,
      0.4,
    ],
  ]
  for (const [title, body, read, value] of rows) {
    it(`is read for ${title}`, async () => assert.deepEqual(read(await gpuOf(body)), value))
  }

  it('of the bus id comes from an element where the attribute is missing', async () => {
    const { gpus } = await documentOf(logOf(`<gpu>${nest('pci/pci_bus_id', '0000:04:00.0')}</gpu>`))
    assert.equal(gpus[0]?.pciBusId, '0000:04:00.0')
  })
})

describe('ECC errors', () => {
  it('are the totals up to Volta, or the sum of the locations where no total is told', async () => {
    const { gpus } = await documentOf(smiFixture('legacy-kepler.xml'))
    // Double bit: 2 in device memory and 1 in the L2 cache; the aggregate names no number.
    assert.deepEqual(gpus[0]?.eccErrors, [
      { type: 'corrected', scope: 'volatile', errors: 4 },
      { type: 'uncorrected', scope: 'volatile', errors: 3 },
    ])
  })

  it('are the sums over the memories since Turing, and absent where a part cannot be read', async () => {
    const { gpus } = await documentOf(smiFixture('two-gpus.xml'))
    // Volatile: 1 + 10, and 2 + 3 + 20. Aggregate: 0 + 100, and 4 + an unknown number.
    assert.deepEqual(gpus[0]?.eccErrors, [
      { type: 'corrected', scope: 'volatile', errors: 11 },
      { type: 'uncorrected', scope: 'volatile', errors: 25 },
      { type: 'corrected', scope: 'aggregate', errors: 100 },
    ])
    assert.deepEqual(gpus[1]?.eccErrors, [])
  })

  it('of SRAM are not counted twice where both spellings are told', async () => {
    const both =
      '<sram_uncorrectable>5</sram_uncorrectable><sram_uncorrectable_parity>2</sram_uncorrectable_parity><sram_uncorrectable_secded>3</sram_uncorrectable_secded>'
    const gpu = await gpuOf(nest('ecc_errors/volatile', both))
    assert.deepEqual(gpu.eccErrors, [{ type: 'uncorrected', scope: 'volatile', errors: 5 }])
  })
})

describe('a document', () => {
  const versions: readonly (readonly [
    title: string,
    body: string,
    driver?: string,
    cuda?: string,
  ])[] = [
    ['of an old driver', nest('driver_version', '384.66'), '384.66'],
    [
      'up to 605',
      nest('driver_version', '580.65.06') + nest('cuda_version', '13.0'),
      '580.65.06',
      '13.0',
    ],
    [
      'since 610',
      nest('driver_version', 'Deprecated, see "KMD version" instead') +
        nest('kmd_version', '610.57.04') +
        nest('cuda_version', 'Not Found') +
        nest('cuda_umd_version', '13.3'),
      '610.57.04',
      '13.3',
    ],
    [
      'that names its driver in both ways',
      nest('driver_version', '610.10.01') + nest('kmd_version', '610.57.04'),
      '610.57.04',
    ],
    ['that names neither', nest('driver_version', 'N/A') + nest('cuda_version', 'Not Found')],
  ]
  for (const [title, body, driver, cuda] of versions) {
    it(`${title} tells its versions`, async () => {
      const document = await documentOf(logOf(body))
      assert.deepEqual([document.driverVersion, document.cudaVersion], [driver, cuda])
    })
  }

  for (const count of [0, 1, 2, 8, 16]) {
    it(`of ${count} GPUs has as many`, async () => {
      const gpus = Array.from({ length: count }, (_, i) => `<gpu>${nest('uuid', `GPU-${i}`)}</gpu>`)
      const document = await documentOf(logOf(nest('attached_gpus', `${count}`) + gpus.join('')))
      assert.deepEqual(
        document.gpus.map((gpu) => gpu.uuid),
        gpus.map((_, i) => `GPU-${i}`),
      )
      assert.equal(document.attachedGpus, count)
    })
  }

  it('of MIG instances tells each device, and repeats what they share', async () => {
    const { gpus } = await documentOf(smiFixture('newest-mig.xml'))
    const [gpu] = gpus
    assert.equal(gpu?.utilizationRatio, undefined)
    assert.deepEqual(
      gpu?.migDevices.map((device) => [
        device.gpuInstanceId,
        device.computeInstanceId,
        device.memoryUsedBytes,
      ]),
      [
        [2, 0, 300 * mebibyte],
        [2, 1, 300 * mebibyte],
        [5, 0, 20 * mebibyte],
      ],
    )
  })

  const trees: readonly (readonly [title: string, tree: unknown])[] = [
    ['nothing', undefined],
    ['null', null],
    ['a text', 'nvidia_smi_log'],
    ['another root', { html: {} }],
    ['an empty root', { nvidia_smi_log: '' }],
    ['a list of roots', { nvidia_smi_log: [{}] }],
    ['an inherited root', Object.create({ nvidia_smi_log: {} })],
  ]
  for (const [title, tree] of trees) {
    it(`that is ${title} is malformed`, () => {
      assert.throws(
        () => readGpus(tree),
        (error) => error instanceof CollectError && error.code === 'malformed',
      )
    })
  }
})
