import type { CounterId } from '../instruments.ts'
import {
  entry,
  modelLabels,
  orNothingYet,
  overWindows,
  perSecond,
  type Signal,
  sum,
} from './context.ts'
import { absent, type Family, type Measurement, measured } from './signal.ts'

/** How much is asked and answered. */
export const trafficSignals: readonly Signal[] = [
  rate('requests_per_second', 'requests_finished', 'Requests the engine finished each second.'),
  rate('generation_tokens_per_second', 'generation_tokens', 'Output tokens made each second.'),
  rate('prompt_tokens_per_second', 'prompt_tokens', 'Prompt tokens prefilled each second.'),
  {
    measure(context) {
      const family: Family = {
        name: 'requests_finished_total',
        type: 'counter',
        help: 'Requests the engine finished since the watch began, by the reason it gives.',
      }
      return modelLabels(context).flatMap((labels) =>
        (context.target.sinceStart()?.increases('requests_finished', modelOnly(labels)) ?? []).map(
          (one) => entry(family, { ...labels, ...one.labels }, measured(one.value, one.value)),
        ),
      )
    },
  },
  total('generation_tokens_total', 'generation_tokens', 'Output tokens made'),
  total('prompt_tokens_total', 'prompt_tokens', 'Prompt tokens prefilled'),
  ratio('prefix_cache_hit_ratio', {
    part: 'prefix_cache_hits',
    whole: 'prefix_cache_queries',
    help: 'Share of looked-up prompt tokens that the prefix cache held.',
  }),
  ratio('spec_decode_acceptance_ratio', {
    part: 'spec_decode_accepted_tokens',
    whole: 'spec_decode_draft_tokens',
    help: 'Share of drafted tokens that were accepted.',
  }),
]

/** A signal that counts, per second of the time covered, all series of a counter together. */
export function rate(name: string, counter: CounterId, help: string): Signal {
  const family: Family = { name, type: 'gauge', help }
  return {
    measure(context) {
      return modelLabels(context).flatMap((labels) =>
        overWindows(family, context, labels, (view) => {
          const gained = sum(view.increases(counter, modelOnly(labels)))
          const count = orNothingYet(gained, context.target, counter)
          return count === undefined ? undefined : measured(perSecond(view, count), count)
        }),
      )
    },
  }
}

/** A signal that counts all series of a counter together since the watch began, for those who add up hosts. */
function total(name: string, counter: CounterId, what: string): Signal {
  const family: Family = { name, type: 'counter', help: `${what} since the watch began.` }
  return {
    measure(context) {
      const view = context.target.sinceStart()
      if (view === undefined) return []
      return modelLabels(context).flatMap((labels) => {
        const gained = sum(view.increases(counter, modelOnly(labels)))
        const count = orNothingYet(gained, context.target, counter)
        return count === undefined ? [] : [entry(family, labels, measured(count, count))]
      })
    },
  }
}

function ratio(
  name: string,
  of: { readonly part: CounterId; readonly whole: CounterId; readonly help: string },
): Signal {
  const family: Family = { name, type: 'gauge', help: of.help }
  return {
    measure(context) {
      return modelLabels(context).flatMap((labels) =>
        overWindows(family, context, labels, (view): Measurement | undefined => {
          const gained = (counter: CounterId) =>
            orNothingYet(view.increase(counter, labels), context.target, counter)
          const part = gained(of.part)
          const whole = gained(of.whole)
          if (part === undefined || whole === undefined) return undefined
          return whole > 0 ? measured(part / whole, whole) : absent('no-traffic')
        }),
      )
    },
  }
}

function modelOnly(labels: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return { model_name: labels['model_name'] ?? '' }
}
