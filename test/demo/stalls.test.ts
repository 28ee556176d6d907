import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Scenario } from '../../src/demo/scenario.ts'
import { between, engineLines, type Look, mean, metric, pageOf, variants, watch } from './watch.ts'

const running = 'vllm:num_requests_running'
const waiting = 'vllm:num_requests_waiting'
const usage = 'vllm:kv_cache_usage_perc'
const tokens = 'vllm:generation_tokens_total'

/** The looks of a hang that has begun for certain. */
function still(scenario: Scenario, looks: readonly Look[]): readonly Look[] {
  const { fromMs, untilMs, runMs } = scenario.label
  const found = between(looks, fromMs + 20_000, Math.min(untilMs, runMs) - 1)
  assert.ok(found.length > 3)
  return found
}

function assertFrozen(looks: readonly Look[]): void {
  const [first] = looks
  assert.ok(first !== undefined)
  for (const look of looks) {
    assert.equal(engineLines(look), engineLines(first))
    assert.equal(look.portOpen && look.healthStatus, 200)
    assert.equal(look.healthTookMs, 0)
  }
}

/** Answers to requests in these looks, by their class. */
function answered(looks: readonly Look[], status: string): number {
  const answers = looks.flatMap(({ truth }) => truth.answers)
  return answers.filter((one) => one.method === 'POST' && one.status === status).length
}

function watts(looks: readonly Look[]): number {
  return mean(looks.flatMap(({ gpus }) => gpus.map((gpu) => gpu.watts)))
}

describe('an engine that hangs', () => {
  for (const name of ['stall', 'stall-cold', 'stall-recovers']) {
    it(`shows requests, counts nothing and says that it is well, in ${name}`, () => {
      for (const scenario of variants(name, 5)) {
        const hung = still(scenario, watch(scenario))
        assertFrozen(hung)
        assert.ok(metric(hung[0], running) > 0)
        assert.ok(hung.every(({ pending }) => pending > 0))
        assert.ok(hung.every(({ gpus }) => gpus[0]?.utilizationPercent === 0))
        assert.equal(watts(hung), 70)
      }
    })
  }

  it('answers those that give up with 200, and loses what it never saw', () => {
    for (const scenario of variants('stall')) {
      const looks = watch(scenario)
      const hung = between(looks, scenario.label.fromMs + 70_000, scenario.label.runMs)
      assert.ok(answered(hung, '2xx') > 50)
      assert.equal(answered(hung, '5xx'), 0)
      assert.ok(hung.every(({ truth }) => truth.finished.length === 0 && truth.gaps.length === 0))
      // Patience ends within a minute, so that no more wait than come in one.
      const most = 60 * (scenario.traffic.arrivals[0]?.perSecond ?? 0)
      assert.ok(Math.max(...hung.map(({ pending }) => pending)) < 1.4 * most)
    }
  })

  it('is young when it hangs in its first minutes', () => {
    for (const scenario of variants('stall-cold')) {
      const [first] = watch(scenario, { fromMs: -5000, untilMs: 0 })
      assert.ok(1_700_000_000 - metric(first, 'process_start_time_seconds') < 150)
    }
  })

  it('spins on all its GPUs at full utilization and little power, its memory flat', () => {
    for (const scenario of variants('stall-spin', 4)) {
      const looks = watch(scenario)
      const busy = watts(between(looks, -20_000, scenario.label.fromMs - 1000))
      const hung = still(scenario, looks)
      assertFrozen(hung)
      assert.equal(hung[0]?.gpus.length, scenario.gpusPerEngine)
      for (const { gpus } of hung) {
        for (const [part, gpu] of gpus.entries()) {
          assert.equal(gpu.utilizationPercent, 100)
          assert.deepEqual(
            gpu.processes.map((one) => [one.name, one.usedMiB]),
            [[`VLLM::Worker_TP${part}`, 74_514]],
          )
        }
      }
      const ratio = watts(hung) / busy
      assert.ok(ratio > 0.25 && ratio < 0.5, `${ratio}`)
    }
  })

  it('shows nothing at all when it had no work, although requests come and give up', () => {
    for (const scenario of variants('stall-hidden', 5)) {
      const looks = watch(scenario)
      const hung = between(looks, scenario.label.fromMs + 60_000, scenario.label.runMs)
      assertFrozen(hung)
      for (const name of [running, waiting, usage]) assert.equal(metric(hung[0], name), 0)
      assert.ok(hung.at(-1)?.pending !== 0)
      assert.ok(answered(hung, '2xx') > 30)
      assert.ok(hung.flatMap(({ truth }) => truth.lost).length > 30)
    }
  })

  it('looks like an idle server after a mass abort when nobody is left', () => {
    for (const scenario of variants('stall-abandoned')) {
      const hung = between(watch(scenario), scenario.label.fromMs + 80_000, scenario.label.runMs)
      assertFrozen(hung)
      assert.ok(metric(hung[0], running) > 0)
      assert.ok(hung.every(({ pending }) => pending === 0))
    }
  })

  it('goes on after a while, and drops those that have gone', () => {
    for (const scenario of variants('stall-recovers')) {
      const { untilMs, runMs } = scenario.label
      const looks = watch(scenario)
      const after = between(looks, untilMs + 10_000, runMs)
      assert.ok(metric(after.at(-1), tokens) > metric(after[0], tokens) + 1000)
      assert.ok(metric(after[0], running) + metric(after[0], waiting) < 400)
      const e2e = after.flatMap(({ truth }) => truth.finished.map((one) => one.e2eSeconds))
      assert.ok(Math.max(...e2e) > 10)
    }
  })

  it('is one of four ranks, and the others go on', () => {
    for (const scenario of variants('stall-rank', 4)) {
      const [hang] = scenario.incidents
      assert.ok(hang?.kind === 'hang' && hang.engines !== 'all')
      const hung = still(scenario, watch(scenario))
      for (const engine of ['0', '1', '2', '3']) {
        const moved = metric(hung.at(-1), tokens, { engine }) - metric(hung[0], tokens, { engine })
        if (engine === String(hang.engines[0])) {
          assert.equal(moved, 0)
          assert.ok(metric(hung[0], running, { engine }) > 0)
        } else assert.ok(moved > 1000, engine)
      }
    }
  })

  it('stops filling its cache in the middle of a prompt, at a power that does no work', () => {
    for (const scenario of variants('stall-prefill')) {
      const looks = watch(scenario, { everyMs: 1000, untilMs: scenario.label.fromMs + 60_000 })
      const { fromMs } = scenario.label
      const filling = between(looks, fromMs - 4000, fromMs - 1000)
      assert.ok(metric(filling.at(-1), usage) > metric(filling[0], usage))
      const hung = between(looks, fromMs + 3000, fromMs + 60_000)
      assertFrozen(hung)
      assert.equal(metric(hung[0], running), 1)
      assert.ok(hung.every(({ gpus }) => gpus[0]?.utilizationPercent === 100))
      assert.ok(watts(hung) < 0.4 * watts(filling.slice(1)))
      assert.ok(pageOf(hung[0]).sum('vllm:kv_cache_usage_perc') > 0)
    }
  })
})
