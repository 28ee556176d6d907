import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { ExpositionFormat } from '../../src/exposition/exposition.ts'
import { freshOutcomeOf, type Sample } from './outcome.ts'

interface Expected {
  /** Family and type of each sample, in order. */
  readonly owners: readonly string[]
  /** In alphabetic order; unset, the distinct owners whose type is known. */
  readonly families?: readonly string[]
  readonly malformed?: number
}

type Row = readonly [claim: string, page: string, expected: Expected]

function check(format: ExpositionFormat, rows: readonly Row[]): void {
  for (const [claim, lines, { owners, families, malformed = 0 }] of rows) {
    it(claim, () => {
      const page = format === 'openmetrics' ? `${lines}# EOF\n` : lines
      const outcome = freshOutcomeOf(page, format)
      assert.ok(outcome.kind === 'page', `expected a page, found ${JSON.stringify(outcome)}`)
      assert.deepEqual(outcome.owners, owners)
      const typed = new Set(owners.filter((owner) => !owner.endsWith(' unknown')))
      assert.deepEqual(outcome.families, families ?? [...typed].sort())
      assert.equal(outcome.malformedLines, malformed)
    })
  }
}

const histogram = 'a_bucket{le="1"} 1\na_bucket{le="+Inf"} 2\na_sum 3\na_count 2\n'

