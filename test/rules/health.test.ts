import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  gpuSourceStatus,
  type HealthStatus,
  type TargetState,
  targetStatus,
  worst,
} from '../../src/rules/health.ts'
import { percent, seconds, spanText } from '../../src/rules/words.ts'

describe('the worst of statuses', () => {
  const rows: readonly [readonly HealthStatus[], HealthStatus][] = [
    [['healthy', 'degraded'], 'degraded'],
    [['unknown', 'degraded'], 'unknown'],
    [['unknown', 'unhealthy', 'healthy'], 'unhealthy'],
    [['healthy', 'healthy'], 'healthy'],
    [[], 'unknown'],
  ]
  for (const [statuses, expected] of rows) {
    it(`of ${statuses.join(', ') || 'none'} is ${expected}`, () => {
      assert.equal(worst(statuses, 'unknown'), expected)
    })
  }
})

describe('the status of a target', () => {
  // State, then the status without and with a firing alert.
  const rows: readonly [TargetState, HealthStatus, HealthStatus][] = [
    ['serving', 'healthy', 'degraded'],
    ['idle', 'healthy', 'degraded'],
    ['loading', 'unknown', 'unknown'],
    ['sleeping', 'unknown', 'unknown'],
    ['unknown', 'unknown', 'unknown'],
    ['down', 'unhealthy', 'unhealthy'],
    ['stalled', 'unhealthy', 'unhealthy'],
  ]
  for (const [state, quiet, firing] of rows) {
    it(`that is ${state} is ${quiet}, and ${firing} with an alert`, () => {
      assert.equal(targetStatus(state, 0), quiet)
      assert.equal(targetStatus(state, 2), firing)
    })
  }
})

describe('the status of the GPU source', () => {
  const rows: readonly [TargetState, number, HealthStatus][] = [
    ['serving', 0, 'healthy'],
    ['serving', 1, 'degraded'],
    ['down', 1, 'degraded'],
    ['down', 0, 'unknown'],
    ['unknown', 0, 'unknown'],
  ]
  for (const [state, firing, expected] of rows) {
    it(`that is ${state} with ${firing} alerts is ${expected}`, () => {
      assert.equal(gpuSourceStatus(state, firing), expected)
    })
  }
})

describe('the words of a summary', () => {
  const rows: readonly [number, string][] = [
    [0.029_1, '2.9 %'],
    [0.01, '1 %'],
    [0.000_4, '0.04 %'],
    [0.456, '46 %'],
    [1, '100 %'],
    [0, '0 %'],
  ]
  for (const [ratio, text] of rows) {
    it(`write ${ratio} as ${text}`, () => assert.equal(percent(ratio), text))
  }

  it('write spans and seconds with a blank before the unit', () => {
    assert.equal(spanText(300_000), '5 m')
    assert.equal(spanText(90_000), '1 m 30 s')
    assert.equal(seconds(0.3), '0.3 s')
  })
})
