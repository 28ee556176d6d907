import assert from 'node:assert/strict'
import { it } from 'node:test'
import { diagnose } from '../../src/diagnosis/diagnose.ts'
import type { Confidence, Finding, Pain } from '../../src/finding.ts'
import type { InstrumentId } from '../../src/instruments.ts'
import type { Stall } from '../../src/rules/stall.ts'
import type { Stretch, TargetFacts, Timing } from '../../src/signals/facts.ts'
import type { GpuFacts, HostFacts } from '../../src/signals/gpu-facts.ts'
import type { GpuProcess } from '../../src/signals/gpu-processes.ts'
import type { Growth } from '../../src/signals/growth.ts'
import type { TargetSnapshot } from '../../src/snapshot.ts'
import type { EngineProgress } from '../../src/window/engine-progress.ts'
import { builtAtMs, targetOf } from './snapshots.ts'

export const gib = 2 ** 30

/** Where the daemon itself can be asked. */
export const ownUrl = 'http://127.0.0.1:19400'

/** One target and its surroundings, as far as they differ from those of a healthy server. */
export interface Given {
  readonly target?: Partial<TargetSnapshot>
  /** `unread`: the target was never read. */
  readonly facts?: Partial<TargetFacts> | 'unread'
  readonly gained?: Stretch['gained']
  readonly timings?: Stretch['timings']
  /** What the page of this version does not have. */
  readonly lacks?: readonly InstrumentId[]
  readonly usual?: Stretch | 'unknown'
  /** Unless given, one that has worked within the last second. */
  readonly engines?: readonly Partial<EngineProgress>[]
  /** Unless given, one that works. */
  readonly gpus?: readonly Partial<GpuFacts>[]
  readonly gpusUnknown?: string
  readonly host?: Partial<HostFacts>
  /** The targets that run on lost GPUs. */
  readonly onLost?: readonly string[]
}

export function timing(count: number, mean: number, p95: number): Timing {
  return { count, mean, p95 }
}

/** A request a second, of 300 prompt tokens and 100 tokens in 1.91 s, for `seconds`. */
export function quietStretch(seconds: number): Stretch {
  return {
    coveredMs: 1_000 * seconds,
    gained: {
      requests_finished: seconds,
      generation_tokens: 100 * seconds,
      prompt_tokens: 300 * seconds,
      preemptions: 0,
      prefix_cache_queries: 300 * seconds,
      prefix_cache_hits: 150 * seconds,
      engine_steps: 50 * seconds,
      server_cpu_seconds: 0.1 * seconds,
      http_answers: seconds,
    },
    timings: {
      e2e_latency: timing(seconds, 2, 4),
      ttft: timing(seconds, 0.25, 0.4),
      itl: timing(99 * seconds, 0.02, 0.03),
      queue_time: timing(seconds, 0.01, 0.05),
      prefill_time: timing(seconds, 0.2, 0.3),
      decode_time: timing(seconds, 1.7, 3),
    },
  }
}

/** An engine that worked at the last reading, with two requests inside. */
export function engineOf(given: Partial<EngineProgress> = {}): EngineProgress {
  return {
    model: 'llama',
    rank: '0',
    running: 2,
    waiting: 0,
    deferred: undefined,
    kvCacheUsageRatio: 0.3,
    workedMs: builtAtMs - 1_000,
    sinceMs: 0,
    stillMs: 0,
    provenMs: undefined,
    shownSinceMs: undefined,
    hungUp: 0,
    finishedSince: 0,
    pause: undefined,
    oldestWait: undefined,
    ...given,
  }
}

/** A standstill that is certain and long: five requests, for 40 s. */
export function stallOf(given: Partial<Stall> = {}): Stall {
  return {
    kind: 'pending',
    certainty: 'certain',
    stillMs: 40_000,
    notServing: true,
    summary: 'no progress for 40 s with 5 running and 0 waiting requests',
    evidence: { seconds_without_progress: 40 },
    wantsProbe: false,
    ...given,
  }
}

/** The target that stands still. */
export function stalled(given: Partial<Stall> = {}): Partial<TargetSnapshot> {
  const stall = stallOf(given)
  return { stall, state: stall.notServing ? 'stalled' : 'serving' }
}

/** A target to which the connection is refused. */
export const refused: Partial<TargetSnapshot> = {
  state: 'down',
  up: false,
  health: { kind: 'unanswered', code: 'refused', tookMs: 1 },
  lastFailure: { code: 'refused', message: 'nobody there' },
}

export function gpuOf(given: Partial<GpuFacts> = {}): GpuFacts {
  return {
    gpu: '0',
    uuid: 'GPU-a',
    lost: false,
    recoveryAction: undefined,
    utilizationRatio: 0.7,
    powerWatts: 400,
    smClockHertz: 1.98e9,
    throttledBy: [],
    memoryUsedBytes: 75 * gib,
    memoryTotalBytes: 80 * gib,
    processes: [processOf()],
    growth: undefined,
    ...given,
  }
}

export function processOf(given: Partial<GpuProcess> = {}): GpuProcess {
  const { pid = '10', process = 'VLLM::EngineCore' } = given
  return {
    gpu: '0',
    uuid: 'GPU-a',
    pid,
    process,
    usedBytes: 60 * gib,
    firstMs: 0,
    fromStart: true,
    history: {
      instrument: 'gpu_process_memory_used',
      labels: { pid, process },
      firstMs: 0,
      fromStart: true,
      lastMs: 0,
      goneMs: undefined,
      times: [],
      values: [],
      settled: undefined,
    },
    owner: { kind: 'engine' },
    ...given,
  }
}

