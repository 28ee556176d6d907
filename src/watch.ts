import type { Clock } from './clock.ts'
import type { Config } from './config/schema.ts'
import { VllmDialect } from './dialects/vllm.ts'
import { ExpositionParser, formatOf } from './exposition/parse.ts'
import type { Log } from './log.ts'
import { createEngineSource } from './sources/engine.ts'
import { type LoopOptions, runLoop } from './sources/loop.ts'
import { createNvidiaSmi, type GpuMemories } from './sources/nvidia-smi.ts'
import { spread } from './sources/pace.ts'
import { gpuTargetName, type TargetConfig } from './sources/settings.ts'
import type { Source } from './sources/source.ts'

/** What a line of a page may hold; a longer one is skipped and counted. */
const lineLimits = { maxLabels: 128, maxLabelBytes: 16_384 } as const

/** What nvidia-smi may take of the time before it is run less often. */
const gpuMaxOverhead = 0.1

/** A reading younger than this always speaks for now; at a slow pace an older one does, too. */
const leastStaleMs = 15_000

/** A loop that was not heard of for so long beyond its pace stands still. */
const standstillMs = 10_000

/** A source that the configuration asks for, and what tells it from another. */
export interface Wanted {
  /** Equal for two configurations under which the same loop may go on. */
  readonly key: string
  /** Equal while it is the same thing that is read. */
  readonly origin: string
  readonly intervalMs: number
  readonly timeoutMs: number
  readonly loop: Pick<LoopOptions, 'offsetMs' | 'maxOverhead' | 'quietWhenAbsent'>
  readonly open: (clock: Clock) => Source
}

/** The loop of one source, from its start to its end. */
export class Watch {
  readonly key: string
  readonly origin: string
  /** Settles when the loop has ended and its source is closed; rejects when the program is wrong. */
  readonly done: Promise<void>
  readonly #log: Log
  readonly #ending = new AbortController()
  readonly #patient: boolean
  readonly #timeoutMs: number
  #intervalMs: number
  #heardMs: number
  #read = false

  constructor(
    wanted: Wanted,
    parts: Pick<LoopOptions, 'clock' | 'record'> & { readonly log: Log },
  ) {
    const { intervalMs, timeoutMs } = wanted
    const source = wanted.open(parts.clock)
    this.key = wanted.key
    this.origin = wanted.origin
    this.#log = parts.log
    this.#patient = wanted.loop.quietWhenAbsent === true
    this.#timeoutMs = timeoutMs
    this.#intervalMs = intervalMs
    this.#heardMs = parts.clock.monotonicMs()
    this.done = runLoop({
      ...wanted.loop,
      source,
      intervalMs,
      timeoutMs,
      clock: parts.clock,
      log: parts.log,
      signal: this.#ending.signal,
      record: (attempt) => {
        this.#heardMs = attempt.atMs
        this.#read ||= attempt.kind === 'read'
        return parts.record(attempt)
      },
      onInterval: (ms) => {
        this.#intervalMs = ms
      },
      onSkipped: (count) => parts.log.debug({ count }, 'collections skipped'),
    }).finally(() => source.close())
  }

  /** The age at which a reading no longer speaks for now. */
  get staleAfterMs(): number {
    return Math.max(3 * this.#intervalMs, leastStaleMs)
  }

  isTurning(nowMs: number): boolean {
    // A source that has nothing to read is left alone for minutes.
    if (this.#patient && !this.#read) return true
    return nowMs - this.#heardMs <= 2 * this.#intervalMs + this.#timeoutMs + standstillMs
  }

  setLevel(level: string): void {
    this.#log.level = level
  }

  async end(): Promise<void> {
    this.#ending.abort()
    // What went wrong was told to whoever listens to `done`.
    await this.done.catch(() => {})
  }
}

/**
 * Every source that `config` asks for, by the name of its target. `gpuMemories` are those of the daemon, so
 * that GPUs keep their index under every configuration that it is ever given. At `procRoot` the memory of the
 * host is read; without it, it is not.
 */
export function watchesOf(
  config: Config,
  gpuMemories: GpuMemories,
  procRoot?: string | undefined,
): ReadonlyMap<string, Wanted> {
  const wanted = new Map<string, Wanted>()
  const { targets, scrape, gpu } = config
  for (const [index, target] of targets.entries()) {
    const { intervalMs, timeoutMs, maxOverhead } = scrape
    wanted.set(target.name, {
      key: JSON.stringify([target, scrape]),
      origin: target.url,
      intervalMs,
      timeoutMs,
      loop: { offsetMs: spread(index, targets.length, intervalMs), maxOverhead },
      open: (clock) => openEngine(target, config, clock),
    })
  }
  if (gpu.enabled === false) return wanted
  const { intervalMs, timeoutMs } = gpu
  wanted.set(gpuTargetName, {
    key: JSON.stringify([gpu, scrape.maxOverhead > 0]),
    origin: gpu.command,
    intervalMs,
    timeoutMs,
    loop: {
      offsetMs: 0,
      maxOverhead: scrape.maxOverhead > 0 ? gpuMaxOverhead : 0,
      quietWhenAbsent: gpu.enabled === 'auto',
    },
    open: () => openGpus(config, gpuMemories, procRoot),
  })
  return wanted
}

function openEngine(target: TargetConfig, { scrape }: Config, clock: Clock): Source {
  const parser = new ExpositionParser({ maxSamples: scrape.maxSamples, ...lineLimits })
  const dialect = new VllmDialect()
  return createEngineSource({
    target,
    scrape,
    clock,
    parse: (body, contentType) => parser.parse(body, formatOf(contentType)),
    translate: (page, context) => dialect.translate(page, context),
  })
}

function openGpus({ gpu }: Config, gpuMemories: GpuMemories, procRoot: string | undefined): Source {
  const memory = gpuMemories.of(gpu.command)
  const { kind, collect } = createNvidiaSmi({ ...gpu, memory, procRoot })
  return { target: gpuTargetName, kind, collect, newLife: () => {}, close: async () => {} }
}
