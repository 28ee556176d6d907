import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { findScenario } from '../../src/demo/scenarios.ts'
import {
  between,
  engineLines,
  type Look,
  metric,
  pageOf,
  quantile,
  variants,
  watch,
} from './watch.ts'

const running = 'vllm:num_requests_running'
const waiting = 'vllm:num_requests_waiting'
const usage = 'vllm:kv_cache_usage_perc'
const tokens = 'vllm:generation_tokens_total'
const steps = 'vllm:iteration_tokens_total_count'

/** How much a metric grows from the first of these looks to the last. */
function growth(looks: readonly Look[], name: string, labels = {}): number {
  return metric(looks.at(-1), name, labels) - metric(looks[0], name, labels)
}

function usedMiB(look: Look | undefined): number {
  return look?.gpus[0]?.processes[0]?.usedMiB ?? 0
}

describe('a healthy server', () => {
  it('is idle for minutes in a quiet night, and back to work afterwards', () => {
    for (const scenario of variants('idle-night')) {
      const [, , quiet, back] = scenario.traffic.arrivals
      assert.ok(quiet !== undefined && back !== undefined)
      const looks = watch(scenario, { everyMs: 20_000 })
      const night = between(looks, 1000 * quiet.atSeconds - 360_000, 1000 * quiet.atSeconds)
      assert.ok(night.length > 10)
      assert.equal(growth(night, tokens), 0)
      assert.ok(night.every(({ gpus }) => gpus[0]?.utilizationPercent === 0))
      assert.ok(growth(between(looks, 1000 * back.atSeconds, scenario.label.runMs), tokens) > 500)
    }
  })

  it('has bursts that queue for seconds and are served', () => {
    for (const scenario of variants('burst')) {
      const looks = watch(scenario, { everyMs: 1000, untilMs: 200_000 })
      const queued = looks.map((look) => metric(look, running) + metric(look, waiting))
      assert.ok(Math.max(...queued) > 12)
      assert.ok(quantile(queued, 0.5) < 6)
      const waits = looks.flatMap(({ truth }) => truth.finished.map((one) => one.queueSeconds))
      assert.ok(Math.max(...waits) < 6)
    }
  })

  it('has a full cache for minutes, with hardly a preemption and fast answers', () => {
    for (const scenario of variants('full-cache')) {
      const full = between(watch(scenario), scenario.label.runMs - 600_000, scenario.label.runMs)
      const ratios = full.map((look) => metric(look, usage))
      assert.ok(quantile(ratios, 0.5) > 0.955, `${quantile(ratios, 0.5)}`)
      assert.ok(Math.min(...ratios) > 0.85)
      assert.ok(growth(full, 'vllm:num_preemptions_total') <= 5)
      const e2e = full.flatMap(({ truth }) => truth.finished.map((one) => one.e2eSeconds))
      assert.ok(quantile(e2e, 0.99) < 10)
    }
  })

  it('counts nothing during a long prefill while its cache fills and its GPU works', () => {
    for (const scenario of variants('long-prefill')) {
      const looks = watch(scenario, { everyMs: 2000, untilMs: 200_000 })
      let resting: Look[] = []
      let longest: readonly Look[] = []
      for (const look of looks) {
        const before = resting.at(-1)
        const counted = before !== undefined && metric(before, steps) === metric(look, steps)
        const fills = counted && metric(look, usage) > metric(before, usage)
        resting = fills ? [...resting, look] : [look]
        if (resting.length > longest.length) longest = resting
      }
      const [first, last] = [longest[0], longest.at(-1)]
      assert.ok(first !== undefined && last !== undefined && last.atMs - first.atMs >= 30_000)
      for (const name of [tokens, 'vllm:prompt_tokens_total', 'vllm:request_success_total']) {
        assert.equal(growth(longest, name), 0)
      }
      assert.equal(metric(last, running), 1)
      // Before the first of these looks it may have been idle, and the second tells of its end.
      for (const { gpus } of longest.slice(2)) {
        assert.ok((gpus[0]?.utilizationPercent ?? 0) > 80 && (gpus[0]?.watts ?? 0) > 300)
      }
    }
  })

  it('stands still while a young one compiles, and goes on', () => {
    for (const scenario of variants('jit-pause')) {
      const looks = watch(scenario, { everyMs: 1000, fromMs: -10_000 })
      const pauses = scenario.incidents.flatMap((one) => (one.kind === 'hang' ? [one] : []))
      assert.equal(pauses.length, 2)
      for (const { fromMs, untilMs } of pauses) {
        const still = between(looks, fromMs + 1000, untilMs)
        const [first] = still
        assert.ok(first !== undefined && still.length >= 2)
        for (const look of still) assert.equal(engineLines(look), engineLines(first))
        assert.equal(still.at(-1)?.gpus[0]?.utilizationPercent, 0)
        assert.ok(growth(between(looks, untilMs, untilMs + 60_000), tokens) > 100)
      }
      const start = metric(looks[0], 'process_start_time_seconds')
      assert.ok(1_700_000_000 - start < 300)
    }
  })

  it('loads behind a closed port, as its GPU shows: weights, compilation, graphs', () => {
    for (const scenario of variants('slow-load')) {
      const looks = watch(scenario, { fromMs: -5000, everyMs: 5000 })
      const loading = looks.filter(({ portOpen }) => !portOpen)
      const lengthMs = (loading.at(-1)?.atMs ?? 0) - (loading[0]?.atMs ?? 0)
      assert.ok(lengthMs > 100_000 && lengthMs < 610_000)
      const memory = loading.map(usedMiB)
      assert.ok(memory.every((mib, index) => mib >= (memory[index - 1] ?? 0)))
      assert.ok(loading.filter(({ gpus }) => gpus[0]?.processes.length === 0).length <= 5)
      const still = loading.filter((look) => usedMiB(look) === 62_500)
      assert.ok(still.length > 5)
      const work = new Set(still.map(({ gpus }) => gpus[0]?.utilizationPercent))
      assert.ok(work.size > 1 && Math.max(...[...work].map(Number)) > 20)
      assert.ok((memory.at(-1) ?? 0) > 73_000)
      const [serving] = looks.slice(loading.length)
      const [pid] = serving?.gpus[0]?.processes.map((one) => one.pid) ?? []
      assert.equal(loading.at(-1)?.gpus[0]?.processes[0]?.pid, pid)
      assert.ok(growth(looks.slice(loading.length), tokens) > 1000)
    }
  })

  it('sleeps with gauges at 0 and little memory, and wakes up', () => {
    for (const scenario of variants('sleep')) {
      const [sleep] = scenario.incidents
      assert.ok(sleep?.kind === 'sleep')
      const looks = watch(scenario)
      const asleep = between(looks, sleep.fromMs, sleep.untilMs - 1)
      assert.ok(asleep.length > 10)
      for (const look of asleep) {
        const state = (sleep_state: string) =>
          metric(look, 'vllm:engine_sleep_state', { sleep_state })
        assert.deepEqual(
          [state('awake'), state('weights_offloaded'), state('discard_all')],
          [0, 1, 0],
        )
        for (const name of [running, waiting, usage]) assert.equal(metric(look, name), 0)
        assert.ok(usedMiB(look) < 5000)
        // The weights are in the memory of the host.
        assert.ok((look.memory.processes[0]?.rssBytes ?? 0) > 60 * 2 ** 30)
      }
      const awake = between(looks, sleep.untilMs + 60_000, scenario.label.runMs)
      assert.ok(growth(awake, tokens) > 1000 && usedMiB(awake[0]) > 70_000)
    }
  })

  it('keeps the gauges of a mass abort until somebody comes, and has answered every client', () => {
    for (const scenario of variants('mass-abort', 4)) {
      const [hangUp] = scenario.incidents
      assert.ok(hangUp?.kind === 'hang-up')
      const { atMs } = hangUp
      const endMs = 1000 * (scenario.traffic.arrivals[2]?.atSeconds ?? 0)
      const looks = watch(scenario, { everyMs: 1000, untilMs: endMs + 60_000 })
      const after = between(looks, atMs + 1000, endMs)
      assert.ok(after.length > 100)
      const [first] = after
      assert.ok(first !== undefined && metric(first, running) > 0 && metric(first, usage) > 0)
      for (const look of after) {
        assert.equal(engineLines(look), engineLines(first))
        assert.equal(look.pending, 0)
      }
      const around = between(looks, atMs - 1000, first.atMs)
      const lost = around.flatMap(({ truth }) => truth.lost)
      assert.ok(lost.length >= metric(first, running))
      const posts = around.flatMap(({ truth }) => truth.answers)
      assert.ok(posts.filter(({ status }) => status === '2xx').length >= lost.length)
      const idle = after.slice(2).every(({ gpus }) => gpus[0]?.watts === 70)
      assert.ok(idle)
      assert.notEqual(metric(looks.at(-1), tokens), metric(first, tokens))
    }
  })

  it('has memory that warms up, varies and steps once, all within hundreds of MiB', () => {
    for (const scenario of variants('memory-noise')) {
      const looks = watch(scenario, { fromMs: -330_000, everyMs: 30_000 })
      const memory = looks.map(usedMiB)
      assert.ok(Math.max(...memory) - Math.min(...memory) < 1500)
      assert.ok(new Set(memory).size > 20)
      const late = between(looks, 600_000, scenario.label.runMs).map(usedMiB)
      assert.ok(Math.max(...late) - Math.min(...late) <= 120 + 700)
      const half = Math.floor(late.length / 2)
      const drift = quantile(late.slice(half), 0.5) - quantile(late.slice(0, half), 0.5)
      assert.ok(Math.abs(drift) < 60)
    }
  })

  it('restarts cleanly: drained, loading on the GPU, with counters at zero and no failure', () => {
    for (const scenario of variants('rolling-restart')) {
      const looks = watch(scenario, { everyMs: 5000 })
      const down = looks.filter(({ portOpen }) => !portOpen)
      const lengthMs = (down.at(-1)?.atMs ?? 0) - (down[0]?.atMs ?? 0)
      assert.ok(lengthMs >= 100_000 && lengthMs <= 245_000)
      // The import of Python's modules shows nothing on the GPU.
      const bare = down.filter(({ gpus }) => gpus[0]?.processes.length === 0)
      assert.ok(bare.length >= 1 && bare.length <= 4)
      const answers = looks.flatMap(({ truth }) => truth.answers)
      assert.equal(answers.filter(({ status }) => status === '5xx').length, 0)
      const up = looks.find(({ atMs, portOpen }) => portOpen && atMs > (down.at(-1)?.atMs ?? 0))
      assert.ok(metric(up, tokens) < 5000 && metric(looks[0], tokens) > 20_000)
    }
  })
})

describe('ordinary load', () => {
  it('never rests for ten seconds', () => {
    const looks = watch(findScenario('steady'), { untilMs: 300_000 })
    for (const [index, look] of looks.slice(1).entries()) {
      assert.ok(metric(look, steps) > metric(looks[index], steps))
    }
    assert.equal(pageOf(looks[0]).types.has('vllm:spec_decode_num_drafts_total'), false)
  })
})
