import { type EvaluateInput, evaluate } from '../../src/evaluate.ts'
import type { Attempt, Labels } from '../../src/reading.ts'
import { builtinRules } from '../../src/rules/builtin.ts'
import type { Snapshot } from '../../src/snapshot.ts'
import { Windows } from '../../src/window/windows.ts'
import { counter, gauge, type MadeSeries, read, wallAtZeroMs } from './readings.ts'
import { thresholds } from './rules.ts'
import { only, signalSettings, type Written } from './signals.ts'

export const staleAfterMs = 15_000

/** A daemon without its edges: attempts in, snapshots out. */
export class Replay {
  readonly windows = new Windows({ keepMs: 300_000 })
  #input: Omit<EvaluateInput, 'windows' | 'atMs' | 'wallMs'>
  #snapshot: Snapshot | undefined

  constructor(changes: Partial<EvaluateInput> = {}) {
    this.#input = {
      targets: [{ name: 'vllm', staleAfterMs }],
      gpu: undefined,
      settings: signalSettings,
      thresholds,
      rules: builtinRules,
      ...changes,
    }
  }

  /** Goes on with a changed configuration. */
  with(changes: Partial<EvaluateInput>): this {
    this.#input = { ...this.#input, ...changes }
    return this
  }

  /** Records `attempts`, then evaluates at `atMs`. */
  at(atMs: number, ...attempts: readonly Attempt[]): Snapshot {
    for (const attempt of attempts) this.windows.record(attempt)
    const now = { windows: this.windows, atMs, wallMs: wallAtZeroMs + atMs }
    this.#snapshot = evaluate(this.#snapshot, { ...this.#input, ...now })
    return this.#snapshot
  }
}

export const gpu = { name: 'gpu', staleAfterMs: 30_000, quiet: false }

export function page(made = 0, waiting = 0): readonly MadeSeries[] {
  return [
    gauge('requests_running', 0),
    gauge('requests_waiting', waiting),
    gauge('kv_cache_usage', 0.5),
    counter('generation_tokens', made),
    counter('requests_finished', made, { reason: 'stop' }),
  ]
}

export function gpuRead(atMs: number, ...all: readonly MadeSeries[]): Attempt {
  return read(atMs, all, { target: 'gpu' })
}

export function card(labels: Labels = {}): readonly MadeSeries[] {
  return [gauge('gpu_lost', 0, labels), gauge('gpu_info', 1, { ...labels, name: 'H100' })]
}

export function firing({ alerts }: Snapshot): readonly string[] {
  return alerts.filter(({ state }) => state === 'firing').map(({ alert }) => alert)
}

/** The label values of a one-of-many family whose sample is 1. */
export function chosen(all: Written, name: string): readonly string[] {
  return Object.entries(only(all, name)).flatMap(([sample, value]) => (value === 1 ? [sample] : []))
}
