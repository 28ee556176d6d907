import { gauge, gpuUuid, type MadeSeries, missed, read } from '../fakes/readings.ts'
import { ruleTable } from '../fakes/rules.ts'

const gib = 2 ** 30
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
    ['without GPUs', { engine: waiting(7) }],
    ['when the GPUs cannot be read', { engine: waiting(7), gpu: [missed(0, 'timeout')] }],
  ],
)

const planned = (share: number) => [read(0, [gauge('planned_gpu_memory_ratio', share)])]
const held = (ratio: number) =>
  gpuRead(gauge('gpu_memory_used', ratio * 80 * gib), gauge('gpu_memory_total', 80 * gib))

ruleTable(
  'VllmGpuMemoryHigh',
  [
    {
      fails: 'above the threshold and above the plan of vLLM',
      scene: { engine: planned(0.92), gpu: held(0.975) },
      // 0.975 × 80 GiB; the plan of 0.92 and its slack of 0.02 allow 0.94.
      summary: 'GPU 0 has 78.0 GiB of 80.0 GiB in use (98 %), vLLM planned 92 %',
      evidence: {
        gpu_memory_used_ratio: 0.975,
        gpu_memory_used_bytes: 78 * gib,
        planned_ratio: 0.92,
      },
      subject: gpuSubject,
    },
    {
      fails: 'for a small plan only above the threshold itself',
      scene: { engine: planned(0.5), gpu: held(0.9375) },
      summary: 'GPU 0 has 75.0 GiB of 80.0 GiB in use (94 %), vLLM planned 50 %',
      evidence: {
        gpu_memory_used_ratio: 0.9375,
        gpu_memory_used_bytes: 75 * gib,
        planned_ratio: 0.5,
      },
      subject: gpuSubject,
    },
  ],
  [
    [
      'for the 92 % that vLLM’s cache_config_info planned',
      { engine: planned(0.92), gpu: held(0.92) },
      'pass',
    ],
    ['for graphs and buffers beside the plan', { engine: planned(0.92), gpu: held(0.935) }, 'pass'],
    [
      'below the threshold, though above the plan',
      { engine: planned(0.5), gpu: held(0.75) },
      'pass',
    ],
    [
      'for two that share a card and fill what both planned',
      { engine: planned(0.45), other: planned(0.5), gpu: held(0.95) },
      'pass',
    ],
    [
      'for a card on which other programs run',
      {
        engine: planned(0.92),
        gpu: gpuRead(
          gauge('gpu_memory_used', 79 * gib),
          gauge('gpu_memory_total', 80 * gib),
          stranger,
        ),
      },
      'pass',
    ],
    ['where vLLM tells no plan', { engine: waiting(1), gpu: held(0.99) }, 'unknown'],
    ['while vLLM loads', { engine: [missed(0, 'refused')], gpu: held(0.99) }, 'unknown'],
    [
      'where the card does not tell its memory',
      { engine: planned(0.9), gpu: gpuRead(gauge('gpu_memory_used', 5)) },
      'unknown',
    ],
    ['without GPUs', { engine: planned(0.9) }],
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
