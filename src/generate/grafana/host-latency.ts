import type { Config } from '../../config/schema.ts'
import { seconds } from '../../rules/words.ts'
import type { Row } from './board.ts'
import { lines, type Panel, type Query } from './panel.ts'
import { inWindow, largestOver } from './query.ts'

const colors = ['blue', 'yellow', 'red', 'purple', 'green']

/** The quantiles with the bounds between which the truth lies, beside what they are held to. */
export function latencyRow(config: Config): Row {
  const { e2eLatencyP99Seconds, ttftP99Seconds, queueTimeP95Seconds } = config.thresholds
  return {
    title: 'Latency',
    panels: [
      bounded(config, {
        stem: 'e2e_latency',
        title: 'End to end',
        what: 'From the arrival of a request to its last token',
        threshold: e2eLatencyP99Seconds,
        held: 'p99',
      }),
      bounded(config, {
        stem: 'ttft',
        title: 'Time to first token',
        what: 'From the arrival of a request to its first token',
        threshold: ttftP99Seconds,
        held: 'p99',
      }),
      bounded(config, {
        stem: 'queue_time',
        title: 'Time in the queue',
        what: 'From the arrival of a request until it is scheduled, of those that are',
        threshold: queueTimeP95Seconds,
        held: 'p95',
      }),
      overThreshold(config),
      tokens(config),
      stages(config),
      slowest(config),
      observations(),
    ],
  }
}

interface Signal {
  readonly stem: string
  readonly title: string
  readonly what: string
  /** Seconds; 0 where nothing is compared. */
  readonly threshold: number
  readonly held: string
}

function bounded({ quantiles }: Config, { stem, title, what, threshold, held }: Signal): Panel {
  const held99 = `dashed: what ${held} is held to, ${seconds(threshold)}`
  const queries = quantiles.flatMap((quantile): readonly Query[] => {
    const of = (name: string) => `max(${inWindow(name, 'model', `quantile="${quantile}"`)})`
    const name = nameOf(quantile)
    return [
      { expr: of(`vllm_vitals_${stem}_lower_bound_seconds`), legend: `${name} lower bound` },
      {
        // A quantile beyond the last bucket edge has no upper bound to draw.
        expr: `${of(`vllm_vitals_${stem}_upper_bound_seconds`)} < +Inf`,
        legend: `${name} upper bound`,
      },
      { expr: of(`vllm_vitals_${stem}_seconds`), legend: name },
    ]
  })
  return lines({
    title: `${title} ($window)`,
    description: `${what}. Line: the best estimate; band: the edges of vLLM's bucket, between which the quantile lies for certain, open above in the last one${threshold > 0 ? `; ${held99}` : ''}. Of several targets or models the worst, never their average. Only requests that ended are counted.`,
    unit: 's',
    width: 8,
    height: 9,
    queries,
    bands: quantiles.map((quantile, index) => ({
      lower: `${nameOf(quantile)} lower bound`,
      upper: `${nameOf(quantile)} upper bound`,
      color: colorOf(index),
    })),
    colors: Object.fromEntries(
      quantiles.map((quantile, index) => [nameOf(quantile), colorOf(index)]),
    ),
    ...(threshold > 0 ? { thresholds: [{ from: threshold, color: 'red' }] } : {}),
  })
}

/** `p99` for 0.99. */
export function nameOf(quantile: number): string {
  return `p${Number((quantile * 100).toPrecision(10))}`
}

function colorOf(index: number): string {
  return colors[index % colors.length] ?? 'blue'
}

function overThreshold({ thresholds }: Config): Panel {
  const compared = [
    ['e2e_latency', 'end to end', thresholds.e2eLatencyP99Seconds],
    ['ttft', 'first token', thresholds.ttftP99Seconds],
    ['queue_time', 'queue', thresholds.queueTimeP95Seconds],
  ] as const
  return lines({
    title: 'Share over the threshold ($window)',
    description:
      'Share of requests that took longer than their threshold, of the worst target or model. The alerts ring above 1 % (end to end, first token) and 5 % (queue), dashed, with enough requests to be sure. Exact where the threshold is a bucket edge of vLLM.',
    unit: 'percentunit',
    width: 8,
    queries: compared
      .filter(([, , threshold]) => threshold > 0)
      .map(([stem, name, threshold]) => ({
        expr: `max(${inWindow(`vllm_vitals_${stem}_over_threshold_ratio`, 'model')})`,
        legend: `${name} > ${seconds(threshold)}`,
      })),
    thresholds: [
      { from: 0.01, color: 'red' },
      { from: 0.05, color: 'dark-red' },
    ],
  })
}

function tokens({ quantiles }: Config): Panel {
  return lines({
    title: 'Time between tokens ($window)',
    description:
      'ITL: between two tokens of an answer. TPOT: the mean of one request, per token after the first. Of several targets or models the worst. Estimates without a band.',
    unit: 's',
    width: 8,
    queries: quantiles.flatMap((quantile) =>
      ['itl', 'tpot'].map((stem) => ({
        expr: `max(${inWindow(`vllm_vitals_${stem}_seconds`, 'model', `quantile="${quantile}"`)})`,
        legend: `${stem.toUpperCase()} ${nameOf(quantile)}`,
      })),
    ),
  })
}

function stages({ quantiles }: Config): Panel {
  const highest = Math.max(...quantiles)
  return lines({
    title: `Where the time goes, ${nameOf(highest)} ($window)`,
    description:
      'The same quantile of each stage of a request. Stages do not add up: the slowest in one need not be the slowest in another.',
    unit: 's',
    width: 8,
    queries: ['queue_time', 'prefill_time', 'decode_time'].map((stem) => ({
      expr: `max(${inWindow(`vllm_vitals_${stem}_seconds`, 'model', `quantile="${highest}"`)})`,
      legend: stem.replace('_time', ''),
    })),
  })
}

function slowest({ quantiles, thresholds }: Config): Panel {
  const highest = Math.max(...quantiles)
  const estimate = inWindow('vllm_vitals_e2e_latency_seconds', 'model', `quantile="${highest}"`)
  return lines({
    title: `End to end by target and model, ${nameOf(highest)} ($window)`,
    description:
      'Each target and model by itself, the 20 that were slowest; dashed: what p99 is held to.',
    unit: 's',
    width: 12,
    queries: [
      {
        expr: largestOver('instance, target, model_name', estimate),
        legend: '{{instance}} {{target}} {{model_name}}',
      },
    ],
    thresholds: [{ from: thresholds.e2eLatencyP99Seconds, color: 'red' }],
  })
}

function observations(): Panel {
  const seen = (stem: string) =>
    `sum(${inWindow(`vllm_vitals_${stem}_window_observations`, 'model')})`
  return lines({
    title: 'Observations behind the quantiles ($window)',
    description:
      'How many requests, and how many first tokens, the window holds: a p99 of 20 requests is their slowest.',
    unit: 'short',
    width: 12,
    queries: [
      { expr: seen('e2e_latency'), legend: 'requests that ended' },
      { expr: seen('ttft'), legend: 'first tokens' },
    ],
  })
}
