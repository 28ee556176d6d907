import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { nearest } from '../../src/config/nearest.ts'

const keys = ['interval', 'timeout', 'max_body', 'max_samples', 'max_overhead']

describe('the nearest known word', () => {
  const rows: readonly (readonly [
    claim: string,
    word: string,
    known: readonly string[],
    found: string | undefined,
  ])[] = [
    ['is the word itself where it is known', 'timeout', keys, 'timeout'],
    ['may lack a letter', 'intervl', keys, 'interval'],
    ['may have a letter too many', 'intervall', keys, 'interval'],
    ['may have a wrong letter', 'timeoot', keys, 'timeout'],
    ['may have two neighbours swapped, which counts as one', 'fro', ['for'], 'for'],
    ['may be in another case', 'TimeOut', keys, 'timeout'],
    // `for` has three letters, of which one may differ; `fr` and `of` are one and two away.
    ['of a short word is one letter away at most', 'fr', ['for'], 'for'],
    ['of a short word is not two letters away', 'xr', ['for'], undefined],
    // 12 letters allow 4: bearer_token lacks `_file`, 5 of 17 letters, which allow floor(17 / 3) = 5.
    [
      'may be a third of the longer word away',
      'bearer_token',
      ['bearer_token_file'],
      'bearer_token_file',
    ],
    ['is none where all are further than a third away', 'constructor', keys, undefined],
    ['is none for an empty word', '', keys, undefined],
    ['is none among no words', 'timeout', [], undefined],
    // max_bodies is 3 from max_body and 5 from max_samples.
    ['is the closest of several', 'max_bodies', keys, 'max_body'],
    ['is the first of those that are equally close', 'cat', ['bat', 'hat'], 'bat'],
    [
      'is none for a word that nobody could have misspelt',
      'x'.repeat(65),
      ['x'.repeat(64)],
      undefined,
    ],
  ]
  for (const [claim, word, known, found] of rows) {
    it(claim, () => assert.equal(nearest(word, known), found))
  }

  it('is found again from every key with one letter dropped, doubled or changed', () => {
    const change = fc.constantFrom('drop', 'double', 'change')
    fc.assert(
      fc.property(fc.constantFrom(...keys), fc.nat(7), change, (key, at, kind) => {
        const index = Math.min(at, key.length - 1)
        const letter = { drop: '', double: `${key[index]}${key[index]}`, change: '#' }[kind]
        assert.equal(nearest(key.slice(0, index) + letter + key.slice(index + 1), keys), key)
      }),
    )
  })

  it('is found at once for a megabyte of text', () => {
    const started = performance.now()
    nearest('x'.repeat(1_048_576), keys)
    assert.ok(performance.now() - started < 1_000)
  })
})
