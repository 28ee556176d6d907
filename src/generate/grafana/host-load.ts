import type { Config } from '../../config/schema.ts'
import { fullKvCacheRatio } from '../../rules/requests.ts'
import { percent } from '../../rules/words.ts'
import { formatDuration } from '../../units.ts'
import type { Row } from './board.ts'
import { lines, type Panel } from './panel.ts'
import { increase, inWindow, largestOver, select } from './query.ts'

/** What waits, and what gets done. */
export function trafficRow(config: Config): Row {
  const { thresholds } = config
  return {
    title: 'Queue and throughput',
    panels: [
      lines({
        title: 'Requests running and waiting',
        description:
          'Requests in the batch and in the queue of all chosen targets, and the highest queue that the daemon saw within the window: it looks more often than Prometheus does.',
        unit: 'short',
        width: 6,
        queries: [
          {
            expr: `sum(${select('vllm_vitals_requests_running', 'model')})`,
            legend: 'running',
          },
          {
            expr: `sum(${select('vllm_vitals_requests_waiting', 'model')})`,
            legend: 'waiting',
          },
          {
            expr: `sum(${inWindow('vllm_vitals_requests_waiting_max', 'model')})`,
            legend: 'waiting, highest in $window',
          },
        ],
        dashed: '/highest/',
      }),
      lines({
        title: 'Oldest wait',
        description: `How long some request that still waits has waited at least; a histogram knows only of those that were scheduled. Dashed: ${formatDuration(thresholds.queueTimeP95Seconds * 1_000)}, above which the queue alert rings.`,
        unit: 's',
        width: 6,
        queries: [
          {
            expr: largestOver(
              'instance, target, model_name',
              select('vllm_vitals_oldest_wait_lower_bound_seconds', 'model'),
            ),
            legend: '{{instance}} {{target}}',
          },
        ],
        thresholds: [{ from: thresholds.queueTimeP95Seconds, color: 'red' }],
      }),
      ...throughput(config),
    ],
  }
}

function throughput({ thresholds }: Config): readonly Panel[] {
  const perSecond = (name: string) => `sum(${inWindow(`vllm_vitals_${name}_per_second`, 'model')})`
  const floor = thresholds.generationTokensPerSecondMin
  return [
    lines({
      title: 'Requests per second ($window)',
      description:
        'Requests that ended, whatever the reason, over the time that the window covers.',
      unit: 'reqps',
      width: 6,
      queries: [{ expr: perSecond('requests'), legend: 'requests' }],
    }),
    lines({
      title: 'Tokens per second ($window)',
      description: `Tokens generated and prompt tokens read, of all chosen targets${floor > 0 ? `; dashed: the floor of ${floor} generated tokens/s for one target while work is pending` : ''}.`,
      unit: 'suffix: tok/s',
      width: 6,
      queries: [
        { expr: perSecond('generation_tokens'), legend: 'generated' },
        { expr: perSecond('prompt_tokens'), legend: 'prompt' },
      ],
      ...(floor > 0 ? { thresholds: [{ from: floor, color: 'red' }] } : {}),
    }),
  ]
}

export function errorRow({ thresholds }: Config): Row {
  return {
    title: 'Errors',
    panels: [
      lines({
        title: 'Share of failed requests ($window)',
        description:
          'Failures that are certain, and the upper bound with every failure that may have happened, of the worst target. What a vLLM can tell of failures depends on its version; aborts are not among them. Dashed: the threshold.',
        unit: 'percentunit',
        width: 8,
        queries: [
          {
            expr: `max(${inWindow('vllm_vitals_error_ratio', 'target')})`,
            legend: 'certain',
          },
          {
            expr: `max(${inWindow('vllm_vitals_error_ratio_upper_bound', 'target')})`,
            legend: 'upper bound',
          },
        ],
        colors: { certain: 'red' },
        dashed: '/upper bound/',
        thresholds: [{ from: thresholds.errorRatio, color: 'red' }],
      }),
      lines({
        title: 'Failed requests by reason',
        description:
          'How many failed between two points, as the engine and as the HTTP server counted them. The same failure may be in both.',
        unit: 'short',
        width: 8,
        queries: [
          {
            expr: `sum by (reason) (${increase(select('vllm_vitals_requests_failed_total', 'target'))})`,
            legend: '{{reason}}',
          },
        ],
      }),
      lines({
        title: 'Finished requests by reason',
        description:
          'How many finished between two points, by the reason that vLLM gives. Requests refused before they reached the engine are not among them.',
        unit: 'short',
        width: 8,
        stacked: true,
        queries: [
          {
            expr: `sum by (reason) (${increase(select('vllm_vitals_requests_finished_total', 'model'))})`,
            legend: '{{reason}}',
          },
        ],
      }),
    ],
  }
}

export function kvCacheRow(): Row {
  const usage = largestOver(
    'instance, target, model_name',
    select('vllm_vitals_kv_cache_usage_ratio', 'model'),
  )
  const highest = `max(${inWindow('vllm_vitals_kv_cache_usage_ratio_max', 'model')})`
  const hits = inWindow('vllm_vitals_prefix_cache_hit_ratio', 'model')
  const accepted = inWindow('vllm_vitals_spec_decode_acceptance_ratio', 'model')
  return {
    title: 'KV cache',
    panels: [
      lines({
        title: 'KV cache in use',
        description: `Of the fullest engine of each target, and the highest value within the window. Full alone is no trouble; full with preemptions is. Dashed: above ${percent(fullKvCacheRatio)} preemptions count as pressure.`,
        unit: 'percentunit',
        width: 8,
        max: 1,
        queries: [
          { expr: usage, legend: '{{instance}} {{target}}' },
          { expr: highest, legend: 'highest in $window' },
        ],
        dashed: '/highest/',
        thresholds: [{ from: fullKvCacheRatio, color: 'red' }],
      }),
      lines({
        title: 'Preemptions per second ($window)',
        description:
          'Requests that were thrown out of a full KV cache, to be computed again later.',
        unit: 'reqps',
        width: 8,
        queries: [
          {
            expr: largestOver(
              'instance, target',
              inWindow('vllm_vitals_preemptions_per_second', 'model'),
            ),
            legend: '{{instance}} {{target}}',
          },
        ],
      }),
      lines({
        title: 'Prefix cache hits and accepted guesses ($window)',
        description:
          'Share of prompt tokens found in the prefix cache, and, where speculative decoding runs, share of guessed tokens that were right. The lowest of the chosen targets and models.',
        unit: 'percentunit',
        width: 8,
        max: 1,
        queries: [
          { expr: `min(${hits})`, legend: 'prefix cache hits' },
          { expr: `min(${accepted})`, legend: 'accepted guesses' },
        ],
      }),
    ],
  }
}
