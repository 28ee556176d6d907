import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { ExpositionFormat } from '../../src/exposition/exposition.ts'
import { ExpositionParser } from '../../src/exposition/parse.ts'
import { bytesOf, freshOutcomeOf, limits, type Sample } from './outcome.ts'

/** What becomes of a page: its samples and how many of its lines are malformed. */
type Row = readonly [claim: string, page: string, samples: readonly Sample[], malformed?: number]

function plain(name: string, value: number): Sample {
  return [name, [], value]
}

function check(rows: readonly Row[], format: ExpositionFormat = 'text'): void {
  for (const [claim, page, samples, malformed = 0] of rows) {
    it(claim, () => {
      const outcome = freshOutcomeOf(page, format)
      assert.ok(outcome.kind === 'page', `expected a page, found ${JSON.stringify(outcome)}`)
      assert.deepEqual(outcome.samples, samples)
      assert.equal(outcome.malformedLines, malformed)
    })
  }
}

/** Every refusal below stands between two good lines, which have to come through. */
function checkRefused(rows: readonly (readonly [claim: string, line: string])[]): void {
  check(
    rows.map(([claim, line]) => [
      claim,
      `before 1\n${line}\nafter 2\n`,
      [plain('before', 1), plain('after', 2)],
      1,
    ]),
  )
}

