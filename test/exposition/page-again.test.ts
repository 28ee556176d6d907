import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { ExpositionFormat } from '../../src/exposition/exposition.ts'
import { ExpositionParser } from '../../src/exposition/parse.ts'
import { bytesOf, freshOutcomeOf, limits, outcomeOf } from './outcome.ts'

/** Names and labels, several of them the same series in another spelling. */
const keys = [
  ...['a', 'a{}', 'a {}', '{"a"}', 'ab', 'abc', '{"a.b"}', '{"a.b",x="1"}'],
  ...[
    'a{x="1",y="2"}',
    'a{y="2",x="1"}',
    'a{x="1",y="2",}',
    'a { x="1",y="2"}',
    '{"a",x="1",y="2"}',
  ],
  ...[
    'a{"x"="1",y="2"}',
    'a{x="1"}',
    'a{x="2"}',
    'a{x="1",x="1"}',
    'a{y="1"}',
    'b{x="1"}',
    'b{y="1"}',
  ],
  ...['a{x="é"}', 'a{x="模"}', 'a{x="\\q"}', 'a{x="\\\\q"}', 'a{x="\\"} 1"}', 'a{x=""}'],
  ...['h_bucket{le="1"}', 'h_bucket{le="+Inf"}', 'h_sum', 'h_count', 'c_total', 'c_created', 'c'],
]
const values = [
  '0',
  '1',
  '2.0',
  '1e3',
  '-1',
  'NaN',
  '+Inf',
  '12345678901234567890',
  '1 17',
  '1 # {} 1',
]
const comments = [
  ...[
    '# TYPE a gauge',
    '# TYPE a counter',
    '# TYPE h histogram',
    '# TYPE h_sum summary',
    '# TYPE h summary',
    '# TYPE h_sum gauge',
    '# TYPE c counter',
  ],
  ...[
    '# TYPE c_total counter',
    '# TYPE b meter',
    '# HELP a text',
    '# other',
    '#',
    '# EOF',
    '',
    ' ',
  ],
]
const broken = [
  'a',
  'a x',
  'a{x="1" 1',
  '<p>',
  '{"a":1}',
  'a{x="1"} 1\r',
  'a 1 2 3 4',
  '{',
  '"',
  '\\',
  '\0',
]

/** Few kinds of lines make a page in which the same series meet again and again. */
const lineKinds = fc.record({
  keys: fc.subarray(keys, { minLength: 1, maxLength: 6 }),
  comments: fc.subarray(comments, { minLength: 1, maxLength: 4 }),
})

function lineOf(kinds: { readonly keys: string[]; readonly comments: string[] }) {
  const sample = fc
    .tuple(
      fc.constantFrom(...kinds.keys),
      fc.constantFrom('', ' ', '\t'),
      fc.constantFrom(...values),
    )
    .map(([key, blank, value]) => {
      return `${key}${blank === '' && !key.endsWith('}') ? ' ' : blank}${value}`
    })
  return fc.oneof(
    { weight: 6, arbitrary: sample },
    { weight: 2, arbitrary: fc.constantFrom(...kinds.comments) },
    { weight: 1, arbitrary: fc.constantFrom(...broken) },
  )
}

interface Change {
  readonly kind: 'value' | 'remove' | 'insert' | 'swap' | 'repeat' | 'byte' | 'cut' | 'splice'
  readonly at: number
  readonly to: number
  readonly line: string
  readonly value: string
}

function changeOf(line: fc.Arbitrary<string>): fc.Arbitrary<Change> {
  return fc.record({
    kind: fc.constantFrom('value', 'remove', 'insert', 'swap', 'repeat', 'byte', 'cut', 'splice'),
    at: fc.nat(10_000),
    to: fc.nat(10_000),
    line,
    value: fc.constantFrom(...values),
  })
}

