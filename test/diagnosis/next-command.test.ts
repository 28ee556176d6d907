import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { describe, it } from 'node:test'
import { diagnose } from '../../src/diagnosis/diagnose.ts'
import type { Stall } from '../../src/rules/stall.ts'
import { builtAtMs, targetOf } from '../fakes/snapshots.ts'

const suspected: Stall = {
  kind: 'stale-gauges',
  certainty: 'suspected',
  stillMs: 40_000,
  notServing: false,
  summary: 'no progress for 40 s',
  evidence: {},
  wantsProbe: true,
}

describe('the next command of a suspected stall', () => {
  for (const model of ['llama', "it's; exit 3 #", '$(id) `id` "quoted" \\']) {
    it(`asks for the model ${JSON.stringify(model)} by its very name`, () => {
      const [finding] = diagnose({
        ownUrl: 'http://127.0.0.1:19400',
        atMs: builtAtMs,
        targets: [targetOf({ stall: suspected, models: [model] })],
        gpus: [],
        host: {
          totalBytes: undefined,
          availableBytes: undefined,
          growths: [],
          showsProcesses: false,
        },
        gpusUnknown: 'nobody looked',
        targetsOnLost: () => new Set(),
      })
      // What a shell makes of it, with a curl that only tells its last argument.
      const script = `curl() { for last; do :; done; printf %s "$last"; }\n${finding?.next}`
      const body: unknown = JSON.parse(execFileSync('sh', ['-c', script], { encoding: 'utf8' }))
      assert.deepEqual(body, { model, prompt: 'ping', max_tokens: 1 })
    })
  }
})
