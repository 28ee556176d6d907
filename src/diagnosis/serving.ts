import type { Draft } from '../finding.ts'
import { duration, evidence, inSeconds, type ReadScene, readScene, type Scene } from './scene.ts'

/** Up to here a standstill may be a pause: a shape that is new is compiled for that long. */
const shortMs = 25_000

const look = ({ ownUrl, target }: Scene) => `curl -s '${ownUrl}/health?target=${target.name}'`

/** P1, P2, P3, P8: work is pending and nothing moves. */
export function standstill(scene: Scene): Draft | undefined {
  const { stall, state } = scene.target
  if (stall === undefined) return undefined
  const found = evidence(scene, stall.evidence)
  const spins = scene.gpus.filter(({ utilizationRatio = 0 }) => utilizationRatio >= 0.9)
  if (stall.kind === 'stale-gauges' && clientsAreGone(scene)) return staleGauges(scene)
  // What has not lasted yet may be a pause: a new shape is compiled for up to a minute.
  if (
    !stall.notServing &&
    stall.kind !== 'rank' &&
    stall.stillMs < shortMs &&
    !seemsToSpin(scene)
  ) {
    return {
      pain: 'P8',
      confidence: 'suspected',
      verdict: `${stall.summary}: a pause to compile, or the beginning of a hang`,
      evidence: found,
      ruledOut: showsKvCache(scene.facts) ? [noPrompt] : [],
      next: look(scene),
      weight: 70,
    }
  }
  const isSpinning =
    spins.length > 1 && stall.kind !== 'hidden' && spins.length === scene.gpus.length
  return {
    pain: isSpinning ? 'P3' : 'P1',
    verdict: stall.summary,
    evidence: found,
    confidence:
      stall.certainty === 'suspected'
        ? 'suspected'
        : state === 'stalled' || stall.kind === 'rank'
          ? 'certain'
          : 'likely',
    ruledOut: ruledOutOf(scene),
    next: stall.certainty === 'suspected' ? probeCommand(scene) : stacksCommand(scene),
    weight: stall.certainty === 'suspected' ? 50 : 98,
  }
}

const noPrompt = {
  pain: 'P6',
  why: 'the KV cache does not fill: no prompt is being computed',
} as const

/** vLLM names its processes, and of several ranks each by its number. */
function stacksCommand({ target }: Scene): string {
  const { stall, name } = target
  const ranks = String(stall?.evidence['engines'] ?? '').split(', ')
  const isRank = stall?.kind === 'rank' && ranks.every((rank) => /^\d+$/.test(rank))
  const which = isRank ? `VLLM::EngineCore_DP(${ranks.join('|')})` : 'VLLM::(EngineCore|Worker)'
  return `py-spy dump --pid $(pgrep -f '${which}' | head -1)   # where it hangs; then restart ${name}`
}

function ruledOutOf({ target, facts }: Scene): Draft['ruledOut'] {
  const out: { pain: 'P2' | 'P6' | 'P7' | 'P8'; why: string }[] = []
  if (target.stall?.kind === 'pending' && target.stall.certainty === 'certain') {
    out.push({ pain: 'P2', why: 'more requests are inside than clients can have hung up' })
    if (showsKvCache(facts)) out.push(noPrompt)
  }
  if (facts?.young === false && target.stall?.notServing === true) {
    out.push({ pain: 'P8', why: 'the process is past its first minutes, and a pause is shorter' })
  }
  out.push({ pain: 'P7', why: 'the server answers: its model is loaded' })
  return out
}

/** Whether the GPUs are fully utilized at a power at which they compute nothing: no compilation looks so. */
function seemsToSpin({ target }: Scene): boolean {
  const { gpu_utilization_ratio: busy, gpu_power_share_of_busy: share } =
    target.stall?.evidence ?? {}
  return typeof busy === 'number' && typeof share === 'number' && busy >= 0.9 && share < 0.7
}

function showsKvCache(facts: Scene['facts']): boolean {
  return (
    facts?.progress?.engines.some(({ kvCacheUsageRatio }) => kvCacheUsageRatio !== undefined) ===
    true
  )
}

/** Whether as many clients seem to have hung up as requests are shown. */
function clientsAreGone({ facts }: Scene): boolean {
  const engines = facts?.progress?.engines ?? []
  const shown = engines.reduce((total, { running, waiting }) => total + running + waiting, 0)
  return engines.some(({ hungUp }) => hungUp !== undefined && hungUp >= shown)
}

function staleGauges(scene: Scene): Draft {
  const { stall } = scene.target
  return {
    pain: 'P2',
    verdict: `stale gauges, or a hang: ${stall?.summary ?? ''}; as many HTTP answers ended as requests are shown`,
    confidence: 'suspected',
    evidence: evidence(scene, {
      ...stall?.evidence,
      clients_hung_up: Math.max(
        0,
        ...(scene.facts?.progress?.engines ?? []).map(({ hungUp }) => hungUp ?? 0),
      ),
    }),
    ruledOut: [{ pain: 'P10', why: 'nothing finishes' }],
    next: probeCommand(scene),
    weight: 50,
  }
}

function probeCommand({ target }: Scene): string {
  const model = target.models[0] ?? 'MODEL'
  // The name comes from the page, and the command is made to be run.
  const body = JSON.stringify({ model, prompt: 'ping', max_tokens: 1 }).replaceAll("'", "'\\''")
  return `curl -m 30 ${target.url}/v1/completions -H 'content-type: application/json' -d '${body}'   # or set probe.enabled: true`
}

