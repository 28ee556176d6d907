import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { NumberReader } from '../../src/exposition/number.ts'
import { bytesOf } from './outcome.ts'

const reader = new NumberReader()

/** Returns the number that stands alone on a line; `undefined` when it is refused. */
function read(text: string): number | undefined {
  const body = bytesOf(`${text}\n`)
  const value = reader.read(body, 0)
  if (reader.end === -1) return undefined
  assert.equal(reader.end, body.length - 1, `expected all of "${text}" to be read`)
  return value
}

const digits = (most: number) =>
  fc.array(fc.nat(9), { minLength: 1, maxLength: most }).map((each) => each.join(''))
const sign = fc.constantFrom('', '+', '-')
const exponent = fc.oneof(
  fc.constant(''),
  fc
    .tuple(fc.constantFrom('e', 'E'), sign, fc.oneof(fc.nat(30), fc.nat(340)))
    .map(([letter, plus, power]) => `${letter}${plus}${power}`),
)
const mantissa = fc.oneof(
  digits(40),
  fc.tuple(digits(20), digits(25)).map(([whole, fraction]) => `${whole}.${fraction}`),
  digits(20).map((whole) => `${whole}.`),
  digits(25).map((fraction) => `.${fraction}`),
)
const decimals = fc.tuple(sign, mantissa, exponent).map((parts) => parts.join(''))

/**
 * Decimals that lie between two neighbouring doubles or next to the middle. Half a unit above the double
 * m × 2^-k lies (2m + 1) × 2^-(k+1), which is (2m + 1) × 5^(k+1) with k + 1 decimals, all of them written.
 */
const nearTies = fc
  .tuple(
    fc.bigInt({ min: 2n ** 52n, max: 2n ** 53n - 1n }),
    fc.integer({ min: 1, max: 24 }),
    fc.bigInt({ min: -2n, max: 2n }),
  )
  .map(([m, places, aside]) => {
    const all = ((2n * m + 1n) * 5n ** BigInt(places) + aside).toString().padStart(places + 1, '0')
    return `${all.slice(0, -places)}.${all.slice(-places)}`
  })

describe('the number reader', () => {
  const finite: readonly (readonly [text: string, value: number])[] = [
    ['0', 0],
    ['-0', -0],
    ['+5', 5],
    ['007', 7],
    ['1.', 1],
    ['.5', 0.5],
    ['1e3', 1000],
    ['1E+03', 1000],
    ['2.5e+010', 25_000_000_000],
    ['1.5e-3', 0.0015],
    ['9007199254740993', 9_007_199_254_740_992], // 2^53 + 1 lies in the middle and goes to the even one
    ['9007199254740993.0000001', 9_007_199_254_740_994], // and a little above it to the other
    ['0.30000000000000004', 0.1 + 0.2],
    ['1.7976931348623157e308', Number.MAX_VALUE],
    ['4.9406564584124654e-324', 5e-324],
    ['1e-400', 0], // nearer to zero than to the smallest double
    ['0e999999999999', 0],
  ]
  for (const [text, value] of finite) {
    it(`reads ${text} as ${value}`, () => assert.equal(read(text), value))
  }

  const words: readonly (readonly [text: string, value: number])[] = [
    ['NaN', Number.NaN],
    ['nan', Number.NaN],
    ['Inf', Infinity],
    ['+Inf', Infinity],
    ['-Inf', -Infinity],
    ['inf', Infinity],
    ['-infinity', -Infinity],
    ['+INFINITY', Infinity],
  ]
  for (const [text, value] of words) {
    it(`reads the word ${text}`, () => assert.equal(read(text), value))
  }

  const refused = [
    ...[
      '',
      '-',
      '+',
      '.',
      '-.',
      'e5',
      '.e5',
      '1e',
      '1e+',
      '1e5.0',
      '1.2.3',
      '--1',
      '+-1',
      '1-',
      '1+1',
    ],
    ...['0x1p-2', '0x10', '0b1', '0o7', '1_000', '_1', '1,5', '1;', '1\r', '1\0', '1f', '1n', '٣'],
    ...['1e400', '-1e400', '1.8e308', '9'.repeat(400)],
    ...['+NaN', '-nan', 'NaN0', 'nano', 'infinit', 'infinityy', 'in', 'null', 'true', 'Infinity.0'],
  ]
  for (const text of refused) {
    it(`refuses ${JSON.stringify(text.slice(0, 20))}`, () => assert.equal(read(text), undefined))
  }

  for (const [end, name] of [
    [' ', 'a space'],
    ['\t', 'a tab'],
    ['\n', 'a line feed'],
  ] as const) {
    it(`ends before ${name}`, () => {
      assert.equal(reader.read(bytesOf(`12.5${end}99`), 0), 12.5)
      assert.equal(reader.end, 4)
    })
  }

  it('reads every decimal text as Number does, and refuses it beyond the largest double', () => {
    fc.assert(
      fc.property(decimals, (text) => {
        const value = Number(text)
        assert.equal(read(text), Number.isFinite(value) ? value : undefined)
      }),
      { numRuns: 20_000 },
    )
  })

  it('rounds as Number does where a decimal lies in the middle of two doubles or next to it', () => {
    fc.assert(
      fc.property(nearTies, (text) => assert.equal(read(text), Number(text))),
      { numRuns: 20_000 },
    )
  })

  it('reads back every double that was written in full', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        for (const text of [String(value), value.toExponential(), value.toExponential(20)]) {
          assert.equal(read(text), Number(text))
        }
      }),
      { numRuns: 5000 },
    )
  })

  it('refuses whatever is no number, and reads whatever is one, of any characters near one', () => {
    // Hexadecimals, octals and binaries are numbers to JavaScript; with none of x, o, b there are none.
    const near = fc
      .array(fc.constantFrom(...'0123456789.+-eE_ natifNI'), { minLength: 1, maxLength: 10 })
      .map((each) => each.join('').trim())
      .filter((text) => text !== '' && !text.includes(' '))
    fc.assert(
      fc.property(near, (text) => {
        const value = read(text)
        const word = /^(nan|[+-]?inf(inity)?)$/i.test(text)
        if (!word) assert.equal(value, Number.isFinite(Number(text)) ? Number(text) : undefined)
        else assert.ok(value !== undefined && !Number.isFinite(value))
      }),
      { numRuns: 20_000 },
    )
  })
})
