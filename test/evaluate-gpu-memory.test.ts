import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Random } from '../src/demo/random.ts'
import { gauge, missed, read } from './fakes/readings.ts'
import { card, firing, gpu, gpuRead, page, Replay } from './fakes/replay.ts'

const gib = 2 ** 30
const mib = 2 ** 20
const minuteMs = 60_000

/** The life of one engine on a card of 80 GiB: what its process holds at each minute, in MiB. */
type Life = (minute: number, random: Random) => number

interface Day {
  readonly life: Life
  readonly minutes: number
  /** When the server does not answer. */
  readonly away?: (minute: number) => boolean
  readonly pid?: (minute: number) => string
}

/** The alerts of memory that fire at some minute of a day, with the first minute of each. */
function alertsOf({ life, minutes, away = () => false, pid = () => '10' }: Day) {
  const random = new Random(7)
  const replay = new Replay({ gpu })
  const first: Record<string, number> = {}
  const last: Record<string, number> = {}
  for (let minute = 0; minute <= minutes; minute += 1) {
    const atMs = minute * minuteMs
    const held = life(minute, random) * mib
    const process = { pid: pid(minute), process: 'VLLM::EngineCore' }
    const snapshot = replay.at(
      atMs,
      away(minute)
        ? missed(atMs, 'refused')
        : read(atMs, [...page(minute), gauge('planned_gpu_memory_ratio', 0.92)]),
      gpuRead(
        atMs,
        ...card(),
        gauge('gpu_memory_total', 80 * gib),
        gauge('gpu_memory_used', held + gib / 2),
        ...(held > 0 ? [gauge('gpu_process_memory_used', held, process)] : []),
      ),
    )
    for (const alert of firing(snapshot)) {
      if (!alert.startsWith('VllmGpuMemory')) continue
      first[alert] ??= minute
      last[alert] = minute
    }
  }
  return { first, last }
}

const loaded: Life = (minute) => Math.min(1, minute / 4) * 71_000
const noise: Life = (_, random) => random.between(-40, 40)

describe('a day of an engine’s memory', () => {
  it('is quiet from loading over the capture of graphs to a noisy plateau with a step in it', () => {
    const { first } = alertsOf({
      minutes: 600,
      away: (minute) => minute < 5,
      life: (minute, random) =>
        loaded(minute, random) +
        (minute >= 12 ? 1_500 : 0) +
        (minute >= 200 ? 300 : 0) +
        noise(minute, random),
    })
    assert.deepEqual(first, {})
  })

  it('is quiet while a large model takes 50 minutes to be loaded', () => {
    const life: Life = (minute) => Math.min(1, minute / 50) * 71_000
    const { first } = alertsOf({ minutes: 200, away: (minute) => minute < 52, life })
    assert.deepEqual(first, {})
  })

  it('is quiet over sleeps and wakings', () => {
    const { first } = alertsOf({
      minutes: 600,
      life: (minute, random) =>
        (minute % 150 > 100 ? 2_000 : loaded(minute, random)) + noise(minute, random),
    })
    assert.deepEqual(first, {})
  })

  it('tells a leak, before the card is beyond its plan', () => {
    const { first } = alertsOf({
      minutes: 420,
      life: (minute, random) => loaded(minute, random) + 5 * minute + noise(minute, random),
    })
    // 300 MiB an hour make a hundredth of the card, 819 MiB, in 164 minutes, and in 205 as medians of fifths,
    // after 10 minutes of warm-up and before 15 minutes of being so.
    const { VllmGpuMemoryLeak = 0, VllmGpuMemoryHigh } = first
    assert.ok(VllmGpuMemoryLeak >= 225 && VllmGpuMemoryLeak <= 260, `minute ${VllmGpuMemoryLeak}`)
    assert.equal(VllmGpuMemoryHigh, undefined)
  })

  it('tells a leak in steps of 100 MiB', () => {
    const { first } = alertsOf({
      minutes: 420,
      life: (minute, random) =>
        loaded(minute, random) + 100 * Math.floor(minute / 20) + noise(minute, random),
    })
    const { VllmGpuMemoryLeak = 0 } = first
    assert.ok(VllmGpuMemoryLeak >= 225 && VllmGpuMemoryLeak <= 330, `minute ${VllmGpuMemoryLeak}`)
  })

  it('ends the alert with the process that leaked', () => {
    const restart = 300
    const { first, last } = alertsOf({
      minutes: 600,
      life: (minute, random) =>
        minute === restart
          ? 0
          : loaded(minute < restart ? minute : minute - restart, random) +
            (minute < restart ? 5 * minute : 0),
      away: (minute) => minute >= restart && minute < restart + 5,
      pid: (minute) => (minute < restart ? '10' : '11'),
    })
    assert.ok((first['VllmGpuMemoryLeak'] ?? 0) < restart)
    // It lingers for 15 minutes, lest it come and go between the steps of a leak.
    assert.ok((last['VllmGpuMemoryLeak'] ?? 0) <= restart + 15)
  })

  it('tells in the end a card that is fuller than planned', () => {
    const { first } = alertsOf({
      minutes: 400,
      life: (minute, random) => loaded(minute, random) + 20 * minute,
    })
    // 0.94 of 80 GiB are 77 005 MiB; with 512 beside it the process gets there at 5 493 MiB, in minute 275.
    const { VllmGpuMemoryHigh = 0, VllmGpuMemoryLeak = 0 } = first
    assert.equal(VllmGpuMemoryHigh, 275 + 5)
    assert.ok(VllmGpuMemoryLeak > 0 && VllmGpuMemoryLeak < VllmGpuMemoryHigh)
  })
})