/** P8, once it is over: a pause with requests inside that ended by itself. */
export function pausedAndWentOn(scene: Scene): Draft | undefined {
  const read = readScene(scene)
  if (read === undefined) return undefined
  const pauses = (read.facts.progress?.engines ?? []).flatMap(({ pause }) =>
    pause === undefined ? [] : [pause],
  )
  const [last] = pauses.sort((a, b) => b.endedMs - a.endedMs)
  if (last === undefined || scene.atMs - last.endedMs > 600_000) return undefined
  const agoMs = scene.atMs - last.endedMs
  const isPause = last.ms < 70_000
  return {
    pain: isPause ? 'P8' : 'P1',
    verdict: `nothing moved for ${duration(last.ms)} with requests inside, and ${duration(agoMs)} ago it went on by itself${isPause ? ': as when a new shape is compiled' : ''}`,
    confidence: isPause ? 'likely' : 'suspected',
    evidence: evidence(scene, { pause_seconds: last.ms / 1_000, ended_seconds_ago: agoMs / 1_000 }),
    ruledOut: [
      {
        pain: isPause ? 'P1' : 'P8',
        why: isPause ? 'it went on by itself' : 'no compilation takes so long',
      },
    ],
    next: `journalctl -u vllm --since '-15 min' | grep -iE 'compil|capture|shm_broadcast|error'`,
    weight: 35,
  }
}

/** P4, P7: nobody answers, or only to say that the engine is dead; and why that may be right. */
export function gone(scene: Scene): Draft | undefined {
  const { target, facts } = scene
  if (target.state === 'loading') return loads(scene)
  const sick = target.health?.kind === 'answered' && target.health.status >= 500
  const code = target.lastFailure?.code
  const failing = (target.lastFailure?.status ?? 0) >= 500 && target.health?.kind !== 'answered'
  const refused = code === 'refused' || code === 'reset' || code === 'resolve' || failing
  if (target.state !== 'down' || !(sick || refused)) return undefined
  const engines = scene.gpus.filter(({ processes }) =>
    processes?.some(({ owner }) => owner.kind === 'engine'),
  )
  return {
    pain: 'P4',
    verdict: sick
      ? `the server answers /health with ${target.health?.kind === 'answered' ? target.health.status : 503}: its engine is dead`
      : `nobody answers: ${target.lastFailure?.message ?? ''}`,
    confidence: sick || facts !== undefined ? 'certain' : 'likely',
    evidence: evidence(scene, {
      code: code ?? 'health',
      last_good_scrape_seconds_ago:
        target.lastSuccessMs === undefined ? 'never' : (scene.atMs - target.lastSuccessMs) / 1_000,
      gpus_with_its_processes: scene.gpusUnknown === undefined ? engines.length : undefined,
    }),
    ruledOut:
      scene.gpusUnknown === undefined
        ? [{ pain: 'P7', why: 'no model is on its way onto the GPUs' }]
        : [],
    next: `journalctl -u vllm -n 100   # the last words; or: kubectl logs --previous POD`,
    weight: 92,
  }
}

function loads(scene: Scene): Draft {
  const { loading } = scene.target
  return {
    pain: 'P7',
    verdict: loading?.summary ?? 'the model is being loaded',
    confidence: 'likely',
    evidence: evidence(scene, loading?.evidence ?? {}),
    ruledOut: [{ pain: 'P4', why: 'its process is on the GPU and has begun to take memory' }],
    next: `journalctl -u vllm -f   # until it listens; then ${look(scene)}`,
    weight: 60,
  }
}

/** P22: the server answers and tells nothing of its engine. */
export function silent(scene: Scene): Draft | undefined {
  const { target, facts } = scene
  const status = target.lastFailure?.code
  const alive = target.health?.kind === 'answered' && target.health.status < 500
  const unreadable = target.up === false && alive && status !== undefined
  const empty = target.up === true && facts?.showsEngine === false
  if (!unreadable && !empty) return undefined
  const answered = target.health?.kind === 'answered' ? target.health : undefined
  if (status === 'timeout') return tooBusy(scene)
  return {
    pain: 'P22',
    verdict: empty
      ? 'the page of /metrics holds nothing of vLLM, so that nothing can be known of its engine'
      : `/metrics cannot be read (${target.lastFailure?.message ?? ''}), while /health answers ${answered?.status}`,
    confidence: 'certain',
    evidence: evidence(scene, {
      code: status ?? 'no engine families',
      health_status: answered?.status,
    }),
    ruledOut: alive
      ? [{ pain: 'P4', why: `/health answers in ${inSeconds((answered?.tookMs ?? 0) / 1_000)}` }]
      : [],
    next: empty
      ? `curl -s ${scene.target.url}/metrics | grep -c ^vllm:   # 0: started with --disable-log-stats, or PROMETHEUS_MULTIPROC_DIR is wrong`
      : `curl -si ${scene.target.url}/metrics | head -20`,
    weight: 85,
  }
}

/** P12, where the server is so late that nothing of it can be read. */
function tooBusy(scene: Scene): Draft {
  const { lastFailure, health } = scene.target
  const seconds = (health?.tookMs ?? 0) / 1_000
  return {
    pain: 'P12',
    verdict: `the API server takes connections and is late: ${lastFailure?.message ?? ''}, while /health took ${inSeconds(seconds)}`,
    confidence: 'likely',
    evidence: evidence(scene, { code: 'timeout', health_seconds: seconds }),
    ruledOut: [{ pain: 'P4', why: 'it answers /health' }],
    next: `py-spy top --pid $(pgrep -f 'vllm serve' | head -1)   # then --api-server-count 2 or more, or a longer scrape.timeout`,
    weight: 76,
  }
}

/** Whether the target serves as far as is known, so that what follows can be a matter of load. */
export function serves(scene: ReadScene): boolean {
  return scene.target.state !== 'stalled' && scene.target.stall?.certainty !== 'certain'
}
