import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { builtinRules } from '../../src/rules/builtin.ts'
import { type AlertName, alertNames } from '../../src/rules/settings.ts'

describe('the catalogue', () => {
  it('has every alert that can be configured, with the severity and the wait of the contract', () => {
    const contract: Readonly<Record<AlertName, readonly [string, number]>> = {
      VllmDown: ['critical', 30],
      VllmEngineStalled: ['critical', 45],
      VllmLatencyP99High: ['critical', 120],
      VllmTtftP99High: ['warning', 120],
      VllmQueueWaitHigh: ['warning', 60],
      VllmErrorRatioHigh: ['critical', 120],
      VllmThroughputLow: ['warning', 300],
      VllmKvCachePressure: ['warning', 120],
      VllmGpuUtilizationHigh: ['warning', 600],
      VllmGpuMemoryHigh: ['warning', 300],
      VllmGpuMemoryLeak: ['warning', 900],
      VllmGpuLost: ['critical', 30],
      VllmGpuThrottled: ['warning', 300],
      VllmNoGpu: ['critical', 60],
      VllmVitalsBlind: ['warning', 120],
    }
    const found = builtinRules.map(({ name, severity, forMs }) => [name, [severity, forMs / 1_000]])
    assert.deepEqual(Object.fromEntries(found), contract)
    assert.deepEqual(
      builtinRules.map(({ name }) => name),
      alertNames,
    )
  })
})