describe('the type of a family', () => {
  check('text', [
    [
      'is unknown without a TYPE line, whatever the names',
      `${histogram}b_total 1\n`,
      {
        owners: [
          'a_bucket unknown',
          'a_bucket unknown',
          'a_sum unknown',
          'a_count unknown',
          'b_total unknown',
        ],
      },
    ],
    [
      'covers all samples of a histogram',
      `# TYPE a histogram\n${histogram}`,
      { owners: ['a histogram', 'a histogram', 'a histogram', 'a histogram'] },
    ],
    [
      'covers all samples of a summary',
      '# TYPE a summary\na{quantile="0.5"} 1\na_sum 2\na_count 3\na_bucket 4\n',
      { owners: ['a summary', 'a summary', 'a summary', 'a_bucket unknown'] },
    ],
    [
      'is that of the name alone for a gauge',
      '# TYPE a gauge\na 1\na_sum 2\na_created 3\n',
      { owners: ['a gauge', 'a_sum unknown', 'a_created unknown'] },
    ],
    [
      'is that of the whole name for a counter in text',
      '# TYPE a_total counter\na_total 1\na 2\n',
      { owners: ['a_total counter', 'a unknown'] },
    ],
    [
      'is not widened to the name with _total in text',
      '# TYPE a counter\na 1\na_total 2\n',
      { owners: ['a counter', 'a_total unknown'] },
    ],
    [
      'leaves _created a family of its own in text',
      `# TYPE a histogram\n${histogram}# TYPE a_created gauge\na_created 4\n`,
      { owners: ['a histogram', 'a histogram', 'a histogram', 'a histogram', 'a_created gauge'] },
    ],
    [
      'of a name that is written goes before that of a suffix',
      '# TYPE a_sum gauge\n# TYPE a histogram\na_sum 1\na_count 2\n',
      { owners: ['a_sum gauge', 'a histogram'] },
    ],
    [
      'of a name goes before that of a suffix also where it comes later',
      '# TYPE a histogram\n# TYPE a_sum gauge\na_sum 1\na_count 2\n',
      { owners: ['a_sum gauge', 'a histogram'] },
    ],
    [
      'does not give a histogram the sample of its bare name',
      '# TYPE a histogram\na 1\n',
      { owners: ['a unknown'], families: ['a histogram'] },
    ],
    [
      'is kept for a family without samples',
      '# TYPE a counter\n# TYPE b histogram\nc 1\n',
      { owners: ['c unknown'], families: ['a counter', 'b histogram'] },
    ],
    [
      'is unknown for untyped',
      '# TYPE a untyped\na 1\n',
      { owners: ['a unknown'], families: ['a unknown'] },
    ],
    [
      'is unknown for an unknown word, which is malformed (T29)',
      '# TYPE a meter\na 1\n',
      { owners: ['a unknown'], families: ['a unknown'], malformed: 1 },
    ],
    [
      'is unknown for a word of another case',
      '# TYPE a Gauge\na 1\n',
      { owners: ['a unknown'], families: ['a unknown'], malformed: 1 },
    ],
    [
      'stays the first of two (T28)',
      '# TYPE a counter\n# TYPE a gauge\na 1\n',
      { owners: ['a counter'], malformed: 1 },
    ],
    [
      'stays the first of two that are equal, and the second is malformed (T28)',
      '# TYPE a counter\n# TYPE a counter\na 1\n',
      { owners: ['a counter'], malformed: 1 },
    ],
    [
      'is not changed behind its samples (T28)',
      'a 1\n# TYPE a gauge\na{x="1"} 2\n',
      { owners: ['a unknown', 'a unknown'], families: [], malformed: 1 },
    ],
    [
      'is not changed behind samples of its suffixes (T28)',
      'a_sum 1\n# TYPE a histogram\na_count 2\n',
      { owners: ['a_sum unknown', 'a_count unknown'], families: [], malformed: 1 },
    ],
    [
      'is not changed behind samples with labels in two orders (T28)',
      'a{x="1",y="2"} 1\na{y="1",x="1"} 2\n# TYPE a gauge\n',
      { owners: ['a unknown', 'a unknown'], families: [], malformed: 1 },
    ],
    [
      'may come behind a sample that was not valid',
      'a one\n# TYPE a gauge\na 1\n',
      { owners: ['a gauge'], malformed: 1 },
    ],
    [
      'may come behind samples of its suffixes that have a TYPE of their own',
      '# TYPE a_sum gauge\na_sum 1\n# TYPE a histogram\na_count 2\n',
      { owners: ['a_sum gauge', 'a histogram'] },
    ],
    [
      'may have blanks around its words, and tabs',
      ' #\t TYPE \t a\t gauge \t\na 1\n',
      { owners: ['a gauge'] },
    ],
    [
      'may be given without blank behind the number sign',
      '#TYPE a gauge\na 1\n',
      { owners: ['a gauge'] },
    ],
    [
      'may be that of a quoted name (text 1.0.0)',
      '# TYPE "a.\\"b" gauge\n{"a.\\"b"} 1\n',
      { owners: ['a."b gauge'] },
    ],
    ['may be that of a plain name in quotes', '# TYPE "a" gauge\na 1\n', { owners: ['a gauge'] }],
    [
      'is not given by other comments',
      '# TYPES a gauge\n# type a gauge\n# HELP a gauge\n# a TYPE a gauge\na 1\n',
      { owners: ['a unknown'] },
    ],
  ])

  const broken = [
    '# TYPE',
    '# TYPE ',
    '# TYPE a',
    '# TYPE a ',
    '# TYPE 1a gauge',
    '# TYPE a-b gauge',
    '# TYPE "a gauge',
    '# TYPE "" gauge',
    '# TYPE "a"gauge',
    '# TYPE a gauge x',
    '# TYPE a gauge\r',
  ]
  for (const line of broken) {
    it(`is not given by ${JSON.stringify(line)}, which is malformed`, () => {
      const outcome = freshOutcomeOf(`${line}\na 1\n`)
      assert.ok(outcome.kind === 'page')
      assert.deepEqual(outcome.owners, ['a unknown'])
      assert.equal(outcome.malformedLines, 1)
    })
  }
})

