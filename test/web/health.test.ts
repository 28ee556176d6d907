import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { TargetSnapshot } from '../../src/snapshot.ts'
import {
  findTarget,
  healthBody,
  healthCode,
  healthText,
  jsonNumber,
  unknownBody,
} from '../../src/web/health.ts'
import { alertOf, builtAtMs, gpuOf, snapshotOf, targetOf } from '../fakes/snapshots.ts'

function bodyOf(target: Partial<TargetSnapshot>) {
  const snapshot = snapshotOf({ targets: [targetOf(target)] })
  const [body] = healthBody(snapshot, '0.1.0').targets
  assert.ok(body !== undefined)
  return body
}

describe('the HTTP status of a health', () => {
  for (const [status, code, strictCode] of [
    ['healthy', 200, 200],
    ['degraded', 200, 503],
    ['unknown', 503, 503],
    ['unhealthy', 503, 503],
  ] as const) {
    it(`is ${code} for ${status}, and ${strictCode} where degraded fails`, () => {
      assert.equal(healthCode(status, false), code)
      assert.equal(healthCode(status, true), strictCode)
    })
  }
})

describe('the body of /health', () => {
  it('is the one of the contract, to the letter', () => {
    const snapshot = snapshotOf({
      status: 'degraded',
      targets: [targetOf({ status: 'degraded', reasons: [alertOf()] })],
      gpus: [gpuOf({ uuid: 'GPU-…' })],
      alerts: [alertOf()],
    })
    // Read 1.2 s before the evaluation of 10:00:00; firing for 110 s, which is since 09:58:10.
    assert.deepEqual(JSON.parse(JSON.stringify(healthBody(snapshot, '0.1.0'))), {
      status: 'degraded',
      time: '2026-11-22T10:00:00.000Z',
      version: '0.1.0',
      targets: [
        {
          name: 'vllm',
          status: 'degraded',
          state: 'serving',
          models: ['llama'],
          last_scrape_age_seconds: 1.2,
          reasons: [
            {
              alert: 'VllmLatencyP99High',
              severity: 'critical',
              since: '2026-11-22T09:58:10.000Z',
              summary: '2.9 % of 412 requests took longer than 10 s in the last 5 m (allowed 1 %)',
              evidence: { over_ratio: 0.0291, observations: 412 },
              runbook: 'docs/runbooks/VllmLatencyP99High.md',
            },
          ],
        },
      ],
      gpus: [{ uuid: 'GPU-…', index: 0, status: 'healthy', reasons: [] }],
    })
  })

  it('adds the reading of the GPUs where there is one', () => {
    const gpuSource = targetOf({ name: 'gpu', models: [], lastSuccessMs: builtAtMs })
    assert.deepEqual(healthBody(snapshotOf({ gpuSource }), '0.1.0').gpu_source, {
      name: 'gpu',
      status: 'healthy',
      last_scrape_age_seconds: 0,
      reasons: [],
    })
  })

  it('of one target has its status and leaves out the others', () => {
    const b = targetOf({ name: 'b', status: 'unknown' })
    const snapshot = snapshotOf({ status: 'unhealthy', targets: [targetOf({ name: 'a' }), b] })
    const body = healthBody(snapshot, '0.1.0', b)
    assert.equal(body.status, 'unknown')
    assert.deepEqual(
      body.targets.map(({ name }) => name),
      ['b'],
    )
  })

  it('of nothing that can be said gives the reason and empty lists', () => {
    assert.deepEqual(unknownBody(0, '0.1.0', 'why'), {
      status: 'unknown',
      time: '1970-01-01T00:00:00.000Z',
      version: '0.1.0',
      detail: 'why',
      targets: [],
      gpus: [],
    })
  })

  it('says null for the age of what was never read', () => {
    assert.equal(bodyOf({ lastSuccessMs: undefined }).last_scrape_age_seconds, null)
  })

  it('says 0 for the age of a reading that came after the evaluation began', () => {
    assert.equal(bodyOf({ lastSuccessMs: builtAtMs + 5 }).last_scrape_age_seconds, 0)
  })

  it('stays valid when the wall clock holds nonsense', () => {
    for (const wallMs of [Number.NaN, Number.POSITIVE_INFINITY, 1e300, -1e300]) {
      const snapshot = snapshotOf({ wallMs, targets: [targetOf({ reasons: [alertOf()] })] })
      assert.equal(healthBody(snapshot, '0.1.0').time, '1970-01-01T00:00:00.000Z')
    }
  })

  it('writes evidence that JSON has no number for as Prometheus does', () => {
    const evidence = { worst_seconds: Number.POSITIVE_INFINITY, low: -Infinity, share: Number.NaN }
    const [reason] = bodyOf({
      reasons: [alertOf({ evidence: { ...evidence, code: 'x' } })],
    }).reasons
    const wanted = { worst_seconds: '+Inf', low: '-Inf', share: 'NaN', code: 'x' }
    assert.deepEqual(reason?.evidence, wanted)
  })

  it('writes no number that JSON would turn into null', () => {
    fc.assert(
      fc.property(fc.double(), (value) => JSON.parse(JSON.stringify(jsonNumber(value))) !== null),
    )
  })
})

