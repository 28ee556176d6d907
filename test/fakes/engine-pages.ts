import type { Attempt } from '../../src/reading.ts'
import { TargetWindows } from '../../src/window/target-windows.ts'
import { counter, gauge, type MadeSeries, missed, read, wallAtZeroMs } from './readings.ts'

/** What an engine shows at a scrape; what is left out is as it was at the scrape before. */
export interface Shown {
  readonly running?: number
  readonly waiting?: number
  readonly kv?: number
  readonly tokens?: number
  readonly finished?: number
  readonly preempted?: number
  /** Answers of the whole server, by class of status; given with the first engine. */
  readonly served?: number
  readonly refused?: number
  readonly failed?: number
}

/** One scrape: of one engine or, in a list, of several. */
export type Step = Shown | readonly Shown[] | 'missed'

export interface PageOptions {
  readonly target?: string
  /** Between two scrapes; the first is at 0. */
  readonly everyMs?: number
  /** Whether HTTP answers are counted. */
  readonly http?: boolean
  /** The model of each engine; unless given, all have `m`. */
  readonly models?: readonly string[]
  /** Unix seconds at which the process started. */
  readonly startSeconds?: number
}

const nothing: Required<Shown> = {
  running: 0,
  waiting: 0,
  kv: 0,
  tokens: 0,
  finished: 0,
  preempted: 0,
  served: 0,
  refused: 0,
  failed: 0,
}

/** The attempts that scrape what `steps` show, one after the other. */
export function scrapes(steps: readonly Step[], options: PageOptions = {}): readonly Attempt[] {
  const { target = 'vllm', everyMs = 5_000, startSeconds } = options
  let now: readonly Required<Shown>[] = []
  return steps.map((step, index) => {
    const atMs = everyMs * index
    if (step === 'missed') return missed(atMs, 'timeout', { target })
    const all: readonly Shown[] = isList(step) ? step : [step]
    now = all.map((one, engine) => ({ ...(now[engine] ?? nothing), ...one }))
    const made = read(
      atMs,
      now.flatMap((one, engine) => pageOf(one, engine, options)),
      { target },
    )
    if (made.kind !== 'read' || startSeconds === undefined) return made
    return { ...made, reading: { ...made.reading, processStartSeconds: startSeconds } }
  })
}

/** The past of a target after these scrapes. */
export function watched(steps: readonly Step[], options: PageOptions = {}): TargetWindows {
  const target = new TargetWindows(options.target ?? 'vllm', { keepMs: 3_600_000 })
  for (const attempt of scrapes(steps, options)) target.record(attempt)
  return target
}

/** `count` scrapes at which nothing is other than before. */
export function still(count: number): readonly Shown[] {
  return Array.from({ length: count }, () => ({}))
}

/** The start of a process that is an hour old at monotonic time 0. */
export const grownUpSeconds = wallAtZeroMs / 1_000 - 3_600

function isList(step: Shown | readonly Shown[]): step is readonly Shown[] {
  return Array.isArray(step)
}

function pageOf(
  shown: Required<Shown>,
  engine: number,
  { http = true, models = [] }: PageOptions,
): readonly MadeSeries[] {
  const model = { model_name: models[engine] ?? 'm' }
  const place = { engine: String(engine) }
  const ofServer = [
    counter('http_answers', shown.served, { status: '2xx' }),
    counter('http_answers', shown.refused, { status: '4xx' }),
    counter('http_answers', shown.failed, { status: '5xx' }),
  ]
  return [
    gauge('requests_running', shown.running, model, place),
    gauge('requests_waiting', shown.waiting, model, place),
    gauge('kv_cache_usage', shown.kv, model, place),
    counter('generation_tokens', shown.tokens, model, place),
    counter('requests_finished', shown.finished, { ...model, reason: 'stop' }, place),
    counter('preemptions', shown.preempted, model, place),
    ...(http && engine === 0 ? ofServer : []),
  ]
}
