import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { TargetProgress } from '../../src/window/progress.ts'
import {
  grownUpSeconds,
  type PageOptions,
  type Step,
  still,
  watched,
} from '../fakes/engine-pages.ts'
import { counter, gauge, read } from '../fakes/readings.ts'
import { remembered } from '../fakes/signals.ts'

function progressOf(steps: readonly Step[], options?: PageOptions): TargetProgress {
  const { progress } = watched(steps, options)
  assert.ok(progress !== undefined)
  return progress
}

function assertClose(found: number, wanted: number): void {
  assert.ok(Math.abs(found - wanted) < 1e-4, `expected ${wanted}, found ${found}`)
}

describe('the progress of a target', () => {
  it('is absent where no engine tells how many requests it has', () => {
    const page = [counter('generation_tokens', 1)]
    assert.equal(remembered([read(0, page), read(5_000, page)]).progress, undefined)
  })

  it('is followed for each engine by itself, and worked last when any of them did', () => {
    const { engines, workedMs, firstWorkedMs } = progressOf([
      [{ running: 2 }, { running: 2 }],
      [{ tokens: 5 }, { tokens: 5 }],
      [{ tokens: 10 }, { tokens: 10 }],
      ...[15, 20, 25].map((tokens) => [{ tokens }, {}]),
    ])
    assert.deepEqual([firstWorkedMs, workedMs], [5_000, 25_000])
    assert.deepEqual(
      engines.map((one) => [one.rank, one.workedMs, one.stillMs]),
      [
        ['0', 25_000, 0],
        // Two requests were inside at 10 s, and nobody has left since.
        ['1', 10_000, 15_000],
      ],
    )
  })

  it('stands still with the readings: failed scrapes add nothing to it', () => {
    const { engines } = progressOf([
      { running: 2 },
      { tokens: 5 },
      { tokens: 6 },
      ...still(3),
      ...(['missed', 'missed'] as const),
    ])
    assert.deepEqual(
      engines.map(({ stillMs, provenMs, shownSinceMs }) => [stillMs, provenMs, shownSinceMs]),
      // It was last read at 25 s; both were seen inside with the work at 10 s.
      [[15_000, 25_000, 10_000]],
    )
  })

  it('says whether the process had counted anything when the watch of it began', () => {
    assert.equal(progressOf([{ tokens: 0 }]).fromBirth, true)
    assert.equal(progressOf([{ tokens: 7 }]).fromBirth, false)
    assert.equal(progressOf([{ finished: 1 }]).fromBirth, false)
  })

  it('counts who waits and who is inside for each model apart', () => {
    const { waitingFor, insideFor } = progressOf(
      [
        [{ running: 1 }, { running: 1 }],
        [{ tokens: 1 }, { tokens: 1 }],
        [
          { running: 2, waiting: 3 },
          { running: 2, waiting: 1 },
        ],
        [{}, {}],
        [{}, {}],
      ],
      { models: ['a', 'b'] },
    )
    assert.deepEqual(waitingFor(10_000, 'a'), { count: 3, certain: true })
    assert.deepEqual(waitingFor(10_000, 'b'), { count: 1, certain: true })
    assert.deepEqual(insideFor(10_000, 'a'), { count: 5, certain: true })
    assert.deepEqual(insideFor(10_000, 'c'), { count: 0, certain: true })
  })
})

describe('another life of the process', () => {
  const before: readonly Step[] = [
    { running: 3, tokens: 900, finished: 90, served: 90 },
    { tokens: 910 },
    { running: 4, tokens: 950, finished: 95, served: 95 },
    ...still(3),
    { served: 97 },
  ]
  const anew = { running: 0, tokens: 0, finished: 0, served: 0 }

  it('has nothing of the one before', () => {
    const old = progressOf(before)
    // Until 25 s somebody was inside since 10 s for certain; the answers of 30 s may be theirs.
    assert.deepEqual([old.engines[0]?.stillMs, old.idleAnswers.count], [15_000, 2])
    const { engines, workedMs, sinceMs, fromBirth, idleAnswers, finishedPerSecond, ...rest } =
      progressOf([...before, anew])
    assert.deepEqual(
      [workedMs, rest.firstWorkedMs, sinceMs, fromBirth],
      [undefined, undefined, 35_000, true],
    )
    assert.deepEqual(idleAnswers, { count: 0, served: 0, firstMs: undefined, lastMs: undefined })
    assert.equal(finishedPerSecond, 0)
    const [engine] = engines
    assert.deepEqual(
      [engine?.sinceMs, engine?.workedMs, engine?.stillMs, engine?.pause, engine?.oldestWait],
      [35_000, undefined, 0, undefined, undefined],
    )
  })

  it('counts what its first reading has as its own work', () => {
    const { workedMs, fromBirth } = progressOf([...before, { ...anew, tokens: 4, finished: 1 }])
    assert.deepEqual([workedMs, fromBirth], [35_000, false])
  })

  it('of one rank alone leaves the others what they are', () => {
    const { engines, sinceMs, workedMs } = progressOf([
      [
        { running: 1, tokens: 500, finished: 50 },
        { running: 1, tokens: 400, finished: 40, preempted: 3 },
      ],
      [
        { running: 2, tokens: 510, finished: 51 },
        { running: 2, tokens: 410, finished: 41 },
      ],
      ...[520, 530, 540].map((tokens) => [{ tokens }, {}]),
      [{ tokens: 550 }, { running: 1, tokens: 0, finished: 0, preempted: 0 }],
      [{ tokens: 560 }, {}],
    ])
    assert.deepEqual([sinceMs, workedMs], [0, 30_000])
    assert.deepEqual(
      engines.map((one) => [one.sinceMs, one.workedMs, one.stillMs, one.running]),
      [
        [0, 30_000, 0, 2],
        // It began again at 25 s, and has shown no work since; nothing proves who is inside.
        [25_000, undefined, 0, 1],
      ],
    )
  })
})

