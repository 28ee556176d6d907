import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { startWholeDaemon } from './whole-daemon.ts'

interface Measurement {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

describe('the whole daemon', () => {
  it('tells the host memory of the simulated workers under the GPU source, in the API alone', async () => {
    const whole = await startWholeDaemon({ scenario: 'steady' })
    try {
      const found = async (): Promise<readonly Measurement[]> => {
        const body = Object(await whole.json('/api/v1/status'))
        const all: readonly Measurement[] = body.gpu_source?.measurements ?? []
        return all.filter(({ name }) => name.startsWith('vllm_vitals_host_'))
      }
      let told = await found()
      for (let tries = 0; told.length === 0 && tries < 160; tries += 1) {
        await delay(50)
        told = await found()
      }
      const names = new Set(told.map(({ name }) => name.replace('vllm_vitals_', '')))
      const all = [
        'host_memory_available_bytes',
        'host_memory_total_bytes',
        'host_process_memory_bytes',
      ]
      assert.deepEqual([...names].sort(), all)
      for (const { value } of told) assert.ok(value > 0, JSON.stringify(told))
      const page = await (await fetch(`${whole.url}/metrics`)).text()
      assert.doesNotMatch(page, /vllm_vitals_host_/)
    } finally {
      await whole.stop()
    }
  })
})
