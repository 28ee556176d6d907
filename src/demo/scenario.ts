import type { Incident } from './incident.ts'
import type { Label } from './label.ts'
import type { Traffic } from './traffic.ts'

/** What one engine (data-parallel rank) can do. */
export interface EngineSpeed {
  /** vLLM's `max_num_seqs`. */
  readonly slots: number
  readonly kvBlocks: number
  readonly blockTokens: number
  /** vLLM's `max_num_batched_tokens`: tokens computed in one step. */
  readonly tokenBudget: number
  /** vLLM's `max_model_len`. */
  readonly maxModelTokens: number
  /** A step takes `stepMs` and, beyond it, so much for each sequence and each prompt token in it. */
  readonly stepMs: number
  readonly sequenceMs: number
  readonly promptTokenMs: number
  /** Tokens guessed ahead for each sequence and step, and the share of them that is right. */
  readonly speculation?: { readonly draftTokens: number; readonly acceptanceRatio: number }
}

export interface Scenario {
  readonly name: string
  /** One line for a list of scenarios. */
  readonly summary: string
  /** What comes when, and what the daemon will say of it. */
  readonly incident: string
  readonly engines: number
  /** Tensor-parallel GPUs of each engine. */
  readonly gpusPerEngine: number
  /** At least those of the engines; more of them stand idle. */
  readonly gpus: number
  readonly traffic: Traffic
  readonly speed: EngineSpeed
  /** How long the server has existed at 0; absent when that is of no importance. */
  readonly ageMs?: number
  readonly incidents: readonly Incident[]
  readonly label: Label
}
