import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { GaugeId } from '../../src/instruments.ts'
import type { Attempt, Labels } from '../../src/reading.ts'
import { gpuSignals } from '../../src/signals/gpu.ts'
import { gauge, type MadeSeries, missed, read } from '../fakes/readings.ts'
import { measure, only, remembered, signalSettings, written } from '../fakes/signals.ts'

const gib = 2 ** 30
const first = { gpu: '0', uuid: 'GPU-a' }
const second = { gpu: '1', uuid: 'GPU-b' }
const firstLabels = 'gpu="0",uuid="GPU-a"'
const secondLabels = 'gpu="1",uuid="GPU-b"'

function gpuRead(...all: readonly MadeSeries[]): Attempt {
  return read(0, all, { target: 'gpu' })
}

describe('a GPU measurement', () => {
  // Instrument, labels of its own, value, and the sample that stands for it.
  const rows: readonly [GaugeId, Labels, number, string][] = [
    [
      'gpu_info',
      { name: 'H100', pci_bus_id: '00:1', driver_version: '570', cuda_version: '12.8', mig: '' },
      1,
      'gpu_info{cuda_version="12.8",driver_version="570",gpu="0",mig="",name="H100",pci_bus_id="00:1",uuid="GPU-a"}',
    ],
    ['gpu_utilization', {}, 0.5, `gpu_utilization_ratio{${firstLabels}}`],
    ['gpu_memory_activity', {}, 0.25, `gpu_memory_activity_ratio{${firstLabels}}`],
    ['gpu_memory_used', {}, 7, `gpu_memory_used_bytes{${firstLabels}}`],
    ['gpu_memory_total', {}, 8, `gpu_memory_total_bytes{${firstLabels}}`],
    ['gpu_memory_reserved', {}, 9, `gpu_memory_reserved_bytes{${firstLabels}}`],
    ['gpu_temperature', {}, 61, `gpu_temperature_celsius{${firstLabels}}`],
    ['gpu_power_draw', {}, 412.5, `gpu_power_draw_watts{${firstLabels}}`],
    ['gpu_power_limit', {}, 700, `gpu_power_limit_watts{${firstLabels}}`],
    ['gpu_clock', { clock: 'sm' }, 1.98e9, `gpu_clock_hertz{clock="sm",${firstLabels}}`],
    ['gpu_fan_speed', {}, 1.02, `gpu_fan_speed_ratio{${firstLabels}}`],
    ['gpu_performance_state', {}, 0, `gpu_performance_state{${firstLabels}}`],
    [
      'gpu_throttle',
      { reason: 'sw_power_cap' },
      1,
      'gpu_throttle_active{gpu="0",reason="sw_power_cap",uuid="GPU-a"}',
    ],
    [
      'gpu_ecc_errors',
      { type: 'corrected', scope: 'volatile' },
      4,
      'gpu_ecc_errors_total{gpu="0",scope="volatile",type="corrected",uuid="GPU-a"}',
    ],
    [
      'gpu_remapped_rows',
      { type: 'uncorrected' },
      2,
      'gpu_remapped_rows{gpu="0",type="uncorrected",uuid="GPU-a"}',
    ],
    ['gpu_row_remap_pending', {}, 1, `gpu_row_remap_pending{${firstLabels}}`],
    [
      'gpu_recovery_action',
      { action: 'gpu_reset' },
      1,
      'gpu_recovery_action{action="gpu_reset",gpu="0",uuid="GPU-a"}',
    ],
    ['gpu_lost', {}, 1, `gpu_lost{${firstLabels}}`],
    [
      'gpu_mig_memory_used',
      { gpu_instance: '3' },
      5,
      'gpu_mig_memory_used_bytes{gpu="0",gpu_instance="3",uuid="GPU-a"}',
    ],
    [
      'gpu_mig_memory_total',
      { gpu_instance: '3' },
      6,
      'gpu_mig_memory_total_bytes{gpu="0",gpu_instance="3",uuid="GPU-a"}',
    ],
    [
      'gpu_process_memory_used',
      { pid: '42', process: 'python3' },
      3,
      'gpu_process_memory_used_bytes{gpu="0",pid="42",process="python3",uuid="GPU-a"}',
    ],
  ]
  for (const [instrument, labels, value, sample] of rows) {
    it(`of ${instrument} is published as ${sample.replace(/\{.*/, '')}`, () => {
      const found = measure(gpuSignals, [gpuRead(gauge(instrument, value, labels))])
      assert.equal(found[sample], value, Object.keys(found).join('\n'))
    })
  }

  it('vanishes with the first failed reading, the number of GPUs too', () => {
    const found = measure(gpuSignals, [
      gpuRead(gauge('gpu_utilization', 1), gauge('gpu_lost', 0)),
      missed(10_000, 'timeout', { target: 'gpu' }),
    ])
    assert.deepEqual(found, {})
  })
})

describe('the memory of the host', () => {
  it('is told by the API of the GPU source alone, a process on two GPUs once', () => {
    const one = { pid: '7', process: 'python3' }
    const target = remembered([
      gpuRead(
        gauge('host_memory_total', 100),
        gauge('host_memory_available', 60),
        gauge('host_process_memory', 5, one),
        gauge('gpu_process_memory_used', 3, { ...one, ...first }),
        gauge('gpu_process_memory_used', 3, { ...one, ...second }),
      ),
    ])
    const context = { target, settings: signalSettings, fresh: true }
    const all = gpuSignals.flatMap((signal) => signal.measure(context))
    const ofHost = all.filter(({ family }) => family.name.startsWith('host_'))
    assert.deepEqual(written(ofHost), {
      'host_memory_total_bytes{target="gpu"}': 100,
      'host_memory_available_bytes{target="gpu"}': 60,
      'host_process_memory_bytes{pid="7",process="python3",target="gpu"}': 5,
    })
    assert.ok(ofHost.every(({ family }) => family.apiOnly === true))
  })
})

describe('the used share of GPU memory', () => {
  it('is taken of each GPU’s own memory', () => {
    const found = measure(gpuSignals, [
      gpuRead(
        gauge('gpu_memory_used', 20 * gib, first),
        gauge('gpu_memory_total', 80 * gib, first),
        gauge('gpu_memory_used', 12 * gib, second),
        gauge('gpu_memory_total', 24 * gib, second),
      ),
    ])
    assert.deepEqual(only(found, 'gpu_memory_used_ratio'), {
      [`gpu_memory_used_ratio{${firstLabels}}`]: 0.25,
      [`gpu_memory_used_ratio{${secondLabels}}`]: 0.5,
    })
  })

  it('is absent where the card does not say how much memory it has', () => {
    const unknown = measure(gpuSignals, [gpuRead(gauge('gpu_memory_used', 5))])
    assert.deepEqual(only(unknown, 'gpu_memory_used_ratio'), {})
    const none = measure(gpuSignals, [
      gpuRead(gauge('gpu_memory_used', 0), gauge('gpu_memory_total', 0)),
    ])
    assert.deepEqual(only(none, 'gpu_memory_used_ratio'), {})
  })
})

describe('the number of GPUs', () => {
  it('leaves out those that are lost', () => {
    const found = measure(gpuSignals, [
      gpuRead(gauge('gpu_lost', 0, first), gauge('gpu_lost', 1, second)),
    ])
    assert.equal(found['gpus'], 1)
  })

  it('is 0 where the program answers and lists none', () => {
    assert.equal(measure(gpuSignals, [gpuRead()])['gpus'], 0)
  })
})
