import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Scenario } from '../../src/demo/scenario.ts'
import type { Truth } from '../../src/demo/truth.ts'
import { between, type Look, mean, metric, quantile, variants, watch } from './watch.ts'

const running = 'vllm:num_requests_running'
const waiting = 'vllm:num_requests_waiting'
const usage = 'vllm:kv_cache_usage_perc'

/** What was before an incident, and what is when it has come to stay. */
function halves(scenario: Scenario, settleMs = 60_000) {
  const { fromMs, runMs } = scenario.label
  const looks = watch(scenario, { fromMs: -200_000 })
  return {
    before: between(looks, -200_000, fromMs - 2000),
    after: between(looks, fromMs + settleMs, runMs),
  }
}

/** How much a metric grows in a second. */
function perSecond(looks: readonly Look[], name: string, labels = {}): number {
  const [first, last] = [looks[0], looks.at(-1)]
  const seconds = ((last?.atMs ?? 0) - (first?.atMs ?? 0)) / 1000
  return (metric(last, name, labels) - metric(first, name, labels)) / seconds
}

function average(looks: readonly Look[], name: string, labels = {}): number {
  return mean(looks.map((look) => metric(look, name, labels)))
}

function finished(
  looks: readonly Look[],
  read: (request: Truth['finished'][number]) => number,
): readonly number[] {
  return looks.flatMap(({ truth }) => truth.finished.map(read))
}

function gapSeconds(looks: readonly Look[]): readonly number[] {
  return looks.flatMap(({ truth }) =>
    truth.gaps.flatMap(({ seconds, times }) => Array<number>(times).fill(seconds)),
  )
}

function ttftSeconds(looks: readonly Look[]): readonly number[] {
  return looks.flatMap(({ truth }) => truth.firstTokens.map((one) => one.ttftSeconds))
}

function utilization(looks: readonly Look[]): number {
  return mean(looks.flatMap(({ gpus }) => gpus.map((gpu) => gpu.utilizationPercent)))
}

