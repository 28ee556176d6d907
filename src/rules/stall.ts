import type { GpuWork } from '../signals/gpu-work.ts'
import type { EngineProgress } from '../window/engine-progress.ts'
import type { TargetProgress } from '../window/progress.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import { isYoung } from './youth.ts'

/** Without progress for so long, work that is pending makes `VllmEngineStalled` pending; contract, section 4. */
const pendingAfterMs = 10_000
/** And for so long, the state is `stalled`. */
const stalledAfterMs = 25_000
/** The same while a young process may still compile: pauses of up to a minute are part of a start. */
const youngPendingAfterMs = 60_000
const youngStalledAfterMs = 90_000

/**
 * A GPU that works as hard as ever computes something. No step of it takes longer than this, but one that
 * prefills a whole prompt at once can take half a minute.
 */
const workingStalledAfterMs = 45_000

/** Answers without any work, after which somebody must have asked. */
const enoughIdleAnswers = 2
/**
 * A working engine whose gauges are merely stale would have worked for those who asked since. So many answers
 * without a token prove that it does not: on GPUs that compute nothing, and where nothing is known of them.
 */
const proofOverIdleGpu = 5
const proofWithoutGpu = 20
const proofSpreadMs = 10_000
/** An engine that had no share of so many finishes of each of its peers does not take part. */
const enoughOfPeers = 20
/**
 * A server that finished so many requests for each stretch as long as the silence is not quiet by chance:
 * e⁻²⁰ for arrivals at random, and still rare for those that come in bursts.
 */
const enoughMissed = 20
const shortestSilenceMs = 30_000
/** After so long a silence nobody asks any more. */
const longestSilenceMs = 600_000
/** Where nobody asks any more, a hang is taken for over: it may be, and whoever asks will see. */
const forgetMs = 600_000
/** A GPU that is busy for so long without a request at hand. */
const busyWithoutWorkMs = 30_000

/** On what a stall rests. */
export type StallKind =
  /** Requests are inside, and nothing of them moves in any engine. */
  | 'pending'
  /** The same in some engines while others work. */
  | 'rank'
  /** Gauges show requests, but their clients may all have gone. */
  | 'stale-gauges'
  /** No request is shown, yet something says that there are some. */
  | 'hidden'

/** Work is pending, or seems to be, and nothing progresses. */
export interface Stall {
  readonly kind: StallKind
  readonly certainty: 'certain' | 'suspected'
  /** How long nothing has progressed, milliseconds, as of the last reading. */
  readonly stillMs: number
  /** So certain and so long that the engine does not serve. */
  readonly notServing: boolean
  /** What speaks for it, for a person. */
  readonly summary: string
  readonly evidence: Readonly<Record<string, number | string>>
  /** A probe would decide, or has decided and has to decide again. */
  readonly wantsProbe: boolean
}

/** Finds out whether work is pending and nothing progresses; nothing where it does, or where none is known of. */
export function findStall(target: TargetWindows, gpu: GpuWork | undefined): Stall | undefined {
  const { progress, lastRead } = target
  if (progress === undefined || lastRead === undefined) return undefined
  const nowMs = lastRead.atMs
  // No compilation spins.
  const young = isYoung(target) && gpu?.kind !== 'spinning'
  const scene: Scene = {
    target,
    progress,
    gpu,
    quietMs: nowMs - (progress.workedMs ?? progress.sinceMs),
    nowMs,
    pendingMs: young ? youngPendingAfterMs : pendingAfterMs,
    stalledMs: young ? youngStalledAfterMs : stalledAfterMs,
  }
  const found = provenStall(scene) ?? seemingStall(scene) ?? hiddenStall(scene)
  return found === undefined ? undefined : decidedByProbe(found, scene)
}

interface Scene {
  readonly target: TargetWindows
  readonly progress: TargetProgress
  readonly gpu: GpuWork | undefined
  /** How long no engine has worked. */
  readonly quietMs: number
  readonly nowMs: number
  readonly pendingMs: number
  readonly stalledMs: number
}

