import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { ExpositionFormat, ParseLimits } from '../../src/exposition/exposition.ts'
import { ExpositionParser } from '../../src/exposition/parse.ts'
import { bytesOf, freshOutcomeOf, limits, type Outcome, outcomeOf } from './outcome.ts'

const small: ParseLimits = { maxSamples: 3, maxLabels: 2, maxLabelBytes: 5 }

function within(page: string, format: ExpositionFormat = 'text'): Outcome {
  return freshOutcomeOf(page, format, small)
}

describe('the limit of samples', () => {
  it('lets a page of just so many pass', () => {
    const outcome = within('a 1\nb 2\nc 3\n')
    assert.ok(outcome.kind === 'page')
    assert.equal(outcome.samples.length, 3)
  })

  it('refuses a page of one more', () => {
    assert.deepEqual(within('a 1\nb 2\nc 3\nd 4\n'), {
      kind: 'refused',
      code: 'limit',
      message: 'expected at most 3 samples on a page, found more',
    })
  })

  it('counts neither what is left out nor the second of two', () => {
    const outcome = within('a 1\na 1\n? 1\nb 2\nb 2\nc 3\nc 4\nd x\n')
    assert.ok(outcome.kind === 'page')
    assert.equal(outcome.samples.length, 3)
    assert.equal(outcome.malformedLines, 5)
  })

  it('counts every spelling of a series, since there is no end to them', () => {
    const outcome = within('a 1\na{} 1\na{ } 1\na{  } 1\n')
    assert.ok(outcome.kind === 'refused' && outcome.code === 'limit')
  })

  it('is that of families as well', () => {
    const types = ['a', 'b', 'c', 'd'].map((name) => `# TYPE ${name} gauge\n`)
    assert.equal(within(types.slice(0, 3).join('')).kind, 'page')
    const outcome = within(types.join(''))
    assert.ok(outcome.kind === 'refused' && outcome.code === 'limit')
  })

  it('does not disturb the pages that follow', () => {
    const parser = new ExpositionParser(small)
    const first = parser.parse(bytesOf('a 1\nb 2\n'), 'text')
    assert.throws(() => parser.parse(bytesOf('b 1\na 2\nc 3\nd 4\ne 5\n'), 'text'))
    const page = 'b 1\na 2\nd 3\n'
    assert.deepEqual(outcomeOf(parser, page), within(page))
    const again = parser.parse(bytesOf('a 3\nb 4\n'), 'text')
    assert.deepEqual(again.series, first.series)
    assert.deepEqual([...again.values], [3, 4])
  })
})

describe('the limits of labels', () => {
  const rows: readonly (readonly [line: string, hit: 'labels' | 'label_length' | undefined])[] = [
    ['a{x="1",y="2"} 1', undefined],
    ['a{x="1",y="2",} 1', undefined],
    ['{"a",x="1",y="2"} 1', undefined],
    ['a{x="1",y="2",z="3"} 1', 'labels'],
    ['{"a",x="1",y="2",z="3"} 1', 'labels'],
    ['abcde{abcde="12345"} 1', undefined],
    ['abcdef 1', 'label_length'],
    ['{"abcdef"} 1', 'label_length'],
    ['a{abcdef="1"} 1', 'label_length'],
    ['a{"abcdef"="1"} 1', 'label_length'],
    ['a{x="123456"} 1', 'label_length'],
    // Three times two bytes.
    ['a{x="ééé"} 1', 'label_length'],
    ['# TYPE abcde gauge', undefined],
    ['# TYPE abcdef gauge', 'label_length'],
    ['# TYPE "abcdef" gauge', 'label_length'],
    ['# HELP abcdef Text of any length.', undefined],
  ]
  for (const [line, hit] of rows) {
    it(
      hit === undefined ? `let ${line} pass` : `leave out ${line}, which counts for ${hit}`,
      () => {
        const outcome = within(`${line}\nb 2\n`)
        assert.ok(outcome.kind === 'page')
        assert.deepEqual(outcome.limitHits, hit === undefined ? {} : { [hit]: 1 })
        assert.equal(outcome.malformedLines, 0)
        assert.deepEqual(outcome.samples.at(-1), ['b', [], 2])
        const sampled = hit === undefined && !line.startsWith('#')
        assert.equal(outcome.samples.length, sampled ? 2 : 1)
      },
    )
  }

  it('count every line that hits them', () => {
    const outcome = within('abcdef 1\nabcdef 1\na{x="1",y="2",z="3"} 1\nb 2\n')
    assert.ok(outcome.kind === 'page')
    assert.deepEqual(outcome.limitHits, { label_length: 2, labels: 1 })
  })

  it('let nothing pass of a value of 2 MB or of 5000 labels (T41)', () => {
    const many = Array.from({ length: 5000 }, (_, index) => `l${index}="1"`).join()
    const outcome = freshOutcomeOf(`a{x="${'y'.repeat(2 ** 21)}"} 1\na{${many}} 1\nb 2\n`)
    assert.ok(outcome.kind === 'page')
    assert.deepEqual(outcome.samples, [['b', [], 2]])
    assert.deepEqual(outcome.limitHits, { label_length: 1, labels: 1 })
  })
})

