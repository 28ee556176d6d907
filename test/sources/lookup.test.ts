import assert from 'node:assert/strict'
import type { LookupAddress } from 'node:dns'
import { describe, it } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { GuardedLookup } from '../../src/sources/lookup.ts'

const four: LookupAddress = { address: '10.0.0.4', family: 4 }
const six: LookupAddress = { address: 'fd00::6', family: 6 }

type Answer = string | readonly LookupAddress[]

/** A resolver that answers when the test says so; `asked` lists the names it was asked for. */
function resolver() {
  const asked: string[] = []
  const open: { name: string; end: (found: readonly LookupAddress[] | Error) => void }[] = []
  const guarded = new GuardedLookup((name) => {
    asked.push(name)
    return new Promise((resolve, reject) => {
      open.push({
        name,
        end: (found) => (found instanceof Error ? reject(found) : resolve(found)),
      })
    })
  })
  /** Ends the oldest look-up of `name` that is under way. */
  const answer = async (name: string, found: readonly LookupAddress[] | Error) => {
    const index = open.findIndex((one) => one.name === name)
    assert.ok(index >= 0, `expected a look-up of ${name}`)
    open.splice(index, 1)[0]?.end(found)
    await nextTurn()
  }
  return { guarded, asked, answer, lookUp: (name: string) => lookUp(guarded, name) }
}

function lookUp(
  guarded: GuardedLookup,
  name: string,
  options: Parameters<GuardedLookup['lookup']>[1] = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    guarded.lookup(name, options, (error, address) => {
      if (error === null) resolve(address)
      else reject(error)
    })
  })
}

/** What became of a promise so far. */
function watched(work: Promise<Answer>): { state: 'open' | 'found' | 'failed'; code?: unknown } {
  const seen: ReturnType<typeof watched> = { state: 'open' }
  work.then(
    () => {
      seen.state = 'found'
    },
    (error: unknown) => {
      seen.state = 'failed'
      seen.code = error instanceof Error && 'code' in error ? error.code : undefined
    },
  )
  return seen
}

describe('the look-up of names', () => {
  it('asks for two names at a time, and lets a third wait its turn', async () => {
    const { asked, answer, lookUp } = resolver()
    const all = ['a', 'b', 'c', 'd'].map((name) => watched(lookUp(name)))
    await nextTurn()
    assert.deepEqual(asked, ['a', 'b'])
    await answer('b', [four])
    assert.deepEqual(asked, ['a', 'b', 'c'])
    assert.deepEqual(
      all.map(({ state }) => state),
      ['open', 'found', 'open', 'open'],
    )
    await answer('a', [four])
    assert.deepEqual(asked, ['a', 'b', 'c', 'd'])
  })

  it('goes on with the known address of a name while two look-ups hang', async () => {
    const { asked, answer, lookUp } = resolver()
    const first = lookUp('engine')
    await answer('engine', [four])
    assert.equal(await first, four.address)
    const hung = [watched(lookUp('x')), watched(lookUp('y'))]
    assert.equal(await lookUp('engine'), four.address)
    assert.equal(await lookUp('engine'), four.address)
    assert.deepEqual(asked, ['engine', 'x', 'y'])
    assert.ok(hung.every(({ state }) => state === 'open'))
  })

  it('follows a name that moves, as long as the system can be asked', async () => {
    const { answer, lookUp } = resolver()
    for (const address of ['10.0.0.1', '10.0.0.2']) {
      const work = lookUp('engine')
      await answer('engine', [{ address, family: 4 }])
      assert.equal(await work, address)
    }
  })

  it('asks once for all who want the same name, up to 32 of them', async () => {
    const { asked, answer, lookUp } = resolver()
    const callers = Array.from({ length: 33 }, () => watched(lookUp('engine')))
    await nextTurn()
    assert.deepEqual(asked, ['engine'])
    assert.deepEqual(callers.at(-1), { state: 'failed', code: 'EAI_AGAIN' })
    await answer('engine', [four])
    assert.equal(callers.filter(({ state }) => state === 'found').length, 32)
  })

  it('tells the error of the system to all who wait, and asks again afterwards', async () => {
    const { answer, lookUp } = resolver()
    const callers = [watched(lookUp('engine')), watched(lookUp('engine'))]
    const error = Object.assign(new Error('no such name'), { code: 'ENOTFOUND' })
    await answer('engine', error)
    for (const caller of callers) assert.deepEqual(caller, { state: 'failed', code: 'ENOTFOUND' })
    const again = lookUp('engine')
    await answer('engine', [four])
    assert.equal(await again, four.address)
  })

  it('hands the turn of a failed look-up on', async () => {
    const { asked, answer, lookUp } = resolver()
    const all = ['a', 'b', 'c'].map((name) => watched(lookUp(name)))
    await answer('a', new Error('broken'))
    assert.deepEqual(asked, ['a', 'b', 'c'])
    await answer('b', [four])
    await answer('c', [four])
    assert.deepEqual(
      all.map(({ state }) => state),
      ['failed', 'found', 'found'],
    )
    watched(lookUp('d'))
    watched(lookUp('e'))
    await nextTurn()
    assert.deepEqual(asked, ['a', 'b', 'c', 'd', 'e'])
  })

  const wanted: readonly (readonly [string, Parameters<GuardedLookup['lookup']>[1], Answer])[] = [
    ['the first address of any family', {}, six.address],
    ['the first of IPv4', { family: 4 }, four.address],
    ['the first of IPv4, said in words', { family: 'IPv4' }, four.address],
    ['the first of IPv6', { family: 6 }, six.address],
    ['all addresses', { all: true }, [six, four]],
    ['all of IPv6', { all: true, family: 'IPv6' }, [six]],
  ]
  for (const [what, options, expected] of wanted) {
    it(`gives ${what} where that is asked for`, async () => {
      const guarded = new GuardedLookup(async () => [six, four])
      assert.deepEqual(await lookUp(guarded, 'engine', options), expected)
    })
  }

  it('tells a name without an address of the wanted family as not found', async () => {
    const guarded = new GuardedLookup(async () => [four])
    await assert.rejects(lookUp(guarded, 'engine', { family: 6 }), { code: 'ENOTFOUND' })
    const empty = new GuardedLookup(async () => [])
    await assert.rejects(lookUp(empty, 'engine', { all: true }), { code: 'ENOTFOUND' })
  })

  it('asks the system where nothing else is given', async () => {
    const found = await lookUp(new GuardedLookup(), '127.0.0.1')
    assert.equal(found, '127.0.0.1')
  })
})