function provenStall(scene: Scene): Stall | undefined {
  const { progress, pendingMs, stalledMs, quietMs, nowMs, gpu } = scene
  const stuck = progress.engines.filter((engine) => isStuck(engine, scene))
  const isProven = stuck.length > 0
  const behind = isProven ? stuck : leftBehind(scene)
  if (behind.length === 0) return undefined
  const stillMs = Math.max(
    ...behind.map((engine) => (isProven ? engine.stillMs : shownFor(engine, nowMs))),
  )
  const shownMs = Math.max(stillMs, ...behind.map((engine) => shownFor(engine, nowMs)))
  // Others work on: what is stuck is not the server but some of its engines.
  if (quietMs < pendingMs) {
    const names = namesOf(behind, progress.engines)
    return {
      kind: 'rank',
      certainty: 'certain',
      stillMs,
      notServing: false,
      summary: `engine ${names} of ${progress.engines.length} has made no progress for ${whole(shownMs)} with ${pendingText(behind)}, while others work`,
      evidence: { ...evidenceOf(behind, shownMs), engines: names },
      wantsProbe: false,
    }
  }
  const working = gpu?.kind === 'working' && stillMs < workingStalledAfterMs
  return {
    kind: 'pending',
    certainty: working ? 'suspected' : 'certain',
    stillMs,
    notServing: !working && stillMs >= stalledMs,
    // What is proven ends with the clients' patience; that nothing moves does not.
    summary: `no progress for ${whole(shownMs)} with ${pendingText(behind)}${gpuText(gpu)}`,
    evidence: {
      ...evidenceOf(behind, shownMs),
      seconds_proven: stillMs / 1_000,
      ...gpuEvidence(gpu),
    },
    wantsProbe: working,
  }
}

/**
 * Whether a request is proven to have stood still in an engine: now, or of late and for so long that its
 * clients have given up since.
 */
function isStuck(engine: EngineProgress, { pendingMs, stalledMs, nowMs }: Scene) {
  const { stillMs, provenMs } = engine
  if (isDeferring(engine)) return false
  if (provenMs === undefined || stillMs < pendingMs) return false
  return provenMs === nowMs || (stillMs >= stalledMs && nowMs - provenMs <= forgetMs)
}

function namesOf(some: readonly EngineProgress[], all: readonly EngineProgress[]): string {
  const isOneModel = new Set(all.map(({ model }) => model)).size === 1
  return some.map(({ model, rank }) => (isOneModel ? rank : `${model} ${rank}`.trim())).join(', ')
}

/**
 * Whether all that an engine has waits for something else: a grammar, an adapter's place, keys and values from
 * elsewhere. It may work as soon as another request comes.
 */
function isDeferring({ running, waiting, deferred }: EngineProgress): boolean {
  return running === 0 && waiting > 0 && deferred !== undefined && deferred >= waiting
}

/** Engines that show requests and no work while each of the others has finished many. */
function leftBehind({ progress: { engines }, pendingMs, nowMs }: Scene): readonly EngineProgress[] {
  // Engines of different models are no peers: nobody may ask for one of them.
  const models = new Set(engines.map(({ model }) => model))
  if (engines.length < 2 || models.size > 1) return []
  return engines.filter(
    (engine) =>
      shownFor(engine, nowMs) >= pendingMs &&
      engine.finishedSince >= enoughOfPeers * (engines.length - 1),
  )
}

/** How long requests are shown without any sign of work. */
function shownFor({ shownSinceMs }: EngineProgress, nowMs: number): number {
  return shownSinceMs === undefined ? 0 : nowMs - shownSinceMs
}

function seemingStall(scene: Scene): Stall | undefined {
  const { progress, pendingMs, stalledMs, quietMs, nowMs, gpu } = scene
  if (quietMs < pendingMs) return undefined
  const shown = progress.engines.filter((engine) => shownFor(engine, nowMs) >= pendingMs)
  if (shown.length === 0) return undefined
  const stillMs = Math.max(...shown.map((engine) => shownFor(engine, nowMs)))
  // Stale gauges stand over an idle GPU. One that spins is held by the engine's own hang.
  const spinning = gpu?.kind === 'spinning' && gpu.busyForMs >= busyWithoutWorkMs
  const asked = askedInVain(scene)
  const certain = spinning || asked !== undefined
  const doubt = shown.every(isDeferring)
    ? ', all of them deferred'
    : ', whose clients may have gone'
  return {
    kind: certain ? 'pending' : 'stale-gauges',
    certainty: certain ? 'certain' : 'suspected',
    stillMs,
    notServing: certain && stillMs >= stalledMs,
    summary: `no progress for ${whole(stillMs)} with ${pendingText(shown)} shown${certain ? '' : doubt}${gpuText(gpu)}${asked ?? ''}`,
    evidence: {
      ...evidenceOf(shown, stillMs),
      answers_without_progress: progress.idleAnswers.count,
      ...gpuEvidence(gpu),
    },
    wantsProbe: !certain,
  }
}

/** That so many asked and got no token that the engine cannot be at work; nothing where that is not proven. */
function askedInVain({ progress: { idleAnswers }, gpu }: Scene): string | undefined {
  const { served, firstMs = 0, lastMs = 0 } = idleAnswers
  // A GPU that works may compute prompts whose clients never wait for the first token.
  const isBusy = gpu?.kind === 'working' || gpu?.kind === 'unclear'
  const enough = gpu === undefined || isBusy ? proofWithoutGpu : proofOverIdleGpu
  if (served < enough || lastMs - firstMs < proofSpreadMs) return undefined
  return `, while ${served} requests ended without a token`
}

