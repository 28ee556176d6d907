import type { Draft } from '../finding.ts'
import { rateOf } from '../signals/facts.ts'
import {
  evidence,
  figure,
  fullest,
  inSeconds,
  meanUtilization,
  oldestWaitMs,
  type ReadScene,
  times,
  waitingNow,
} from './scene.ts'

/** Waits of requests that are worth a word: they are what a person notices. */
const longWaitSeconds = 2
/** A queue of fewer is no queue. */
const fewWaiting = 3
const roomyKvCacheRatio = 0.7
const fullKvCacheRatio = 0.95

/** P9: running requests are evicted from a full cache and computed again. */
export function preemption(scene: ReadScene): Draft | undefined {
  const preempted = scene.recent.gained.preemptions ?? 0
  const kv = fullest(scene)
  const finished = scene.recent.gained.requests_finished ?? 0
  if (kv === undefined || kv < fullKvCacheRatio || preempted < Math.max(3, 0.02 * finished)) {
    return undefined
  }
  const perSecond = rateOf(scene.recent, 'preemptions') ?? 0
  return {
    pain: 'P9',
    verdict: `the KV cache is up to ${figure(100 * kv)} % full and ${preempted} requests were evicted of late (${figure(perSecond)}/s), to be computed again`,
    confidence: preempted >= 10 ? 'certain' : 'likely',
    evidence: evidence(scene, {
      kv_cache_usage_ratio: kv,
      preemptions: preempted,
      preemptions_per_second: perSecond,
      requests_waiting: waitingNow(scene),
      itl_p95_seconds: scene.recent.timings.itl?.p95,
    }),
    ruledOut: [{ pain: 'P11', why: 'the cache has no room left' }],
    next: `vllm serve … --max-num-seqs LOWER   # or a shorter --max-model-len, or --kv-cache-dtype fp8`,
    weight: 72,
  }
}

/** P18: one data-parallel rank has the queue, the others have room. */
export function imbalance(scene: ReadScene): Draft | undefined {
  const engines = scene.facts.progress?.engines ?? []
  const [worst, ...others] = [...engines].sort((a, b) => load(b) - load(a))
  if (worst === undefined || others.length === 0) return undefined
  const meanWaiting = others.reduce((total, { waiting }) => total + waiting, 0) / others.length
  const meanRunning = others.reduce((total, { running }) => total + running, 0) / others.length
  const behind = worst.waiting >= 5 && worst.waiting >= 4 * (meanWaiting + 1)
  if (!behind) return undefined
  const kvOthers = Math.max(...others.map(({ kvCacheUsageRatio = 0 }) => kvCacheUsageRatio))
  return {
    pain: 'P18',
    verdict: `engine ${worst.rank} has ${worst.waiting} requests waiting and ${worst.running} running, the other ${others.length} have ${figure(meanWaiting)} and ${figure(meanRunning)} on average`,
    confidence: worst.waiting >= 10 ? 'certain' : 'likely',
    evidence: evidence(scene, {
      engine: worst.rank,
      requests_waiting: worst.waiting,
      requests_waiting_mean_of_others: meanWaiting,
      kv_cache_usage_ratio: worst.kvCacheUsageRatio,
      kv_cache_usage_ratio_max_of_others: kvOthers,
    }),
    ruledOut: [{ pain: 'P10', why: 'the other engines have room' }],
    next: `curl -s ${scene.target.url}/metrics | grep num_requests_   # by engine; then look at that rank's GPU, and at how clients are spread`,
    weight: 74,
  }
}

function load({
  waiting,
  running,
}: {
  readonly waiting: number
  readonly running: number
}): number {
  return 1_000 * waiting + running
}

