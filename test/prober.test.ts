import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import type { Config } from '../src/config/schema.ts'
import { Prober, type ProberOptions } from '../src/prober.ts'
import type { ProbeOutcome, ProbeResult } from '../src/reading.ts'
import { ManualClock } from './fakes/manual-clock.ts'
import { keepingLog, type LoggedLine } from './web/serving.ts'

type Part = Pick<Config, 'targets' | 'probe'>

const second = 1_000

function configOf(
  probe: Partial<Config['probe']> = {},
  names: readonly string[] = ['a', 'b'],
): Part {
  return {
    targets: names.map((name, index) => ({
      name,
      url: `http://127.0.0.1:${8_000 + index}`,
      auth: { kind: 'none' },
    })),
    probe: {
      enabled: true,
      intervalMs: 60 * second,
      timeoutMs: 30 * second,
      model: '',
      prompt: 'ping',
      ...probe,
    },
  }
}

/** A probe that an asker of these tests was asked for. */
interface Asked {
  readonly target: string
  readonly model: string | undefined
  readonly atMs: number
  readonly signal: AbortSignal
  /** Ends it. */
  readonly end: (outcome: ProbeOutcome) => Promise<void>
  readonly break: (error: Error) => Promise<void>
}

interface World {
  readonly prober: Prober
  readonly clock: ManualClock
  readonly asked: readonly Asked[]
  readonly results: readonly ProbeResult[]
  readonly lines: readonly LoggedLine[]
  readonly failures: readonly unknown[]
  readonly closed: readonly string[]
  readonly ending: AbortController
  /** Says which targets are ambiguous; all serve the model `m`. */
  readonly follow: (...targets: readonly string[]) => Promise<void>
  /** Says that nothing is ambiguous, and of which targets nothing progresses. */
  readonly keep: (...targets: readonly string[]) => Promise<void>
}

const worlds: World[] = []

afterEach(async () => {
  for (const { prober, ending } of worlds.splice(0)) {
    ending.abort()
    await prober.stop()
  }
})

async function worldOf(config: Part = configOf(), stubborn = false): Promise<World> {
  const clock = new ManualClock()
  const asked: Asked[] = []
  const results: ProbeResult[] = []
  const lines: LoggedLine[] = []
  const failures: unknown[] = []
  const closed: string[] = []
  const ending = new AbortController()
  const open: ProberOptions['open'] = ({ name: target }) => ({
    ask: ({ model, signal }) =>
      new Promise((resolve, reject) => {
        const startMs = clock.monotonicMs()
        if (!stubborn) signal.addEventListener('abort', () => reject(signal.reason))
        const end = async (outcome: ProbeOutcome) => {
          const atMs = clock.monotonicMs()
          resolve({ ...outcome, target, startMs, atMs, tookMs: atMs - startMs })
          await clock.settle()
        }
        const fail = async (error: Error) => {
          reject(error)
          await clock.settle()
        }
        asked.push({ target, model, atMs: startMs, signal, end, break: fail })
      }),
    close: async () => {
      closed.push(target)
    },
  })
  const prober = new Prober({
    clock,
    log: keepingLog(lines),
    signal: ending.signal,
    record: (result) => results.push(result),
    fail: (error) => failures.push(error),
    open,
  })
  await prober.configure(config)
  const follow = async (...targets: readonly string[]) => {
    prober.follow({ ambiguous: targets.map((target) => ({ target, model: 'm' })), kept: targets })
    await clock.settle()
  }
  const keep = async (...kept: readonly string[]) => {
    prober.follow({ ambiguous: [], kept })
    await clock.settle()
  }
  const world = { prober, clock, asked, results, lines, failures, closed, ending, follow, keep }
  worlds.push(world)
  return world
}

/** `target@second` of each probe that was begun. */
function begun({ asked }: World): readonly string[] {
  // The manual clock begins at 1 s.
  return asked.map(({ target, atMs }) => `${target}@${atMs / second - 1}`)
}

