import type { Draft, Finding } from '../finding.ts'
import { rateOf } from '../signals/facts.ts'
import type { GpuFacts, HostFacts } from '../signals/gpu-facts.ts'
import type { TargetSnapshot } from '../snapshot.ts'
import {
  admissionStalled,
  apiServerBound,
  imbalance,
  longPrompts,
  overload,
  preemption,
} from './load.ts'
import { cardFillsUp, hostLeak, lostGpu, orphans, secondTenant } from './memory.ts'
import { evidence, figure, type ReadScene, readScene, type Scene } from './scene.ts'
import { gone, pausedAndWentOn, serves, silent, standstill } from './serving.ts'
import { acceptanceFalls, cacheMisses, throttled } from './speed.ts'

/** What a diagnosis looks at: the targets and the GPUs of one snapshot. */
export interface Patient {
  readonly atMs: number
  /** Where the daemon itself can be asked. */
  readonly ownUrl: string
  readonly targets: readonly TargetSnapshot[]
  readonly gpus: readonly GpuFacts[]
  readonly host: HostFacts
  /** Why no GPU is known of; absent where they are. */
  readonly gpusUnknown: string | undefined
  /** The targets that run on a lost GPU. */
  readonly targetsOnLost: (uuid: string) => ReadonlySet<string>
}

/** Look at a target whatever it does. */
const always: readonly ((scene: Scene) => Draft | undefined)[] = [
  standstill,
  gone,
  silent,
  pausedAndWentOn,
  orphans,
  cardFillsUp,
  secondTenant,
]

/** Look at a target that serves, for what slows it. */
const whileServing: readonly ((scene: ReadScene) => Draft | undefined)[] = [
  preemption,
  imbalance,
  apiServerBound,
  admissionStalled,
  longPrompts,
  overload,
  throttled,
  cacheMisses,
  acceptanceFalls,
]

/**
 * Returns what is the matter, the gravest and best explained first; for each target at least one finding,
 * which says that there is no clear bottleneck where there is none. A pure function of a snapshot.
 */
export function diagnose(patient: Patient): readonly Finding[] {
  const found = patient.targets.flatMap((target) => {
    const scene = sceneOf(patient, target)
    const drafts = draftsOf(scene)
    return (drafts.length === 0 ? [nothingFound(scene)] : drafts).map((draft) => ({
      subject: { target: target.name },
      ...draft,
      notChecked: [...(draft.notChecked ?? []), ...unchecked(scene)],
    }))
  })
  const lost = patient.gpus.flatMap((gpu) => {
    const names = patient.targetsOnLost(gpu.uuid)
    return (
      lostGpu(
        gpu,
        patient.targets.filter(({ name }) => names.has(name)),
      ) ?? []
    )
  })
  const leaks = hostLeak(patient.host) ?? []
  return [...lost, ...found].concat(leaks).toSorted((a, b) => b.weight - a.weight)
}

function sceneOf({ atMs, ownUrl, gpus, gpusUnknown }: Patient, target: TargetSnapshot): Scene {
  const { placement, facts } = target
  if (placement.kind === 'unknown') {
    return { target, facts, gpus: [], gpusUnknown: gpusUnknown ?? placement.why, atMs, ownUrl }
  }
  const own = gpus.filter(({ gpu }) => placement.gpus.has(gpu))
  return { target, facts, gpus: own, gpusUnknown, atMs, ownUrl }
}

function draftsOf(scene: Scene): readonly Draft[] {
  const drafts = always.flatMap((look) => look(scene) ?? [])
  const read = readScene(scene)
  if (read === undefined || !serves(read)) return drafts
  return [...drafts, ...whileServing.flatMap((look) => look(read) ?? [])]
}

function nothingFound(scene: Scene): Draft {
  const { target } = scene
  const read = readScene(scene)
  const perSecond = read === undefined ? undefined : rateOf(read.recent, 'requests_finished')
  return {
    pain: 'none',
    verdict:
      read === undefined
        ? `${target.name} is ${target.state}: too little is known of it for a diagnosis`
        : target.state === 'sleeping'
          ? `${target.name} sleeps, and serves again once it is woken up`
          : `no clear bottleneck: ${target.name} is ${target.state}${perSecond === undefined ? '' : `, ${figure(perSecond)} requests a second finished of late`}`,
    confidence: read === undefined ? 'suspected' : 'likely',
    evidence: evidence(scene, {
      requests_finished_per_second: perSecond,
      requests_running: scene.facts?.gauges.requests_running,
      requests_waiting: scene.facts?.gauges.requests_waiting,
      kv_cache_usage_ratio: scene.facts?.gauges.kv_cache_usage,
      ttft_p95_seconds: read?.recent.timings.ttft?.p95,
      itl_p95_seconds: read?.recent.timings.itl?.p95,
    }),
    ruledOut: [],
    next: `curl -s '${scene.ownUrl}/api/v1/status'   # every measurement, and why others are absent`,
    weight: 0,
  }
}

/** What this version of vLLM, or this host, does not let anybody see. */
function unchecked(scene: Scene): readonly string[] {
  const { facts, gpusUnknown, target } = scene
  const out: string[] = []
  if (gpusUnknown !== undefined) out.push(`GPUs: ${gpusUnknown}`)
  if (facts === undefined) return [...out, `${target.name} was never read`]
  if (facts.progress === undefined) {
    out.push('progress: the page tells no running and waiting requests')
  }
  if (facts.failures?.kind === 'unseen') out.push(`failures: ${facts.failures.why}`)
  const { gained = {}, timings = {} } = facts.recent ?? {}
  if (facts.showsEngine) {
    if (gained.engine_steps === undefined) out.push('steps of the engine: not on this page')
    if (gained.http_answers === undefined) {
      out.push('clients that hung up: no HTTP answers are counted')
    }
    if (facts.gauges.kv_cache_usage === undefined)
      out.push('KV cache: its usage is not on this page')
    if (gained.prefix_cache_queries === undefined) {
      out.push('prefix cache: its queries and hits are not on this page')
    }
    if (gained.preemptions === undefined) out.push('preemptions: not on this page')
    if (gained.server_cpu_seconds === undefined) {
      out.push('CPU of the API server: not told by several processes together')
    }
    if (facts.gauges.requests_deferred === undefined) {
      out.push('why requests wait: no num_requests_waiting_by_reason before 0.20')
    }
    if (facts.usual === undefined) out.push('what is usual: watched for too short a time')
    else if (timings.itl === undefined) out.push('the gap between tokens: none of late')
  }
  return out
}
