import { VllmDialect } from '../../src/dialects/vllm.ts'
import { CollectError } from '../../src/errors.ts'
import { ExpositionParser, formatOf } from '../../src/exposition/parse.ts'
import type { HealthProbe, Reading } from '../../src/reading.ts'
import { engineSignals } from '../../src/signals/catalog.ts'
import type { Measured } from '../../src/signals/signal.ts'
import { createEngineSource } from '../../src/sources/engine.ts'
import type { Source } from '../../src/sources/source.ts'
import type { TargetWindows } from '../../src/window/target-windows.ts'
import { Windows } from '../../src/window/windows.ts'
import { httpServer } from '../fakes/local-server.ts'
import { ManualClock } from '../fakes/manual-clock.ts'
import type { Interval, Sequence } from './replay-sequences.ts'

const target = 'vllm'
const limits = { maxSamples: 100_000, maxLabels: 64, maxLabelBytes: 4_096 }
const signal = new AbortController().signal

/** What was published once the page at the end of an interval was read. */
export interface Replayed {
  readonly truth: Interval
  readonly page: Buffer
  /** The page before it; absent where the process was another one, which began at zero. */
  readonly pageBefore: Buffer | undefined
  readonly reading: Reading
  readonly health: HealthProbe | undefined
  readonly published: readonly Measured[]
  readonly gauges: TargetWindows['gauges']
  /** Answers on serving paths over the interval, by class of status. */
  readonly answers: Readonly<Record<string, number>>
}

/** The two neighbouring observations of `n` between which percentile `q` is read, as quantiles. */
export function quantilesAround(q: number, n: number): readonly [number, number] {
  // NumPy's default reads position (n − 1)·q, counted from 0; the observation of rank k is quantile k/n.
  const position = (n - 1) * q
  return [(Math.floor(position) + 1) / n, (Math.ceil(position) + 1) / n]
}

/**
 * Serves the pages of `sequence` over HTTP, reads them as the daemon does, and returns what was published
 * after each, with one window: the interval between the page and the one before it.
 */
export async function replay(sequence: Sequence): Promise<readonly Replayed[]> {
  let shown: number | undefined = 0
  const server = await httpServer((request, response) => {
    const interval = shown === undefined ? undefined : sequence.intervals[shown]
    // A process that died closes what it is asked on.
    if (interval === undefined || shown === undefined) return void request.socket.destroy()
    if (request.url === '/health') return void response.end()
    if (request.url === '/version') return void response.end(`{"version":"${sequence.version}"}`)
    response.setHeader('content-type', interval.content_type).end(sequence.pages[shown])
  })
  const source = engineSource(server.origin)
  const windows = new Windows({ keepMs: 3_600_000 })
  const replayed: Replayed[] = []
  try {
    for (const [position, truth] of sequence.intervals.entries()) {
      if (truth.process_restarted_since_previous === true) {
        shown = undefined
        const middle = ((truth.since ?? 0) + truth.t) / 2
        windows.record(await missed(source, middle))
      }
      shown = position
      const reading = await source.collect(signal)
      const health = await source.probe?.(signal)
      const stamp = { target, atMs: truth.t * 1_000, wallMs: truth.unix * 1_000, tookMs: 5 }
      const { newLife } = windows.record({ ...stamp, health, kind: 'read', reading })
      if (newLife) source.newLife()
      const restarted = truth.process_restarted_since_previous === true
      replayed.push({
        truth,
        page: sequence.pages[position] ?? Buffer.alloc(0),
        pageBefore: restarted ? undefined : sequence.pages[position - 1],
        reading,
        health,
        ...told(windows.target(target), truth),
      })
    }
  } finally {
    await source.close()
    await server.stop()
  }
  return replayed
}

function engineSource(url: string): Source {
  const parser = new ExpositionParser(limits)
  const dialect = new VllmDialect()
  return createEngineSource({
    target: { name: target, url, auth: { kind: 'none' } },
    scrape: { timeoutMs: 5_000, maxBodyBytes: 64 * 1024 * 1024 },
    clock: new ManualClock(),
    parse: (body, contentType) => parser.parse(body, formatOf(contentType)),
    translate: (page, context) => dialect.translate(page, context),
  })
}

async function missed(source: Source, atSeconds: number) {
  const stamp = { target, atMs: atSeconds * 1_000, wallMs: 0, tookMs: 5, kind: 'missed' } as const
  try {
    await source.collect(signal)
  } catch (error) {
    if (error instanceof CollectError) return { ...stamp, code: error.code, message: error.message }
    throw error
  }
  throw new Error('expected a collection that fails while the process is dead')
}

function told(
  windows: TargetWindows,
  truth: Interval,
): Pick<Replayed, 'published' | 'gauges' | 'answers'> {
  const spanMs = (truth.t - (truth.since ?? truth.t)) * 1_000
  const quantiles = new Set<number>()
  for (const q of [0.5, 0.95, 0.99]) {
    quantiles.add(q)
    for (const n of [truth.finished, truth.first_tokens]) {
      for (const around of n > 0 ? quantilesAround(q, n) : []) quantiles.add(around)
    }
  }
  const settings = {
    windowsMs: [spanMs],
    quantiles: [...quantiles],
    e2eLatencyThresholdSeconds: 30,
    queueTimeThresholdSeconds: 5,
    ttftThresholdSeconds: 0,
  }
  const context = { target: windows, settings, fresh: true }
  const answers: Record<string, number> = {}
  for (const { labels, value } of windows.view(spanMs)?.increases('http_answers', {}) ?? []) {
    if (value > 0) answers[labels['status'] ?? ''] = value
  }
  return {
    published: engineSignals.flatMap((one) => one.measure(context)),
    gauges: windows.gauges,
    answers,
  }
}