/** Has the targets be ambiguous at each of so many seconds, as evaluations come. */
async function followFor(world: World, seconds: number, ...targets: readonly string[]) {
  for (let passed = 0; passed < seconds; passed += 1) {
    await world.clock.advance(second)
    await world.follow(...targets)
  }
}

describe('a prober', () => {
  it('sends nothing while nothing is ambiguous', async () => {
    const world = await worldOf()
    await followFor(world, 200)
    assert.deepEqual(begun(world), [])
  })

  it('probes a target that becomes ambiguous at once, with its model, and records the result', async () => {
    const world = await worldOf()
    await world.follow('b')
    assert.deepEqual(begun(world), ['b@0'])
    assert.equal(world.asked[0]?.model, 'm')
    await world.clock.advance(3 * second)
    await world.asked[0]?.end({ kind: 'unanswered', code: 'timeout' })
    // Begun at 1 s, ended 3 s later.
    const times = { startMs: 1_000, atMs: 4_000, tookMs: 3_000 }
    assert.deepEqual(world.results, [
      { kind: 'unanswered', code: 'timeout', target: 'b', ...times },
    ])
  })

  it('never begins two within an interval, however soon the first is answered', async () => {
    const world = await worldOf(configOf({ intervalMs: 10 * second, timeoutMs: 5 * second }))
    for (let passed = 0; passed < 25; passed += 1) {
      await world.follow('a')
      await world.asked.at(-1)?.end({ kind: 'answered' })
      await world.clock.advance(second)
    }
    assert.deepEqual(begun(world), ['a@0', 'a@10', 'a@20'])
  })

  it('never begins two within an interval, however often the target ceases to be ambiguous', async () => {
    const world = await worldOf(configOf({ intervalMs: 10 * second, timeoutMs: 5 * second }))
    for (let passed = 0; passed < 25; passed += 1) {
      await world.follow(...(passed % 2 === 0 ? ['a'] : []))
      await world.clock.advance(second)
    }
    assert.deepEqual(begun(world), ['a@0', 'a@10', 'a@20'])
  })

  it('has one under way for each target, beyond the interval where it does not end', async () => {
    const world = await worldOf(configOf({ intervalMs: 10 * second }))
    await followFor(world, 25, 'a', 'b')
    assert.deepEqual(begun(world), ['a@1', 'b@1'])
    await world.asked[0]?.end({ kind: 'answered' })
    await followFor(world, 1, 'a', 'b')
    assert.deepEqual(begun(world), ['a@1', 'b@1', 'a@26'])
  })

  it('withdraws the probe of a target that progresses again, and says nothing of it', async () => {
    const world = await worldOf()
    await world.follow('a', 'b')
    await world.follow('b')
    assert.deepEqual(
      world.asked.map(({ signal }) => signal.aborted),
      [true, false],
    )
    assert.deepEqual([world.results, world.lines, world.failures], [[], [], []])
  })

  it('keeps a probe while nothing progresses, though the hang is certain by now, and begins none', async () => {
    const world = await worldOf(configOf({ intervalMs: 10 * second }))
    await world.follow('a')
    await world.keep('a', 'b')
    assert.equal(world.asked[0]?.signal.aborted, false)
    await world.clock.advance(20 * second)
    await world.asked[0]?.end({ kind: 'unanswered', code: 'timeout' })
    await world.keep('a', 'b')
    assert.deepEqual(begun(world), ['a@0'])
    assert.deepEqual(
      world.results.map(({ kind }) => kind),
      ['unanswered'],
    )
  })

  it('does not record an answer that comes after the withdrawal', async () => {
    const world = await worldOf(configOf(), true)
    await world.follow('a')
    await world.follow()
    await world.asked[0]?.end({ kind: 'answered' })
    assert.deepEqual([world.results, world.lines], [[], []])
  })

  it('ignores a target that is not in the configuration', async () => {
    const world = await worldOf()
    await world.follow('c')
    assert.deepEqual(begun(world), [])
  })

  it('tells what is wrong in the program', async () => {
    const world = await worldOf()
    const error = new Error('made to break')
    await world.follow('a')
    await world.asked[0]?.break(error)
    assert.deepEqual(world.failures, [error])
  })

  it('logs what came of the first probe, and then only what is new', async () => {
    const world = await worldOf(configOf({ intervalMs: 5 * second, timeoutMs: 5 * second }))
    const outcomes: readonly ProbeOutcome[] = [
      { kind: 'unanswered', code: 'timeout' },
      { kind: 'unanswered', code: 'reset' },
      { kind: 'failed', status: 500 },
      { kind: 'answered' },
      { kind: 'answered' },
      { kind: 'inconclusive', reason: 'made to prove nothing' },
    ]
    for (const outcome of outcomes) {
      await world.follow('a')
      await world.asked.at(-1)?.end(outcome)
      await world.clock.advance(5 * second)
    }
    assert.equal(world.results.length, 6)
    assert.deepEqual(
      world.lines.map(({ level, message, fields }) => ({ level, message, ...fields })),
      [
        {
          level: 'warn',
          message: 'probe was not answered',
          target: 'a',
          code: 'timeout',
          tookMs: 0,
        },
        {
          level: 'warn',
          message: 'probe was answered with an error',
          target: 'a',
          status: 500,
          tookMs: 0,
        },
        { level: 'info', message: 'probe was answered', target: 'a', tookMs: 0 },
        {
          level: 'warn',
          message: 'probe proves nothing',
          target: 'a',
          reason: 'made to prove nothing',
          tookMs: 0,
        },
      ],
    )
  })
})

