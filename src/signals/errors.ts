import type { TargetWindows } from '../window/target-windows.ts'
import type { WindowView } from '../window/view.ts'
import { entry, overWindows, type Signal } from './context.ts'
import { absent, type Family, type Measurement, measured } from './signal.ts'
import { sum } from './traffic.ts'
import { isAtLeast, parseVersion } from './version.ts'

/** How many serving requests ended over a stretch, and how many of them failed. */
export interface Failures {
  readonly ended: number
  /** Failures that are certain, and every failure that may have happened. */
  readonly certain: number
  readonly possible: number
}

/** What a target's version and page allow to know of failures. */
interface Knowledge {
  /** 5xx tells failures: HTTP answers are counted at all. */
  readonly http: boolean
  /** 5xx holds no bad requests. */
  readonly httpCertain: boolean
  /** The engine names failed requests among the finished ones. */
  readonly engine: boolean
}

const withoutHttp =
  'this version counts neither HTTP answers nor requests that the engine failed: only a probe could tell'

/**
 * Works out what can be known of a target's failures over the stretch of `view`.
 *
 * One failed request may show twice, as `finished_reason="error"` and as a 5xx answer, or once, as
 * either. So the larger of the two counts is certain and their sum is possible (CONTRACT, section 6).
 * From 0.17 up to and including 0.25 vLLM counts bad requests as 5xx too, so that only the engine's own
 * word is certain.
 *
 * - nothing is exposed that tells failures: the reason, as text
 */
export function failuresOf(target: TargetWindows, view: WindowView): Failures | string {
  const known = knowledgeOf(target, view)
  if (!known.http && !known.engine) return withoutHttp
  const answers = view.increases('http_answers', {})
  const httpFailed = sum(answers.filter(({ labels }) => labels['status'] === '5xx')) ?? 0
  const finished = view.increases('requests_finished', {})
  const engineFailed = sum(finished.filter(({ labels }) => labels['reason'] === 'error')) ?? 0
  const ended = known.http ? endedOf(answers) : (sum(finished) ?? 0)
  const certain = known.httpCertain ? Math.max(engineFailed, httpFailed) : engineFailed
  return { ended, certain, possible: engineFailed + httpFailed }
}

/** The error ratio over the stretch of `view`: certain failures, or possible ones. */
export function errorRatio(
  target: TargetWindows,
  view: WindowView,
  which: 'certain' | 'possible',
): Measurement {
  const failures = failuresOf(target, view)
  if (typeof failures === 'string') return absent('no-data', failures)
  if (failures.ended <= 0) return absent('no-traffic')
  // An answer may be counted in the scrape after the one that counted its failure.
  return measured(Math.min(failures[which] / failures.ended, 1), failures.ended)
}

/** What nobody can see of the failures of a target of this version, one sentence each. */
export function blindSpotsOf(target: TargetWindows): readonly string[] {
  const view = target.sinceStart()
  if (view === undefined) return []
  const known = knowledgeOf(target, view)
  const spots = ['Requests that clients aborted are counted nowhere by the Python front end.']
  if (!known.http && !known.engine) return [`Failures cannot be seen: ${withoutHttp}.`, ...spots]
  if (known.http) spots.push('Answers of 401 are never counted.')
  if (known.http && !known.httpCertain) {
    spots.push('This version counts some bad requests as 5xx: they are in the upper bound alone.')
  }
  if (!known.engine) {
    spots.push('A failure in the middle of a streamed answer does not show in this version.')
  }
  return spots
}

/** Errors, as far as the version at hand lets them be known. */
export const errorSignals: readonly Signal[] = [
  ratioSignal(
    'error_ratio',
    'certain',
    'Failures that are certain per serving request that ended.',
  ),
  ratioSignal(
    'error_ratio_upper_bound',
    'possible',
    'Failures that may have happened per serving request that ended.',
  ),
  {
    measure({ target }) {
      const view = target.sinceStart()
      if (view === undefined) return []
      const labels = { target: target.name }
      const known = knowledgeOf(target, view)
      const answers = view.increases('http_answers', {})
      const finished = view.increases('requests_finished', {})
      const ended = known.http ? endedOf(answers) : sum(finished)
      return ended === undefined ? [] : [entry(endedFamily, labels, measured(ended, ended))]
    },
  },
  {
    measure({ target }) {
      const view = target.sinceStart()
      if (view === undefined) return []
      const known = knowledgeOf(target, view)
      const failed = (labels: Readonly<Record<string, string>>, count: number) =>
        entry(failedFamily, { target: target.name, ...labels }, measured(count, count))
      const found = []
      if (known.engine) {
        for (const model of target.models) {
          const own = view.increases('requests_finished', { model_name: model, reason: 'error' })
          found.push(failed({ model_name: model, reason: 'engine_error' }, sum(own) ?? 0))
        }
      }
      if (known.http) {
        const failedAnswers = view.increases('http_answers', { status: '5xx' })
        found.push(failed({ reason: 'http_5xx' }, sum(failedAnswers) ?? 0))
      }
      return found
    },
  },
]

const endedFamily: Family = {
  name: 'requests_ended_total',
  type: 'counter',
  help: 'Serving requests that ended since the watch began: what error ratios are taken of.',
}

const failedFamily: Family = {
  name: 'requests_failed_total',
  type: 'counter',
  help: 'Failed requests since the watch began, by who says so. One request may be in both.',
}

function ratioSignal(name: string, which: 'certain' | 'possible', help: string): Signal {
  const family: Family = { name, type: 'gauge', help }
  return {
    measure(context) {
      const { target } = context
      if (target.lastRead === undefined) return []
      return overWindows(family, context, { target: target.name }, (view) =>
        errorRatio(target, view, which),
      )
    },
  }
}

function knowledgeOf(target: TargetWindows, view: WindowView): Knowledge {
  const version = parseVersion(target.reading?.version)
  const names = view.increases('requests_finished', { reason: 'error' }).length > 0
  return {
    // A server that has answered nothing yet declares the counter and shows no series of it.
    http:
      target.reading?.capabilities.has('http') === true ||
      view.increases('http_answers', {}).length > 0,
    httpCertain: !isAtLeast(version, [0, 17, 0]) || isAtLeast(version, [0, 26, 0]),
    engine: names || isAtLeast(version, [0, 13, 0]),
  }
}

function endedOf(
  answers: readonly {
    readonly labels: Readonly<Record<string, string>>
    readonly value: number
  }[],
): number {
  return sum(answers.filter(({ labels }) => /^[25]xx$/.test(labels['status'] ?? ''))) ?? 0
}
