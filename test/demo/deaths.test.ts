import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { between, engineLines, type Look, metric, pageOf, variants, watch } from './watch.ts'

function pidsOf(look: Look | undefined): readonly number[] {
  return look?.gpus.flatMap(({ processes }) => processes.map(({ pid }) => pid)) ?? []
}

/** MiB of the first process on the first GPU. */
function usedMiB(look: Look | undefined): number {
  return look?.gpus[0]?.processes[0]?.usedMiB ?? 0
}

/** Megabytes in an hour between the first look and the last. */
function mibPerHour(looks: readonly Look[], read: (look: Look | undefined) => number): number {
  const hours = ((looks.at(-1)?.atMs ?? 0) - (looks[0]?.atMs ?? 0)) / 3_600_000
  return (read(looks.at(-1)) - read(looks[0])) / hours
}

describe('a dead server', () => {
  it('answers 500 to everybody behind an open port, or is refused, and is gone from its GPU', () => {
    const open = new Set<boolean>()
    for (const scenario of variants('engine-died', 5)) {
      const { fromMs, runMs } = scenario.label
      const looks = watch(scenario)
      const [outage] = scenario.incidents
      assert.ok(outage?.kind === 'outage')
      const dead = between(looks, fromMs + 10_000, runMs)
      assert.ok(dead.every((look) => pidsOf(look).length === 0))
      // The first look tells of what was before it as well.
      const after = dead.slice(1).flatMap(({ truth }) => truth.answers)
      const answers = after.filter(({ method }) => method === 'POST')
      open.add(outage.dyingForMs === Infinity)
      if (outage.dyingForMs === Infinity) {
        assert.ok(dead.every(({ portOpen, healthStatus }) => portOpen && healthStatus === 503))
        assert.ok(answers.length > 500 && answers.every(({ status }) => /[45]xx/.test(status)))
      } else {
        assert.ok(dead.every(({ portOpen }) => !portOpen))
        assert.equal(answers.length, 0)
      }
    }
    assert.equal(open.size, 2)
  })

  it('leaves its process on the GPU, beside which no other one lives for long', () => {
    const starts = new Set<boolean>()
    for (const scenario of variants('orphan', 5)) {
      const { fromMs } = scenario.label
      const looks = watch(scenario, { everyMs: 1000, untilMs: fromMs + 200_000 })
      const [old] = pidsOf(looks[0])
      const dead = between(looks, fromMs + 3000, fromMs + 200_000)
      const others = new Set<number>()
      for (const { portOpen, gpus } of dead) {
        assert.equal(portOpen, false)
        const processes = gpus[0]?.processes ?? []
        assert.deepEqual([processes[0]?.pid, processes[0]?.usedMiB], [old, 74_514])
        for (const { pid, usedMiB } of processes.slice(1)) {
          assert.ok(usedMiB < 1000)
          others.add(pid)
        }
      }
      starts.add(others.size > 0)
      assert.notEqual(others.size, 1)
    }
    assert.equal(starts.size, 2)
  })

  it('is killed while it loads, again and again, so that memory rises and falls', () => {
    for (const scenario of variants('crash-loop')) {
      const { fromMs, runMs } = scenario.label
      const dead = between(watch(scenario, { everyMs: 2000 }), fromMs + 1000, runMs)
      assert.ok(dead.every(({ portOpen }) => !portOpen))
      const pids = new Set(dead.flatMap(pidsOf))
      assert.ok(pids.size >= 4)
      let falls = 0
      for (const [index, look] of dead.slice(1).entries()) {
        const fell = usedMiB(dead[index]) - usedMiB(look)
        assert.ok(fell <= 0 || usedMiB(look) === 0)
        if (fell > 5000) falls += 1
      }
      assert.ok(falls >= 4)
      assert.ok(Math.max(...dead.map(usedMiB)) <= 62_500)
    }
  })

  it('hangs with the GPU that it lost, the other one spinning, and dies', () => {
    for (const scenario of variants('gpu-lost-serving')) {
      const { fromMs, runMs } = scenario.label
      const [loss, , outage] = scenario.incidents
      assert.ok(loss?.kind === 'gpu-lost' && outage?.kind === 'outage')
      const looks = watch(scenario, { everyMs: 5000 })
      const lost = between(looks, fromMs, runMs)
      assert.ok(lost.every(({ gpus }) => gpus.length === 1))
      assert.ok(lost.every(({ smiStderr }) => smiStderr.includes(`GPU${loss.gpu}: 0000:`)))
      const hung = between(looks, fromMs + 6000, outage.fromMs - 1)
      assert.ok(hung.length >= 2)
      for (const look of hung) {
        assert.equal(engineLines(look), engineLines(hung[0] ?? look))
        assert.equal(look.gpus[0]?.utilizationPercent, 100)
        assert.equal(look.healthStatus, 200)
      }
      const dead = between(looks, outage.fromMs + 6000, runMs)
      assert.ok(dead.length > 10 && dead.every(({ portOpen }) => !portOpen))
    }
  })
})

