import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type EvaluateInput, evaluate } from '../src/evaluate.ts'
import type { Attempt } from '../src/reading.ts'
import { builtinRules } from '../src/rules/builtin.ts'
import { evidenceOf } from '../src/rules/published.ts'
import type { Subject } from '../src/rules/rule.ts'
import type { Snapshot } from '../src/snapshot.ts'
import { Windows } from '../src/window/windows.ts'
import { gauge, histogram, missed, read, wallAtZeroMs } from './fakes/readings.ts'
import { card, chosen, firing, gpu, gpuRead, page, Replay, staleAfterMs } from './fakes/replay.ts'
import { thresholds } from './fakes/rules.ts'
import { only, signalSettings, written } from './fakes/signals.ts'
import { alertOf } from './fakes/snapshots.ts'

describe('a snapshot', () => {
  it('is ready once every target was tried, whatever came of it', () => {
    const targets = ['a', 'b'].map((name) => ({ name, staleAfterMs }))
    const replay = new Replay({ targets })
    assert.equal(replay.at(0).ready, false)
    assert.equal(replay.at(100, read(100, page(), { target: 'a' })).ready, false)
    assert.equal(replay.at(200, missed(200, 'refused', { target: 'b' })).ready, true)
  })

  it('counts evaluations and carries both times of them', () => {
    const replay = new Replay()
    const times = [replay.at(1_000), replay.at(2_000)].map((one) => [
      one.sequence,
      one.atMs,
      one.wallMs - wallAtZeroMs,
    ])
    assert.deepEqual(times, [
      [1, 1_000, 1_000],
      [2, 2_000, 2_000],
    ])
  })

  it('says unknown, and publishes no measurement of vLLM, before anything was read', () => {
    const snapshot = new Replay().at(0)
    assert.equal(snapshot.status, 'unknown')
    const [target] = snapshot.targets
    assert.deepEqual([target?.state, target?.status, target?.up], ['unknown', 'unknown', undefined])
    const names = Object.keys(written(snapshot.measured)).map((sample) => sample.split('{')[0])
    assert.deepEqual([...new Set(names)].sort(), [
      'engine_state',
      'health_status',
      'malformed_lines_total',
      'resets_total',
    ])
  })

  it('says why the last collection failed, and when the last good one was', () => {
    const replay = new Replay()
    replay.at(0, read(0, page(), { version: '0.20.0', notes: ['mind this'] }))
    const [target] = replay.at(5_000, missed(5_000, 'timeout', { message: 'too late' })).targets
    assert.deepEqual(target?.lastFailure, { code: 'timeout', message: 'too late' })
    assert.equal(target?.lastSuccessMs, 0)
    assert.equal(target?.up, false)
    assert.equal(target?.version, '0.20.0')
    assert.deepEqual(target?.models, ['llama'])
    assert.equal(target?.notes[0], 'mind this')
  })

  it('is the worst of its targets, and each target keeps its own status', () => {
    const targets = ['a', 'b'].map((name) => ({ name, staleAfterMs }))
    const replay = new Replay({ targets })
    const well = read(0, page(), { target: 'a' })
    assert.equal(replay.at(0, well, read(0, page(), { target: 'b' })).status, 'healthy')
    const fails = [5_000, 10_000].map((atMs) => missed(atMs, 'refused', { target: 'b' }))
    const snapshot = replay.at(10_000, ...fails)
    assert.equal(snapshot.status, 'unhealthy')
    assert.deepEqual(
      snapshot.targets.map(({ status }) => status),
      ['healthy', 'unhealthy'],
    )
  })

  it('is unknown, not healthy, of a page that is not vLLM’s', () => {
    const snapshot = new Replay().at(0, read(0, [], { capabilities: [] }))
    assert.equal(snapshot.status, 'unknown')
  })
})

