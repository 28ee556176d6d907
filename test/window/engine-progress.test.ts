import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Conservation, type Stock } from '../../src/window/conservation.ts'
import type { EngineProgress } from '../../src/window/engine-progress.ts'
import { family, pageReader } from '../dialects/vllm-pages.ts'
import { type PageOptions, type Shown, type Step, still, watched } from '../fakes/engine-pages.ts'
import { counter, gauge, histogram, type MadeSeries, read } from '../fakes/readings.ts'
import { remembered } from '../fakes/signals.ts'

/** The engines after these scrapes, 5 s apart. */
function enginesOf(steps: readonly Step[], options?: PageOptions): readonly EngineProgress[] {
  return watched(steps, options).progress?.engines ?? []
}

function engineOf(steps: readonly Step[], options?: PageOptions): EngineProgress {
  const [engine] = enginesOf(steps, options)
  assert.ok(engine !== undefined)
  return engine
}

/** Three scrapes of an engine at work: five requests run, as of 10 s. Fewer would not show when its last step began. */
const atWork: readonly Shown[] = [
  { running: 4, waiting: 2, kv: 0.2 },
  { tokens: 50 },
  { running: 5, waiting: 1, kv: 0.2, tokens: 100 },
]

describe('a sign of work', () => {
  const series = (
    running: number,
    rest: readonly MadeSeries[],
    { waiting = 2, kv = 0.5 } = {},
  ): readonly MadeSeries[] => [
    gauge('requests_running', running),
    gauge('requests_waiting', waiting),
    gauge('kv_cache_usage', kv),
    ...rest,
  ]
  const first = (count: number) => [
    histogram('ttft', { bounds: [1], counts: [count, 0], sum: count }),
  ]
  const rows: readonly (readonly [
    string,
    readonly MadeSeries[],
    readonly MadeSeries[],
    'works' | 'does not',
  ])[] = [
    [
      'is a token that was made',
      series(3, [counter('generation_tokens', 5)]),
      series(3, [counter('generation_tokens', 6)]),
      'works',
    ],
    [
      'is a prompt that was computed',
      series(3, [counter('prompt_tokens', 5)]),
      series(3, [counter('prompt_tokens', 2_053)]),
      'works',
    ],
    [
      'is a step of the engine, though no token came of it that is counted',
      series(3, [counter('engine_steps', 5)]),
      series(3, [counter('engine_steps', 6)]),
      'works',
    ],
    ['is a first token', series(3, first(1)), series(3, first(2)), 'works'],
    [
      'is a request that finished',
      series(3, [counter('requests_finished', 5, { reason: 'stop' })]),
      series(2, [counter('requests_finished', 6, { reason: 'stop' })]),
      'works',
    ],
    ['is a request more that runs', series(3, []), series(4, []), 'works'],
    [
      'is a KV cache that fills up further, as a long prompt does chunk by chunk',
      series(3, []),
      series(3, [], { kv: 0.51 }),
      'works',
    ],
    ['is not a request less that runs', series(3, []), series(2, []), 'does not'],
    ['is not a queue that grows', series(3, []), series(3, [], { waiting: 9 }), 'does not'],
    ['is not a cache that is given back', series(3, []), series(3, [], { kv: 0.2 }), 'does not'],
    [
      'is not an eviction',
      series(3, [counter('preemptions', 1)]),
      series(2, [counter('preemptions', 2)], { waiting: 3 }),
      'does not',
    ],
    [
      'is nothing that the watch found there',
      series(3, [counter('engine_steps', 5)]),
      [],
      'does not',
    ],
  ]
  for (const [claim, before, after, expected] of rows) {
    it(claim, () => {
      const pages = after.length === 0 ? [before] : [before, after]
      const { progress } = remembered(pages.map((page, index) => read(5_000 * index, page)))
      const workedMs = expected === 'works' ? 5_000 : undefined
      assert.equal(progress?.engines[0]?.workedMs, workedMs)
    })
  }
})

describe('requests that stand still in an engine', () => {
  it('are proven by whoever was inside at the last sign of work and cannot have left', () => {
    const { stillMs, provenMs, shownSinceMs, running, waiting } = engineOf([...atWork, ...still(4)])
    assert.deepEqual(
      [stillMs, provenMs, shownSinceMs, running, waiting],
      [20_000, 30_000, 10_000, 5, 1],
    )
  })

  it('stay proven when all clients give up, though nothing proves them any more', () => {
    const { stillMs, provenMs } = engineOf([...atWork, ...still(4), { served: 6 }, {}])
    // Six were inside at 10 s; with six answers at 35 s all may have gone.
    assert.deepEqual([stillMs, provenMs], [20_000, 30_000])
  })

  it('are none any more once the engine reports fewer and nobody is proven to be left', () => {
    const { stillMs } = engineOf([...atWork, ...still(4), { served: 6, running: 0, waiting: 0 }])
    assert.equal(stillMs, 0)
  })

  it('are not proven where no answers are counted: each client may have hung up', () => {
    const { stillMs, provenMs, shownSinceMs } = engineOf([...atWork, ...still(4)], { http: false })
    assert.deepEqual([stillMs, provenMs, shownSinceMs], [0, undefined, 10_000])
  })

  it('are not proven by gauges that were never seen to move', () => {
    const { stillMs, shownSinceMs } = engineOf([{ running: 5 }, ...still(4)])
    assert.deepEqual([stillMs, shownSinceMs], [0, 0])
  })

  it('are shown from the first reading that has some on, and no longer than it has', () => {
    assert.equal(engineOf([{ running: 0 }, {}, { waiting: 1 }, {}]).shownSinceMs, 10_000)
    assert.equal(engineOf([{ running: 3 }, {}, { running: 0 }]).shownSinceMs, undefined)
    assert.equal(
      engineOf([{ running: 3 }, {}, { running: 0 }, { waiting: 2 }]).shownSinceMs,
      15_000,
    )
  })
})