describe('a slow server', () => {
  it('has one rank that queues beside three that do not', () => {
    for (const scenario of variants('slow-rank')) {
      const [slow] = scenario.incidents
      assert.ok(slow?.kind === 'slow-steps' && slow.engines !== 'all')
      const { after } = halves(scenario)
      for (const engine of ['0', '1', '2', '3']) {
        const queue = average(after, waiting, { engine })
        const cache = average(after, usage, { engine })
        if (engine === String(slow.engines[0])) assert.ok(queue > 20 && cache > 0.4, `${cache}`)
        else assert.ok(queue < 1 && cache < 0.3, `rank ${engine} has ${queue} waiting`)
      }
    }
  })

  it('lets requests wait for something other than room, and goes on completing', () => {
    for (const scenario of variants('admission-stalled')) {
      const { before, after } = halves(scenario)
      const reason = `${waiting}_by_reason`
      for (const look of [...before, ...after]) {
        assert.equal(metric(look, reason), metric(look, waiting))
      }
      assert.equal(average(before, reason, { reason: 'deferred' }), 0)
      assert.ok(average(after, waiting) > 20)
      assert.ok(average(after, reason, { reason: 'deferred' }) > 0.7 * average(after, waiting))
      assert.ok(after.every((look) => metric(look, running) <= 3 && metric(look, usage) < 0.7))
      assert.ok(perSecond(after, 'vllm:request_success_total') > 0.8)
    }
  })

  it('preempts again and again with a full cache, and gaps get long', () => {
    for (const scenario of variants('preemption-storm')) {
      const { before, after } = halves(scenario)
      const preemptions = 'vllm:num_preemptions_total'
      assert.equal(perSecond(before, preemptions), 0)
      assert.ok(perSecond(after, preemptions) > 0.5)
      assert.ok(average(after, usage) > 0.95, `${average(after, usage)}`)
      const [normal, now] = [gapSeconds(before), gapSeconds(after)]
      assert.ok(quantile(now, 0.99) > 1.5 * quantile(normal, 0.99))
    }
  })

  it('answers late for want of CPU, while its GPU has less to do under more load', () => {
    for (const scenario of variants('cpu-bound')) {
      const { before, after } = halves(scenario)
      assert.ok(before.every(({ healthTookMs }) => healthTookMs === 0))
      assert.ok(after.every(({ healthTookMs }) => healthTookMs >= 1200 && healthTookMs <= 4000))
      assert.ok(utilization(after) < 0.85 * utilization(before))
      const outside = (looks: readonly Look[]) =>
        mean(finished(looks, (one) => one.e2eSeconds - one.queueSeconds - one.inferenceSeconds))
      assert.ok(outside(before) < 0.05 && outside(after) > 5)
      const cores = (looks: readonly Look[]) => perSecond(looks, 'process_cpu_seconds_total')
      assert.ok(Math.abs(cores(before) - 0.35) < 0.01 && cores(after) > 0.9)
      const asked = (looks: readonly Look[]) => perSecond(looks, 'http_requests_total')
      assert.ok(asked(after) > asked(before))
      assert.ok(average(after, waiting) < 2)
    }
  })

  it('computes prompts at its ceiling, so that first tokens and gaps get slow together', () => {
    for (const scenario of variants('long-prompts')) {
      const { before, after } = halves(scenario)
      assert.ok(quantile(ttftSeconds(after), 0.95) > 4 * quantile(ttftSeconds(before), 0.95))
      assert.ok(quantile(gapSeconds(after), 0.95) > 3 * quantile(gapSeconds(before), 0.95))
      // 2048 tokens in a step of some 220 ms.
      const ceiling = 2048 / 0.22
      assert.ok(perSecond(after, 'vllm:prompt_tokens_total') > 0.6 * ceiling)
      assert.ok(
        average(after, waiting) > 1 && Math.max(...after.map((l) => metric(l, usage))) < 0.9,
      )
      const prompts = finished(after, (one) => one.promptTokens)
      assert.ok(quantile(prompts, 0.9) > 4000 && quantile(prompts, 0.5) < 2500)
    }
  })

  it('pauses once for a new shape of prompts, and that was all', () => {
    for (const scenario of variants('jit-shape')) {
      const { fromMs, untilMs } = scenario.label
      const looks = watch(scenario, { everyMs: 1000, untilMs: untilMs + 60_000 })
      const tokens = 'vllm:generation_tokens_total'
      assert.equal(perSecond(between(looks, fromMs + 1000, untilMs), tokens), 0)
      assert.ok(perSecond(between(looks, untilMs + 20_000, untilMs + 60_000), tokens) > 40)
    }
  })

  it('takes longer for a step of the same batch when its GPU is throttled', () => {
    for (const scenario of variants('throttling')) {
      const [throttle] = scenario.incidents
      assert.ok(throttle?.kind === 'throttle')
      const { before, after } = halves(scenario)
      assert.ok(before.every(({ gpus }) => gpus[0]?.throttled.length === 0))
      assert.ok(after.every(({ gpus }) => gpus[0]?.throttled.includes(throttle.reason)))
      assert.ok(after.some(({ gpus }) => gpus[0]?.smMhz === throttle.clockMhz))
      if (throttle.reason === 'hw_thermal_slowdown') {
        assert.ok((after.at(-1)?.gpus[0]?.celsius ?? 0) > 85)
      }
      // A gap in which no prompt was computed is that of the batch alone.
      const [normal, now] = [gapSeconds(before), gapSeconds(after)].map((all) => quantile(all, 0.1))
      const ratio = (now ?? 0) / (normal ?? 1)
      assert.ok(Math.abs(ratio / throttle.factor - 1) < 0.25, `${ratio} for ${throttle.factor}`)
    }
  })

  it('finds next to nothing in its prefix cache, at the same traffic', () => {
    for (const scenario of variants('cache-collapse')) {
      const { before, after } = halves(scenario)
      const ratio = (looks: readonly Look[]) =>
        perSecond(looks, 'vllm:prefix_cache_hits_total') /
        perSecond(looks, 'vllm:prefix_cache_queries_total')
      assert.ok(Math.abs(ratio(before) - 0.6) < 0.08, `${ratio(before)}`)
      assert.ok(ratio(after) < 0.06)
      const prompts = (looks: readonly Look[]) => mean(finished(looks, (one) => one.promptTokens))
      assert.ok(Math.abs(prompts(after) / prompts(before) - 1) < 0.25)
      assert.ok(mean(ttftSeconds(after)) > 1.3 * mean(ttftSeconds(before)))
    }
  })

  it('guesses tokens ahead and is wrong more often, which costs time for each token', () => {
    for (const scenario of variants('acceptance-collapse')) {
      const [incident] = scenario.incidents
      const { speculation } = scenario.speed
      assert.ok(incident?.kind === 'acceptance' && speculation !== undefined)
      const { before, after } = halves(scenario)
      const of = (looks: readonly Look[], what: string, labels = {}) =>
        perSecond(looks, `vllm:spec_decode_num_${what}_total`, labels)
      const ratio = (looks: readonly Look[]) =>
        of(looks, 'accepted_tokens') / of(looks, 'draft_tokens')
      assert.ok(Math.abs(ratio(before) - speculation.acceptanceRatio) < 0.03)
      assert.ok(Math.abs(ratio(after) - incident.ratio) < 0.03)
      const drafted = of(after, 'drafts') * speculation.draftTokens
      assert.ok(Math.abs(of(after, 'draft_tokens') - drafted) < 1e-9)
      const places = Array.from({ length: speculation.draftTokens }, (_, position) =>
        of(after, 'accepted_tokens_per_pos', { position: String(position) }),
      )
      const sum = places.reduce((total, place) => total + place, 0)
      assert.ok(Math.abs(sum - of(after, 'accepted_tokens')) < 1e-9)
      assert.ok((places[0] ?? 0) > (places[1] ?? 0))
      const each = (looks: readonly Look[]) =>
        mean(finished(looks, (one) => one.timePerOutputTokenSeconds))
      assert.ok(each(after) > 1.4 * each(before))
    }
  })
})