describe('answers without any work', () => {
  const idle = (...steps: readonly Step[]) =>
    progressOf([{ tokens: 1 }, { tokens: 9, finished: 5 }, ...steps]).idleAnswers
  const none = { count: 0, served: 0, firstMs: undefined, lastMs: undefined }

  it('are not those of the first quiet reading: they may end what was worked for before', () => {
    assert.deepEqual(idle({ served: 5 }), none)
    assert.deepEqual(idle({ served: 5, failed: 2 }, {}), none)
  })

  it('are not those of the first reading after the watch began: work before it is not seen', () => {
    assert.deepEqual(progressOf([{ served: 90 }, { served: 92 }, {}]).idleAnswers, none)
    assert.deepEqual(progressOf([{ served: 90 }, { served: 92 }, { served: 93 }]).idleAnswers, {
      count: 1,
      served: 1,
      firstMs: 10_000,
      lastMs: 10_000,
    })
  })

  it('are counted from the second on, those that were served with 2xx apart', () => {
    // The readings are 5 s apart; the quiet ones are those of 10, 15, 20 and 25 s.
    assert.deepEqual(
      idle({ served: 5 }, { served: 7, failed: 1 }, {}, { served: 8, failed: 3 }),
      // 2 + 1 at 15 s, 1 + 2 at 25 s.
      { count: 6, served: 3, firstMs: 15_000, lastMs: 25_000 },
    )
  })

  it('are none that a mistake of the client ended', () => {
    assert.deepEqual(idle({}, { refused: 9 }, { refused: 20 }), none)
  })

  it('are forgotten with the first sign of work', () => {
    assert.deepEqual(idle({}, { served: 4 }, { served: 6, tokens: 10 }), none)
    // And what follows that sign is again its own answer.
    assert.deepEqual(idle({}, { served: 4 }, { tokens: 10 }, { served: 8 }), none)
  })
})

describe('answers that the page lost for a while', () => {
  const running = (count: number) => gauge('requests_running', count)
  const page = (served: number | 'lost', count: number, tokens: number) => [
    running(count),
    counter('generation_tokens', tokens),
    ...(served === 'lost' ? [] : [counter('http_answers', served, { status: '2xx' })]),
  ]
  const after = (...pages: readonly Parameters<typeof page>[]) =>
    remembered(pages.map((one, index) => read(5_000 * index, page(...one)))).progress

  it('are counted on when they are back', () => {
    const progress = after([900, 1, 1], [950, 1, 2], [950, 1, 2], ['lost', 1, 2], [954, 1, 2])
    // Four answers ended between 10 s and 20 s.
    assert.deepEqual(progress?.idleAnswers, {
      count: 4,
      served: 4,
      firstMs: 20_000,
      lastMs: 20_000,
    })
  })

  it('do not make those certain to be inside whose answers ended meanwhile', () => {
    const progress = after(
      [900, 0, 1],
      [950, 0, 2],
      [950, 0, 3],
      [950, 3, 4],
      ['lost', 3, 4],
      [953, 3, 4],
    )
    // Three were inside at 15 s, and three answers ended since.
    assert.equal(progress?.insideFor(10_000, 'llama').count, 0)
  })
})

describe('the rate of finishes', () => {
  // Two a second, from 5 s to 60 s.
  const busy = Array.from({ length: 13 }, (_, index) => ({ finished: 10 * index }))

  it('comes near that of the last minute', () => {
    // An average that fades by 1/e in 60 s has taken in 1 − 1/e of 2 after 60 s.
    assertClose(progressOf(busy).finishedPerSecond, 2 * (1 - Math.exp(-1)))
  })

  it('does not fade in a silence, which is judged by it', () => {
    assert.equal(
      progressOf([...busy, ...still(60)]).finishedPerSecond,
      progressOf(busy).finishedPerSecond,
    )
  })

  it('takes a finish after a silence for what it is over that time', () => {
    // 12 in the 60 s since the last: 1/e of what was, and 1 − 1/e of 0.2.
    const before = 2 * (1 - Math.exp(-1))
    assertClose(
      progressOf([...busy, ...still(11), { finished: 132 }]).finishedPerSecond,
      Math.exp(-1) * before + (1 - Math.exp(-1)) * 0.2,
    )
  })

  it('is 0 while nothing has finished since the watch began', () => {
    const options = { startSeconds: grownUpSeconds }
    assert.equal(progressOf([{ finished: 900 }, ...still(5)], options).finishedPerSecond, 0)
  })
})
