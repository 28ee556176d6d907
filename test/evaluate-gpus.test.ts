import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { gauge, missed, read } from './fakes/readings.ts'
import { card, firing, gpu, gpuRead, page, Replay } from './fakes/replay.ts'
import { only, written } from './fakes/signals.ts'

describe('the GPUs', () => {
  const second = { gpu: '1', uuid: 'GPU-b' }

  it('are listed with their index and name, healthy while nothing fires', () => {
    const snapshot = new Replay({ gpu }).at(
      0,
      read(0, page()),
      gpuRead(0, ...card(), ...card(second)),
    )
    assert.deepEqual(
      snapshot.gpus.map(({ uuid, index, name, status }) => [uuid, index, name, status]),
      [
        ['GPU-a', 0, 'H100', 'healthy'],
        ['GPU-b', 1, 'H100', 'healthy'],
      ],
    )
    assert.equal(snapshot.gpuSource?.status, 'healthy')
    assert.equal(snapshot.status, 'healthy')
  })

  it('degrade at worst, and one that is lost stays listed', () => {
    const replay = new Replay({ gpu })
    const both = [...card(), ...card(second)]
    // A GPU that is gone says nothing but that.
    const lost = [...card(), gauge('gpu_lost', 1, second)]
    replay.at(0, read(0, page()), gpuRead(0, ...both))
    replay.at(10_000, read(10_000, page()), gpuRead(10_000, ...lost))
    const snapshot = replay.at(40_000, read(40_000, page()), gpuRead(40_000, ...lost))
    assert.deepEqual(firing(snapshot), ['VllmGpuLost'])
    assert.deepEqual(
      snapshot.gpus.map(({ uuid, status }) => [uuid, status]),
      [
        ['GPU-a', 'healthy'],
        ['GPU-b', 'degraded'],
      ],
    )
    assert.equal(snapshot.gpus[1]?.reasons[0]?.alert, 'VllmGpuLost')
    assert.equal(snapshot.status, 'degraded')
    assert.equal(snapshot.targets[0]?.status, 'healthy')
  })

  it('degrade the whole when they can no longer be read, and stay known by name', () => {
    const replay = new Replay({ gpu })
    replay.at(0, read(0, page()), gpuRead(0, ...card()))
    const fail = (atMs: number) =>
      replay.at(atMs, read(atMs, page()), missed(atMs, 'timeout', { target: 'gpu' }))
    assert.equal(fail(10_000).status, 'healthy')
    const snapshot = fail(130_000)
    assert.deepEqual(firing(snapshot), ['VllmVitalsBlind'])
    assert.deepEqual([snapshot.status, snapshot.gpuSource?.status], ['degraded', 'degraded'])
    assert.equal(snapshot.gpus[0]?.name, 'H100')
    const all = written(snapshot.measured)
    assert.deepEqual(only(all, 'gpu_info', 'gpu_lost', 'gpus'), {})
    assert.equal(all['up{target="gpu"}'], 0)
  })

  it('are not spoken of on a host without a driver, unless it must have one', () => {
    const gone = missed(0, 'not_found', { target: 'gpu' })
    const quiet = new Replay({ gpu: { ...gpu, quiet: true } }).at(0, read(0, page()), gone)
    assert.equal(quiet.gpuSource, undefined)
    assert.equal('up{target="gpu"}' in written(quiet.measured), false)
    assert.deepEqual([quiet.status, quiet.ready], ['healthy', true])
    const loud = new Replay({ gpu }).at(0, read(0, page()), gone)
    assert.deepEqual(loud.gpuSource?.lastFailure?.code, 'not_found')
    assert.equal(written(loud.measured)['up{target="gpu"}'], 0)
  })

  it('that were never read are told where reading them fails, also on a host that need not have any', () => {
    for (const code of ['library_mismatch', 'gpu_lost', 'timeout', 'permission', 'exit'] as const) {
      const failed = missed(0, code, { target: 'gpu' })
      const snapshot = new Replay({ gpu: { ...gpu, quiet: true } }).at(0, read(0, page()), failed)
      assert.equal(snapshot.gpuSource?.lastFailure?.code, code)
      const all = written(snapshot.measured)
      assert.equal(all['up{target="gpu"}'], 0)
      assert.equal(all[`collect_failures_total{code="${code}",target="gpu"}`], 1)
    }
    for (const code of ['driver_unavailable', 'no_gpu'] as const) {
      const absent = missed(0, code, { target: 'gpu' })
      const snapshot = new Replay({ gpu: { ...gpu, quiet: true } }).at(0, read(0, page()), absent)
      assert.equal(snapshot.gpuSource, undefined)
    }
  })

  it('are waited for before all is ready, whatever becomes of them', () => {
    const replay = new Replay({ gpu })
    assert.equal(replay.at(0, read(0, page())).ready, false)
    assert.equal(replay.at(1_000, missed(1_000, 'timeout', { target: 'gpu' })).ready, true)
  })

  it('have the health of their source among those of the targets, and no engine', () => {
    const snapshot = new Replay({ gpu }).at(0, read(0, page()), gpuRead(0, ...card()))
    const all = written(snapshot.measured)
    assert.equal(all['health_status{status="healthy",target="gpu"}'], 1)
    assert.equal(all['health_status{status="degraded",target="gpu"}'], 0)
    assert.equal('engine_state{state="idle",target="gpu"}' in all, false)
  })
})

describe('a GPU that is the bottleneck', () => {
  /** Whether its alert fires in a quarter of an hour of readings each 10 s. */
  const fires = (reading: (second: number) => number | 'missed') => {
    const replay = new Replay({ gpu })
    let fired = false
    for (let second = 0; second <= 900; second += 10) {
      const atMs = second * 1_000
      const busy = reading(second)
      const snapshot = replay.at(
        atMs,
        read(atMs, page(second, 7)),
        busy === 'missed'
          ? missed(atMs, 'timeout', { target: 'gpu' })
          : gpuRead(atMs, ...card(), gauge('gpu_utilization', busy)),
      )
      fired ||= firing(snapshot).includes('VllmGpuUtilizationHigh')
    }
    return fired
  }

  it('is told when it was busy at every reading for ten minutes', () => {
    assert.equal(
      fires(() => 0.99),
      true,
    )
  })

  it('is not told when one reading was below', () => {
    assert.equal(
      fires((second) => (second === 450 ? 0.9 : 0.99)),
      false,
    )
  })

  it('is told when one reading failed, which is no good news', () => {
    assert.equal(
      fires((second) => (second === 450 ? 'missed' : 0.99)),
      true,
    )
  })
})

describe('what the configuration no longer names', () => {
  it('takes its alerts along at once', () => {
    const replay = new Replay({ gpu })
    const lost = gpuRead(0, gauge('gpu_lost', 1))
    const before = replay.at(0, missed(0, 'refused'), lost)
    assert.deepEqual(before.alerts.map(({ alert }) => alert).sort(), ['VllmDown', 'VllmGpuLost'])
    const other = [{ name: 'other', staleAfterMs: 15_000 }]
    const after = replay.with({ targets: other, gpu: undefined }).at(1_000)
    assert.deepEqual(after.alerts, [])
  })
})
