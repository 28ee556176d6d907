import type { Clock } from './clock.ts'
import type { Config } from './config/schema.ts'
import type { Log } from './log.ts'
import type { ProbeResult } from './reading.ts'
import { CompletionProbe } from './sources/completion.ts'
import type { ProbeConfig } from './sources/probe-settings.ts'
import type { TargetConfig } from './sources/settings.ts'

/** How long a probe that was withdrawn is waited for. */
const stopWithinMs = 500

/** A target about which the evidence does not decide, and the model that it is known to serve. */
export interface Ambiguous {
  readonly target: string
  readonly model: string | undefined
}

/** What an evaluation says of probes. */
export interface Doubt {
  readonly ambiguous: readonly Ambiguous[]
  /** Targets of which nothing is seen to progress, ambiguous or not. */
  readonly kept: readonly string[]
}

/** What asks one target for a token. */
export type Asker = Pick<CompletionProbe, 'ask' | 'close'>

export interface ProberOptions {
  readonly clock: Clock
  readonly log: Pick<Log, 'info' | 'warn'>
  /** Ends the probing: no probe begins after it aborts. */
  readonly signal: AbortSignal
  readonly record: (result: ProbeResult) => void
  /** Told when the program itself is wrong. */
  readonly fail: (error: unknown) => void
  /** Makes what asks a target; over HTTP unless something else is given. */
  readonly open?: (target: TargetConfig, probe: ProbeConfig) => Asker
}

interface Probed {
  /** Equal for two configurations under which a probe may go on. */
  readonly key: string
  readonly asker: Asker
  /** When the last probe began, whatever became of it. */
  startedMs: number
  running: { readonly withdrawal: AbortController; readonly ended: Promise<void> } | undefined
  /** What came of the last probe, as far as the log knows. */
  told: ProbeResult['kind'] | undefined
}

/**
 * Asks engines for one token while nothing else decides about them: at most once in an interval and one at a
 * time for each target. Once requests of a target are seen to progress, the request under way is withdrawn,
 * which frees its place in the batch, and says nothing. It is kept while nothing progresses, though the target
 * may not be ambiguous any more: the request that hangs may be what proves the hang.
 */
export class Prober {
  readonly #options: ProberOptions
  #probed = new Map<string, Probed>()
  #intervalMs = Number.POSITIVE_INFINITY

  constructor(options: ProberOptions) {
    this.#options = options
  }

  /**
   * Takes over what may be probed, and how. Probes of targets that are no longer there, or are asked in
   * another way, are withdrawn; the interval since their last one goes on.
   */
  async configure({ targets, probe }: Pick<Config, 'targets' | 'probe'>): Promise<void> {
    const before = this.#probed
    const now = new Map<string, Probed>()
    this.#probed = now
    this.#intervalMs = probe.intervalMs
    for (const target of this.#mayProbe(probe) ? targets : []) {
      const known = before.get(target.name)
      const key = JSON.stringify([target, probe.timeoutMs, probe.model, probe.prompt])
      now.set(target.name, known?.key === key ? known : this.#open(target, { probe, key, known }))
    }
    const left = [...before].filter(([name, probed]) => now.get(name) !== probed)
    await Promise.all(left.map(([, probed]) => this.#end(probed)))
  }

  /** Takes in what is in doubt now: probes what is due, and withdraws what is no longer of use. */
  follow({ ambiguous, kept }: Doubt): void {
    if (this.#options.signal.aborted) return
    const nowMs = this.#options.clock.monotonicMs()
    const models = new Map(ambiguous.map(({ target, model }) => [target, model]))
    for (const [name, probed] of this.#probed) {
      const { running, startedMs } = probed
      const isAmbiguous = models.has(name)
      if (running !== undefined) {
        if (!isAmbiguous && !kept.includes(name)) running.withdrawal.abort()
      } else if (isAmbiguous && nowMs - startedMs >= this.#intervalMs) {
        this.#begin(name, probed, models.get(name))
      }
    }
  }

  /** Withdraws every probe; resolves within 0.5 s. */
  async stop(): Promise<void> {
    const all = [...this.#probed.values()]
    this.#probed = new Map()
    await Promise.all(all.map((probed) => this.#end(probed)))
  }

  #mayProbe({ enabled }: ProbeConfig): boolean {
    return enabled && !this.#options.signal.aborted
  }

  #open(
    target: TargetConfig,
    given: {
      readonly probe: ProbeConfig
      readonly key: string
      readonly known: Probed | undefined
    },
  ): Probed {
    const { probe, key, known } = given
    const { clock, open } = this.#options
    return {
      key,
      asker: open?.(target, probe) ?? new CompletionProbe({ target, probe, clock }),
      startedMs: known?.startedMs ?? Number.NEGATIVE_INFINITY,
      running: undefined,
      told: known?.told,
    }
  }

  #begin(name: string, probed: Probed, model: string | undefined): void {
    const withdrawal = new AbortController()
    probed.startedMs = this.#options.clock.monotonicMs()
    const ended = this.#ask(name, { probed, model, signal: withdrawal.signal }).finally(() => {
      probed.running = undefined
    })
    probed.running = { withdrawal, ended }
  }

  /** Never rejects: what is wrong in the program is told to whoever listens. */
  async #ask(
    name: string,
    how: {
      readonly probed: Probed
      readonly model: string | undefined
      readonly signal: AbortSignal
    },
  ): Promise<void> {
    const { probed, model, signal } = how
    const { record, fail } = this.#options
    try {
      const result = await probed.asker.ask({ model, signal })
      if (signal.aborted) return
      this.#tell(name, probed, result)
      record(result)
    } catch (error) {
      if (!signal.aborted) fail(error)
    }
  }

  /** Logs what came of a probe, unless the one before came to the same. */
  #tell(target: string, probed: Probed, result: ProbeResult): void {
    const { kind, startMs, atMs, tookMs, target: _, ...evidence } = result
    if (probed.told === kind) return
    probed.told = kind
    const { log } = this.#options
    const fields = { target, ...evidence, tookMs: Math.round(tookMs) }
    if (kind === 'answered') log.info(fields, phrases[kind])
    else log.warn(fields, phrases[kind])
  }

  async #end({ running, asker }: Probed): Promise<void> {
    if (running !== undefined) {
      running.withdrawal.abort()
      const waiting = new AbortController()
      await Promise.race([running.ended, this.#options.clock.sleep(stopWithinMs, waiting.signal)])
      waiting.abort()
    }
    await asker.close()
  }
}

const phrases = {
  answered: 'probe was answered',
  failed: 'probe was answered with an error',
  unanswered: 'probe was not answered',
  inconclusive: 'probe proves nothing',
} as const satisfies Record<ProbeResult['kind'], string>
