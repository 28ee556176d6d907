import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Attempt } from '../../src/reading.ts'
import { placementOf, targetsOnLost } from '../../src/signals/placement.ts'
import type { TargetWindows } from '../../src/window/target-windows.ts'
import { gauge, type MadeSeries, read } from '../fakes/readings.ts'
import { remembered } from '../fakes/signals.ts'

const cards = [
  { gpu: '0', uuid: 'GPU-a' },
  { gpu: '1', uuid: 'GPU-b' },
] as const
const gib = 2 ** 30

/** Two servers that were there before the watch began; each says when its process started. */
function server(name: string, startSeconds: number): TargetWindows {
  const made = read(0, [gauge('requests_running', 0)], { target: name })
  if (made.kind !== 'read') throw new Error('expected a reading')
  const reading = { ...made.reading, processStartSeconds: startSeconds }
  return remembered([{ ...made, reading }])
}

/** A process on a card; `starts` are its own and those of its ancestors. */
function process(card: number, pid: string, starts: readonly number[]): readonly MadeSeries[] {
  const named = { pid, process: 'VLLM::EngineCore' }
  return [
    gauge('gpu_process_memory_used', 60 * gib, { ...cards[card], ...named }),
    ...starts.map((seconds, generation) =>
      gauge('host_process_start', seconds, { ...named, generation: String(generation) }),
    ),
  ]
}

function reading(atMs: number, lost: readonly number[], series: readonly MadeSeries[]): Attempt {
  const states = cards.flatMap((card, index) => [
    gauge('gpu_lost', lost.includes(index) ? 1 : 0, card),
    ...(lost.includes(index) ? [] : [gauge('gpu_memory_used', 61 * gib, card)]),
  ])
  return read(atMs, [...states, ...series], { target: 'gpu' })
}

// The server of a started at 1000 s and its engine 20 s later; that of b at 2000 s.
const ofA = process(0, '11', [1_020, 1_000.4])
const ofB = process(1, '22', [2_020, 2_000])
const targets = [server('a', 1_000), server('b', 2_000)]

function placed(name: string, gpu: TargetWindows): readonly string[] | string {
  const target = targets.find((one) => one.name === name)
  assert.ok(target !== undefined)
  const found = placementOf(target, targets, gpu)
  return found.kind === 'known' ? [...found.gpus] : found.why
}

describe('two servers on one host', () => {
  it('are told apart by when the ancestors of the processes on the cards started', () => {
    const gpu = remembered([reading(0, [], [...ofA, ...ofB])])
    assert.deepEqual(placed('a', gpu), ['0'])
    assert.deepEqual(placed('b', gpu), ['1'])
  })

  it('cannot be told apart where no start can be read and both were there from the beginning', () => {
    const bare = [...process(0, '11', []), ...process(1, '22', [])]
    const gpu = remembered([reading(0, [], bare)])
    assert.match(String(placed('a', gpu)), /several targets share this host/)
  })

  it('of which one was on a card that is lost: that one alone', () => {
    const gpu = remembered([
      reading(0, [], [...ofA, ...ofB]),
      reading(10_000, [1], [...ofA]),
      reading(20_000, [1], [...ofA]),
    ])
    assert.deepEqual([...targetsOnLost('GPU-b', targets, gpu)], ['b'])
    assert.deepEqual([...targetsOnLost('GPU-a', targets, gpu)], [])
  })
})