/** P12: the API server's own loop is the bottleneck; the engine waits for work. */
export function apiServerBound(scene: ReadScene): Draft | undefined {
  const { recent, usual, facts } = scene
  const healthMs = facts.health?.tookMs
  const cores = rateOf(recent, 'server_cpu_seconds')
  const overhead = overheadOf(recent.timings)
  const usualOverhead = usual === undefined ? undefined : overheadOf(usual.timings)
  const utilization = meanUtilization(scene)
  const isLate = (healthMs ?? 0) >= 1_000 || facts.scrapeTookMs >= 1_000
  const hasGap =
    overhead !== undefined && overhead >= 0.5 && (times(overhead, usualOverhead) ?? 10) >= 3
  const isBusy = (cores ?? 0) >= 0.85
  const signs = [isLate, hasGap, isBusy].filter(Boolean).length
  if (signs < 2) return undefined
  return {
    pain: 'P12',
    verdict: [
      `the API server is late${isBusy ? ` and uses ${figure(cores ?? 0)} cores` : ''}:`,
      healthMs === undefined ? '' : `/health took ${inSeconds(healthMs / 1_000)},`,
      overhead === undefined
        ? ''
        : `requests spend ${inSeconds(overhead)} outside queue and engine on average,`,
      utilization === undefined ? '' : `the GPU is ${figure(100 * utilization)} % busy`,
    ]
      .join(' ')
      .replace(/[,:\s]+$/, ''),
    confidence: signs === 3 ? 'certain' : 'likely',
    evidence: evidence(scene, {
      health_seconds: healthMs === undefined ? undefined : healthMs / 1_000,
      scrape_seconds: facts.scrapeTookMs / 1_000,
      server_cpu_cores: cores,
      overhead_seconds: overhead,
      overhead_seconds_usual: usualOverhead,
      gpu_utilization_ratio: utilization,
    }),
    ruledOut: [{ pain: 'P1', why: 'tokens come out' }],
    next: `py-spy top --pid $(pgrep -f 'vllm serve' | head -1)   # then --api-server-count 2 or more`,
    weight: 76,
  }
}

type Timings = ReadScene['recent']['timings']

/** What the mean request spends neither in the queue nor in the engine, in seconds. */
function overheadOf(timings: Timings): number | undefined {
  const whole = timings.e2e_latency?.mean
  const queue = timings.queue_time?.mean
  const prefill = timings.prefill_time?.mean
  const decode = timings.decode_time?.mean
  if (whole === undefined || queue === undefined) return undefined
  if (prefill === undefined || decode === undefined) return undefined
  return Math.max(0, whole - queue - prefill - decode)
}

/** P11: requests wait though there is room for them. */
export function admissionStalled(scene: ReadScene): Draft | undefined {
  const { gauges, highs } = scene.facts
  const waiting = waitingNow(scene) ?? 0
  const running = gauges.requests_running ?? 0
  const kv = gauges.kv_cache_usage
  const deferred = gauges.requests_deferred
  if (waiting < fewWaiting || kv === undefined || kv >= roomyKvCacheRatio) return undefined
  const isDeferred = deferred !== undefined && deferred >= 0.5 * waiting
  const isSmall = running <= 0.5 * (highs.requests_running ?? running)
  // Adapters and transfers defer requests for a moment, which is as it should be.
  const isLong =
    oldestWaitMs(scene) >= 1_000 * longWaitSeconds ||
    (isDeferred && (scene.recent.timings.queue_time?.mean ?? 0) >= longWaitSeconds)
  if (!isLong || !(isDeferred || isSmall)) return undefined
  return {
    pain: 'P11',
    verdict: `${waiting} requests wait while ${running} run and the KV cache is ${figure(100 * kv)} % full${isDeferred ? `; ${deferred} of them are deferred` : ''}`,
    confidence: isDeferred ? 'certain' : 'likely',
    evidence: evidence(scene, {
      requests_waiting: waiting,
      requests_running: running,
      requests_deferred: deferred,
      kv_cache_usage_ratio: kv,
      oldest_wait_seconds: oldestWaitMs(scene) / 1_000,
    }),
    ruledOut: [
      { pain: 'P10', why: 'the batch has room' },
      { pain: 'P9', why: 'the cache has room' },
    ],
    next: `curl -s ${scene.target.url}/metrics | grep waiting_by_reason   # deferred: LoRA slots (--max-loras) or KV transfer`,
    ...(deferred === undefined
      ? { notChecked: ['why they wait: this version has no num_requests_waiting_by_reason'] }
      : {}),
    weight: 71,
  }
}