describe('the type of a family of OpenMetrics', () => {
  check('openmetrics', [
    [
      'names a counter with _total where the TYPE line leaves it out',
      '# TYPE a counter\na_total 1\na_created 2\n',
      { owners: ['a_total counter', 'a_total counter'] },
    ],
    [
      'names a counter with _total also where the TYPE line has it',
      '# TYPE a_total counter\na_total 1\na_created 2\n',
      { owners: ['a_total counter', 'a_total counter'] },
    ],
    [
      'does not give a counter the sample without _total',
      '# TYPE a counter\na 1\n',
      { owners: ['a unknown'], families: ['a_total counter'] },
    ],
    [
      'is given once to a counter, with or without _total',
      '# TYPE a counter\n# TYPE a_total counter\na_total 1\n',
      { owners: ['a_total counter'], malformed: 1 },
    ],
    [
      'covers _created of a histogram',
      `# TYPE a histogram\n${histogram}a_created 4\n`,
      { owners: ['a histogram', 'a histogram', 'a histogram', 'a histogram', 'a histogram'] },
    ],
    [
      'covers _created of a summary',
      '# TYPE a summary\na_count 1\na_sum 2\na_created 3\n',
      { owners: ['a summary', 'a summary', 'a summary'] },
    ],
    [
      'covers the samples of a gaugehistogram',
      '# TYPE a gaugehistogram\na_bucket{le="+Inf"} 1\na_gsum 2\na_gcount 1\n',
      { owners: ['a gaugehistogram', 'a gaugehistogram', 'a gaugehistogram'] },
    ],
    ['covers _info of an info', '# TYPE a info\na_info{x="1"} 1\n', { owners: ['a info'] }],
    [
      'may be stateset or unknown',
      '# TYPE a stateset\na{a="x"} 1\n# TYPE b unknown\nb 1\n',
      { owners: ['a stateset', 'b unknown'], families: ['a stateset', 'b unknown'] },
    ],
    [
      'stands beside HELP and UNIT',
      '# HELP a_seconds Text.\n# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 1\n',
      { owners: ['a_seconds gauge'] },
    ],
  ])
})

describe('a sample of OpenMetrics', () => {
  const valid: readonly (readonly [line: string, sample: Sample])[] = [
    ['a 1 1395066363.123', ['a', [], 1]],
    ['a 1 -1.5e9', ['a', [], 1]],
    ['a_bucket{le="1"} 2 # {trace_id="x"} 0.5', ['a_bucket', [['le', '1']], 2]],
    ['a_bucket{le="1"} 2 # {trace_id="x",b="é"} 0.5 1395066363.1', ['a_bucket', [['le', '1']], 2]],
    ['a_bucket{le="1"} 2 3 # {} 0.5', ['a_bucket', [['le', '1']], 2]],
    ['a_bucket{le="1"} 2 # {trace_id=" # 9"} +Inf', ['a_bucket', [['le', '1']], 2]],
  ]
  for (const [line, sample] of valid) {
    it(`may read ${line}`, () => {
      const outcome = freshOutcomeOf(`${line}\n# EOF\n`, 'openmetrics')
      assert.ok(outcome.kind === 'page')
      assert.deepEqual(outcome.samples, [sample])
      assert.equal(outcome.malformedLines, 0)
    })
  }

  const refused = [
    'a 1 NaN',
    'a 1 +Inf',
    'a 1 now',
    'a 1 2 3',
    'a 1 #',
    'a 1 # text',
    'a 1 # {x="1"}',
    'a 1 # {x="1"} y',
    'a 1 # {x="1"} 1 y',
    'a 1 # {x="1"} 1 2 3',
    'a 1 # {x="1" 1',
    'a 1 # {x=1} 1',
    'a 1 # {"x"} 1',
    'a 1# {x="1"} 1',
    'a # {x="1"} 1',
  ]
  for (const line of refused) {
    it(`may not read ${line}, which is left out`, () => {
      const outcome = freshOutcomeOf(`${line}\nb 2\n# EOF\n`, 'openmetrics')
      assert.ok(outcome.kind === 'page')
      assert.deepEqual(outcome.samples, [['b', [], 2]])
      assert.equal(outcome.malformedLines, 1)
    })
  }

  it('may not have an exemplar that is not UTF-8', () => {
    const body = Buffer.concat([
      Buffer.from('a 1 # {x="'),
      Buffer.from([0xff]),
      Buffer.from('"} 1\nb 2\n# EOF\n'),
    ])
    const outcome = freshOutcomeOf(body, 'openmetrics')
    assert.ok(outcome.kind === 'page')
    assert.deepEqual(outcome.samples, [['b', [], 2]])
    assert.equal(outcome.malformedLines, 1)
  })
})