/** Returns another page that has come about from `page` by one change. */
function changed(page: Uint8Array, { kind, at, to, line, value }: Change): Uint8Array {
  if (kind === 'byte' || kind === 'cut' || kind === 'splice') {
    const bytes = [...page]
    const index = at % (bytes.length + 1)
    if (kind === 'byte') bytes[index] = to % 256
    else
      bytes.splice(
        index,
        kind === 'cut' ? 1 + (to % 3) : 0,
        ...(kind === 'splice' ? [to % 256] : []),
      )
    return Uint8Array.from(bytes)
  }
  const lines = Buffer.from(page).toString('latin1').split('\n')
  const index = at % lines.length
  const other = to % lines.length
  const here = lines[index] ?? ''
  const inserted = Buffer.from(line).toString('latin1')
  if (kind === 'value') lines[index] = here.replace(/[^ \t"}]+$/, value)
  else if (kind === 'remove') lines.splice(index, 1)
  else if (kind === 'insert') lines.splice(index, 0, inserted)
  else if (kind === 'repeat') lines.splice(other, 0, here)
  else {
    lines[index] = lines[other] ?? ''
    lines[other] = here
  }
  return Buffer.from(lines.join('\n'), 'latin1')
}

function pageOf(line: fc.Arbitrary<string>): fc.Arbitrary<Uint8Array> {
  return fc
    .array(line, { minLength: 1, maxLength: 12 })
    .map((lines) => bytesOf(`${lines.join('\n')}\n# EOF\n`))
}

/** Some pages in a row: each is made anew of the same lines, or of the one before by a few changes. */
const pages = lineKinds.chain((kinds) => {
  const line = lineOf(kinds)
  const changes = fc.array(changeOf(line), { maxLength: 4 })
  const steps = fc.array(fc.oneof(changes, pageOf(line)), { minLength: 1, maxLength: 5 })
  return fc.tuple(pageOf(line), steps).map(([first, next]) => {
    const all = [first]
    for (const step of next) {
      all.push(step instanceof Uint8Array ? step : step.reduce(changed, all.at(-1) ?? first))
    }
    return all
  })
})

function textOf(page: Uint8Array): string {
  return Buffer.from(page).toString()
}

describe('a page after another', () => {
  it('gives the result that a parser gives which has seen no other', () => {
    fc.assert(
      fc.property(
        pages,
        fc.constantFrom<ExpositionFormat>('text', 'openmetrics'),
        (all, format) => {
          const parser = new ExpositionParser(limits)
          for (const page of all) {
            const expected = freshOutcomeOf(page, format)
            assert.deepEqual(outcomeOf(parser, page, format), expected, textOf(page))
          }
        },
      ),
      { numRuns: 4000 },
    )
  })

  it('gives that result also in turns of the formats and within small limits', () => {
    const small = { maxSamples: 5, maxLabels: 1, maxLabelBytes: 3 }
    const formats = fc.infiniteStream(fc.constantFrom<ExpositionFormat>('text', 'openmetrics'))
    fc.assert(
      fc.property(pages, formats, (all, inTurn) => {
        const parser = new ExpositionParser(small)
        for (const page of all) {
          const format = inTurn.next().value
          assert.deepEqual(
            outcomeOf(parser, page, format),
            freshOutcomeOf(page, format, small),
            textOf(page),
          )
        }
      }),
      { numRuns: 3000 },
    )
  })

  it('does not depend on what becomes of the bytes of the other', () => {
    const parser = new ExpositionParser(limits)
    const body = bytesOf('a{x="1"} 1\nb 2\n')
    parser.parse(body, 'text')
    body.set(bytesOf('c{x="2"} 3\nd 4\n'))
    assert.deepEqual(outcomeOf(parser, body), freshOutcomeOf('c{x="2"} 3\nd 4\n'))
  })

  it('knows a series in the second spelling of the page before', () => {
    const parser = new ExpositionParser(limits)
    parser.parse(bytesOf('a{x="1",y="2"} 1\nz 1\na{y="2",x="1"} 2\n'), 'text')
    const page = 'a{y="2",x="1"} 1\nz 2\na{y="2",x="1"} 3\n'
    assert.deepEqual(outcomeOf(parser, page), freshOutcomeOf(page))
  })
})

describe('the series of a page after another', () => {
  const first = '# TYPE a gauge\na{x="1"} 1\na{x="2"} 2 5\n# TYPE h summary\nh_sum 3\n'
  const same: readonly (readonly [claim: string, page: string])[] = [
    ['where nothing changed', first],
    ['where values changed', first.replace('3\n', '1.5e10\n').replace('2 5', '-7')],
    [
      'where comments came and went',
      `# new\n${first.replace('# TYPE h', '# HELP h x\n\n# TYPE h')}`,
    ],
    ['where malformed lines came', first.replace('h_sum', 'a{x="1" 9\nh_sum')],
    ['where a series came a second time', `${first}a{x="1"} 4\na{x="2",} 4\n`],
    ['where blanks before values came', first.replace(/\} /g, '}  ')],
    [
      'where the order of the TYPE lines changed',
      `# TYPE h summary\n${first.replace('# TYPE h summary\n', '')}`,
    ],
  ]
  for (const [claim, page] of same) {
    it(`are the same objects ${claim}`, () => {
      const parser = new ExpositionParser(limits)
      const before = parser.parse(bytesOf(first), 'text')
      const after = parser.parse(bytesOf(page), 'text')
      assert.deepEqual(outcomeOf(parser, page), freshOutcomeOf(page))
      assert.ok(after.series === before.series)
      assert.ok(after.families === before.families)
    })
  }

  const other: readonly (readonly [claim: string, page: string])[] = [
    ['where one is gone', first.replace('a{x="1"} 1\n', '')],
    ['where one came', `${first}z 1\n`],
    [
      'where two changed places',
      first.replace('x="1"', 'x="3"').replace('x="2"', 'x="1"').replace('x="3"', 'x="2"'),
    ],
    ['where a type changed', first.replace('a gauge', 'a counter')],
    ['where a family changed', first.replace('h summary', 'h_sum summary')],
    ['where a type is gone', first.replace('# TYPE h summary\n', '')],
  ]
  for (const [claim, page] of other) {
    it(`are another list ${claim}`, () => {
      const parser = new ExpositionParser(limits)
      const before = parser.parse(bytesOf(first), 'text')
      const seen = [...before.series]
      const after = parser.parse(bytesOf(page), 'text')
      assert.ok(after.series !== before.series)
      assert.deepEqual(before.series, seen)
      assert.deepEqual(outcomeOf(parser, page), freshOutcomeOf(page))
    })
  }

  it('are one by one the same objects where they are found again in other places', () => {
    const parser = new ExpositionParser(limits)
    const [x1, x2, sum] = parser.parse(bytesOf(first), 'text').series
    const page = '# TYPE h summary\nnew 1\nh_sum 3\n# TYPE a gauge\na{x="2"} 2\na{x="1"} 1\n'
    const after = parser.parse(bytesOf(page), 'text').series
    assert.ok(after[1] === sum && after[2] === x2 && after[3] === x1)
  })

  it('are the same objects behind a page that was refused', () => {
    const parser = new ExpositionParser(limits)
    const before = parser.parse(bytesOf(first), 'text')
    assert.equal(outcomeOf(parser, '<html>\n').kind, 'refused')
    assert.equal(outcomeOf(parser, first.slice(0, -1)).kind, 'refused')
    assert.ok(parser.parse(bytesOf(first), 'text').series === before.series)
  })

  it('are the same objects for any page and the same page with other values', () => {
    fc.assert(
      fc.property(
        lineKinds.chain((kinds) => pageOf(lineOf(kinds))),
        fc.array(fc.constantFrom(...values.slice(0, 9))),
        (page, news) => {
          const parser = new ExpositionParser(limits)
          if (outcomeOf(parser, page).kind === 'refused') return
          const before = parser.parse(page, 'text')
          let next = 0
          // Behind the closing brace or the name; what is no valid line must stay as it is.
          const text = textOf(page).replace(
            /^([a-z_]+|[^#\n]*\})([ \t]*)(NaN|[+-]?[0-9]\S*|\+Inf)$/gm,
            (whole, key, blank) => {
              next += 1
              return next <= news.length ? `${key}${blank}${news[next - 1]}` : whole
            },
          )
          const after = parser.parse(bytesOf(text), 'text')
          assert.ok(after.series === before.series, text)
          assert.ok(after.families === before.families, text)
          assert.deepEqual(outcomeOf(parser, text), freshOutcomeOf(text))
        },
      ),
      { numRuns: 3000 },
    )
  })
})
