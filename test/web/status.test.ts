import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { ProbeResult } from '../../src/reading.ts'
import { absent } from '../../src/signals/signal.ts'
import { healthBody } from '../../src/web/health.ts'
import { type StatusBody, statusBody, unknownStatusBody } from '../../src/web/status.ts'
import {
  alertOf,
  builtAtMs,
  fullSnapshot,
  gpuOf,
  measuredOf,
  snapshotOf,
  targetOf,
} from '../fakes/snapshots.ts'
import { about } from './serving.ts'

/** Every measurement of the body, wherever it stands. */
function measurementsOf(body: StatusBody) {
  const sources = body.gpu_source === undefined ? [] : [body.gpu_source]
  const owners = [...body.targets, ...body.gpus, ...sources, body.daemon]
  return owners.flatMap((owner) => owner.measurements)
}

describe('the body of /api/v1/status', () => {
  it('holds everything of /health', () => {
    const snapshot = snapshotOf({
      targets: [targetOf({ status: 'degraded', reasons: [alertOf()] })],
      gpus: [gpuOf()],
      gpuSource: targetOf({ name: 'gpu' }),
    })
    const { targets, gpus, gpu_source, ...rest } = healthBody(snapshot, about.version)
    const status = statusBody(snapshot, about)
    const holds = (body: object, part: object) => assert.deepEqual({ ...body, ...part }, body)
    holds(status, rest)
    holds(status.targets[0] ?? {}, targets[0] ?? {})
    holds(status.gpus[0] ?? {}, gpus[0] ?? {})
    holds(status.gpu_source ?? {}, gpu_source ?? {})
  })

  it('adds what is known of the daemon', () => {
    const { revision, node_version, ready } = statusBody(snapshotOf({ ready: false }), about)
    assert.deepEqual([revision, node_version, ready], ['abc1234', '24.0.0', false])
  })

  it('adds what is known of a target', () => {
    const [target] = statusBody(
      snapshotOf({
        targets: [
          targetOf({
            up: false,
            lastFailure: { code: 'timeout', message: 'too late' },
            health: { kind: 'answered', status: 503, tookMs: 12 },
            notes: ['a note'],
          }),
        ],
      }),
      about,
    ).targets
    const { version, up, last_failure, health_probe, notes } = target ?? {}
    assert.deepEqual([version, up, notes], ['0.27.0', false, ['a note']])
    assert.deepEqual(last_failure, { code: 'timeout', message: 'too late' })
    assert.deepEqual(health_probe, { status: 503, took_seconds: 0.012 })
  })

  it('says null for what is not known of a target', () => {
    const unknown = targetOf({ up: undefined, version: undefined })
    const [target] = statusBody(snapshotOf({ targets: [unknown] }), about).targets
    const { version, up, last_failure, health_probe } = target ?? {}
    assert.deepEqual([version, up, last_failure, health_probe], [null, null, null, null])
  })

  it('tells a health endpoint that did not answer from one that did', () => {
    const health = { kind: 'unanswered', code: 'timeout', tookMs: 1_000 } as const
    const [target] = statusBody(snapshotOf({ targets: [targetOf({ health })] }), about).targets
    assert.deepEqual(target?.health_probe, { code: 'timeout', took_seconds: 1 })
  })

  it('shows the last probe where engines are probed, and leaves it out where not', () => {
    const shown = (last: ProbeResult | undefined) => {
      const [target] = statusBody(
        snapshotOf({ targets: [targetOf({ probe: { last } })] }),
        about,
      ).targets
      return target?.probe
    }
    const [unprobed] = statusBody(snapshotOf(), about).targets
    assert.equal('probe' in (unprobed ?? {}), false)
    assert.equal(shown(undefined), null)
    // Ended 1.5 s before the snapshot, half a second after its start.
    const times = { startMs: builtAtMs - 2_000, atMs: builtAtMs - 1_500, tookMs: 500 }
    const common = { target: 'vllm', ...times }
    const seconds = { age_seconds: 1.5, took_seconds: 0.5 }
    assert.deepEqual(shown({ kind: 'answered', ...common }), { outcome: 'answered', ...seconds })
    assert.deepEqual(shown({ kind: 'failed', status: 500, ...common }), {
      outcome: 'failed',
      status: 500,
      ...seconds,
    })
    assert.deepEqual(shown({ kind: 'unanswered', code: 'timeout', ...common }), {
      outcome: 'unanswered',
      code: 'timeout',
      ...seconds,
    })
    assert.deepEqual(shown({ kind: 'inconclusive', reason: 'no model', ...common }), {
      outcome: 'inconclusive',
      reason: 'no model',
      ...seconds,
    })
  })

  it('gives each measurement to what it speaks of, without the labels that say so', () => {
    const body = statusBody(
      snapshotOf({
        targets: [targetOf({ name: 'a' }), targetOf({ name: 'b' })],
        gpus: [gpuOf({ uuid: 'GPU-1' })],
        gpuSource: targetOf({ name: 'gpu' }),
        measured: [
          measuredOf({ name: 'up', labels: { target: 'b' } }),
          measuredOf({ name: 'up', labels: { target: 'gpu' } }),
          measuredOf({ name: 'requests_running', labels: { target: 'a', model_name: 'm' } }),
          measuredOf({ name: 'gpu_lost', labels: { gpu: '0', uuid: 'GPU-1' } }),
          measuredOf({ name: 'gpu_lost', labels: { gpu: '1', uuid: 'GPU-gone' } }),
          measuredOf({ name: 'gpus' }),
        ],
      }),
      about,
    )
    const named = (owner: { measurements: StatusBody['daemon']['measurements'] } | undefined) =>
      owner?.measurements.map(({ name, labels }) => [name, labels])
    assert.deepEqual(named(body.targets[0]), [
      ['vllm_vitals_requests_running', { model_name: 'm' }],
    ])
    assert.deepEqual(named(body.targets[1]), [['vllm_vitals_up', {}]])
    assert.deepEqual(named(body.gpu_source), [['vllm_vitals_up', {}]])
    assert.deepEqual(named(body.gpus[0]), [['vllm_vitals_gpu_lost', {}]])
    assert.deepEqual(named(body.daemon), [
      ['vllm_vitals_gpu_lost', { gpu: '1', uuid: 'GPU-gone' }],
      ['vllm_vitals_gpus', {}],
    ])
  })

  it('shows a value with its evidence, and why there is none', () => {
    const labels = { target: 'vllm', window: '1m' }
    const value = {
      kind: 'value',
      value: Number.POSITIVE_INFINITY,
      count: 3,
      atLeast: true,
    } as const
    const [target] = statusBody(
      snapshotOf({
        measured: [
          measuredOf({ name: 'ttft_seconds', suffix: '_sum', labels, measurement: value }),
          measuredOf({ name: 'error_ratio', labels, measurement: absent('no-traffic') }),
          measuredOf({ name: 'x', labels, measurement: absent('no-data', 'not in this version') }),
        ],
      }),
      about,
    ).targets
    const window = { window: '1m' }
    assert.deepEqual(target?.measurements, [
      {
        name: 'vllm_vitals_ttft_seconds_sum',
        labels: window,
        value: '+Inf',
        count: 3,
        at_least: true,
      },
      { name: 'vllm_vitals_error_ratio', labels: window, absent: 'no-traffic' },
      { name: 'vllm_vitals_x', labels: window, absent: 'no-data', detail: 'not in this version' },
    ])
  })

  it('holds every measurement, those for the API alone too', () => {
    const full = fullSnapshot()
    assert.ok(full.measured.some(({ family }) => family.apiOnly === true))
    assert.equal(measurementsOf(statusBody(full, about)).length, full.measured.length)
  })

  it('lists pending alerts beside the reasons, each at its subject', () => {
    const pending = (subject: object) => alertOf({ state: 'pending', subject })
    const body = statusBody(
      snapshotOf({
        gpus: [gpuOf({ uuid: 'GPU-1' })],
        alerts: [
          alertOf(),
          pending({ target: 'vllm' }),
          pending({ target: 'gpu', uuid: 'GPU-1' }),
          pending({ target: 'taken-out' }),
        ],
      }),
      about,
    )
    const counts = [body.targets[0], body.gpus[0], body.daemon].map(
      (owner) => owner?.pending.length,
    )
    assert.deepEqual(counts, [1, 1, 1])
  })

  it('says why nothing is known before the first evaluation', () => {
    const body = unknownStatusBody(0, about, 'nothing yet')
    assert.deepEqual([body.status, body.detail, body.ready], ['unknown', 'nothing yet', false])
    assert.deepEqual(measurementsOf(body), [])
  })
})
