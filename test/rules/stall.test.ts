import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Attempt, ProbeResult } from '../../src/reading.ts'
import { findStall, type Stall } from '../../src/rules/stall.ts'
import { assess } from '../../src/rules/state.ts'
import type { GpuWork } from '../../src/signals/gpu-work.ts'
import { counter, gauge, type MadeSeries, read, wallAtZeroMs } from '../fakes/readings.ts'
import { remembered } from '../fakes/signals.ts'

const model = { model_name: 'm' }

/** What an engine shows at a scrape; what is left out is as it was at the scrape before. */
interface Shown {
  readonly running?: number
  readonly waiting?: number
  readonly kv?: number
  readonly tokens?: number
  readonly finished?: number
  readonly answered?: number
  readonly asleep?: number
}

/** An engine that had worked for long when the watch began: its process started an hour before. */
function pageOf(shown: Required<Shown>, engine: string, http: boolean): readonly MadeSeries[] {
  const place = { engine }
  return [
    gauge('requests_running', shown.running, model, place),
    gauge('requests_waiting', shown.waiting, model, place),
    gauge('kv_cache_usage', shown.kv, model, place),
    gauge('engine_asleep', shown.asleep, model, place),
    counter('generation_tokens', 1_000 + shown.tokens, model, place),
    counter('requests_finished', 100 + shown.finished, { ...model, reason: 'stop' }, place),
    ...(http && engine === '0'
      ? [counter('http_answers', 100 + shown.answered, { status: '2xx' })]
      : []),
  ]
}

const nothing: Required<Shown> = {
  running: 0,
  waiting: 0,
  kv: 0,
  tokens: 0,
  finished: 0,
  answered: 0,
  asleep: 0,
}

/** Scrapes 5 s apart; each gives what changed, for one engine or, in a list, for several. */
function scrapes(
  steps: readonly (Shown | readonly Shown[])[],
  { http = true, startSeconds = wallAtZeroMs / 1_000 - 3_600 }: Life = {},
): readonly Attempt[] {
  let now: Required<Shown>[] = []
  return steps.map((step, index) => {
    const shown = Array.isArray(step) ? step : [step]
    now = shown.map((one, engine) => ({ ...(now[engine] ?? nothing), ...one }))
    const pages = now.flatMap((one, engine) => pageOf(one, String(engine), http))
    const made = read(5_000 * index, pages)
    if (made.kind !== 'read') throw new Error('expected a reading')
    return { ...made, reading: { ...made.reading, processStartSeconds: startSeconds } }
  })
}

interface Life {
  readonly http?: boolean
  readonly startSeconds?: number
}

/** `count` scrapes at which nothing is other than before. */
function still(count: number): readonly Shown[] {
  return Array.from({ length: count }, () => ({}))
}

/** Three scrapes of an engine at work: five requests run. Fewer would not show when its last step began. */
const atWork: readonly Shown[] = [
  { running: 5, tokens: 0, kv: 0.19 },
  { running: 5, tokens: 50, kv: 0.2 },
  { running: 5, tokens: 100, kv: 0.21 },
]

function found(attempts: readonly Attempt[], gpu?: GpuWork, probe?: Partial<ProbeResult>) {
  const target = remembered(attempts)
  if (probe !== undefined) {
    const times = { target: 'vllm', startMs: 20_000, atMs: 40_000, tookMs: 20_000 }
    target.recordProbe({ ...times, ...probe } as ProbeResult)
  }
  return findStall(target, gpu)
}

function told(stall: Stall | undefined): readonly (string | boolean | number)[] {
  if (stall === undefined) return []
  const { kind, certainty, stillMs, notServing, wantsProbe } = stall
  return [
    kind,
    certainty,
    stillMs / 1_000,
    ...(notServing ? ['not serving'] : []),
    ...(wantsProbe ? ['probe'] : []),
  ]
}

const spinning: GpuWork = {
  kind: 'spinning',
  utilizationRatio: 1,
  powerShare: 0.4,
  busyForMs: 40_000,
}
const working: GpuWork = { ...spinning, kind: 'working', powerShare: 0.95 }