/** Growth by a GiB an hour for two hours, for certain. */
export function growthOf(given: Partial<Growth> = {}): Growth {
  return {
    slope: gib / 3_600,
    low: (0.9 * gib) / 3_600,
    high: (1.1 * gib) / 3_600,
    sinceMs: 0,
    coveredMs: 7_200_000,
    grown: 2 * gib,
    course: 'growing',
    ...given,
  }
}

function factsOf(given: Given): TargetFacts | undefined {
  if (given.facts === 'unread') return undefined
  const recent = quietStretch(120)
  const { gained, timings, usual = quietStretch(900), engines = [{}], lacks = [] } = given
  const all = engines.map((engine) => engineOf(engine))
  const nobody = { count: 0, certain: true }
  return {
    readMs: builtAtMs - 1_200,
    recent: {
      ...recent,
      gained: without({ ...recent.gained, ...gained }, lacks),
      timings: without({ ...recent.timings, ...timings }, lacks),
    },
    usual: usual === 'unknown' ? undefined : usual,
    progress: {
      engines: all,
      workedMs: builtAtMs - 1_200,
      firstWorkedMs: 0,
      sinceMs: 0,
      fromBirth: false,
      idleAnswers: { count: 0, served: 0, firstMs: undefined, lastMs: undefined },
      finishedPerSecond: 1,
      waitingFor: () => nobody,
      insideFor: () => nobody,
    },
    gauges: without(
      {
        requests_running: all.reduce((total, { running }) => total + running, 0),
        requests_waiting: all.reduce((total, { waiting }) => total + waiting, 0),
        requests_deferred: 0,
        kv_cache_usage: 0.3,
      },
      lacks,
    ),
    highs: without({ kv_cache_usage: 0.3, requests_running: 4 }, lacks),
    health: { kind: 'answered', status: 200, tookMs: 3 },
    scrapeTookMs: 20,
    probe: undefined,
    processStartSeconds: undefined,
    young: false,
    failures: { kind: 'seen', ended: 120, certain: 0, possible: 0 },
    showsEngine: true,
    ...given.facts,
  }
}

function without<T extends object>(all: T, names: readonly string[]): Partial<T> {
  const kept = Object.entries(all).filter(([name]) => !names.includes(name))
  return Object.fromEntries(kept) as Partial<T>
}

/** What the diagnosis says of a scene. */
export function diagnosed(given: Given): readonly Finding[] {
  const target = targetOf({
    placement: { kind: 'known', gpus: new Set(['0', '1', '2', '3']) },
    health: { kind: 'answered', status: 200, tookMs: 3 },
    ...given.target,
    facts: factsOf(given),
  })
  return diagnose({
    atMs: builtAtMs,
    ownUrl,
    targets: [target],
    gpus: (given.gpus ?? [{}]).map((gpu) => gpuOf(gpu)),
    host: {
      totalBytes: 512 * gib,
      availableBytes: 200 * gib,
      growths: [],
      showsProcesses: true,
      ...given.host,
    },
    gpusUnknown: given.gpusUnknown,
    targetsOnLost: () => new Set(given.onLost ?? []),
  })
}

/** What is found first, or the finding of a pain. */
export function findingOf(given: Given, pain?: Pain | 'none'): Finding {
  const all = diagnosed(given)
  const found = pain === undefined ? all[0] : all.find((one) => one.pain === pain)
  assert.ok(found !== undefined, `expected ${pain}, found ${all.map((one) => one.pain)}`)
  return found
}

/** A scene in which a pain is found first: what is said of it. */
export interface Holds {
  readonly holds: string
  readonly scene: Given
  readonly verdict: string
  readonly confidence: Confidence
  /** Some of the evidence. */
  readonly evidence: Readonly<Record<string, number | string>>
  /** How the next command begins. */
  readonly next: string
  /** What is ruled out. */
  readonly ruledOut?: readonly Pain[]
}

/** A scene that looks like the pain and is none of it, and what is found first in its place. */
export type Exonerated = readonly [claim: string, scene: Given, instead: Pain | 'none']

/** A test for each scene of a pain. */
export function painTable(
  pain: Pain,
  holding: readonly Holds[],
  exonerated: readonly Exonerated[],
): void {
  for (const { holds, scene, evidence, next, ruledOut, ...said } of holding) {
    it(`${pain} holds ${holds}`, () => {
      const found = findingOf(scene)
      const { verdict, confidence } = found
      assert.deepEqual({ pain: found.pain, verdict, confidence }, { pain, ...said })
      const told = new Map(found.evidence.map(({ what, value }) => [what, value]))
      const asked = Object.keys(evidence).map((what) => [what, told.get(what)])
      assert.deepEqual(Object.fromEntries(asked), evidence)
      assert.ok(found.next.startsWith(next), `expected ${next}, found ${found.next}`)
      if (ruledOut !== undefined) {
        assert.deepEqual(
          found.ruledOut.map((one) => one.pain),
          ruledOut,
        )
      }
    })
  }
  for (const [claim, scene, instead] of exonerated) {
    it(`${pain} does not hold ${claim}`, () => {
      const all = diagnosed(scene)
      assert.ok(
        all.every((one) => one.pain !== pain),
        `expected no ${pain}, found ${all.map(({ verdict }) => verdict)}`,
      )
      assert.equal(all[0]?.pain, instead)
    })
  }
}