describe('a pause', () => {
  it('is what an engine stood still with requests inside, once it goes on', () => {
    // Work at 10 s, and again at 35 s.
    const { pause, stillMs } = engineOf([...atWork, ...still(4), { tokens: 101 }, { tokens: 150 }])
    assert.deepEqual([pause, stillMs], [{ ms: 25_000, endedMs: 35_000 }, 0])
  })

  it('is none before it ends', () => {
    assert.equal(engineOf([...atWork, ...still(4)]).pause, undefined)
  })

  it('is none where work was last seen two readings ago', () => {
    assert.equal(engineOf([...atWork, {}, { tokens: 101 }]).pause, undefined)
  })

  it('is none where nobody is proven to have been inside', () => {
    const idle = [{ running: 0, tokens: 0 }, { tokens: 9 }, ...still(9), { running: 1, tokens: 10 }]
    assert.equal(engineOf(idle).pause, undefined)
    const unsure = [...atWork, ...still(9), { tokens: 101 }]
    assert.equal(engineOf(unsure, { http: false }).pause, undefined)
  })
})

describe('what others have done since an engine last worked', () => {
  it('is how many answers of the server ended beyond what it finished', () => {
    // The step that ended by 10 s began after 0 s: since then the gauges may hold who is gone.
    assert.equal(engineOf([...atWork, { served: 3 }, { served: 4, refused: 9 }]).hungUp, 4)
    assert.equal(engineOf([...atWork, { finished: 3, served: 3 }, {}]).hungUp, 0)
    assert.equal(engineOf(atWork, { http: false }).hungUp, undefined)
  })

  it('is how many requests the others have finished', () => {
    const engines = enginesOf([
      [{ running: 2 }, { running: 2 }],
      [{ finished: 3 }, { finished: 4 }],
      [{ finished: 10 }, {}],
      [{ finished: 12 }, {}],
    ])
    // The first finished 9 after 5 s, and worked last with the two of 15 s.
    assert.deepEqual(
      engines.map(({ finishedSince }) => finishedSince),
      [0, 9],
    )
  })

  it('is counted from the beginning of its watch while it shows no work', () => {
    const engines = enginesOf([
      [
        { running: 2, finished: 70 },
        { running: 2, finished: 50 },
      ],
      [{ finished: 73 }, {}],
    ])
    assert.deepEqual(
      engines.map(({ finishedSince }) => finishedSince),
      [0, 3],
    )
  })
})

describe('an engine whose API servers label their series with a pid', () => {
  const page = (usage: readonly [number, number], tokens: readonly [number, number]) => [
    ...family('vllm:num_requests_running', 'gauge', '{engine="0",model_name="m",pid="7"} 3'),
    ...family(
      'vllm:kv_cache_usage_perc',
      'gauge',
      `{engine="0",model_name="m",pid="7"} ${usage[0]}`,
      `{engine="0",model_name="m",pid="8"} ${usage[1]}`,
    ),
    ...family(
      'vllm:generation_tokens_total',
      'counter',
      `{engine="0",model_name="m"} ${tokens[0] + tokens[1]}`,
    ),
  ]
  const after = (...pages: readonly (readonly string[])[]) => {
    const readPage = pageReader()
    const attempts = pages.map((lines, index) => {
      const made = read(5_000 * index, [])
      assert.ok(made.kind === 'read')
      return { ...made, reading: readPage(lines, '0.27.0') }
    })
    return remembered(attempts).progress?.engines
  }

  it('is one engine, whose cache is as full as the fullest series says', () => {
    const engines = after(page([0.3, 0.7], [5, 0]))
    assert.deepEqual(
      engines?.map(({ model, rank, running, kvCacheUsageRatio }) => [
        model,
        rank,
        running,
        kvCacheUsageRatio,
      ]),
      [['m', '0', 3, 0.7]],
    )
  })

  it('works where the cache fills up, and not where a lesser series rises', () => {
    assert.equal(after(page([0.3, 0.7], [5, 0]), page([0.3, 0.8], [5, 0]))?.[0]?.workedMs, 5_000)
    assert.equal(
      after(page([0.3, 0.7], [5, 0]), page([0.6, 0.7], [5, 0]))?.[0]?.workedMs,
      undefined,
    )
  })
})

describe('the memory of what is followed', () => {
  const dayMs = 86_400_000

  it('holds the wait of a whole day in at most 96 readings', () => {
    const base = { finished: 0, answered: 0 }
    const looked = new Set<number>()
    /** Five wait at each reading, and who looks at one of them is noted. */
    const stockAt = (atMs: number): Stock => ({
      atMs,
      get waiting() {
        looked.add(atMs)
        return 5
      },
      running: 1,
      finished: 0,
      preempted: 0,
      justFinished: 0,
      base,
    })
    const conservation = new Conservation()
    let most = 0
    for (let atMs = 0; atMs <= dayMs; atMs += 5_000) {
      const stock = stockAt(atMs)
      const present = { ...base, atMs, justFinished: 0 }
      conservation.push(stock, present)
      looked.clear()
      assert.equal(conservation.insideFor(0, stock, present).count, 6)
      most = Math.max(most, looked.size)
      assert.deepEqual(conservation.oldestWait(stock, present), { ms: atMs, certain: true })
    }
    // What it holds is what it looks at to tell who is inside.
    assert.equal(most, 96)
  })

  it('follows at most 512 engines of a page', () => {
    const many = Array.from({ length: 600 }, () => ({ running: 1 }))
    assert.equal(enginesOf([many]).length, 512)
  })
})