describe('a prober under another configuration', () => {
  it('goes on with a probe whose target and way to ask stay as they are', async () => {
    const world = await worldOf()
    await world.follow('a')
    await world.prober.configure(configOf({ intervalMs: 40 * second }))
    assert.equal(world.asked[0]?.signal.aborted, false)
    assert.deepEqual(world.closed, [])
  })

  it('withdraws the probe of a target that is gone, and closes what asked it', async () => {
    const world = await worldOf()
    await world.follow('b')
    await world.prober.configure(configOf({}, ['a']))
    assert.equal(world.asked[0]?.signal.aborted, true)
    assert.deepEqual(world.closed, ['b'])
    assert.deepEqual([world.results, world.failures], [[], []])
  })

  it('asks anew in the new way, but not before the interval is over', async () => {
    const world = await worldOf()
    await world.follow('a')
    await world.prober.configure(configOf({ prompt: 'pong' }))
    assert.equal(world.asked[0]?.signal.aborted, true)
    await followFor(world, 61, 'a')
    assert.deepEqual(begun(world), ['a@0', 'a@60'])
  })

  it('ends all probes where it may probe no longer, and begins when it may', async () => {
    const world = await worldOf()
    await world.follow('a')
    await world.prober.configure(configOf({ enabled: false }))
    assert.equal(world.asked[0]?.signal.aborted, true)
    await followFor(world, 100, 'a', 'b')
    assert.deepEqual(begun(world), ['a@0'])
    await world.prober.configure(configOf())
    await world.follow('b')
    assert.deepEqual(begun(world), ['a@0', 'b@100'])
  })
})

describe('a prober that stops', () => {
  it('withdraws what is under way and begins nothing more', async () => {
    const world = await worldOf()
    await world.follow('a')
    world.ending.abort()
    await world.prober.stop()
    assert.equal(world.asked[0]?.signal.aborted, true)
    assert.deepEqual([...world.closed].sort(), ['a', 'b'])
    await world.follow('a', 'b')
    await world.prober.configure(configOf())
    await world.follow('a', 'b')
    assert.deepEqual(begun(world), ['a@0'])
  })

  it('waits half a second for one that does not end', async () => {
    const world = await worldOf(configOf(), true)
    await world.follow('a')
    let stopped = false
    const stopping = world.prober.stop().then(() => {
      stopped = true
    })
    await world.clock.advance(499)
    assert.equal(stopped, false)
    await world.clock.advance(1)
    await stopping
    assert.equal(stopped, true)
  })
})
