import type { CollectErrorCode } from '../../src/errors.ts'
import { gauge, gpuUuid, type MadeSeries, missed, read } from '../fakes/readings.ts'
import { ruleTable } from '../fakes/rules.ts'

const waiting = (count: number) => [read(0, [gauge('requests_waiting', count)])]
const gpuRead = (...all: readonly MadeSeries[]) => [read(0, all, { target: 'gpu' })]
const busy = (ratio: number) => gpuRead(gauge('gpu_utilization', ratio))
const gpuSubject = { uuid: gpuUuid }
const stranger = gauge('gpu_process_memory_used', 5, { pid: '1', process: 'trainer' })

ruleTable(
  'VllmGpuUtilizationHigh',
  [
    {
      fails: 'above the threshold while requests wait',
      scene: { engine: waiting(7), gpu: busy(0.99) },
      summary: 'GPU 0 is 99 % busy while 7 requests wait',
      evidence: { gpu_utilization_ratio: 0.99, requests_waiting: 7 },
      subject: gpuSubject,
    },
    {
      fails: 'while requests wait at one target and another cannot be read',
      scene: { engine: waiting(7), other: [missed(0, 'timeout')], gpu: busy(0.99) },
      summary: 'GPU 0 is 99 % busy while 7 requests wait',
      evidence: { gpu_utilization_ratio: 0.99, requests_waiting: 7 },
      subject: gpuSubject,
    },
  ],
  [
    ['for a busy GPU that keeps up', { engine: waiting(0), gpu: busy(1) }, 'pass'],
    ['at the threshold', { engine: waiting(7), gpu: busy(0.95) }, 'pass'],
    [
      'for a GPU on which other programs run',
      { engine: waiting(7), gpu: gpuRead(gauge('gpu_utilization', 0.99), stranger) },
      'pass',
    ],
    ['for a queue in front of a GPU at rest', { engine: waiting(7), gpu: busy(0.1) }, 'pass'],
    ['while vLLM cannot be read', { engine: [missed(0, 'timeout')], gpu: busy(1) }, 'unknown'],
    [
      'while one of two cannot be read and nothing waits at the other',
      { engine: [missed(0, 'timeout')], other: waiting(0), gpu: busy(1) },
      'unknown',
    ],
    [
      'for a GPU at rest, whoever can be read',
      { engine: [missed(0, 'timeout')], gpu: busy(0.1) },
      'pass',
    ],
    ['without GPUs', { engine: waiting(7) }],
    ['when the GPUs cannot be read', { engine: waiting(7), gpu: [missed(0, 'timeout')] }],
  ],
)

const identity = gauge('gpu_info', 1, { pci_bus_id: '00000000:41:00.0' })
const asks = (action: string) =>
  gpuRead(gauge('gpu_lost', 0), identity, gauge('gpu_recovery_action', 1, { action }))

ruleTable(
  'VllmGpuLost',
  [
    {
      fails: 'for a GPU that was there and is gone',
      scene: { gpu: gpuRead(gauge('gpu_lost', 1)) },
      summary: 'GPU 0 is lost',
      evidence: { gpu_lost: 1, recovery_action: 'none', pci_bus_id: '' },
      subject: gpuSubject,
    },
    {
      fails: 'for a GPU that asks to be reset',
      scene: { gpu: asks('gpu_reset') },
      summary: 'GPU 0 00000000:41:00.0 asks for recovery: gpu_reset',
      evidence: { gpu_lost: 0, recovery_action: 'gpu_reset', pci_bus_id: '00000000:41:00.0' },
      subject: gpuSubject,
    },
    {
      fails: 'where the program fails because of a lost GPU',
      scene: { gpu: [missed(0, 'gpu_lost', { target: 'gpu', message: 'GPU is lost' })] },
      summary: 'nvidia-smi reports a lost GPU: GPU is lost',
      evidence: { code: 'gpu_lost' },
      subject: { target: 'gpu' },
    },
  ],
  [
    ['for a GPU that is there', { gpu: gpuRead(gauge('gpu_lost', 0), identity) }, 'pass'],
    ['where the driver asks for nothing', { gpu: asks('none') }, 'pass'],
    [
      'for a recovery that is no longer asked for',
      {
        gpu: gpuRead(
          gauge('gpu_lost', 0),
          gauge('gpu_recovery_action', 0, { action: 'gpu_reset' }),
          gauge('gpu_recovery_action', 1, { action: 'none' }),
        ),
      },
      'pass',
    ],
    ['when the program hangs', { gpu: [missed(0, 'timeout', { target: 'gpu' })] }, 'unknown'],
    ['without GPUs', {}],
  ],
)