/** P6: prompts so long that everybody waits for them. */
export function longPrompts(scene: ReadScene): Draft | undefined {
  const { recent, usual } = scene
  if (usual === undefined) return undefined
  const ttft = times(recent.timings.ttft?.p95, usual.timings.ttft?.p95)
  const itl = times(recent.timings.itl?.p95, usual.timings.itl?.p95)
  const length = times(lengthOf(recent), lengthOf(usual))
  const kv = fullest(scene)
  if (ttft === undefined || itl === undefined || length === undefined) return undefined
  if (ttft < 1.8 || itl < 1.3 || length < 1.6 || (kv !== undefined && kv >= fullKvCacheRatio)) {
    return undefined
  }
  const perSecond = rateOf(recent, 'prompt_tokens') ?? 0
  return {
    pain: 'P6',
    verdict: `prompts are ${figure(length)} times as long as usual (${figure(lengthOf(recent) ?? 0)} tokens), ${figure(perSecond)} prompt tokens/s: the p95 of the first token is ${figure(ttft)} times and that of the gap between tokens ${figure(itl)} times the usual`,
    confidence: length >= 2 && ttft >= 2.5 ? 'certain' : 'likely',
    evidence: evidence(scene, {
      prompt_tokens_per_request: lengthOf(recent),
      prompt_tokens_per_request_usual: lengthOf(usual),
      prompt_tokens_per_second: perSecond,
      ttft_p95_seconds: recent.timings.ttft?.p95,
      ttft_p95_seconds_usual: usual.timings.ttft?.p95,
      itl_p95_seconds: recent.timings.itl?.p95,
      itl_p95_seconds_usual: usual.timings.itl?.p95,
      kv_cache_usage_ratio: kv,
    }),
    ruledOut: [{ pain: 'P9', why: 'the cache is not full' }],
    next: `vllm serve … --long-prefill-token-threshold 1024   # tokens of one prompt in a step; or send long prompts elsewhere`,
    weight: 69,
  }
}

/** Prompt tokens of a request on average; counted at its first token, as the number of them is. */
function lengthOf({ gained, timings }: ReadScene['recent']): number | undefined {
  const count = timings.ttft?.count
  const tokens = gained.prompt_tokens
  return tokens === undefined || count === undefined || count === 0 ? undefined : tokens / count
}

/** P10: more come than go. */
export function overload(scene: ReadScene): Draft | undefined {
  const { recent, usual } = scene
  const waiting = waitingNow(scene) ?? 0
  const queue = recent.timings.queue_time?.mean
  const waitSeconds = oldestWaitMs(scene) / 1_000
  const finished = rateOf(recent, 'requests_finished') ?? 0
  if (waiting < fewWaiting || finished <= 0) return undefined
  const backlogSeconds = waiting / finished
  const longest = Math.max(queue ?? 0, waitSeconds, backlogSeconds)
  if (longest < longWaitSeconds) return undefined
  const usually = usual === undefined ? undefined : rateOf(usual, 'requests_finished')
  const oldest = waitSeconds > 0 ? `, the oldest for at least ${inSeconds(waitSeconds)}` : ''
  return {
    pain: 'P10',
    verdict: `${waiting} requests wait${oldest}, and ${figure(finished)} a second finish: whoever comes now waits some ${inSeconds(backlogSeconds)}`,
    confidence:
      waitSeconds >= longWaitSeconds && (queue ?? 0) >= longWaitSeconds ? 'certain' : 'likely',
    evidence: evidence(scene, {
      requests_waiting: waiting,
      oldest_wait_seconds: waitSeconds,
      queue_mean_seconds: queue,
      requests_finished_per_second: finished,
      requests_finished_per_second_usual: usually,
      requests_running: scene.facts.gauges.requests_running,
      kv_cache_usage_ratio: fullest(scene),
    }),
    ruledOut: [
      { pain: 'P1', why: `requests finish, ${figure(finished)} a second` },
      ...((fullest(scene) ?? 1) < fullKvCacheRatio
        ? [{ pain: 'P9' as const, why: 'the KV cache is not full' }]
        : []),
    ],
    next: `limit what comes in (429 with Retry-After before the queue), or add a replica`,
    weight: 62,
  }
}
