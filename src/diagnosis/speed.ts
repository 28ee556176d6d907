import type { Draft } from '../finding.ts'
import { shareOf } from '../signals/facts.ts'
import { evidence, figure, type ReadScene, times } from './scene.ts'

/** Reasons for lower clocks that a card gives when it protects itself. */
const harmful: readonly string[] = [
  'hw_slowdown',
  'hw_thermal_slowdown',
  'hw_power_brake_slowdown',
  'sw_thermal_slowdown',
]

/** P17: the card lowers its clocks, and tokens come more slowly from the same batch. */
export function throttled(scene: ReadScene): Draft | undefined {
  const { recent, usual, gpus } = scene
  const slowed = gpus.filter(({ throttledBy }) => throttledBy.some((one) => harmful.includes(one)))
  const capped = gpus.filter(({ throttledBy }) => throttledBy.includes('sw_power_cap'))
  const itl = times(recent.timings.itl?.mean, usual?.timings.itl?.mean)
  const batch = times(concurrencyOf(recent), usual === undefined ? undefined : concurrencyOf(usual))
  const isSlower = itl !== undefined && itl >= 1.25
  const sameBatch = batch === undefined || batch <= Math.max(1.3, itl ?? 1.3)
  const [first] = slowed.length > 0 ? slowed : capped
  if (first === undefined) return undefined
  // At its power limit every busy card is; it is a finding when the same work has become slower.
  if (slowed.length === 0 && !(isSlower && sameBatch)) return undefined
  const reasons = first.throttledBy.filter((one) => one !== 'gpu_idle').join(', ')
  return {
    pain: 'P17',
    subject: { target: scene.target.name, uuid: first.uuid },
    verdict: `GPU ${first.gpu} is slowed down (${reasons})${first.smClockHertz === undefined ? '' : ` to ${figure(first.smClockHertz / 1e6)} MHz`}${itl === undefined ? '' : `: the gap between tokens is ${figure(itl)} times the usual`}`,
    confidence: slowed.length > 0 ? 'certain' : 'suspected',
    evidence: evidence(scene, {
      reasons,
      sm_clock_hertz: first.smClockHertz,
      itl_mean_seconds: recent.timings.itl?.mean,
      itl_mean_seconds_usual: usual?.timings.itl?.mean,
      requests_in_batch: concurrencyOf(recent),
      requests_in_batch_usual: usual === undefined ? undefined : concurrencyOf(usual),
    }),
    ruledOut:
      isSlower && sameBatch ? [{ pain: 'P10', why: 'the batch is no larger than usual' }] : [],
    next: `nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER,CLOCK -i ${first.uuid}`,
    weight: slowed.length > 0 ? 78 : 56,
  }
}

/** How many requests were in the batch on average: the seconds they spent there, by Little's law. */
function concurrencyOf({ timings, coveredMs }: ReadScene['recent']): number | undefined {
  const inEngine = [timings.prefill_time, timings.decode_time].map((timing) =>
    timing?.mean === undefined ? undefined : timing.mean * timing.count,
  )
  const [prefill, decode] = inEngine
  if (prefill === undefined || decode === undefined || coveredMs <= 0) return undefined
  return (1_000 * (prefill + decode)) / coveredMs
}

/** Tokens and requests that a share must rest on: one long prompt is no trend. */
const enoughTokens = 2_000
const enoughRequests = 20

/** P19: what the prefix cache held, it no longer holds. */
export function cacheMisses(scene: ReadScene): Draft | undefined {
  const hits = {
    part: 'prefix_cache_hits',
    whole: 'prefix_cache_queries',
    least: enoughTokens,
  } as const
  return collapsed(scene, {
    pain: 'P19',
    now: shareOf(scene.recent, hits),
    usual: scene.usual === undefined ? undefined : shareOf(scene.usual, hits),
    most: 0.5,
    what: 'of the prompt tokens are found in the prefix cache',
    name: 'prefix_cache_hit_ratio',
    next: `compare the prompts of now and before: a changed system prompt or a timestamp at its head defeats the cache; see also --enable-prefix-caching`,
    weight: 58,
  })
}

/** P20: what the draft proposes is no longer accepted. */
export function acceptanceFalls(scene: ReadScene): Draft | undefined {
  const accepted = {
    part: 'spec_decode_accepted_tokens',
    whole: 'spec_decode_draft_tokens',
    least: enoughTokens / 4,
  } as const
  return collapsed(scene, {
    pain: 'P20',
    now: shareOf(scene.recent, accepted),
    usual: scene.usual === undefined ? undefined : shareOf(scene.usual, accepted),
    most: 0.65,
    what: 'of the drafted tokens are accepted',
    name: 'spec_decode_acceptance_ratio',
    next: `curl -s ${scene.target.url}/metrics | grep spec_decode   # by position; a restart mends a draft that has decayed, other traffic does not`,
    weight: 58,
  })
}

function collapsed(
  scene: ReadScene,
  of: {
    readonly pain: 'P19' | 'P20'
    readonly now: number | undefined
    readonly usual: number | undefined
    /** At most this share of the usual is a collapse. */
    readonly most: number
    readonly what: string
    readonly name: string
    readonly next: string
    readonly weight: number
  },
): Draft | undefined {
  const { now, usual } = of
  const requests = [scene.recent, scene.usual].map((one) => one?.timings.ttft?.count ?? 0)
  if (Math.min(...requests) < enoughRequests) return undefined
  if (now === undefined || usual === undefined || usual < 0.15 || now > of.most * usual) {
    return undefined
  }
  const itl = times(scene.recent.timings.itl?.mean, scene.usual?.timings.itl?.mean)
  return {
    pain: of.pain,
    verdict: `${figure(100 * now)} % ${of.what}, where ${figure(100 * usual)} % were before`,
    confidence: now <= 0.5 * of.most * usual ? 'certain' : 'likely',
    evidence: evidence(scene, {
      [of.name]: now,
      [`${of.name}_usual`]: usual,
      ttft_p95_seconds: scene.recent.timings.ttft?.p95,
      ttft_p95_seconds_usual: scene.usual?.timings.ttft?.p95,
      itl_mean_times_usual: itl,
    }),
    ruledOut: [],
    next: of.next,
    weight: of.weight,
  }
}