describe('a stall', () => {
  const rows: readonly (readonly [string, () => Stall | undefined, ...(string | number)[]])[] = [
    ['is none while tokens are made', () => found(scrapes(atWork))],
    ['is none after 5 s without', () => found(scrapes([...atWork, ...still(1)]))],
    [
      'is there after 10 s without progress while five requests run',
      () => found(scrapes([...atWork, ...still(2)])),
      'pending',
      'certain',
      10,
    ],
    [
      'means after 25 s that the engine does not serve',
      () => found(scrapes([...atWork, ...still(5)])),
      'pending',
      'certain',
      25,
      'not serving',
    ],
    [
      'stays proven when the clients give up one after the other',
      () => found(scrapes([...atWork, ...still(5), { answered: 3 }, { answered: 9 }])),
      'pending',
      'certain',
      // Of five, three may have gone with the first three answers, and all with nine.
      30,
      'not serving',
    ],
    [
      'is over with the first token',
      () => found(scrapes([...atWork, ...still(6), { tokens: 101 }])),
    ],
    [
      'is none while a long prompt fills the KV cache chunk by chunk',
      () => found(scrapes([...atWork, ...[3, 4, 5, 6, 7].map((tenths) => ({ kv: tenths / 10 }))])),
    ],
    ['is none of an idle engine', () => found(scrapes([...atWork, { running: 0 }, ...still(20)]))],
    [
      'is only suspected where all clients hung up at once: the gauges may be stale',
      () => found(scrapes([...atWork, { tokens: 150, answered: 5 }, ...still(6)])),
      'stale-gauges',
      'suspected',
      30,
      'probe',
    ],
    [
      'is only suspected where they did so during a step that ended after the scrape',
      () => found(scrapes([...atWork, { tokens: 150, answered: 5 }, { tokens: 155 }, ...still(6)])),
      'stale-gauges',
      'suspected',
      30,
      'probe',
    ],
    [
      'is only suspected of one request that finished, whose gauge may be stale',
      () => found(scrapes([{ running: 1 }, { tokens: 9, finished: 1, answered: 1 }, ...still(6)])),
      'stale-gauges',
      'suspected',
      30,
      'probe',
    ],
    [
      'is only suspected where nobody counts answers, so that clients may have gone',
      () => found(scrapes([...atWork, ...still(6)], { http: false })),
      'stale-gauges',
      'suspected',
      30,
      'probe',
    ],
    [
      'is certain even so where the GPU spins: stale gauges stand over an idle one',
      () => found(scrapes([...atWork, ...still(6)], { http: false }), spinning),
      'pending',
      'certain',
      30,
      'not serving',
    ],
    [
      'is only suspected while the GPU works as hard as ever',
      () => found(scrapes([...atWork, ...still(6)]), working),
      'pending',
      'suspected',
      30,
      'probe',
    ],
    [
      'is certain after 45 s, however hard the GPU works: no step takes so long',
      () => found(scrapes([...atWork, ...still(9)]), working),
      'pending',
      'certain',
      45,
      'not serving',
    ],
    [
      'waits a minute in the first minutes of a process, which may compile',
      () => found(scrapes([...atWork, ...still(11)], { startSeconds: wallAtZeroMs / 1_000 - 60 })),
    ],
    [
      'is there after that minute',
      () => found(scrapes([...atWork, ...still(12)], { startSeconds: wallAtZeroMs / 1_000 - 60 })),
      'pending',
      'certain',
      60,
    ],
    [
      'is one of an engine where others work on, and then the server still serves',
      () =>
        found(
          scrapes([
            [{ running: 5 }, { running: 5 }],
            [{ tokens: 5 }, { tokens: 5 }],
            [{ tokens: 10 }, { tokens: 10 }],
            ...[20, 30, 40, 50, 60, 70].map((tokens) => [{ tokens }, {}]),
          ]),
        ),
      'rank',
      'certain',
      30,
    ],
    [
      'is suspected where requests end without a token though none is shown',
      () => found(scrapes([...atWork, { running: 0 }, {}, { answered: 2 }, {}])),
      'hidden',
      'suspected',
      20,
      'probe',
    ],
    [
      'is suspected where a busy server falls silent: 2 finishes a second, none for 30 s',
      () =>
        found(
          scrapes([
            ...[0, 10, 20, 30, 40, 50, 60, 70, 80].map((finished) => ({
              finished,
              answered: finished,
            })),
            ...still(6),
          ]),
        ),
      'hidden',
      'suspected',
      30,
      'probe',
    ],
    [
      'is none of a busy server that was put to sleep, when it is awake and nobody has come yet',
      () =>
        found(
          scrapes([
            ...[0, 10, 20, 30, 40, 50, 60, 70, 80].map((finished) => ({
              finished,
              answered: finished,
            })),
            { asleep: 1 },
            ...still(6),
            { asleep: 0 },
            {},
          ]),
        ),
    ],
    [
      'is none of a quiet server that is quiet',
      () => found(scrapes([{ finished: 0 }, { finished: 1, answered: 1 }, ...still(10)])),
    ],
  ]
  for (const [claim, stall, ...expected] of rows) {
    it(claim, () => assert.deepEqual(told(stall()), expected))
  }

  it('says how long nothing has moved, though those who waited have given up since', () => {
    // The last work was at 5 s, the clients were seen to be gone at 40 s, and now it is 65 s.
    const stall = found(scrapes([...atWork, ...still(6), { answered: 9 }, ...still(5)]))
    assert.match(stall?.summary ?? '', /^no progress for 60 s with 5 running/)
    assert.deepEqual(
      [stall?.evidence['seconds_without_progress'], stall?.evidence['seconds_proven']],
      [60, 30],
    )
  })
})

