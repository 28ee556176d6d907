import type { HistogramId } from '../instruments.ts'
import { orNothingYet, perSecond, sum } from '../signals/context.ts'
import { errorRatio, failuresOf } from '../signals/errors.ts'
import { overThreshold } from '../window/histogram.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import type { Finding, JudgeContext, Rule, Watched } from './rule.ts'
import { percent, seconds, spanText } from './words.ts'

/**
 * Fewer observations than this say nothing of a ratio: one slow answer in ten is no 10 %.
 * vLLM's own guidance is some twenty.
 */
const enoughObservations = 20

/** More than `allowed` of the requests took longer than a threshold. */
export const latencyP99High: Rule = {
  name: 'VllmLatencyP99High',
  severity: 'critical',
  forMs: 120_000,
  keepFiringForMs: 0,
  windowMs: 300_000,
  description:
    'More than 1 % of requests took longer than thresholds.e2e_latency_p99, counted at a bucket edge and not estimated.',
  judge: (context) =>
    tooManyOver(context, {
      id: 'e2e_latency',
      threshold: context.thresholds.e2eLatencyP99Seconds,
      allowed: 0.01,
      what: 'requests took longer',
    }),
}

export const queueWaitHigh: Rule = {
  name: 'VllmQueueWaitHigh',
  severity: 'warning',
  forMs: 60_000,
  keepFiringForMs: 0,
  windowMs: 300_000,
  description: 'More than 5 % of requests waited longer than thresholds.queue_time_p95.',
  judge: (context) =>
    tooManyOver(context, {
      id: 'queue_time',
      threshold: context.thresholds.queueTimeP95Seconds,
      allowed: 0.05,
      what: 'requests waited longer',
    }),
}

export const errorRatioHigh: Rule = {
  name: 'VllmErrorRatioHigh',
  severity: 'critical',
  forMs: 120_000,
  keepFiringForMs: 0,
  windowMs: 300_000,
  description: 'More than thresholds.error_ratio of the serving requests failed for certain.',
  judge: (context) => context.targets.map((watched) => tooManyFailed(context, watched)),
}

export const throughputLow: Rule = {
  name: 'VllmThroughputLow',
  severity: 'warning',
  forMs: 300_000,
  keepFiringForMs: 0,
  windowMs: 60_000,
  description:
    'Fewer output tokens a second than thresholds.generation_tokens_per_second_min while work is pending.',
  judge: (context) => {
    const floor = context.thresholds.generationTokensPerSecondMin
    return floor > 0
      ? context.targets.map((watched) => judgeThroughput(context, watched, floor))
      : []
  },
}

function tooManyOver(
  context: JudgeContext,
  rule: {
    readonly id: HistogramId
    readonly threshold: number
    readonly allowed: number
    readonly what: string
  },
): readonly Finding[] {
  const { id, threshold, allowed } = rule
  return context.targets.flatMap(({ target, fresh }) =>
    target.models.map((model): Finding => {
      const subject = { target: target.name, model_name: model }
      const view = fresh ? target.view(context.windowMs) : undefined
      const delta = view?.histogram(id, { model_name: model })
      const share = delta === undefined ? undefined : overThreshold(delta, threshold)
      if (share === undefined || share.count < enoughObservations) {
        return { outcome: 'unknown', subject }
      }
      if (share.ratio <= allowed) return { outcome: 'pass', subject }
      return {
        outcome: 'fail',
        subject,
        summary: `${percent(share.ratio)} of ${share.count} ${rule.what} than ${seconds(share.edge)} in the last ${spanText(context.windowMs)} (allowed ${percent(allowed)})`,
        evidence: {
          over_ratio: share.ratio,
          observations: share.count,
          threshold_seconds: threshold,
          edge_seconds: share.edge,
        },
      }
    }),
  )
}

function tooManyFailed(context: JudgeContext, { target, fresh }: Watched): Finding {
  const subject = { target: target.name }
  const view = fresh ? target.view(context.windowMs) : undefined
  if (view === undefined) return { outcome: 'unknown', subject }
  const failures = failuresOf(target, view)
  const ratio = errorRatio(failures, 'certain')
  if (
    failures.kind === 'unseen' ||
    ratio.kind === 'absent' ||
    failures.ended < enoughObservations
  ) {
    return { outcome: 'unknown', subject }
  }
  if (ratio.value <= context.thresholds.errorRatio) return { outcome: 'pass', subject }
  return {
    outcome: 'fail',
    subject,
    summary: `${percent(ratio.value)} of ${failures.ended} requests failed in the last ${spanText(context.windowMs)} (allowed ${percent(context.thresholds.errorRatio)})`,
    evidence: {
      error_ratio: ratio.value,
      failed: failures.certain,
      failed_at_most: failures.possible,
      requests: failures.ended,
    },
  }
}

function judgeThroughput(
  context: JudgeContext,
  { target, fresh }: Watched,
  floor: number,
): Finding {
  const subject = { target: target.name }
  const view = fresh ? target.view(context.windowMs) : undefined
  if (view === undefined) return { outcome: 'unknown', subject }
  const gained = sum(view.increases('generation_tokens', {}))
  const made = orNothingYet(gained, target, 'generation_tokens')
  const pending = pendingOf(target)
  if (made === undefined || pending === undefined) return { outcome: 'unknown', subject }
  const rate = perSecond(view, made)
  if (pending === 0 || rate >= floor) return { outcome: 'pass', subject }
  return {
    outcome: 'fail',
    subject,
    summary: `${rate.toFixed(1)} tokens/s while ${pending} requests are pending (floor ${floor})`,
    evidence: { generation_tokens_per_second: rate, requests_pending: pending },
  }
}

/** Requests running or waiting now; `undefined` when the target says nothing of it. */
function pendingOf(target: TargetWindows): number | undefined {
  let pending: number | undefined
  for (const { instrument, value } of target.gauges) {
    if (instrument !== 'requests_running' && instrument !== 'requests_waiting') continue
    pending = (pending ?? 0) + value
  }
  return pending
}
