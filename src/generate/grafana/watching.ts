import type { Row } from './board.ts'
import { lines, type Panel, table } from './panel.ts'
import {
  increase,
  largest,
  largestOver,
  lasting,
  ofDaemonsOver,
  peak,
  rate,
  select,
} from './query.ts'

/** The daemon about itself. */
export function watchingRow(): Row {
  return { title: 'The daemon itself', panels: [...readings(), ...resources(), version()] }
}

function readings(): readonly Panel[] {
  const failures = select('vllm_vitals_collect_failures_total', 'source')
  return [
    lines({
      title: 'Duration of a reading',
      description: 'How long the last reading of each target and of nvidia-smi took.',
      unit: 's',
      width: 6,
      queries: [
        {
          expr: largestOver(
            'instance, target',
            select('vllm_vitals_collect_duration_seconds', 'source'),
          ),
          legend: '{{instance}} {{target}}',
        },
      ],
    }),
    lines({
      title: 'Failed readings by code',
      description:
        'Readings of a target or of the GPUs that failed between two points. No line: none ever failed.',
      unit: 'short',
      width: 6,
      queries: [{ expr: `sum by (code) (${increase(failures)})`, legend: '{{code}}' }],
    }),
    lines({
      title: 'Resets and damaged lines',
      description:
        'Restarts of vLLM, told from counters that begin again, and lines of its page that could not be read.',
      unit: 'short',
      width: 6,
      queries: [
        {
          expr: `sum(${increase(select('vllm_vitals_resets_total', 'source'))})`,
          legend: 'resets',
        },
        {
          expr: `sum(${increase(select('vllm_vitals_malformed_lines_total', 'source'))})`,
          legend: 'damaged lines',
        },
      ],
    }),
  ]
}

function resources(): readonly Panel[] {
  const cpu = select('process_cpu_seconds_total', 'daemon')
  const memory = select('process_resident_memory_bytes', 'daemon')
  return [
    lines({
      title: 'Memory of the daemon',
      description: 'Resident, as the kernel counts it; not that of vLLM.',
      unit: 'bytes',
      width: 6,
      queries: [
        {
          expr: lasting(
            `max by (instance) (${memory})`,
            `max by (instance) (${ofDaemonsOver(peak(memory))})`,
          ),
          legend: '{{instance}}',
        },
      ],
    }),
    lines({
      title: 'CPU of the daemon',
      description: 'Share of one core. It does not hold what nvidia-smi takes.',
      unit: 'percentunit',
      width: 6,
      queries: [
        {
          expr: lasting(
            `max by (instance) (${rate(cpu)})`,
            `max by (instance) (${ofDaemonsOver(`rate(${cpu}[$__range] @ end())`)})`,
          ),
          legend: '{{instance}}',
        },
      ],
    }),
  ]
}

function version(): Panel {
  return table({
    title: 'Version and configuration',
    description:
      'The version of each daemon; the last column is 0 where its last reload was refused and the configuration before it still runs.',
    unit: 'short',
    width: 18,
    queries: [
      {
        expr: largest(
          'instance, version, revision, nodeversion',
          `${select('vllm_vitals_build_info', 'daemon')} * on (job, instance) group_left () ${select('vllm_vitals_config_last_reload_successful', 'daemon')}`,
        ),
      },
    ],
    columns: ['instance', 'version', 'revision', 'nodeversion'],
    value: 'last reload',
    coded: {
      family: 'vllm_vitals_config_last_reload_successful',
      label: '',
      values: [
        { value: 'refused', color: 'red' },
        { value: 'succeeded', color: 'green' },
      ],
    },
  })
}