describe('a probe', () => {
  const hidden = () => scrapes([...atWork, { running: 0 }, {}, { answered: 2 }, ...still(4)])

  it('that got no token proves a stall that was only suspected, and is wanted again', () => {
    const stall = found(hidden(), undefined, { kind: 'unanswered', code: 'timeout' })
    assert.deepEqual(told(stall), ['hidden', 'certain', 35, 'not serving', 'probe'])
  })

  it('that was answered with 5xx proves it as well', () => {
    assert.equal(found(hidden(), undefined, { kind: 'failed', status: 500 })?.certainty, 'certain')
  })

  it('that got its token says that the engine works', () => {
    assert.equal(found(hidden(), undefined, { kind: 'answered' }), undefined)
  })

  it('that could not be asked decides nothing', () => {
    const stall = found(hidden(), undefined, { kind: 'inconclusive', reason: '401' })
    assert.equal(stall?.certainty, 'suspected')
  })

  it('from before the last sign of work decides nothing', () => {
    const stall = found(hidden(), undefined, {
      kind: 'unanswered',
      code: 'timeout',
      startMs: 1_000,
    })
    assert.equal(stall?.certainty, 'suspected')
  })
})

describe('the state of a target that stalls', () => {
  it('is stalled from 25 s on, and serving again with the first token', () => {
    const states = [3, 4, 5].map(
      (count) => assess(remembered(scrapes([...atWork, ...still(count)])), true).state,
    )
    assert.deepEqual(states, ['serving', 'serving', 'stalled'])
    const after = remembered(scrapes([...atWork, ...still(9), { tokens: 101 }]))
    assert.equal(assess(after, true).state, 'serving')
  })
})

describe('models behind one page', () => {
  /** Two young engines for over a minute; the first shows one request and does nothing, the other finishes ten each. */
  const scrapesOf = (models: readonly [string, string]) =>
    Array.from({ length: 16 }, (_, index) =>
      read(
        5_000 * index,
        models.flatMap((name, engine) => {
          const labels = { model_name: name }
          const place = { engine: String(engine) }
          return [
            gauge('requests_running', 1, labels, place),
            counter('requests_finished', engine * 10 * index, { ...labels, reason: 'stop' }, place),
            counter('generation_tokens', engine * 90 * index, labels, place),
          ]
        }),
      ),
    )

  it('are no peers: one whose gauge is stale may have nobody to ask it', () => {
    assert.equal(found(scrapesOf(['a', 'b'])), undefined)
    // Two ranks of one model share what comes, and one that does nothing has dropped out.
    assert.equal(found(scrapesOf(['a', 'a']))?.kind, 'rank')
  })
})

describe('requests that wait for something else than the engine', () => {
  const deferring = (deferred: number) =>
    Array.from({ length: 8 }, (_, index) => {
      const made = read(5_000 * index, [
        ...pageOf(
          { ...nothing, waiting: index < 2 ? 0 : 1, tokens: Math.min(index, 2) },
          '0',
          true,
        ),
        gauge('requests_deferred', index < 2 ? 0 : deferred, model),
      ])
      if (made.kind !== 'read') throw new Error('expected a reading')
      const processStartSeconds = wallAtZeroMs / 1_000 - 3_600
      return { ...made, reading: { ...made.reading, processStartSeconds } }
    })

  it('are no hang for certain: another request may go through at once', () => {
    const stall = found(deferring(1))
    assert.deepEqual([stall?.certainty, stall?.notServing], ['suspected', false])
    assert.match(stall?.summary ?? '', /all of them deferred/)
  })

  it('are told from one that waits for the engine', () => {
    assert.equal(found(deferring(0))?.certainty, 'certain')
  })
})

describe('a server on whose page far more finishes than is answered', () => {
  it('lets nobody tell who hung up: batches, or paths that are not counted', () => {
    // 60 requests finish with 3 answers; then five are shown over stale gauges.
    const batches = [0, 20, 40, 60].map((finished) => ({
      running: 5,
      tokens: finished,
      finished,
      answered: finished / 20,
    }))
    assert.equal(found(scrapes([...batches, ...still(6)]))?.certainty, 'suspected')
    const single = batches.map((one) => ({ ...one, answered: one.finished }))
    assert.equal(found(scrapes([...single, ...still(6)]))?.certainty, 'certain')
  })
})
