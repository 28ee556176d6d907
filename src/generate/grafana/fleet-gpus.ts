import { type Row, rowInstance, toHost } from './board.ts'
import { lines, type Panel, stat, type Table, table } from './panel.ts'
import { largest, select } from './query.ts'

const bad = 'reason=~"hw_.*|sw_thermal_slowdown"'

/** The GPUs of all hosts: how many there are, and those that want somebody's attention. */
export function fleetGpuRow(): Row {
  const used = select('vllm_vitals_gpu_memory_used_ratio', 'gpu')
  const left = select('vllm_vitals_gpu_memory_seconds_to_full', 'gpu')
  const lost = select('vllm_vitals_gpu_lost', 'gpu')
  const throttled = select('vllm_vitals_gpu_throttle_active', 'gpu', bad)
  return {
    title: 'GPUs',
    panels: [
      ...counts(),
      spread(),
      list({
        title: 'Memory soonest full',
        description:
          'The 20 GPUs whose memory grows steadily and will be full first. Empty: none grows.',
        unit: 's',
        queries: [{ expr: `bottomk(20, min by (instance, gpu) (${left}))` }],
        value: 'full in',
        ascending: true,
      }),
      list({
        title: 'Memory most used',
        description:
          'The 20 GPUs with the largest share of memory in use. vLLM takes most of it by plan, so that a high share alone is no alarm, and has no colour.',
        unit: 'percentunit',
        queries: [{ expr: largest('instance, gpu', used) }],
        value: 'used',
      }),
      table({
        title: 'GPUs lost or throttled',
        description:
          'GPUs that are gone, lost or need a reset, and those slowed down by the hardware or by heat, with the reason. Empty is good.',
        unit: 'short',
        width: 6,
        queries: [
          {
            expr: largest(
              'instance, gpu, reason',
              `label_replace(${lost} == 1, "reason", "lost", "", "") or ${throttled} == 1`,
            ),
          },
        ],
        columns: ['instance', 'gpu', 'reason'],
        sortBy: 'reason',
        links: { instance: toHost(rowInstance) },
      }),
      cards(),
    ],
  }
}

function list(spec: Omit<Table, 'width' | 'links' | 'columns'>): Panel {
  const columns = ['instance', 'gpu']
  return table({ ...spec, columns, width: 6, links: { instance: toHost(rowInstance) } })
}

function cards(): Panel {
  const info = select('vllm_vitals_gpu_info', 'gpu')
  return table({
    title: 'Cards and drivers',
    description: 'How many GPUs of which kind run under which driver.',
    unit: 'short',
    width: 6,
    queries: [{ expr: `topk(20, count by (name, driver_version, cuda_version) (${info}))` }],
    columns: ['name', 'driver_version', 'cuda_version'],
    value: 'count',
  })
}

function counts(): readonly Panel[] {
  const throttled = select('vllm_vitals_gpu_throttle_active', 'gpu', bad)
  const size = { unit: 'short', width: 4, text: 'value' } as const
  return [
    stat({
      ...size,
      title: 'GPUs',
      description: 'How many GPUs the drivers of the chosen hosts show.',
      queries: [{ expr: `sum(${select('vllm_vitals_gpus', 'daemon')})`, legend: 'GPUs' }],
    }),
    stat({
      ...size,
      title: 'GPUs lost',
      description: 'GPUs that were there and are gone, lost or need a reset.',
      queries: [{ expr: `sum(${select('vllm_vitals_gpu_lost', 'gpu')})`, legend: 'lost' }],
      steps: [{ from: 1, color: 'red' }],
    }),
    stat({
      ...size,
      title: 'GPUs throttled',
      description: 'GPUs slowed down by the hardware or by heat. Power caps are left out.',
      queries: [{ expr: `sum(max by (instance, gpu) (${throttled}))`, legend: 'throttled' }],
      steps: [{ from: 1, color: 'orange' }],
    }),
  ]
}

function spread(): Panel {
  const utilization = select('vllm_vitals_gpu_utilization_ratio', 'gpu')
  return lines({
    title: 'GPU utilization, spread over the GPUs',
    description:
      'The lowest, the median and the highest utilization of the chosen GPUs at every moment. A wide spread is a load that is not balanced.',
    unit: 'percentunit',
    width: 12,
    max: 1,
    queries: [
      { expr: `min(${utilization})`, legend: 'lowest' },
      { expr: `quantile(0.5, ${utilization})`, legend: 'median' },
      { expr: `max(${utilization})`, legend: 'highest' },
    ],
    bands: [{ lower: 'lowest', upper: 'highest', color: 'blue' }],
    colors: { median: 'blue' },
  })
}
