/**
 * What can be the matter, by the operators' complaints. The names are what a person reads; the numbers are
 * those of docs/verdicts.md.
 */
export const pains = {
  P1: 'the engine hangs behind a healthy /health',
  P2: 'gauges are stale after a mass abort',
  P3: 'a hang in the communication between GPUs',
  P4: 'the engine died',
  P5: 'GPU memory is held by processes that serve nobody',
  P6: 'long prompts block short ones',
  P7: 'the model is being loaded, or the load never ends',
  P8: 'a pause to compile',
  P9: 'the KV cache is full and requests are preempted',
  P10: 'overload: more requests come than go',
  P11: 'nobody is admitted though there is room',
  P12: 'the API server has no CPU left while the GPU waits',
  P14: 'host memory leaks',
  P15: 'GPU memory leaks',
  P16: 'a GPU is lost',
  P17: 'the GPU is throttled',
  P18: 'one data-parallel rank is behind the others',
  P19: 'the prefix cache no longer hits',
  P20: 'speculated tokens are no longer accepted',
  P22: 'vLLM tells no metrics',
} as const

export type Pain = keyof typeof pains

/** How sure a finding is: proven, more likely than all else, or one of several that fit. */
export type Confidence = 'certain' | 'likely' | 'suspected'

/** One number or word that speaks for a finding, and how old it is. */
export interface Evidence {
  readonly what: string
  readonly value: number | string
  readonly ageSeconds: number
}

/** A verdict of the diagnosis, with what it rests on and what it leaves open. */
export interface Finding {
  /** `none`: nothing was found that is the matter. */
  readonly pain: Pain | 'none'
  readonly subject: { readonly target?: string; readonly uuid?: string }
  /** What is the matter, with the numbers, for a person. */
  readonly verdict: string
  readonly confidence: Confidence
  readonly evidence: readonly Evidence[]
  /** What could not be looked at, and why. */
  readonly notChecked: readonly string[]
  /** What looks like it and is not it, and why. */
  readonly ruledOut: readonly { readonly pain: Pain; readonly why: string }[]
  /** The next command to run. */
  readonly next: string
  /** How much it explains, from 0 to 100: findings are ranked by it. */
  readonly weight: number
}

/** What a detector says of its pain. */
export type Draft = Omit<Finding, 'subject' | 'notChecked'> & {
  readonly subject?: Finding['subject']
  readonly notChecked?: readonly string[]
}