const throttled = (...reasons: readonly string[]) => [
  gauge('gpu_info', 1),
  ...['gpu_idle', 'sw_power_cap', 'hw_slowdown', 'hw_thermal_slowdown', 'sw_thermal_slowdown'].map(
    (reason) => gauge('gpu_throttle', reasons.includes(reason) ? 1 : 0, { reason }),
  ),
]

ruleTable(
  'VllmGpuThrottled',
  [
    {
      fails: 'for a GPU that its hardware slows down, and says how hot and how fast it is',
      scene: {
        gpu: gpuRead(
          ...throttled('hw_slowdown', 'hw_thermal_slowdown'),
          gauge('gpu_temperature', 92),
          gauge('gpu_clock', 1.215e9, { clock: 'sm' }),
          gauge('gpu_clock', 2.6e9, { clock: 'memory' }),
        ),
      },
      summary:
        'GPU 0 is slowed down: hw_slowdown, hw_thermal_slowdown, 92 °C, SM clock at 1215 MHz',
      evidence: {
        reasons: 'hw_slowdown, hw_thermal_slowdown',
        gpu_temperature_celsius: 92,
        gpu_sm_clock_hertz: 1.215e9,
      },
      subject: gpuSubject,
    },
    ...['hw_thermal_slowdown', 'hw_power_brake_slowdown', 'sw_thermal_slowdown'].map((reason) => ({
      fails: `for ${reason}`,
      scene: { gpu: gpuRead(gauge('gpu_info', 1), gauge('gpu_throttle', 1, { reason })) },
      summary: `GPU 0 is slowed down: ${reason}`,
      evidence: { reasons: reason },
      subject: gpuSubject,
    })),
  ],
  [
    ['for a GPU at full speed', { gpu: gpuRead(...throttled()) }, 'pass'],
    ['for one at rest', { gpu: gpuRead(...throttled('gpu_idle')) }, 'pass'],
    ['for a power cap', { gpu: gpuRead(...throttled('sw_power_cap')) }, 'pass'],
    ['where the driver gives no reasons', { gpu: gpuRead(gauge('gpu_info', 1)) }, 'unknown'],
    ['while the GPUs cannot be read', { gpu: [missed(0, 'timeout', { target: 'gpu' })] }],
    ['without GPUs', {}],
  ],
)

const unseen = (code: CollectErrorCode) => [missed(0, code, { target: 'gpu', message: 'none' })]

ruleTable(
  'VllmNoGpu',
  (['not_found', 'permission', 'driver_unavailable', 'library_mismatch', 'no_gpu'] as const).map(
    (code) => ({
      fails: `where GPUs are expected: ${code}`,
      scene: { gpu: unseen(code) },
      summary: 'no GPU can be seen: none',
      evidence: { code, missed_in_a_row: 1 },
      subject: { target: 'gpu' },
    }),
  ),
  [
    ['while GPUs are seen', { gpu: gpuRead(gauge('gpu_lost', 0)) }, 'pass'],
    ['when all are lost, which VllmGpuLost tells', { gpu: gpuRead(gauge('gpu_lost', 1)) }, 'pass'],
    ['when the program says that one is lost', { gpu: unseen('gpu_lost') }, 'pass'],
    ['when the program hangs', { gpu: unseen('timeout') }, 'unknown'],
    ['when it prints what nobody understands', { gpu: unseen('malformed') }, 'unknown'],
    ['before the first attempt', { gpu: [] }, 'unknown'],
    ['on a host that need not have any', { gpu: unseen('not_found'), gpuExpected: false }],
    ['where GPUs are not read', {}],
  ],
)
