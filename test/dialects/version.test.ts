import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { isAtLeast, parseVersion } from '../../src/dialects/version.ts'

describe('a version', () => {
  const rows: readonly [string | undefined, readonly [number, number, number], boolean][] = [
    ['0.17.0', [0, 17, 0], true],
    ['0.16.9', [0, 17, 0], false],
    ['0.8.5.post1', [0, 8, 5], true],
    ['0.8.5.post1', [0, 8, 6], false],
    ['v0.9.1', [0, 10, 0], false],
    ['0.17', [0, 17, 0], true],
    ['1.0.0', [0, 26, 0], true],
    ['0.26.0', [1, 0, 0], false],
    ['0.11.1.dev3+g1234567.cu128', [0, 13, 0], false],
    [undefined, [99, 0, 0], true],
    ['', [99, 0, 0], true],
    ['0.1.dev1+g0123', [99, 0, 0], true],
  ]
  for (const [text, than, expected] of rows) {
    it(`"${text ?? 'none'}" is ${expected ? '' : 'not '}at least ${than.join('.')}`, () => {
      assert.equal(isAtLeast(parseVersion(text), than), expected)
    })
  }
})