describe('ten megabytes (T43)', () => {
  const size = 10_000_000
  const filled = (line: string) => line.repeat(Math.ceil(size / line.length))
  const pages: readonly (readonly [claim: string, page: string, samples: number])[] = [
    ['of comments', `${filled('# comment\n')}b 2\n`, 1],
    ['of number signs', `${filled('#\n')}b 2\n`, 1],
    ['of line feeds', `${filled('\n')}b 2\n`, 1],
    ['of blanks', `${filled(' ')}\nb 2\n`, 1],
    ['of one comment', `#${filled('x')}\nb 2\n`, 1],
    ['of one TYPE line', `# TYPE a ${filled('x')}\nb 2\n`, 1],
    ['of one name', `${filled('a')} 1\nb 2\n`, 1],
    ['of one label value', `a{x="${filled('y')}"} 1\nb 2\n`, 1],
    ['of one label value that is not closed', `a{x="${filled('\\"')}\nb 2\n`, 1],
    ['of labels on one line', `a{${filled('x="1",')}} 1\nb 2\n`, 1],
    ['of digits', `a 1.${filled('0')}1\nb 2\n`, 2],
    ['of digits of an exponent', `a 1e-${filled('9')}\nb 2\n`, 2],
    ['of digits of a timestamp', `a 1 ${filled('1')}\nb 2\n`, 1],
    ['of a value that is none', `a ${filled('x')}\nb 2\n`, 1],
    ['of blanks before a value', `a ${filled(' ')}1\nb 2\n`, 2],
    ['of lines that are left out', `${filled('a{x="1"} z\n')}b 2\n`, 1],
    ['of one series over and over', `${filled('a{x="1"} 1\n')}b 2\n`, 2],
    ['of one series in two spellings', `${filled('a{x="1"} 1\na{x="1",} 1\n')}b 2\n`, 2],
    ['of opened quotes', `${filled('a{x="\n')}b 2\n`, 1],
  ]
  for (const [claim, page, samples] of pages) {
    it(`${claim} take a time in proportion, also the second time`, () => {
      const body = bytesOf(page)
      const parser = new ExpositionParser(limits)
      const startMs = performance.now()
      assert.equal(parser.parse(body, 'text').series.length, samples)
      body[body.length - 2] = 0x33
      assert.equal(parser.parse(body, 'text').series.length, samples)
      // About 0.3 s are usual. A scan whose time grew with the square would need hours.
      assert.ok(performance.now() - startMs < 8000)
    })
  }

  it('of lines that are not UTF-8 take a time in proportion', () => {
    const body = Buffer.from(`${filled('a{x="?"} 1\n')}b 2\n`)
    for (let at = body.indexOf(0x3f); at >= 0; at = body.indexOf(0x3f, at)) body[at] = 0xff
    const startMs = performance.now()
    const exposition = new ExpositionParser(limits).parse(body, 'text')
    assert.equal(exposition.series.length, 1)
    // One for each 11 bytes.
    assert.equal(exposition.malformedLines, Math.ceil(size / 11))
    assert.ok(performance.now() - startMs < 8000)
  })
})

describe('bytes of any kind', () => {
  const fragments = fc.constantFrom(
    'a',
    '{',
    '}',
    '"',
    '\\',
    '=',
    ',',
    ' ',
    '\n',
    '#',
    ' TYPE ',
    '# EOF',
    '1',
    'e',
    '.',
    '-',
    'é',
    '\0',
    'gauge',
  )
  const bodies = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.array(fragments, { maxLength: 60 }).map((parts) => bytesOf(parts.join(''))),
    fc
      .array(fragments, { maxLength: 60 })
      .map((parts) => bytesOf(`b 1\n${parts.join('')}\n# EOF\n`)),
  )

  it('throw nothing but a CollectError with a code of ours and a short message', () => {
    const codes = ['not_exposition', 'truncated', 'limit']
    const parser = new ExpositionParser(small)
    fc.assert(
      fc.property(
        bodies,
        fc.constantFrom<ExpositionFormat>('text', 'openmetrics'),
        (body, format) => {
          const outcome = outcomeOf(parser, body, format)
          if (outcome.kind === 'page') return
          assert.ok(codes.includes(outcome.code), outcome.code)
          assert.ok(outcome.message.length < 600)
        },
      ),
      { numRuns: 10_000 },
    )
  })

  it('give no sample that is not a line of the page', () => {
    fc.assert(
      fc.property(bodies, (body) => {
        const outcome = freshOutcomeOf(body)
        if (outcome.kind === 'refused') return
        const text = Buffer.from(body).toString()
        const lines = text.split('\n').filter((line) => !/^[ \t]*(#|$)/.test(line))
        const skipped = Object.values(outcome.limitHits).reduce<number>(
          (sum, n) => sum + (n ?? 0),
          0,
        )
        // Comments may be malformed too, so the lines are accounted for at least once.
        assert.ok(outcome.samples.length <= lines.length)
        assert.ok(outcome.samples.length + outcome.malformedLines + skipped >= lines.length)
      }),
      { numRuns: 5000 },
    )
  })
})
