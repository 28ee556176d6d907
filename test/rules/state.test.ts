import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Attempt } from '../../src/reading.ts'
import type { TargetState } from '../../src/rules/health.ts'
import { assess, sourceStateOf } from '../../src/rules/state.ts'
import { counter, gauge, type MadeSeries, missed, read } from '../fakes/readings.ts'
import { remembered } from '../fakes/signals.ts'

function page(of: {
  readonly running?: number
  readonly waiting?: number
  readonly generated?: number
  readonly asleep?: number
}): readonly MadeSeries[] {
  return [
    gauge('requests_running', of.running ?? 0),
    gauge('requests_waiting', of.waiting ?? 0),
    counter('generation_tokens', of.generated ?? 0),
    ...(of.asleep === undefined ? [] : [gauge('engine_asleep', of.asleep)]),
  ]
}

const idle = page({})
const sick = { health: { kind: 'answered', status: 503, tookMs: 2 } } as const
const well = { health: { kind: 'answered', status: 200, tookMs: 2 } } as const
const late = { health: { kind: 'unanswered', code: 'timeout', tookMs: 2_000 } } as const

describe('the state of a target', () => {
  const rows: readonly [string, readonly Attempt[], TargetState][] = [
    ['is unknown before the first attempt', [], 'unknown'],
    ['is unknown after one attempt in vain', [missed(0, 'refused')], 'unknown'],
    ['is down after two in a row', [missed(0, 'refused'), missed(5_000, 'timeout')], 'down'],
    ['is idle after one good scrape without work', [read(0, idle)], 'idle'],
    [
      'stays what it was through one lost scrape',
      [read(0, idle), missed(5_000, 'timeout')],
      'idle',
    ],
    [
      'is down after two lost scrapes, whatever was before',
      [read(0, idle), missed(5_000, 'timeout'), missed(10_000, 'status', { status: 500 })],
      'down',
    ],
    [
      'is no longer down after one good scrape',
      [missed(0, 'refused'), missed(5_000, 'refused'), read(10_000, idle)],
      'idle',
    ],
    ['is serving while requests run', [read(0, page({ running: 1 }))], 'serving'],
    ['is serving while requests wait', [read(0, page({ waiting: 1 }))], 'serving'],
    [
      'is serving when tokens were made since the scrape before',
      [read(0, idle), read(5_000, page({ generated: 3 }))],
      'serving',
    ],
    [
      'is idle again when none were made since the scrape before',
      [read(0, idle), read(5_000, page({ generated: 3 })), read(10_000, page({ generated: 3 }))],
      'idle',
    ],
    [
      'does not take what was counted before the watch for work',
      [read(0, page({ generated: 1_000 }))],
      'idle',
    ],
    ['is sleeping while the engine says so', [read(0, page({ asleep: 1 }))], 'sleeping'],
    [
      'is not sleeping where the engine says that it is awake',
      [read(0, page({ asleep: 0 }))],
      'idle',
    ],
    [
      'is unknown for a page without anything of the engine',
      [read(0, [], { capabilities: [] })],
      'unknown',
    ],
    ['is not down for one 5xx of its health endpoint', [read(0, idle, sick)], 'idle'],
    [
      'is down after two, though scrapes succeed',
      [read(0, idle, sick), read(5_000, idle, sick)],
      'down',
    ],
    [
      'is not down when its health endpoint recovers in between',
      [read(0, idle, sick), read(5_000, idle, well), read(10_000, idle, sick)],
      'idle',
    ],
    [
      'is not down for a health endpoint that is only late',
      [read(0, idle, late), read(5_000, idle, late), read(10_000, idle, late)],
      'idle',
    ],
  ]
  for (const [claim, attempts, expected] of rows) {
    // As an evaluation has it: what was never read is not fresh.
    const fresh = attempts.some(({ kind }) => kind === 'read')
    it(claim, () => assert.equal(assess(remembered(attempts), fresh).state, expected))
  }

  it('is unknown when the last good reading is too old, unless it is down', () => {
    assert.equal(assess(remembered([read(0, page({ running: 5 }))]), false).state, 'unknown')
    const gone = [read(0, idle), missed(5_000, 'refused'), missed(10_000, 'refused')]
    assert.equal(assess(remembered(gone), false).state, 'down')
  })
})

describe('the state of the GPU source', () => {
  const gpus = (atMs: number) => read(atMs, [gauge('gpu_lost', 0)], { target: 'gpu' })

  it('is serving while it yields readings, without anything of an engine', () => {
    assert.equal(sourceStateOf(remembered([gpus(0)]), true), 'serving')
    assert.equal(sourceStateOf(remembered([gpus(0)]), false), 'unknown')
  })

  it('is down after two failures in a row', () => {
    const failed = [gpus(0), missed(10_000, 'timeout'), missed(20_000, 'timeout')]
    assert.equal(sourceStateOf(remembered(failed.slice(0, 2)), true), 'serving')
    assert.equal(sourceStateOf(remembered(failed), true), 'down')
  })
})
