import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { describe, it } from 'node:test'
import { diagnose, type Patient } from '../../src/diagnosis/diagnose.ts'
import type { Stall } from '../../src/rules/stall.ts'
import type { TargetSnapshot } from '../../src/snapshot.ts'
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

function patientOf(target: TargetSnapshot): Patient {
  return {
    atMs: builtAtMs,
    ownUrl: 'http://127.0.0.1:19400',
    targets: [target],
    gpus: [],
    host: {
      totalBytes: undefined,
      availableBytes: undefined,
      growths: [],
      showsProcesses: false,
    },
    gpusUnknown: 'nobody looked',
    targetsOnLost: () => new Set(),
  }
}

describe('the next command of a suspected stall', () => {
  for (const model of ['llama', "it's; exit 3 #", '$(id) `id` "quoted" \\']) {
    it(`asks for the model ${JSON.stringify(model)} by its very name`, () => {
      const [finding] = diagnose(patientOf(targetOf({ stall: suspected, models: [model] })))
      // What a shell makes of it, with a curl that only tells its last argument.
      const script = `curl() { for last; do :; done; printf %s "$last"; }\n${finding?.next}`
      const body: unknown = JSON.parse(execFileSync('sh', ['-c', script], { encoding: 'utf8' }))
      assert.deepEqual(body, { model, prompt: 'ping', max_tokens: 1 })
    })
  }
})

describe('the next command of a rank that hangs', () => {
  const stall = { ...suspected, kind: 'rank', certainty: 'certain', wantsProbe: false } as const
  const nextOf = (engines: string) =>
    diagnose(patientOf(targetOf({ stall: { ...stall, evidence: { engines } } })))[0]?.next

  it('takes the stacks of that rank and of no other', () => {
    assert.match(nextOf('2') ?? '', /pgrep -f 'VLLM::EngineCore_DP\(2\)'/)
    assert.match(nextOf('1, 3') ?? '', /pgrep -f 'VLLM::EngineCore_DP\(1\|3\)'/)
  })

  it('takes those of any engine where ranks have no numbers', () => {
    assert.match(nextOf('llama 0') ?? '', /pgrep -f 'VLLM::\(EngineCore\|Worker\)'/)
  })
})
