import { unreachable } from '../errors.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import type { WindowView } from '../window/view.ts'
import { entry, orNothingYet, overWindows, type Signal, sum } from './context.ts'
import { absent, type Family, type Measurement, measured } from './signal.ts'

/** How many serving requests ended over a stretch and how many of them failed, or why nobody can tell. */
export type Failures =
  | {
      readonly kind: 'seen'
      readonly ended: number
      /** Failures that are certain, and every failure that may have happened. */
      readonly certain: number
      readonly possible: number
    }
  | { readonly kind: 'unseen'; readonly why: string }

/** What a target allows to know of failures, as its dialect has decided. */
interface Knowledge {
  /** 5xx tells failures: HTTP answers are counted at all. */
  readonly http: boolean
  /** 5xx holds no bad requests. */
  readonly httpCertain: boolean
  /** The engine names failed requests among the finished ones. */
  readonly engine: boolean
}

/**
 * Works out what can be known of a target's failures over the stretch of `view`.
 *
 * One failed request may show twice, as finished by an error and as a 5xx answer, or once, as either. So
 * the larger of the two counts is certain and their sum is possible (CONTRACT, section 6). Where 5xx holds
 * bad requests too, only the engine's own word is certain.
 *
 * - nothing is exposed that tells failures: `unseen`
 */
export function failuresOf(target: TargetWindows, view: WindowView): Failures {
  const known = knowledgeOf(target)
  if (!known.http && !known.engine) {
    const why =
      'neither HTTP answers nor requests that the engine failed are counted: only a probe could tell'
    return { kind: 'unseen', why }
  }
  const answers = view.increases('http_answers', {})
  const httpFailed = sum(answers.filter(({ labels }) => labels['status'] === '5xx')) ?? 0
  const finished = view.increases('requests_finished', {})
  const engineFailed = sum(finished.filter(({ labels }) => labels['reason'] === 'error')) ?? 0
  const ended = endedOf(target, view) ?? 0
  const certain = known.httpCertain ? Math.max(engineFailed, httpFailed) : engineFailed
  return { kind: 'seen', ended, certain, possible: engineFailed + httpFailed }
}

/** The share of requests that failed, for certain or possibly. */
export function errorRatio(failures: Failures, which: 'certain' | 'possible'): Measurement {
  switch (failures.kind) {
    case 'unseen':
      return absent('no-data', failures.why)
    case 'seen':
      if (failures.ended <= 0) return absent('no-traffic')
      // An answer may be counted in the scrape after the one that counted its failure.
      return measured(Math.min(failures[which] / failures.ended, 1), failures.ended)
    default:
      return unreachable(failures)
  }
}

/** What nobody can see of a target, one sentence each. */
export function blindSpotsOf(target: TargetWindows): readonly string[] {
  return target.reading?.blindSpots ?? []
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
  endedTotal(),
  failedTotal(),
  certainTotal(),
]

function ratioSignal(name: string, which: 'certain' | 'possible', help: string): Signal {
  const family: Family = { name, type: 'gauge', help }
  return {
    measure(context) {
      const { target } = context
      if (target.lastRead === undefined) return []
      return overWindows(family, context, { target: target.name }, (view) =>
        errorRatio(failuresOf(target, view), which),
      )
    },
  }
}

function endedTotal(): Signal {
  const family: Family = {
    name: 'requests_ended_total',
    type: 'counter',
    help: 'Serving requests that ended since the watch began: what error ratios are taken of.',
  }
  return {
    measure({ target }) {
      const view = target.sinceStart()
      const ended = view === undefined ? undefined : endedOf(target, view)
      if (ended === undefined) return []
      return [entry(family, { target: target.name }, measured(ended, ended))]
    },
  }
}

function failedTotal(): Signal {
  const family: Family = {
    name: 'requests_failed_total',
    type: 'counter',
    help: 'Failed requests since the watch began, by who says so. One request may be in both.',
  }
  return {
    measure({ target }) {
      const view = target.sinceStart()
      if (view === undefined) return []
      const known = knowledgeOf(target)
      const failed = (labels: Readonly<Record<string, string>>, count: number) =>
        entry(family, { target: target.name, ...labels }, measured(count, count))
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
  }
}

function certainTotal(): Signal {
  const family: Family = {
    name: 'requests_failed_certain_total',
    type: 'counter',
    help: 'Requests that failed for certain since the watch began, by who says so: over a stretch, the larger of the two counts.',
  }
  return {
    measure({ target }) {
      const view = target.sinceStart()
      if (view === undefined) return []
      const { engine, httpCertain } = knowledgeOf(target)
      const failed = (reason: string, counts: readonly { readonly value: number }[]) => {
        const count = sum(counts) ?? 0
        return entry(family, { target: target.name, reason }, measured(count, count))
      }
      return [
        ...(engine
          ? [failed('engine_error', view.increases('requests_finished', { reason: 'error' }))]
          : []),
        ...(httpCertain
          ? [failed('http_5xx', view.increases('http_answers', { status: '5xx' }))]
          : []),
      ]
    },
  }
}

function knowledgeOf({ reading }: TargetWindows): Knowledge {
  const tells = (capability: string) => reading?.capabilities.has(capability) === true
  return { http: tells('http'), httpCertain: tells('http-certain'), engine: tells('engine-errors') }
}

/** Serving requests that ended: answers of success and failure, or finished requests where none are counted. */
function endedOf(target: TargetWindows, view: WindowView): number | undefined {
  if (!knowledgeOf(target).http) {
    const finished = sum(view.increases('requests_finished', {}))
    return orNothingYet(finished, target, 'requests_finished')
  }
  const answers = view.increases('http_answers', {})
  return sum(answers.filter(({ labels }) => /^[25]xx$/.test(labels['status'] ?? ''))) ?? 0
}