describe('the detail of a target', () => {
  const failure = { code: 'refused', message: 'expected an answer, found none' }
  for (const [claim, given, detail] of [
    ['is left out where it is healthy', {}, undefined],
    [
      'is left out where an alert says it all',
      { status: 'degraded', reasons: [alertOf()] },
      undefined,
    ],
    [
      'tells the failure of the last collection',
      { status: 'unhealthy', state: 'down', up: false, lastFailure: failure, reasons: [alertOf()] },
      'down: expected an answer, found none (refused)',
    ],
    [
      'tells that it was not read yet',
      { status: 'unknown', state: 'unknown', up: undefined, lastSuccessMs: undefined },
      'unknown: it was not read yet',
    ],
    [
      'tells loading',
      {
        status: 'unknown',
        state: 'loading',
        up: false,
        lastFailure: { code: 'refused', message: 'expected an answer, found none' },
        loading: { summary: 'the model is being loaded, for 20 s so far', evidence: {} },
      },
      'loading: the model is being loaded, for 20 s so far',
    ],
    [
      'tells sleeping',
      { status: 'unknown', state: 'sleeping' },
      'sleeping: the engine was put to sleep',
    ],
    [
      'tells stalling',
      { status: 'unhealthy', state: 'stalled' },
      'stalled: work is pending and nothing progresses',
    ],
    [
      'tells what goes on from a cause that is over',
      {
        status: 'degraded',
        state: 'serving',
        suppressed: [alertOf({ heldBack: { by: 'VllmEngineStalled', subject: {} } })],
      },
      'serving: what follows from VllmEngineStalled is held back: VllmLatencyP99High',
    ],
    [
      'tells what is left to say of a target that was read',
      { status: 'unhealthy', state: 'down' },
      'down: the last reading succeeded',
    ],
  ] as const) {
    it(claim, () => assert.equal(bodyOf(given).detail, detail))
  }
})

describe('the text of /health', () => {
  it('is the status and one line for each reason', () => {
    const gpuAlert = alertOf({
      alert: 'VllmGpuLost',
      severity: 'warning',
      sinceMs: builtAtMs,
      summary: 'GPU 0 is lost',
    })
    const snapshot = snapshotOf({
      status: 'degraded',
      targets: [
        targetOf({ status: 'degraded', reasons: [alertOf()] }),
        targetOf({ name: 'b', status: 'unknown', state: 'loading' }),
      ],
      gpus: [gpuOf({ status: 'degraded', reasons: [gpuAlert] })],
    })
    assert.equal(
      healthText(healthBody(snapshot, '0.1.0')),
      'degraded\n' +
        'vllm VllmLatencyP99High critical since 2026-11-22T09:58:10.000Z 2.9 % of 412 requests ' +
        'took longer than 10 s in the last 5 m (allowed 1 %)\n' +
        'b loading: the model is being loaded\n' +
        'GPU-aaaa VllmGpuLost warning since 2026-11-22T10:00:00.000Z GPU 0 is lost\n',
    )
  })

  it('is the status alone where all is well', () => {
    assert.equal(healthText(healthBody(snapshotOf(), '0.1.0')), 'healthy\n')
  })

  it('says why nothing can be said', () => {
    assert.equal(healthText(unknownBody(0, '0.1.0', 'nothing yet')), 'unknown\nnothing yet\n')
  })

  it('keeps one line for each reason, whatever a summary quotes', () => {
    const line = fc.string({ unit: fc.constantFrom('a', '\n', '\r', '\u2028', '\0', '\u0085') })
    fc.assert(
      fc.property(line, (summary) => {
        const targets = [targetOf({ status: 'degraded', reasons: [alertOf({ summary })] })]
        const text = healthText(healthBody(snapshotOf({ targets }), '0.1.0'))
        return text.split(/[\n\r\u2028\u0085\0]/).length === 3
      }),
    )
  })
})

describe('a name in ?target=', () => {
  const gpuSource = targetOf({ name: 'gpu' })
  const snapshot = snapshotOf({ targets: [targetOf({ name: 'a' })], gpuSource })
  for (const [name, found] of [
    ['a', 'a'],
    ['gpu', 'gpu'],
    ['A', undefined],
    ['', undefined],
    ['__proto__', undefined],
  ] as const) {
    it(`finds ${found ?? 'nothing'} for ${JSON.stringify(name)}`, () => {
      assert.equal(findTarget(snapshot, name)?.name, found)
    })
  }

  it('finds nothing for the GPU source where it is off', () => {
    assert.equal(findTarget(snapshotOf(), 'gpu'), undefined)
  })
})

describe('the body for one target', () => {
  it('leaves out the GPUs on which it does not run, and keeps those of which nobody knows', () => {
    const gpus = [true, false, undefined].map((runsEngine, index) => gpuOf({ index, runsEngine }))
    const target = targetOf({ name: 'a' })
    const snapshot = snapshotOf({ targets: [target], gpus })
    const indexes = (only?: typeof target) =>
      healthBody(snapshot, '0.1.0', only).gpus.map(({ index }) => index)
    assert.deepEqual(indexes(), [0, 1, 2])
    assert.deepEqual(indexes(target), [0, 2])
  })
})
