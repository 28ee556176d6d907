import type { HistogramId } from '../instruments.ts'
import { sum } from '../signals/context.ts'
import { wilsonInterval } from '../signals/wilson.ts'
import { overThreshold } from '../window/histogram.ts'
import type { Finding, JudgeContext, Subject, Watched } from './rule.ts'
import { percent, seconds, spanText } from './words.ts'

/** Applies `judge` to each model of each target. */
export function eachModel(
  { targets }: JudgeContext,
  judge: (subject: Subject & { readonly model_name: string }, watched: Watched) => Finding,
): readonly Finding[] {
  return targets.flatMap((watched) =>
    watched.target.models.map((model_name) =>
      judge({ target: watched.target.name, model_name }, watched),
    ),
  )
}

/** A share of the requests that may exceed a threshold. */
export interface ShareRule {
  readonly id: HistogramId
  readonly threshold: number
  readonly allowed: number
  readonly what: string
  /** How those are counted that exceed it already and have not finished. */
  readonly overdue: 'waitingFor' | 'insideFor'
}

/** Judges a share of each model of each target. */
export function judgeShares(context: JudgeContext, rule: ShareRule): readonly Finding[] {
  return eachModel(context, (subject, watched) => judgeShare(context, subject, { rule, watched }))
}

/** Judges the share of a model's requests that exceeded a threshold, or have done so and still go on. */
export function judgeShare(
  context: JudgeContext,
  subject: Subject & { readonly model_name: string },
  { rule, watched }: { readonly rule: ShareRule; readonly watched: Watched },
): Finding {
  const { target, fresh } = watched
  if (!fresh) return { outcome: 'unknown', subject }
  const view = target.view(context.windowMs)
  const labels = { model_name: subject.model_name }
  const delta = view?.histogram(rule.id, labels)
  const share = delta === undefined ? undefined : overThreshold(delta, rule.threshold)
  const still = target.progress?.[rule.overdue](1_000 * rule.threshold, subject.model_name)
  const overdue = still?.count ?? 0
  // Where nobody can tell how long they took, those that finished still count among all.
  const finished =
    share?.count ?? delta?.count ?? sum(view?.increases('requests_finished', labels) ?? []) ?? 0
  if (finished + overdue === 0) return { outcome: 'unknown', subject }
  const over = share?.over ?? 0
  const verdict = compare(over + overdue, finished + overdue, rule.allowed)
  const isBound = share === undefined && finished > 0
  if (verdict.outcome === 'pass') return { outcome: isBound ? 'unknown' : 'pass', subject }
  const edge = share?.edge ?? rule.threshold
  const inside = overdue === 0 ? '' : `, ${overdue} of them still inside,`
  const what = `${isBound ? 'at least ' : ''}${percent(verdict.ratio)} of ${finished + overdue} ${rule.what} than ${seconds(edge)}${inside} in the last ${spanText(context.windowMs)}`
  if (verdict.outcome === 'unknown') {
    return { outcome: 'unknown', subject, summary: `${what}: ${tooFew(verdict, rule.allowed)}` }
  }
  // Where clients may have gone unseen, only those that finished count for certain.
  const isCertain =
    still?.certain === true || compare(over, finished, rule.allowed).outcome === 'fail'
  return {
    outcome: isCertain ? 'fail' : 'suspected',
    subject,
    summary: `${what} (allowed ${percent(rule.allowed)})`,
    evidence: {
      over_ratio: verdict.ratio,
      over_ratio_low: roughly(verdict.low),
      observations: finished + overdue,
      threshold_seconds: rule.threshold,
      edge_seconds: edge,
      ...(overdue === 0 ? {} : { still_inside: overdue }),
    },
  }
}

/** How a share stands to what is allowed, with the 95 % interval it is known to. */
export interface Comparison {
  readonly outcome: 'pass' | 'fail' | 'unknown'
  readonly ratio: number
  readonly low: number
  readonly high: number
}

/** One request proves nothing of others, however few they are. */
const fewestOver = 2

/**
 * Holds a share against what is allowed: `fail` where the lower end of its 95 % interval is above and it rests
 * on two requests at least, `unknown` where the share itself is above, and there are too few to be sure.
 */
export function compare(over: number, count: number, allowed: number): Comparison {
  const { low, high } = wilsonInterval(over, count)
  const ratio = count > 0 ? over / count : 0
  const isSure = low > allowed && over >= fewestOver
  const outcome = isSure ? 'fail' : ratio > allowed ? 'unknown' : 'pass'
  return { outcome, ratio, low, high }
}

/** Says why a share that is above what is allowed does not count yet. */
export function tooFew({ low, high }: Comparison, allowed: number): string {
  return `too few to be sure, it may be ${percent(low)} to ${percent(high)} (allowed ${percent(allowed)})`
}

/** An end of an interval is known to no more than a few digits. */
export function roughly(ratio: number): number {
  return Number(ratio.toPrecision(3))
}
