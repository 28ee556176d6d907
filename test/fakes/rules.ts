import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Attempt } from '../../src/reading.ts'
import { builtinRules } from '../../src/rules/builtin.ts'
import type { Loading } from '../../src/rules/loading.ts'
import type { Finding, Watched } from '../../src/rules/rule.ts'
import type { AlertName, Thresholds } from '../../src/rules/settings.ts'
import { type Assessment, assess, sourceStateOf } from '../../src/rules/state.ts'
import { remembered } from './signals.ts'

/** The defaults, with a floor for the throughput. */
export const thresholds: Thresholds = {
  e2eLatencyP99Seconds: 10,
  queueTimeP95Seconds: 5,
  ttftP99Seconds: 0,
  errorRatio: 0.01,
  gpuUtilizationRatio: 0.95,
  gpuMemoryRatio: 0.9,
  generationTokensPerSecondMin: 100,
}

/** What is watched when a rule is asked. */
export interface Scene {
  readonly engine?: readonly Attempt[]
  /** A second target. */
  readonly other?: readonly Attempt[]
  readonly gpu?: readonly Attempt[]
  /** Whether the configuration says that there are GPUs. */
  readonly gpuExpected?: boolean
  /** Unless given, five minutes. */
  readonly atMs?: number
  readonly thresholds?: Partial<Thresholds>
  readonly fresh?: boolean
  /** What the GPUs show of a load of the first target. */
  readonly loading?: Loading
}

/** What the built-in rule called `name` finds. */
export function judge(name: AlertName, scene: Scene): readonly Finding[] {
  const { engine, other, gpu, gpuExpected = true, fresh = true, atMs = 300_000 } = scene
  const rule = builtinRules.find((one) => one.name === name)
  assert.ok(rule !== undefined)
  const besides: typeof assess = (target, isFresh) =>
    assess(target, isFresh, { gpu: undefined, loading: scene.loading })
  const watch = (attempts: readonly Attempt[], of: typeof assess): Watched => {
    const target = remembered(attempts)
    const placement = { kind: 'unknown', why: 'nobody looked' } as const
    return { target, url: 'http://vllm:8000', fresh, placement, ...of(target, fresh) }
  }
  return rule.judge({
    atMs,
    targets: [engine, other].flatMap((one) => (one === undefined ? [] : [watch(one, besides)])),
    gpu: gpu === undefined ? undefined : watch(gpu, assessSource),
    gpuExpected,
    thresholds: { ...thresholds, ...scene.thresholds },
    windowMs: rule.windowMs,
  })
}

function assessSource(target: Watched['target'], fresh: boolean): Assessment {
  return { state: sourceStateOf(target, fresh), stall: undefined, loading: undefined }
}

/** A case in which the rule holds: what it says, and the numbers it says it with. */
export interface Firing {
  readonly fails: string
  readonly scene: Scene
  readonly summary: string
  readonly evidence: Readonly<Record<string, number | string>>
  readonly subject: Finding['subject']
}

/** A case in which it must not: what it finds instead. */
export type Quiet = readonly [string, Scene, ...Exclude<Finding['outcome'], 'fail'>[]]

/** A test for each case of the built-in rule called `name`. */
export function ruleTable(
  name: AlertName,
  firing: readonly Firing[],
  quiet: readonly Quiet[],
): void {
  describe(name, () => {
    for (const { fails, scene, ...said } of firing) {
      it(`holds ${fails}`, () => {
        assert.deepEqual(judge(name, scene), [{ outcome: 'fail', ...said }])
      })
    }
    for (const [claim, scene, ...outcomes] of quiet) {
      it(`does not hold ${claim}`, () => {
        assert.deepEqual(
          judge(name, scene).map(({ outcome }) => outcome),
          outcomes,
        )
      })
    }
  })
}