describe('metrics that say nothing', () => {
  it('are those of Python and HTTP alone, while requests are served', () => {
    for (const scenario of variants('no-metrics')) {
      const looks = watch(scenario)
      for (const look of looks) {
        const families = [...pageOf(look).types.keys()]
        assert.ok(families.length > 10)
        assert.deepEqual(
          families.filter((name) => !/^(python|process|http)_/.test(name)),
          [],
        )
      }
      assert.ok(
        metric(looks.at(-1), 'http_requests_total') > metric(looks[0], 'http_requests_total'),
      )
      assert.ok(looks.every(({ healthStatus }) => healthStatus === 200))
    }
  })

  it('are a 500, while requests are served and /health is 200', () => {
    for (const scenario of variants('metrics-500')) {
      const { fromMs, runMs } = scenario.label
      const after = between(watch(scenario), fromMs, runMs)
      assert.ok(after.every(({ healthStatus, portOpen }) => portOpen && healthStatus === 200))
      assert.ok(after.flatMap(({ truth }) => truth.finished).length > 300)
    }
  })
})

describe('memory that is used up', () => {
  it('grows on the GPU in a line or in small steps, without end', () => {
    const shapes = new Set<boolean>()
    for (const scenario of variants('leak', 5)) {
      const [growth] = scenario.incidents
      assert.ok(growth?.kind === 'memory-growth')
      shapes.add(growth.steps === undefined)
      const { fromMs, runMs } = scenario.label
      const looks = between(watch(scenario, { everyMs: 60_000 }), fromMs, runMs)
      const expected = (3_600_000 * growth.mib) / (growth.untilMs - growth.fromMs)
      assert.ok(expected > 0.29 * 1024 && expected < 3.01 * 1024)
      assert.ok(Math.abs(mibPerHour(looks, usedMiB) / expected - 1) < 0.15)
      const largest = Math.max(...looks.slice(1).map((l, i) => usedMiB(l) - usedMiB(looks[i])))
      assert.ok(largest < 120)
      assert.ok(Math.max(...looks.map((look) => look.gpus[0]?.usedMiB ?? 0)) < 81_559 - 480)
    }
    assert.equal(shapes.size, 2)
  })

  it('grows on the host, while the GPU shows nothing of it', () => {
    for (const scenario of variants('leak-host')) {
      const { fromMs, runMs } = scenario.label
      const [growth] = scenario.incidents
      assert.ok(growth?.kind === 'host-growth')
      const looks = between(watch(scenario, { everyMs: 60_000 }), fromMs, runMs)
      const mib = (look: Look | undefined) => (look?.memory.processes[0]?.rssBytes ?? 0) / 2 ** 20
      assert.ok(Math.abs(mibPerHour(looks, mib) / growth.mibPerHour - 1) < 0.02)
      const free = (look: Look | undefined) => (look?.memory.availableBytes ?? 0) / 2 ** 20
      assert.ok(Math.abs(mibPerHour(looks, free) / growth.mibPerHour + 1) < 0.02)
      assert.equal(new Set(looks.map(usedMiB)).size, 1)
    }
  })

  it('is taken by another program on the same card', () => {
    for (const scenario of variants('foreign-process')) {
      const { fromMs, runMs } = scenario.label
      const after = between(watch(scenario), fromMs, runMs)
      for (const { gpus } of after) {
        const [engine, other] = gpus[0]?.processes ?? []
        assert.equal(engine?.usedMiB, 74_514)
        assert.ok((other?.usedMiB ?? 0) >= 4096 && !other?.name.startsWith('VLLM'))
        assert.ok((gpus[0]?.usedMiB ?? 0) > 0.95 * 81_559)
      }
    }
  })
})