describe('what is published', () => {
  const running = 'requests_running{model_name="llama",target="vllm"}'
  const rate = 'generation_tokens_per_second{model_name="llama",target="vllm",window="1m"}'
  const total = 'requests_finished_total{model_name="llama",reason="stop",target="vllm"}'

  it('loses the gauges of the instant with one failed scrape, and nothing else', () => {
    const replay = new Replay()
    const before = written(replay.at(10_000, read(0, page()), read(10_000, page(50))).measured)
    assert.deepEqual([before[running], before[rate], before[total]], [0, 5, 50])
    const after = written(replay.at(12_000, missed(12_000, 'timeout')).measured)
    assert.deepEqual([after[running], after[rate], after[total]], ['stale', 5, 50])
  })

  it('loses windowed values when the last good scrape is too old, and counters stay', () => {
    const replay = new Replay()
    replay.at(10_000, read(0, page()), read(10_000, page(50)))
    const at = (atMs: number) => written(replay.at(atMs, missed(atMs, 'timeout')).measured)
    assert.equal(at(25_000)[rate], 5)
    const late = at(25_001)
    assert.deepEqual([late[rate], late[total]], ['stale', 50])
  })

  it('has no sample twice, no NaN, and families whose samples stand together', () => {
    const targets = ['a', 'b'].map((name) => ({ name, staleAfterMs }))
    const replay = new Replay({ targets, gpu })
    const { measured } = replay.at(
      20_000,
      ...targets.flatMap(({ name }) =>
        [0, 20_000].map((atMs) => read(atMs, page(atMs), { target: name })),
      ),
      gpuRead(20_000, ...card()),
    )
    const values = Object.values(written(measured))
    assert.ok(values.length > 50)
    assert.equal(values.some(Number.isNaN), false)
    const families = measured.map(({ family }) => family.name)
    const starts = families.filter((name, position) => name !== families[position - 1])
    assert.equal(starts.length, new Set(starts).size)
  })

  it('tells the state and the status of a target as one 1 among 0', () => {
    const all = written(new Replay().at(0, read(0, page(0, 2))).measured)
    assert.deepEqual(chosen(all, 'engine_state'), ['engine_state{state="serving",target="vllm"}'])
    assert.deepEqual(chosen(all, 'health_status'), [
      'health_status{status="healthy",target="vllm"}',
    ])
    assert.equal(Object.keys(only(all, 'engine_state')).length, 7)
    assert.equal(Object.keys(only(all, 'health_status')).length, 4)
  })

  it('tells each alert that is pending or firing, labels that do not apply empty', () => {
    const replay = new Replay()
    const label = (state: string) =>
      `alert_active{alertname="VllmDown",model_name="",severity="critical",state="${state}",target="vllm",uuid=""}`
    const first = written(replay.at(0, missed(0, 'refused')).measured)
    assert.deepEqual(only(first, 'alert_active'), { [label('pending')]: 1 })
    const later = written(replay.at(30_000, missed(30_000, 'refused')).measured)
    assert.deepEqual(only(later, 'alert_active'), { [label('firing')]: 1 })
    const over = written(replay.at(31_000, read(31_000, page())).measured)
    assert.deepEqual(only(over, 'alert_active'), {})
  })

  it('tells the numbers that an alert rests on, and leaves its texts to the API', () => {
    const replay = new Replay()
    replay.at(0, missed(0, 'refused'))
    const all = written(replay.at(5_000, missed(5_000, 'refused')).measured)
    // The code is text.
    assert.deepEqual(only(all, 'alert_evidence'), {
      'alert_evidence{alertname="VllmDown",evidence="missed_in_a_row",model_name="",target="vllm",uuid=""}': 2,
    })
    const over = written(replay.at(6_000, read(6_000, page())).measured)
    assert.deepEqual(only(over, 'alert_evidence'), {})
  })

  it('tells of evidence whose it is, a GPU’s and a model’s as well', () => {
    const labels = { alertname: '', evidence: 'n', target: '', model_name: '', uuid: '' }
    const of = (subject: Subject) =>
      evidenceOf(alertOf({ subject, evidence: { n: 3, text: 'left to the API' } })).map((one) => ({
        ...one.labels,
        alertname: '',
      }))
    assert.deepEqual(of({ uuid: 'GPU-7' }), [{ ...labels, uuid: 'GPU-7' }])
    const llama = { target: 'a', model_name: 'llama' }
    assert.deepEqual(of(llama), [{ ...labels, ...llama }])
  })

  it('tells what vLLM planned to take of the GPUs', () => {
    const replay = new Replay({ gpu })
    const snapshot = replay.at(
      0,
      read(0, [...page(), gauge('planned_gpu_memory_ratio', 0.5)]),
      gpuRead(0, ...card(), gauge('gpu_memory_total', 80)),
    )
    const all = written(snapshot.measured)
    assert.equal(all['gpu_memory_planned_bytes{gpu="0",uuid="GPU-a"}'], 40)
  })
})

