import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { diagnose } from '../../src/diagnosis/diagnose.ts'
import {
  diagnosed,
  findingOf,
  type Given,
  gpuOf,
  ownUrl,
  refused,
  stalled,
} from '../fakes/diagnosis.ts'
import { builtAtMs, targetOf } from '../fakes/snapshots.ts'

const pains = (given: Given) => diagnosed(given).map(({ pain }) => pain)
const queue: Given = {
  engines: [{ running: 30, waiting: 20, oldestWait: { ms: 8_000, certain: true } }],
}

describe('no finding', () => {
  it('says that there is no bottleneck, what is done, and with which numbers', () => {
    const found = findingOf({})
    assert.equal(
      found.verdict,
      'no clear bottleneck: vllm is serving, 1 requests a second finished of late',
    )
    assert.deepEqual([found.pain, found.confidence, found.weight], ['none', 'likely', 0])
    // It was read 1.2 s ago. Two requests run.
    assert.deepEqual(
      found.evidence.filter(({ what }) => what === 'requests_running'),
      [{ what: 'requests_running', value: 2, ageSeconds: 1.2 }],
    )
    assert.ok(found.next.startsWith("curl -s 'http://127.0.0.1:19400/api/v1/status'"))
    assert.deepEqual(found.notChecked, [])
  })

  it('is no word of comfort where too little is known', () => {
    const { verdict, confidence, notChecked } = findingOf({
      facts: 'unread',
      target: { state: 'unknown', up: undefined },
    })
    assert.equal(verdict, 'vllm is unknown: too little is known of it for a diagnosis')
    assert.equal(confidence, 'suspected')
    assert.deepEqual(notChecked, ['vllm was never read'])
  })

  it('is all that is said of a healthy server', () => {
    assert.deepEqual(pains({}), ['none'])
  })
})

describe('findings are ranked', () => {
  it('a lost GPU before the hang that follows from it, a hang before what else is slow', () => {
    const other = {
      ...targetOf({ name: 'other' }),
      placement: { kind: 'unknown', why: 'elsewhere' } as const,
    }
    const slow = diagnosed({ ...queue })
    assert.deepEqual(
      slow.map(({ pain }) => pain),
      ['P10'],
    )
    assert.deepEqual(
      pains({ ...queue, target: stalled(), gpus: [{ lost: true }], onLost: ['vllm'] }),
      ['P16', 'P1'],
    )
    const both = diagnose({
      atMs: builtAtMs,
      ownUrl,
      targets: [other, targetOf(stalled())],
      gpus: [gpuOf({ lost: true })],
      host: {
        totalBytes: undefined,
        availableBytes: undefined,
        growths: [],
        showsProcesses: false,
      },
      gpusUnknown: undefined,
      targetsOnLost: () => new Set(['vllm']),
    })
    assert.deepEqual(
      both.map(({ pain, subject }) => [pain, subject.target]),
      [
        ['P16', 'vllm'],
        ['P1', 'vllm'],
        ['none', 'other'],
      ],
    )
  })

  it('a lost GPU on which nothing runs behind an outage', () => {
    assert.deepEqual(pains({ target: refused, gpus: [{ lost: true }] }), ['P4', 'P16'])
  })

  it('evictions before the queue that they make', () => {
    const scene = {
      ...queue,
      facts: { highs: { kv_cache_usage: 0.99 } },
      gained: { preemptions: 50 },
    }
    assert.deepEqual(pains(scene), ['P9', 'P10'])
  })

  it('what is only suspected of a stall behind what is sure', () => {
    const maybe = stalled({ kind: 'hidden', certainty: 'suspected', notServing: false })
    assert.deepEqual(pains({ ...queue, target: maybe }), ['P10', 'P1'])
  })

  it('and nothing of load is said of a server that hangs for certain', () => {
    assert.deepEqual(pains({ ...queue, target: stalled() }), ['P1'])
  })
})

describe('what a diagnosis could not look at', () => {
  const rows: readonly (readonly [string, Given, string])[] = [
    ['steps', { lacks: ['engine_steps'] }, 'steps of the engine: not on this page'],
    [
      'HTTP answers',
      { lacks: ['http_answers'] },
      'clients that hung up: no HTTP answers are counted',
    ],
    ['preemptions', { lacks: ['preemptions'] }, 'preemptions: not on this page'],
    [
      'CPU time',
      { lacks: ['server_cpu_seconds'] },
      'CPU of the API server: not told by several processes together',
    ],
    [
      'reasons for waiting',
      { lacks: ['requests_deferred'] },
      'why requests wait: no num_requests_waiting_by_reason before 0.20',
    ],
    [
      'usage of the KV cache',
      { lacks: ['kv_cache_usage'] },
      'KV cache: its usage is not on this page',
    ],
    [
      'hits of the prefix cache',
      { lacks: ['prefix_cache_queries', 'prefix_cache_hits'] },
      'prefix cache: its queries and hits are not on this page',
    ],
    ['gaps between tokens', { lacks: ['itl'] }, 'the gap between tokens: none of late'],
    ['a past', { usual: 'unknown' }, 'what is usual: watched for too short a time'],
    [
      'failures',
      { facts: { failures: { kind: 'unseen', why: 'nobody counts' } } },
      'failures: nobody counts',
    ],
    [
      'a queue',
      { facts: { progress: undefined } },
      'progress: the page tells no running and waiting requests',
    ],
    ['GPUs', { gpusUnknown: 'this host shows none' }, 'GPUs: this host shows none'],
    [
      'which GPUs are its own',
      { target: { placement: { kind: 'unknown', why: 'two targets share this host' } } },
      'GPUs: two targets share this host',
    ],
  ]
  for (const [what, scene, said] of rows) {
    it(`is said of a page without ${what}, whatever is found`, () => {
      assert.deepEqual(findingOf(scene).notChecked, [said])
      assert.ok(
        findingOf(
          { ...scene, target: { ...scene.target, ...stalled() } },
          'P1',
        ).notChecked.includes(said),
      )
    })
  }

  it('is said of the reasons for waiting where they would decide', () => {
    const { notChecked } = findingOf({
      engines: [{ running: 2, waiting: 6, oldestWait: { ms: 3_000, certain: true } }],
      lacks: ['requests_deferred'],
    })
    assert.ok(
      notChecked.includes('why they wait: this version has no num_requests_waiting_by_reason'),
    )
  })
})

describe('the age of evidence', () => {
  it('is that of the last good reading, however long ago it was', () => {
    const { evidence } = findingOf({ target: refused, facts: { readMs: builtAtMs - 60_000 } })
    assert.deepEqual(
      evidence.map(({ ageSeconds }) => ageSeconds),
      evidence.map(() => 60),
    )
  })
})
