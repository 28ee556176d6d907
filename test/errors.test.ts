import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ConfigError, escapedJson, shorten } from '../src/errors.ts'

describe('a text that is shown in a message', () => {
  const rows: readonly (readonly [claim: string, text: string, shown: string])[] = [
    ['stays as it is when it is plain', 'vllm:a{x="é"}', 'vllm:a{x=\\"é\\"}'],
    [
      'has its control characters escaped',
      'a\nb\u001b[2J\u007f\u009b',
      'a\\nb\\u001b[2J\\u007f\\u009b',
    ],
    ['has its line separators escaped', 'a\u2028b\u2029', 'a\\u2028b\\u2029'],
    ['is cut at the length', 'x'.repeat(81), `${'x'.repeat(80)}…`],
    ['is not cut when it just fits', 'x'.repeat(80), 'x'.repeat(80)],
  ]
  for (const [claim, text, shown] of rows) it(claim, () => assert.equal(shorten(text), shown))

  it('can be any value', () => assert.equal(escapedJson({ a: '\u0085' }), '{"a":"\\u0085"}'))
})

describe('the error of a configuration', () => {
  it('has every mistake as a line of its message', () => {
    assert.equal(
      new ConfigError(['a: expected b', 'c: expected d']).message,
      'a: expected b\nc: expected d',
    )
  })
})
