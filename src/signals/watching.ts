import { entry, type Signal, type SignalContext } from './context.ts'
import { type Family, type Measured, type MetricType, measured } from './signal.ts'

/** What the watching itself is worth: whether, when and how well each target was read. */
export const watchingSignals: readonly Signal[] = [
  once('up', 'gauge', 'Whether the last collection succeeded.', ({ target }) =>
    target.last === undefined ? undefined : target.last.kind === 'read' ? 1 : 0,
  ),
  once('collect_duration_seconds', 'gauge', 'How long the last collection took.', ({ target }) =>
    target.last === undefined ? undefined : target.last.tookMs / 1_000,
  ),
  once(
    'last_success_timestamp_seconds',
    'gauge',
    'Unix time of the last good collection.',
    ({ target }) => (target.lastRead === undefined ? undefined : target.lastRead.wallMs / 1_000),
  ),
  once(
    'resets_total',
    'counter',
    'Collections that found counters begun anew.',
    ({ target }) => target.tally.resets,
  ),
  once(
    'malformed_lines_total',
    'counter',
    'Lines and values that could not be used and were left out.',
    ({ target }) => target.tally.malformedLines,
  ),
  each(
    'collect_failures_total',
    'Failed collections by their cause.',
    'code',
    ({ target }) => target.tally.failures,
  ),
  each(
    'limit_hits_total',
    'Input beyond a limit, by the limit.',
    'limit',
    ({ target }) => target.tally.limitHits,
  ),
]

/** In the order of what they say of the engine. */
const probeOutcomes = ['answered', 'failed', 'unanswered', 'inconclusive'] as const

/** How often an engine was probed, where it may be: of each outcome there is a count from the start. */
export const probingSignals: readonly Signal[] = [
  each(
    'probes_total',
    'Completions of one token asked for because the evidence did not decide, by what came of them.',
    'outcome',
    ({ target: { tally }, settings }) =>
      new Map(
        settings.probing === true
          ? probeOutcomes.map((outcome) => [outcome, tally.probes.get(outcome) ?? 0])
          : [],
      ),
  ),
]

function once(
  name: string,
  type: MetricType,
  help: string,
  read: (context: SignalContext) => number | undefined,
): Signal {
  const family: Family = { name, type, help }
  return {
    measure(context) {
      const value = read(context)
      if (value === undefined) return []
      return [entry(family, { target: context.target.name }, measured(value))]
    },
  }
}

function each(
  name: string,
  help: string,
  label: string,
  read: (context: SignalContext) => ReadonlyMap<string, number>,
): Signal {
  const family: Family = { name, type: 'counter', help }
  return {
    measure(context): readonly Measured[] {
      return [...read(context)].map(([key, value]) =>
        entry(family, { target: context.target.name, [label]: key }, measured(value)),
      )
    },
  }
}
