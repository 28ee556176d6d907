import type { Config } from '../../config/schema.ts'
import type { Row } from './board.ts'
import { lines, type Panel } from './panel.ts'
import { largestOver, lasting, select } from './query.ts'

const named = '{{instance}} GPU {{gpu}}'

/** What the driver says of the GPUs, beside what the running vLLM planned to take. */
export function gpuRow({ thresholds }: Config): Row {
  return {
    title: 'GPUs',
    panels: [
      lines({
        title: 'GPU utilization',
        description:
          'Share of time in which some kernel ran. High is good unless requests wait: it does not say how much of the GPU was used. Dashed: the threshold of the alert.',
        unit: 'percentunit',
        width: 8,
        max: 1,
        queries: [{ expr: each('vllm_vitals_gpu_utilization_ratio'), legend: named }],
        thresholds: [{ from: thresholds.gpuUtilizationRatio, color: 'red' }],
      }),
      memory(),
      lines({
        title: 'GPU memory in use, share',
        description:
          'vLLM takes most of the memory at its start and keeps it. Above the dashed threshold the alert rings only if vLLM did not plan to take as much.',
        unit: 'percentunit',
        width: 8,
        max: 1,
        queries: [{ expr: each('vllm_vitals_gpu_memory_used_ratio'), legend: named }],
        thresholds: [{ from: thresholds.gpuMemoryRatio, color: 'red' }],
      }),
      ...memoryUsers(),
      ...heat(),
      ...faults(),
    ],
  }
}

function each(name: string): string {
  return largestOver('instance, gpu', select(name, 'gpu'))
}

function memory(): Panel {
  return lines({
    title: 'GPU memory: used, planned, total',
    description:
      'Used by all processes; planned: what the running vLLM said it would take, the plateau on which it should stay; total: of the card. Planned is absent for a vLLM that does not tell.',
    unit: 'bytes',
    width: 8,
    queries: [
      { expr: each('vllm_vitals_gpu_memory_used_bytes'), legend: `${named} used` },
      { expr: each('vllm_vitals_gpu_memory_planned_bytes'), legend: `${named} planned` },
      { expr: each('vllm_vitals_gpu_memory_total_bytes'), legend: `${named} total` },
    ],
    dashed: '/(planned|total)$/',
  })
}

function memoryUsers(): readonly Panel[] {
  const held = select('vllm_vitals_gpu_process_memory_used_bytes', 'gpu')
  const growth = select('vllm_vitals_gpu_memory_growth_bytes_per_second', 'gpu')
  const left = select('vllm_vitals_gpu_memory_seconds_to_full', 'gpu')
  const labels = 'instance, gpu, process, pid'
  return [
    lines({
      title: 'GPU memory by process',
      description:
        'What each process holds, the 20 largest. A process that is not vLLM, or an old one of it, takes room that vLLM counts on.',
      unit: 'bytes',
      width: 8,
      queries: [{ expr: largestOver(labels, held), legend: 'GPU {{gpu}} {{process}} {{pid}}' }],
    }),
    lines({
      title: 'GPU memory growth',
      description:
        'How fast the memory of a process grows, where it grows steadily; otherwise there is no line.',
      unit: 'Bps',
      width: 8,
      queries: [{ expr: largestOver(labels, growth), legend: 'GPU {{gpu}} {{process}} {{pid}}' }],
    }),
    lines({
      title: 'Time until the GPU memory is full',
      description:
        'At the present growth. There is no line unless memory grows steadily, and that is good.',
      unit: 's',
      width: 8,
      queries: [
        {
          expr: lasting(
            `min by (instance, gpu) (${left})`,
            `-1 * min by (instance, gpu) (min_over_time(${left}[$__range] @ end()))`,
          ),
          legend: named,
        },
      ],
    }),
  ]
}

function heat(): readonly Panel[] {
  const clock = select('vllm_vitals_gpu_clock_hertz', 'gpu', 'clock=~"sm|memory"')
  return [
    lines({
      title: 'GPU temperature',
      description: 'Of the chip, as the driver reads it. Limits differ between cards.',
      unit: 'celsius',
      width: 8,
      queries: [{ expr: each('vllm_vitals_gpu_temperature_celsius'), legend: named }],
    }),
    lines({
      title: 'GPU power',
      description:
        'Drawn, and the limit in force. Busy at little power is what a GPU looks like that only waits for others.',
      unit: 'watt',
      width: 8,
      queries: [
        { expr: each('vllm_vitals_gpu_power_draw_watts'), legend: named },
        { expr: each('vllm_vitals_gpu_power_limit_watts'), legend: `${named} limit` },
      ],
      dashed: '/limit$/',
    }),
    lines({
      title: 'GPU clocks',
      description: 'Of the multiprocessors and of the memory. A clock that falls slows every step.',
      unit: 'hertz',
      width: 8,
      queries: [{ expr: largestOver('instance, gpu, clock', clock), legend: `${named} {{clock}}` }],
    }),
  ]
}

function faults(): readonly Panel[] {
  const throttled = select('vllm_vitals_gpu_throttle_active', 'gpu', 'reason!="gpu_idle"')
  const ecc = select('vllm_vitals_gpu_ecc_errors_total', 'gpu', 'scope="aggregate"')
  const remapped = select('vllm_vitals_gpu_remapped_rows', 'gpu')
  const pending = select('vllm_vitals_gpu_row_remap_pending', 'gpu')
  return [
    lines({
      title: 'GPUs throttled, by reason',
      description:
        'How many GPUs run below their clock for each reason. A power cap is usual under load; hw_ reasons and thermal ones are not. Idleness is left out.',
      unit: 'short',
      width: 8,
      queries: [{ expr: `sum by (reason) (${throttled})`, legend: '{{reason}}' }],
    }),
    lines({
      title: 'ECC errors and remapped rows',
      description:
        'Of the whole life of the cards, as they count themselves. Uncorrected ones and a pending remap ask for a reset or a new card. Absent where a card does not count.',
      unit: 'short',
      width: 8,
      queries: [
        { expr: `sum by (type) (${ecc})`, legend: 'ECC {{type}}' },
        { expr: `sum by (type) (${remapped})`, legend: 'rows remapped, {{type}}' },
        { expr: `sum(${pending})`, legend: 'remap pending' },
      ],
    }),
    lines({
      title: 'GPUs seen and lost',
      description:
        'How many GPUs the driver shows, and how many were there and are gone, lost or need a reset.',
      unit: 'short',
      width: 8,
      queries: [
        { expr: `sum(${select('vllm_vitals_gpus', 'daemon')})`, legend: 'seen' },
        { expr: `sum(${select('vllm_vitals_gpu_lost', 'gpu')})`, legend: 'lost' },
      ],
      colors: { lost: 'red' },
    }),
  ]
}
