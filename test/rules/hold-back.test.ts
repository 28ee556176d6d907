import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Alert } from '../../src/rules/alert.ts'
import { holdBack } from '../../src/rules/hold-back.ts'
import type { Subject, Watched } from '../../src/rules/rule.ts'
import { TargetWindows } from '../../src/window/target-windows.ts'
import { alertOf } from '../fakes/snapshots.ts'

function alert(name: string, subject: Subject, rest: Partial<Alert> = {}): Alert {
  return alertOf({ alert: name, subject, ...rest })
}

function watched(name: string, state: Watched['state']): Watched {
  const target = new TargetWindows(name, { keepMs: 60_000 })
  const placement = { kind: 'unknown', why: 'nobody looked' } as const
  return {
    target,
    url: 'http://vllm:8000',
    state,
    placement,
    fresh: true,
    stall: undefined,
    loading: undefined,
  }
}

/** Which of `alerts` are held back, as `alert of subject: cause`. */
function held(
  alerts: readonly Alert[],
  scene: {
    readonly targets?: readonly Watched[]
    readonly onLostGpu?: readonly string[]
  } = {},
): readonly string[] {
  const marked = holdBack(alerts, {
    targets: scene.targets ?? [],
    runsOn: () => new Set(scene.onLostGpu ?? []),
    windowOf: () => 300_000,
    before: [],
    atMs: 1_000,
  })
  return shown(marked.alerts)
}

function shown(alerts: readonly Alert[]): readonly string[] {
  return alerts.flatMap(({ alert: name, subject, heldBack }) =>
    heldBack === undefined ? [] : [`${name} of ${subject.target ?? subject.uuid}: ${heldBack.by}`],
  )
}

const a = { target: 'a' }
const slow = alert('VllmLatencyP99High', { ...a, model_name: 'm' })
const queue = alert('VllmQueueWaitHigh', { ...a, model_name: 'm' })
const slowOther = alert('VllmLatencyP99High', { target: 'b', model_name: 'm' })
const failing = alert('VllmErrorRatioHigh', a)

describe('one cause', () => {
  it('holds nothing back where there is none', () => {
    assert.deepEqual(held([slow, queue, failing]), [])
  })

  it('holds back what follows from an engine that hangs, of its own target alone', () => {
    const stalled = alert('VllmEngineStalled', a)
    assert.deepEqual(held([stalled, slow, queue, slowOther, failing]), [
      'VllmLatencyP99High of a: VllmEngineStalled',
      'VllmQueueWaitHigh of a: VllmEngineStalled',
    ])
  })

  it('counts from the moment at which the state is certain, before its alert fires', () => {
    const pending = alert('VllmEngineStalled', a, { state: 'pending' })
    assert.deepEqual(held([pending, slow], { targets: [watched('a', 'stalled')] }), [
      'VllmLatencyP99High of a: VllmEngineStalled',
    ])
  })

  it('is none while it is pending, or only suspected', () => {
    assert.deepEqual(held([alert('VllmEngineStalled', a, { state: 'pending' }), slow]), [])
    assert.deepEqual(held([alert('VllmEngineStalled', a, { certainty: 'suspected' }), slow]), [])
  })

  it('that a server is down explains its errors and its stall, too', () => {
    const stalled = alert('VllmEngineStalled', a)
    const down = alert('VllmDown', a, { state: 'pending' })
    assert.deepEqual(held([down, stalled, failing], { targets: [watched('a', 'down')] }), [
      'VllmEngineStalled of a: VllmDown',
      'VllmErrorRatioHigh of a: VllmDown',
    ])
    // Of a server whose pages are late nobody is told that it is down, so that it explains nothing.
    assert.deepEqual(held([failing], { targets: [watched('a', 'down')] }), [])
  })

  it('that a GPU is lost holds back all of the targets on it, and of no other', () => {
    const lost = alert('VllmGpuLost', { uuid: 'GPU-1' })
    const down = alert('VllmDown', a)
    const downOther = alert('VllmDown', { target: 'b' })
    assert.deepEqual(held([lost, down, downOther, slow, slowOther], { onLostGpu: ['a'] }), [
      'VllmDown of a: VllmGpuLost',
      'VllmLatencyP99High of a: VllmGpuLost',
      // The other has a cause of its own.
      'VllmLatencyP99High of b: VllmDown',
    ])
    assert.deepEqual(held([lost, down, downOther], { onLostGpu: [] }), [])
  })

  describe('that has ended', () => {
    const circumstances = { targets: [], runsOn: () => new Set<string>(), windowOf: () => 300_000 }
    // The stall began at 100 s, fired, and was last seen at 200 s.
    const stalled = alert('VllmEngineStalled', a, { sinceMs: 100_000 })
    const { causes } = holdBack([stalled], { ...circumstances, before: [], atMs: 200_000 })
    const after = (one: Alert, atMs: number) =>
      shown(holdBack([one], { ...circumstances, before: causes, atMs }).alerts)
    const held = ['VllmLatencyP99High of a: VllmEngineStalled']

    it('goes on to hold back what begins with it or after it, for the window that looks back at it', () => {
      assert.deepEqual(after({ ...slow, sinceMs: 110_000 }, 499_999), held)
      assert.deepEqual(after({ ...slow, sinceMs: 210_000 }, 499_999), held)
      assert.deepEqual(after({ ...slow, sinceMs: 210_000 }, 500_000), [])
    })

    it('gives back at once what had begun before it', () => {
      assert.deepEqual(after({ ...slow, sinceMs: 50_000 }, 205_000), [])
    })

    it('is forgotten when no window looks back at it any more', () => {
      const later = holdBack([], { ...circumstances, before: causes, atMs: 500_000 })
      assert.deepEqual(later.causes, [])
      const sooner = holdBack([], { ...circumstances, before: causes, atMs: 499_999 })
      assert.equal(sooner.causes.length, 1)
    })
  })

  it('that no GPU can be read holds back that one is lost, and that the source is blind', () => {
    const none = alert('VllmNoGpu', { target: 'gpu' })
    const lost = alert('VllmGpuLost', { uuid: 'GPU-1' })
    const blind = alert('VllmVitalsBlind', { target: 'gpu' })
    const blindOther = alert('VllmVitalsBlind', a)
    assert.deepEqual(held([none, lost, blind, blindOther]), [
      'VllmGpuLost of GPU-1: VllmNoGpu',
      'VllmVitalsBlind of gpu: VllmNoGpu',
    ])
  })
})