describe('a page of samples', () => {
  check([
    [
      'may have blanks wherever the grammar has some (T4)',
      'a\t{x="1"}\t5\t123\n',
      [['a', [['x', '1']], 5]],
    ],
    [
      'may have blanks around labels and lines',
      ' a { x = "1" , y="2" } 5 \n',
      [
        [
          'a',
          [
            ['x', '1'],
            ['y', '2'],
          ],
          5,
        ],
      ],
    ],
    ['may have names with a colon (T5)', 'vllm:a 1\n:b 2\n', [plain('vllm:a', 1), plain(':b', 2)]],
    [
      'keeps NaN and both infinities (T6)',
      'a NaN\nb +Inf\nc -Inf\n',
      [plain('a', Number.NaN), plain('b', Infinity), plain('c', -Infinity)],
    ],
    [
      'keeps a negative counter for those who know what it counts (T10)',
      '# TYPE a counter\na -5\n',
      [plain('a', -5)],
    ],
    // 2^53 + 1 lies in the middle of two doubles; the even one is 2^53.
    [
      'has the nearest doubles (T11)',
      'a 0.30000000000000004\nb 9007199254740993\n',
      [plain('a', 0.1 + 0.2), plain('b', 9_007_199_254_740_992)],
    ],
    [
      'may have timestamps, which are left out (T16)',
      'a 1 -5\nb 2 1395066363000\nc 3 +9999999999999\n',
      [plain('a', 1), plain('b', 2), plain('c', 3)],
    ],
    [
      'may have a comma behind the last label, and an empty set (T19)',
      'a{x="1",} 1\nb{} 2\nb2{ } 3\n',
      [['a', [['x', '1']], 1], plain('b', 2), plain('b2', 3)],
    ],
    ['need not have a blank behind the brace', 'a{x="1"}5\n', [['a', [['x', '1']], 5]]],
    [
      'keeps buckets in the order written (T26)',
      'a_bucket{le="+Inf"} 3\na_bucket{le="1"} 2\n',
      [
        ['a_bucket', [['le', '+Inf']], 3],
        ['a_bucket', [['le', '1']], 2],
      ],
    ],
    [
      'may have its families interleaved (T30)',
      '# TYPE a gauge\na{x="1"} 1\n# TYPE b gauge\nb 2\na{x="2"} 3\n',
      [['a', [['x', '1']], 1], plain('b', 2), ['a', [['x', '2']], 3]],
    ],
    [
      'has the exact text of escaped values (T31)',
      'a{x="\\\\ \\" \\n } { # , ="} 1\n',
      [['a', [['x', '\\ " \n } { # , =']], 1]],
    ],
    [
      'keeps a backslash before any other character (T32)',
      'a{x="\\q\\\\n"} 1\n',
      [['a', [['x', '\\q\\n']], 1]],
    ],
    [
      'has the exact text of UTF-8 values (T33)',
      'a{x="模型 🚀 é"} 1\n',
      [['a', [['x', '模型 🚀 é']], 1]],
    ],
    [
      'has the exact text of UTF-8 values with escapes',
      'a{x="é\\"\\\\n"} 1\n',
      [['a', [['x', 'é"\\n']], 1]],
    ],
    [
      'keeps NUL and other control characters of values (T35)',
      'a{x="\0\x01\x7f"} 1\n',
      [['a', [['x', '\0\x01\x7f']], 1]],
    ],
    [
      'keeps a byte order mark inside a value',
      'a{x="\ufeff1"} 1\n',
      [['a', [['x', '\ufeff1']], 1]],
    ],
    [
      'may have quoted names (T37, text 1.0.0)',
      '{"a.b",x="1"} 1\n{"c d"} 2\na{"x.y"="2"} 3\n',
      [['a.b', [['x', '1']], 1], plain('c d', 2), ['a', [['x.y', '2']], 3]],
    ],
    ['unescapes quoted names', '{"a\\"b","x\\\\"="1"} 1\n', [['a"b', [['x\\', '1']], 1]]],
    ['may end with # EOF (T38)', 'a 1\n# EOF\n', [plain('a', 1)]],
    [
      'may have empty lines and any comments',
      '\n \n# just text\n#\n#a\n# HELP\n# TYPEX y z\na 1\n\n',
      [plain('a', 1)],
    ],
    ['keeps empty label values', 'a{x=""} 1\n', [['a', [['x', '']], 1]]],
    ['may begin with empty lines', '\n\n \t\na 1\n', [plain('a', 1)]],
  ])

  checkRefused([
    ['leaves out a line that ends in CRLF (T3)', 'a 1\r'],
    ['leaves out a hexadecimal value (T7)', 'a 0x1p-2'],
    ['leaves out a value with an underscore (T8)', 'a 1_000'],
    ['leaves out a value beyond the largest double (T9)', 'a 1e400'],
    ['leaves out a line without value (T12)', 'a'],
    ['leaves out a line without value behind labels (T12)', 'a{x="1"} '],
    ['leaves out a word for a value (T13)', 'a b'],
    ['leaves out a third number (T14)', 'a 1 2 3'],
    ['leaves out a word for a timestamp (T15)', 'a 1 now'],
    ['leaves out a timestamp that is no integer', 'a 1 2.5'],
    ['leaves out a timestamp of a sign alone', 'a 1 -'],
    ['leaves out a timestamp of more than 64 bits', 'a 1 12345678901234567890'],
    ['leaves out a label value that is not closed (T17)', 'a{x="1} 1'],
    ['leaves out a label set that is not closed (T17)', 'a{x="1" 1'],
    ['leaves out a label value that ends in a backslash', 'a{x="1\\'],
    ['leaves out a label value without quotes (T18)', 'a{x=1} 1'],
    ['leaves out a label without equals sign (T18)', 'a{x"1"} 1'],
    ['leaves out a label without value', 'a{x} 1'],
    ['leaves out two commas (T18)', 'a{x="1",,y="2"} 1'],
    ['leaves out a comma alone', 'a{,} 1'],
    ['leaves out labels without comma between them', 'a{x="1"y="2"} 1'],
    ['leaves out a label that comes twice (T20)', 'a{x="1",x="2"} 1'],
    ['leaves out a label that comes twice with one value (T20)', 'a{x="1",x="1"} 1'],
    ['leaves out a label that comes twice, once in quotes', 'a{x="1","x"="2"} 1'],
    ['leaves out a name that begins with a digit (T36)', '1a 1'],
    ['leaves out a name with a hyphen (T36)', 'a-b 1'],
    ['leaves out a label name that begins with a digit', 'a{1x="1"} 1'],
    ['leaves out a label name with a colon', 'a{x:y="1"} 1'],
    ['leaves out a name with letters outside ASCII and no quotes', 'é 1'],
    ['leaves out labels without a name', '{x="1"} 1'],
    ['leaves out an empty set without a name', '{} 1'],
    ['leaves out an empty quoted name', '{""} 1'],
    ['leaves out an empty quoted label name', 'a{""="1"} 1'],
    ['leaves out two names', 'a{"b"} 1'],
    ['leaves out two quoted names', '{"a","b"} 1'],
    ['leaves out a quoted name that is not the first', '{x="1","a"} 1'],
    ['leaves out an exemplar in text (T39)', 'a 1 # {x="1"} 2'],
    ['leaves out an exemplar behind a timestamp in text (T39)', 'a 1 5 # {x="1"} 2'],
    ['leaves out a byte order mark before a name', '\ufeffa 1'],
  ])

  it('leaves out lines that are not UTF-8, comments too (T34)', () => {
    // In turn: a byte that begins nothing, a cut sequence, an overlong slash, a surrogate, one too high.
    for (const bytes of [
      [0xff],
      [0xe2, 0x82],
      [0xc0, 0xaf],
      [0xed, 0xa0, 0x80],
      [0xf5, 0x80, 0x80, 0x80],
    ]) {
      for (const [before, after] of [
        ['a{x="', '"} 1\n'],
        ['a{x="\\', '"} 1\n'],
        ['a{"', '"="1"} 1\n'],
        ['{"', '"} 1\n'],
        ['# HELP ', '\n'],
        ['# TYPE ', ' gauge\n'],
      ] as const) {
        const page = [...bytesOf(before), ...bytes, ...bytesOf(`${after}b 2\n`)]
        const outcome = freshOutcomeOf(bytesOf(page))
        assert.ok(outcome.kind === 'page')
        assert.deepEqual(outcome.samples, [plain('b', 2)])
        assert.equal(outcome.malformedLines, 1)
      }
    }
  })

  it('has values of its own, whatever becomes of the bytes and of other results', () => {
    const parser = new ExpositionParser(limits)
    const body = bytesOf('a 1\nb 2\n')
    const first = parser.parse(body, 'text')
    const second = parser.parse(body, 'text')
    body.fill(0)
    second.values.fill(7)
    assert.deepEqual([...first.values], [1, 2])
    assert.deepEqual([...parser.parse(bytesOf('a 3\nb 4\n'), 'text').values], [3, 4])
    assert.deepEqual([...first.values], [1, 2])
  })
})