function hiddenStall(scene: Scene): Stall | undefined {
  const { progress, quietMs, pendingMs, stalledMs, gpu } = scene
  if (quietMs < pendingMs) return undefined
  const why = signsOfHiddenWork(scene)
  if (why.length === 0) return undefined
  const certain = askedInVain(scene) !== undefined
  return {
    kind: 'hidden',
    certainty: certain ? 'certain' : 'suspected',
    stillMs: quietMs,
    notServing: certain && quietMs >= stalledMs,
    summary: `no progress for ${whole(quietMs)}, no request is shown, and yet ${why.join('; ')}`,
    evidence: {
      seconds_without_progress: quietMs / 1_000,
      answers_without_progress: progress.idleAnswers.count,
      finished_per_second_before: progress.finishedPerSecond,
      ...gpuEvidence(gpu),
    },
    wantsProbe: !certain,
  }
}

function signsOfHiddenWork({ target, progress, quietMs, gpu }: Scene): readonly string[] {
  const why: string[] = []
  const { count } = progress.idleAnswers
  if (count >= enoughIdleAnswers) why.push(`${count} requests ended without a token`)
  if (gpu?.kind === 'spinning' && gpu.busyForMs >= busyWithoutWorkMs) {
    why.push(`the GPU is ${Math.round(100 * gpu.utilizationRatio)} % busy`)
  }
  const missed = (progress.finishedPerSecond * quietMs) / 1_000
  const isSilent = quietMs >= shortestSilenceMs && quietMs <= longestSilenceMs
  if (isSilent && missed >= enoughMissed && !answeredLately(target, progress)) {
    why.push(`some ${Math.round(missed)} requests would have finished at the rate before`)
  }
  return why
}

/** Whether the last work that was seen is that of a probe: then the silence is nobody's asking. */
function answeredLately({ probe }: TargetWindows, { workedMs }: TargetProgress): boolean {
  return probe?.kind === 'answered' && (workedMs === undefined || probe.startMs <= workedMs)
}

function decidedByProbe(stall: Stall, { target, progress, stalledMs }: Scene): Stall | undefined {
  const { probe } = target
  const quietSinceMs = progress.workedMs ?? progress.sinceMs
  if (stall.certainty === 'certain' || probe === undefined || probe.startMs < quietSinceMs) {
    return stall
  }
  switch (probe.kind) {
    case 'answered':
      // The engine works; its counters will say so with the next reading.
      return undefined
    case 'inconclusive':
      return stall
    case 'failed':
    case 'unanswered': {
      // Where nobody answers at all, the scrapes say so themselves.
      if (probe.kind === 'unanswered' && probe.code !== 'timeout') return stall
      const how =
        probe.kind === 'failed'
          ? `a probe was answered with ${probe.status}`
          : `a probe got no token in ${whole(probe.tookMs)}`
      return {
        ...stall,
        certainty: 'certain',
        notServing: stall.stillMs >= stalledMs,
        summary: `${stall.summary}; ${how}`,
        evidence: { ...stall.evidence, probe: probe.kind, probe_seconds: probe.tookMs / 1_000 },
      }
    }
  }
}

function pendingText(engines: readonly EngineProgress[]): string {
  const { running, waiting } = requestsIn(engines)
  return `${running} running and ${waiting} waiting requests`
}

function evidenceOf(engines: readonly EngineProgress[], stillMs: number) {
  const { running, waiting } = requestsIn(engines)
  return {
    seconds_without_progress: stillMs / 1_000,
    requests_running: running,
    requests_waiting: waiting,
  }
}

function requestsIn(engines: readonly EngineProgress[]) {
  return {
    running: engines.reduce((total, one) => total + one.running, 0),
    waiting: engines.reduce((total, one) => total + one.waiting, 0),
  }
}

function gpuEvidence(gpu: GpuWork | undefined): Readonly<Record<string, number | string>> {
  if (gpu === undefined) return {}
  return {
    gpu_utilization_ratio: gpu.utilizationRatio,
    ...(gpu.powerShare === undefined ? {} : { gpu_power_share_of_busy: gpu.powerShare }),
  }
}

function gpuText(gpu: GpuWork | undefined): string {
  if (gpu === undefined || gpu.kind === 'unclear') return ''
  const busy = `${Math.round(100 * gpu.utilizationRatio)} % busy`
  const power =
    gpu.powerShare === undefined
      ? ''
      : ` at ${Math.round(100 * gpu.powerShare)} % of its usual power`
  return gpu.kind === 'idle' ? ', its GPUs idle' : `, its GPUs ${busy}${power}`
}

function whole(ms: number): string {
  return `${Math.round(ms / 1_000)} s`
}
