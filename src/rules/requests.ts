import { orNothingYet, perSecond, sum } from '../signals/context.ts'
import { errorRatio, failuresOf } from '../signals/errors.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import type { Finding, JudgeContext, Rule, Subject, Watched } from './rule.ts'
import {
  compare,
  eachModel,
  judgeShare,
  judgeShares,
  roughly,
  type ShareRule,
  tooFew,
} from './shares.ts'
import { percent, seconds, spanText } from './words.ts'

/** More than 1 % of the requests took longer than a threshold. */
export const latencyP99High: Rule = {
  name: 'VllmLatencyP99High',
  severity: 'critical',
  forMs: 120_000,
  keepFiringForMs: 0,
  windowMs: 300_000,
  description:
    'More than 1 % of requests took longer than thresholds.e2e_latency_p99, those included that are still inside and have been there longer. Counted at a bucket edge, and certain to 95 %.',
  judge: (context) =>
    judgeShares(context, {
      id: 'e2e_latency',
      threshold: context.thresholds.e2eLatencyP99Seconds,
      allowed: 0.01,
      what: 'requests took longer',
      overdue: 'insideFor',
    }),
}

export const ttftP99High: Rule = {
  name: 'VllmTtftP99High',
  severity: 'warning',
  forMs: 120_000,
  keepFiringForMs: 0,
  windowMs: 300_000,
  description:
    'More than 1 % of requests waited longer for their first token than thresholds.ttft_p99, those included that still wait in the queue. Certain to 95 %.',
  judge: (context) => {
    const threshold = context.thresholds.ttftP99Seconds
    if (threshold <= 0) return []
    const what = 'requests waited longer for their first token'
    return judgeShares(context, {
      id: 'ttft',
      threshold,
      allowed: 0.01,
      what,
      overdue: 'waitingFor',
    })
  },
}

export const queueWaitHigh: Rule = {
  name: 'VllmQueueWaitHigh',
  severity: 'warning',
  forMs: 60_000,
  keepFiringForMs: 0,
  windowMs: 300_000,
  description:
    'More than 5 % of requests waited longer than thresholds.queue_time_p95, or one that still waits has done so already.',
  judge: (context) => {
    const threshold = context.thresholds.queueTimeP95Seconds
    const rule: ShareRule = {
      id: 'queue_time',
      threshold,
      allowed: 0.05,
      what: 'requests waited longer',
      overdue: 'waitingFor',
    }
    return eachModel(context, (subject, watched) => {
      const share = judgeShare(context, subject, { rule, watched })
      if (share.outcome === 'fail') return share
      const wait = judgeOldestWait(subject, watched, threshold)
      return wait.outcome === 'fail' || wait.outcome === 'suspected' ? wait : share
    })
  },
}

export const errorRatioHigh: Rule = {
  name: 'VllmErrorRatioHigh',
  severity: 'critical',
  forMs: 120_000,
  keepFiringForMs: 0,
  windowMs: 300_000,
  description:
    'More than thresholds.error_ratio of the serving requests failed: failures that are certain, and a share that is certain to 95 %.',
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

/** KV cache above this, and preemptions beside it, is pressure; alone it is good batching. */
export const fullKvCacheRatio = 0.95

export const kvCachePressure: Rule = {
  name: 'VllmKvCachePressure',
  severity: 'warning',
  forMs: 120_000,
  keepFiringForMs: 0,
  windowMs: 60_000,
  description:
    'The KV cache is above 0.95 and running requests are evicted from it, to be computed again.',
  judge: (context) =>
    eachModel(context, (subject, watched) => judgeKvCache(context, subject, watched)),
}

/** A request that still waits and has waited too long already is no matter of shares. */
function judgeOldestWait(
  subject: Subject & { readonly model_name: string },
  { target, fresh }: Watched,
  threshold: number,
): Finding {
  const { progress } = target
  if (!fresh || progress === undefined) return { outcome: 'unknown', subject }
  const tooLong = progress.engines.flatMap(({ model, oldestWait: wait }) =>
    model === subject.model_name && wait !== undefined && wait.ms > 1_000 * threshold ? [wait] : [],
  )
  // A wait that is certain says more than a longer one that is not.
  const certain = tooLong.filter((wait) => wait.certain)
  const [oldest] = (certain.length > 0 ? certain : tooLong).toSorted((a, b) => b.ms - a.ms)
  if (oldest === undefined) return { outcome: 'pass', subject }
  const waitSeconds = oldest.ms / 1_000
  return {
    outcome: oldest.certain ? 'fail' : 'suspected',
    subject,
    summary: `a request that still waits has waited at least ${seconds(Math.floor(waitSeconds))} (allowed ${seconds(threshold)})`,
    evidence: { oldest_wait_seconds: waitSeconds, threshold_seconds: threshold },
  }
}

function tooManyFailed(context: JudgeContext, { target, fresh }: Watched): Finding {
  const subject = { target: target.name }
  const view = fresh ? target.view(context.windowMs) : undefined
  if (view === undefined) return { outcome: 'unknown', subject }
  const failures = failuresOf(target, view)
  const ratio = errorRatio(failures, 'certain')
  if (failures.kind === 'unseen' || ratio.kind === 'absent') return { outcome: 'unknown', subject }
  const { errorRatio: allowed } = context.thresholds
  const failed = Math.min(failures.certain, failures.ended)
  const verdict = compare(failed, failures.ended, allowed)
  if (verdict.outcome === 'pass') return { outcome: 'pass', subject }
  const what = `${percent(ratio.value)} of ${failures.ended} requests failed in the last ${spanText(context.windowMs)}`
  if (verdict.outcome === 'unknown') {
    return { outcome: 'unknown', subject, summary: `${what}: ${tooFew(verdict, allowed)}` }
  }
  return {
    outcome: 'fail',
    subject,
    summary: `${what} (allowed ${percent(allowed)})`,
    evidence: {
      error_ratio: ratio.value,
      error_ratio_low: roughly(verdict.low),
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

function judgeKvCache(
  { windowMs }: JudgeContext,
  subject: Subject & { readonly model_name: string },
  { target, fresh }: Watched,
): Finding {
  const labels = { model_name: subject.model_name }
  const view = fresh ? target.view(windowMs) : undefined
  const usage = view?.high('kv_cache_usage', labels)
  const preempted = view?.increase('preemptions', labels)
  if (view === undefined || usage === undefined || preempted === undefined) {
    return { outcome: 'unknown', subject }
  }
  if (usage <= fullKvCacheRatio || preempted <= 0) return { outcome: 'pass', subject }
  return {
    outcome: 'fail',
    subject,
    summary: `${preempted} running requests were evicted in the last ${spanText(windowMs)}, the KV cache is up to ${percent(usage)} full`,
    evidence: {
      kv_cache_usage_ratio: usage,
      preemptions: preempted,
      preemptions_per_second: perSecond(view, preempted),
    },
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
