import type { Config } from '../../config/schema.ts'
import type { Row } from './board.ts'
import { nameOf } from './host-latency.ts'
import { lines, type Panel } from './panel.ts'
import { lasting, peak, recordedOver, select } from './query.ts'

/** Quantiles of each model over all hosts. */
export function modelLatencyRow({ quantiles }: Config): Row {
  const signals = [
    ['e2e_latency', 'End to end'],
    ['ttft', 'Time to first token'],
    ['itl', 'Time between tokens'],
    ['queue_time', 'Time in the queue'],
  ] as const
  return {
    title: 'Latency of the models (5m)',
    panels: signals.map(([stem, title]) =>
      lines({
        title: `${title}, all targets`,
        description:
          'Quantiles over the merged histograms of all daemons of the job, by a recording rule: right for the whole fleet, to the width of a bucket. It follows the chosen job and model, not the chosen instances. At most the 10 slowest models.',
        unit: 's',
        width: 6,
        queries: quantiles.map((quantile) => ({
          expr: recordedOver(
            select(
              `model:vllm_vitals_${stem}_seconds:quantile_rate5m`,
              'jobModel',
              `quantile="${quantile}"`,
            ),
            10,
          ),
          legend: `{{model_name}} ${nameOf(quantile)}`,
        })),
      }),
    ),
  }
}

/** What each model gets done over all hosts. */
export function modelTrafficRow({ thresholds }: Config): Row {
  const recorded = (name: string, legend: string) => ({
    expr: recordedOver(select(`model:vllm_vitals_${name}:rate5m`, 'jobModel'), 10),
    legend,
  })
  const ofJob =
    'Sum over all daemons of the job, by a recording rule; it follows the chosen job and model.'
  return {
    title: 'Traffic, errors and queues',
    panels: [
      lines({
        title: 'Requests per second (5m)',
        description: `${ofJob} The 10 busiest models.`,
        unit: 'reqps',
        width: 6,
        stacked: true,
        queries: [recorded('requests', '{{model_name}}')],
      }),
      lines({
        title: 'Tokens per second (5m)',
        description: `${ofJob} Generated and prompt tokens of the 10 busiest models.`,
        unit: 'suffix: tok/s',
        width: 6,
        queries: [
          recorded('generation_tokens', '{{model_name}} generated'),
          recorded('prompt_tokens', '{{model_name}} prompt'),
        ],
      }),
      lines({
        title: 'Share of failed requests (5m)',
        description:
          'Failures that are certain over requests that ended, of all daemons of the job, by a recording rule. Dashed: the threshold.',
        unit: 'percentunit',
        width: 6,
        queries: [
          {
            expr: recordedOver(select('job:vllm_vitals_error:ratio_rate5m', 'job'), 20),
            legend: '{{job}}',
          },
        ],
        thresholds: [{ from: thresholds.errorRatio, color: 'red' }],
      }),
      running(),
    ],
  }
}

function running(): Panel {
  const sums = (name: string) => {
    const series = select(name, 'model')
    const by = (inner: string) => `sum by (model_name) (${inner})`
    return lasting(by(series), by(peak(series)), 10)
  }
  return lines({
    title: 'Requests running and waiting',
    description: 'Sums over the chosen targets, for the 10 models with the most.',
    unit: 'short',
    width: 6,
    queries: [
      {
        expr: sums('vllm_vitals_requests_running'),
        legend: '{{model_name}} running',
      },
      {
        expr: sums('vllm_vitals_requests_waiting'),
        legend: '{{model_name}} waiting',
      },
    ],
  })
}
