import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { roughly } from '../../src/rules/words.ts'

describe('a duration that is not exact', () => {
  const rows: readonly (readonly [number, string])[] = [
    [0, '0 s'],
    [119.4, '119 s'],
    [120, '2 m'],
    [340, '5.5 m'],
    [5_400, '90 m'],
    [7_200, '2 h'],
    // 16.6 h.
    [60_000, '17 h'],
    [172_799, '48 h'],
    [250_000, '3 d'],
    [8_640_000, '100 d'],
  ]
  for (const [seconds, text] of rows) {
    it(`is ${text} for ${seconds} s`, () => assert.equal(roughly(seconds), text))
  }
})
