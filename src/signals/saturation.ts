import type { GaugeId } from '../instruments.ts'
import { entry, modelLabels, overWindows, type Signal } from './context.ts'
import { absent, type Family, measured } from './signal.ts'
import { rate } from './traffic.ts'

/** How full the engine is. */
export const saturationSignals: readonly Signal[] = [
  now('requests_running', 'requests_running', 'Requests in the batch.'),
  now('requests_waiting', 'requests_waiting', 'Requests queued.'),
  now('kv_cache_usage_ratio', 'kv_cache_usage', 'Used share of the fullest engine’s KV cache.'),
  highest('requests_waiting_max', 'requests_waiting', 'Most requests queued at a scrape.'),
  highest('kv_cache_usage_ratio_max', 'kv_cache_usage', 'Highest share of the KV cache in use.'),
  rate('preemptions_per_second', 'preemptions', 'Running requests evicted each second.'),
  oldestWait(),
]

/**
 * 0 where no request is known to wait: it is a bound, and says no more than it knows. What holds only if no
 * client has hung up is no bound, and is told as the reason for having none.
 */
function oldestWait(): Signal {
  const family: Family = {
    name: 'oldest_wait_lower_bound_seconds',
    type: 'gauge',
    help: 'How long some request that is still waiting has waited at least.',
  }
  return {
    measure(context) {
      const { target } = context
      const isNow = target.last?.kind === 'read'
      return modelLabels(context).map((labels) => {
        const own = target.progress?.engines.filter(({ model }) => model === labels['model_name'])
        if (!isNow || own === undefined || own.length === 0) {
          return entry(family, labels, absent(isNow ? 'no-data' : 'stale'))
        }
        const waits = own.flatMap(({ oldestWait: wait }) => (wait === undefined ? [] : [wait]))
        const longest = Math.max(0, ...waits.map(({ ms }) => ms)) / 1_000
        const certain = waits.filter((wait) => wait.certain).map(({ ms }) => ms)
        if (certain.length < waits.length && certain.length === 0) {
          const detail = `suspected: ${longest} s, unless the clients have hung up unseen`
          return entry(family, labels, absent('no-data', detail))
        }
        return entry(family, labels, measured(Math.max(0, ...certain) / 1_000))
      })
    },
  }
}

function now(name: string, gauge: GaugeId, help: string): Signal {
  const family: Family = { name, type: 'gauge', help }
  return {
    measure(context) {
      const why = context.target.last?.kind === 'read' ? 'no-data' : 'stale'
      return modelLabels(context).map((labels) => {
        const found = context.target.gauges.find(
          (one) => one.instrument === gauge && one.labels['model_name'] === labels['model_name'],
        )
        return entry(family, labels, found === undefined ? absent(why) : measured(found.value))
      })
    },
  }
}

function highest(name: string, gauge: GaugeId, help: string): Signal {
  const family: Family = { name, type: 'gauge', help }
  return {
    measure(context) {
      return modelLabels(context).flatMap((labels) =>
        overWindows(family, context, labels, (view) => {
          const high = view.high(gauge, labels)
          return high === undefined ? undefined : measured(high)
        }),
      )
    },
  }
}
