import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import {
  durationSchema,
  formatDuration,
  formatSize,
  numberSchema,
  parseDuration,
  parseSize,
  sizeSchema,
} from '../src/units.ts'

const minute = 60_000
const day = 86_400_000

describe('durations', () => {
  const readable: readonly (readonly [text: string, ms: number])[] = [
    ['500ms', 500],
    ['5s', 5_000],
    ['1m30s', 90_000],
    ['2h', 7_200_000],
    ['1d', 86_400_000],
    // 86 400 000 + 2 × 3 600 000 + 3 × 60 000 + 4 × 1 000 + 5.
    ['1d2h3m4s5ms', 93_784_005],
    ['0s', 0],
    ['90s', 90_000],
    ['007s', 7_000],
    ['1h500ms', 3_600_500],
  ]
  for (const [text, ms] of readable) {
    it(`reads ${text} as ${ms} ms`, () => assert.equal(parseDuration(text), ms))
  }

  const unreadable = [
    '',
    '5',
    's',
    '5S',
    '1.5s',
    '-5s',
    '+5s',
    ' 5s',
    '5s ',
    '5 s',
    '5s\n',
    '30s1m',
    '1m1m',
    '1w',
    '5sec',
    '1e3s',
    '٥s',
    'NaN',
    // 104 249 992 days are above 2^53 ms.
    '104249992d',
    `${'9'.repeat(400)}d`,
  ]
  for (const text of unreadable) {
    it(`takes ${JSON.stringify(text.slice(0, 20))} for no duration`, () => {
      assert.equal(parseDuration(text), undefined)
    })
  }

  const written: readonly (readonly [ms: number, text: string])[] = [
    [0, '0s'],
    [1, '1ms'],
    [500, '500ms'],
    [1_000, '1s'],
    [1_500, '1s500ms'],
    [minute, '1m'],
    [90_000, '1m30s'],
    [3_600_000, '1h'],
    [day, '1d'],
    [7 * day, '7d'],
    [day + minute, '1d1m'],
    // Fractions are rounded, so that seconds times a thousand may be a little off.
    [1_000.4, '1s'],
    [59_999.6, '1m'],
    [0.4, '0s'],
  ]
  for (const [ms, text] of written) {
    it(`writes ${ms} ms as ${text}`, () => assert.equal(formatDuration(ms), text))
  }

  for (const ms of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
    it(`refuses to write ${ms} ms`, () => {
      assert.throws(() => formatDuration(ms), RangeError)
    })
  }

  it('reads whatever it writes as the same duration', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (ms) => {
        assert.equal(parseDuration(formatDuration(ms)), ms)
      }),
    )
  })

  it('refuses what is outside its range, both ends allowed, and names the range each time', () => {
    const schema = durationSchema({ minMs: 200, maxMs: minute })
    const expected = 'expected a duration from 200ms to 1m such as 5s or 1m30s'
    assert.equal(schema.parse('200ms'), 200)
    assert.equal(schema.parse('1m'), minute)
    for (const wrong of ['199ms', '1m1ms', 'abc', '', 5, null, undefined, Number.NaN, {}, ['5s']]) {
      assert.deepEqual(messages(schema.safeParse(wrong)), [expected], String(wrong))
    }
  })
})

describe('sizes', () => {
  const readable: readonly (readonly [text: string, bytes: number])[] = [
    ['0B', 0],
    ['512B', 512],
    ['64KiB', 65_536],
    ['16MiB', 16_777_216],
    ['1GiB', 1_073_741_824],
  ]
  for (const [text, bytes] of readable) {
    it(`reads ${text} as ${bytes} bytes and writes it so`, () => {
      assert.equal(parseSize(text), bytes)
      assert.equal(formatSize(bytes), text)
    })
  }

  it('writes the largest unit that is exact', () => {
    assert.equal(formatSize(1_536), '1536B')
    // 1.5 MiB.
    assert.equal(formatSize(1_572_864), '1536KiB')
    assert.equal(formatSize(1_024), '1KiB')
  })

  // 8 388 608 GiB are 2^53 bytes, one too many to be counted.
  for (const text of ['', '16', '16MB', '16 MiB', '1.5MiB', '-1B', '16mib', '8388608GiB']) {
    it(`takes ${JSON.stringify(text)} for no size`, () => assert.equal(parseSize(text), undefined))
  }

  for (const bytes of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
    it(`refuses to write ${bytes} bytes`, () => {
      assert.throws(() => formatSize(bytes), RangeError)
    })
  }

  it('reads whatever it writes as the same size', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (bytes) => {
        assert.equal(parseSize(formatSize(bytes)), bytes)
      }),
    )
  })

  it('refuses what is outside its range, both ends allowed, and names the range each time', () => {
    const schema = sizeSchema({ minBytes: 1_024, maxBytes: 1_048_576 })
    const expected = 'expected a size from 1KiB to 1MiB such as 16MiB or 64KiB'
    assert.equal(schema.parse('1KiB'), 1_024)
    assert.equal(schema.parse('1MiB'), 1_048_576)
    for (const wrong of ['1023B', '2MiB', '1MB', 1_024, null]) {
      assert.deepEqual(messages(schema.safeParse(wrong)), [expected], String(wrong))
    }
  })
})

describe('numbers', () => {
  it('are refused outside their range, both ends allowed', () => {
    const schema = numberSchema({ min: 0, max: 1 })
    assert.equal(schema.parse(0), 0)
    assert.equal(schema.parse(1), 1)
    for (const wrong of [-0.1, 1.1, Number.NaN, Number.POSITIVE_INFINITY, '1', true, null]) {
      assert.deepEqual(messages(schema.safeParse(wrong)), ['expected a number from 0 to 1'])
    }
  })

  it('are refused once, however many ways they are wrong in, where they must be whole', () => {
    const schema = numberSchema({ min: 1, max: 5, whole: true })
    assert.equal(schema.parse(5), 5)
    // 1e99 is neither exact nor in range, 0.5 neither whole nor in range.
    for (const wrong of [0.5, 2.5, 1e99, -1e99, 6, Number.NaN, '2']) {
      assert.deepEqual(messages(schema.safeParse(wrong)), ['expected a whole number from 1 to 5'])
    }
  })
})

function messages(result: {
  readonly error?: { readonly issues: readonly { readonly message: string }[] } | undefined
}): readonly string[] {
  return (result.error?.issues ?? []).map(({ message }) => message)
}