describe('a series that comes twice (T27)', () => {
  check([
    ['has its first value', 'a{x="1"} 1\na{x="1"} 2\n', [['a', [['x', '1']], 1]], 1],
    ['is known with blanks in it', 'a{x="1"} 1\na { x="1" } 2\n', [['a', [['x', '1']], 1]], 1],
    [
      'is known with its labels in another order',
      'a{x="1",y="2"} 1\na{y="2",x="1"} 2\n',
      [
        [
          'a',
          [
            ['x', '1'],
            ['y', '2'],
          ],
          1,
        ],
      ],
      1,
    ],
    [
      'is known with a comma behind its labels',
      'a{x="1"} 1\na{x="1",} 2\n',
      [['a', [['x', '1']], 1]],
      1,
    ],
    ['is known with an empty set', 'a 1\na{} 2\n', [plain('a', 1)], 1],
    [
      'is known with its name in quotes',
      'a{x="1"} 1\n{"a",x="1"} 2\n',
      [['a', [['x', '1']], 1]],
      1,
    ],
    [
      'is known with a label name in quotes',
      'a{"x"="1"} 1\na{x="1"} 2\n',
      [['a', [['x', '1']], 1]],
      1,
    ],
    [
      'is not one whose values only look alike',
      'a{x="1",y="2"} 1\na{x="2",y="1"} 2\na{x="1,y=2"} 3\n',
      [
        [
          'a',
          [
            ['x', '1'],
            ['y', '2'],
          ],
          1,
        ],
        [
          'a',
          [
            ['x', '2'],
            ['y', '1'],
          ],
          2,
        ],
        ['a', [['x', '1,y=2']], 3],
      ],
    ],
    [
      'is not one with another escape of a backslash',
      'a{x="\\\\n"} 1\na{x="\\n"} 2\n',
      [
        ['a', [['x', '\\n']], 1],
        ['a', [['x', '\n']], 2],
      ],
    ],
    [
      'has the value of its first valid line',
      'a{x="1"} one\na{x="1"} 2\n',
      [['a', [['x', '1']], 2]],
      1,
    ],
  ])
})

describe('label names of JavaScript objects (T42)', () => {
  const names = ['__proto__', 'constructor', '__name__', 'toString', 'hasOwnProperty']
  it('are names like any other, for labels, metrics and families', () => {
    for (const name of names) {
      const outcome = freshOutcomeOf(`# TYPE ${name} gauge\n${name}{${name}="1"} 5\n`)
      assert.ok(outcome.kind === 'page')
      assert.deepEqual(outcome.samples, [[name, [[name, '1']], 5]])
      assert.deepEqual(outcome.owners, [`${name} gauge`])
      assert.deepEqual(outcome.families, [`${name} gauge`])
      assert.equal(outcome.malformedLines, 0)
    }
    assert.equal(Object.keys(Object.prototype).length, 0)
    assert.equal(({} as { readonly x?: string }).x, undefined)
  })
})