describe('what was derived', () => {
  it('is taken over while nothing new was collected', () => {
    const replay = new Replay()
    const first = replay.at(10_000, read(0, page()), read(10_000, page(50)))
    const second = replay.at(11_000)
    assert.equal(second.derived.get('vllm'), first.derived.get('vllm'))
  })

  const changes: readonly [string, (replay: Replay) => Snapshot][] = [
    ['a good collection', (replay) => replay.at(11_000, read(11_000, page(60)))],
    ['a failed collection', (replay) => replay.at(11_000, missed(11_000, 'timeout'))],
    ['the age of the last good one', (replay) => replay.at(30_000)],
    [
      'a target that began anew under the same name',
      (replay) => {
        replay.windows.forget('vllm')
        return replay.at(11_000, read(10_500, page()), read(11_000, page(9)))
      },
    ],
  ]
  for (const [what, change] of changes) {
    it(`is derived anew after ${what}`, () => {
      const replay = new Replay()
      const first = replay.at(10_000, read(0, page()), read(10_000, page(50)))
      assert.notEqual(change(replay).derived.get('vllm'), first.derived.get('vllm'))
    })
  }

  it('is derived anew with other settings', () => {
    const windows = new Windows({ keepMs: 300_000 })
    windows.record(read(0, page()))
    const input: EvaluateInput = {
      windows,
      targets: [{ name: 'vllm', staleAfterMs }],
      gpu: undefined,
      settings: signalSettings,
      thresholds,
      rules: builtinRules,
      atMs: 0,
      wallMs: wallAtZeroMs,
    }
    const first = evaluate(undefined, input)
    const settings = { ...signalSettings, windowsMs: [120_000] }
    const all = written(evaluate(first, { ...input, settings }).measured)
    const name = 'requests_waiting_max{model_name="llama",target="vllm",window="2m"}'
    assert.equal(all[name], 'no-data')
  })
})

describe('an incident', () => {
  it('of a server that dies and comes back is pending, unhealthy, firing and over', () => {
    const replay = new Replay()
    const seen = (atMs: number, attempt: Attempt) => {
      const { status, targets, alerts } = replay.at(atMs, attempt)
      return [targets[0]?.state, status, ...alerts.map(({ alert, state }) => `${alert} ${state}`)]
    }
    const dead = (atMs: number) => seen(atMs, missed(atMs, 'refused'))
    assert.deepEqual(seen(0, read(0, page(0, 1))), ['serving', 'healthy'])
    // One lost scrape is no death; two are.
    assert.deepEqual(dead(5_000), ['serving', 'healthy', 'VllmDown pending'])
    assert.deepEqual(dead(10_000), ['down', 'unhealthy', 'VllmDown pending'])
    assert.deepEqual(dead(35_000), ['down', 'unhealthy', 'VllmDown firing'])
    assert.deepEqual(seen(40_000, read(40_000, page())), ['idle', 'healthy'])
  })

  it('of slow answers degrades while it fires, and says what is the matter', () => {
    const replay = new Replay()
    const bounds = [10]
    const answers = (atMs: number, fast: number, slow: number) =>
      read(atMs, [...page(), histogram('e2e_latency', { bounds, counts: [fast, slow], sum: 0 })])
    replay.at(0, answers(0, 0, 0))
    // 12 of 412 took longer than 10 s: 2.9 %.
    assert.equal(replay.at(60_000, answers(60_000, 400, 12)).status, 'healthy')
    const bad = replay.at(180_000, answers(180_000, 400, 12))
    assert.equal(bad.status, 'degraded')
    const [reason] = bad.targets[0]?.reasons ?? []
    assert.deepEqual(
      [reason?.alert, reason?.sinceMs, reason?.summary],
      [
        'VllmLatencyP99High',
        60_000,
        '2.9 % of 412 requests took longer than 10 s in the last 5 m (allowed 1 %)',
      ],
    )
    // Ten thousand good answers later 12 of 10,412 are 0.1 %.
    const good = replay.at(240_000, answers(240_000, 10_400, 12))
    assert.deepEqual([good.status, firing(good)], ['healthy', []])
  })
})
