import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import type { ExpositionFormat } from '../../src/exposition/exposition.ts'
import { formatOf } from '../../src/exposition/parse.ts'
import { bytesOf, freshOutcomeOf } from './outcome.ts'

describe('what is no page of metrics', () => {
  const rows: readonly (readonly [claim: string, body: string | Uint8Array, shown: string])[] = [
    ['is an empty body (T1)', '', 'an empty body'],
    ['is a body of blanks and line feeds', ' \n\n\t\n', '" \\n\\n\\t\\n"'],
    ['is HTML (T40)', '<!DOCTYPE html>\n<html>\n', '"<!DOCTYPE html>\\n<html>\\n"'],
    ['is HTML behind blanks, without line feed', '\n  <html></html>', '"\\n  <html></html>"'],
    ['is a JSON object (T40)', '{"status": "ok"}\n', '"{\\"status\\": \\"ok\\"}\\n"'],
    ['is a JSON object without line feed', '{"status": "ok"}', '"{\\"status\\": \\"ok\\"}"'],
    ['is a JSON list', '[1, 2]\n', '"[1, 2]\\n"'],
    ['is a word', 'OK', '"OK"'],
    ['is text for people', 'Not Found\n', '"Not Found\\n"'],
    ['is text for people without line feed', 'Not Found', '"Not Found"'],
    [
      'is text for people with a heading',
      '# Welcome\nto this server\n',
      '"# Welcome\\nto this server\\n"',
    ],
    // Field 1 of the first message, 3 bytes long: the name `a:b`; then its type.
    [
      'is protobuf (T40)',
      bytesOf([7, 0x0a, 3, 0x61, 0x3a, 0x62, 0x18, 1]),
      '"\\u0007\\n\\u0003a:b\\u0018\\u0001"',
    ],
  ]
  for (const [claim, body, shown] of rows) {
    it(claim, () => {
      const message = `expected a page of metrics, found ${shown}`
      const refused = { kind: 'refused', code: 'not_exposition', message }
      assert.deepEqual(freshOutcomeOf(body), refused)
    })
  }

  it('is a page with nothing but lines that end in CRLF (T3)', () => {
    const outcome = freshOutcomeOf('# HELP a text\r\n# TYPE a gauge\r\na 1\r\n')
    assert.ok(outcome.kind === 'refused')
    assert.equal(outcome.code, 'not_exposition')
  })

  it('is a page still packed by gzip, and only its first 80 bytes are shown', () => {
    const page = Array.from({ length: 2000 }, (_, index) => `vllm:a{x="${index}"} ${index ** 2}\n`)
    for (const ending of ['', '\n']) {
      const packed = Buffer.concat([gzipSync(page.join('')), Buffer.from(ending)])
      const outcome = freshOutcomeOf(packed)
      assert.ok(outcome.kind === 'refused')
      assert.equal(outcome.code, 'not_exposition')
      // Six characters show a control character at most: 80 × 6 and the words around them.
      assert.ok(outcome.message.length < 80 * 6 + 40, outcome.message)
      assert.ok([...outcome.message].every((char) => char >= ' '))
    }
  })
})

describe('a page that was cut off', () => {
  const page = '# TYPE a gauge\na{x="1"} 12\nb 25\n'
  it('is told from a whole one at every byte but the last of a line (T2)', () => {
    for (let length = 1; length < page.length; length += 1) {
      const outcome = freshOutcomeOf(page.slice(0, length))
      if (page[length - 1] === '\n') assert.equal(outcome.kind, 'page')
      else assert.ok(outcome.kind === 'refused' && outcome.code === 'truncated', `${length}`)
    }
  })

  it('says in few words what was missing', () => {
    assert.deepEqual(freshOutcomeOf('a 1\nb 2'), {
      kind: 'refused',
      code: 'truncated',
      message: 'expected a line feed at the end of the page, found it cut off',
    })
    assert.deepEqual(freshOutcomeOf('a 1\nb 2\n', 'openmetrics'), {
      kind: 'refused',
      code: 'truncated',
      message: 'expected "# EOF" at the end of the page, found it cut off',
    })
  })

  it('is told at every byte of OpenMetrics (T2)', () => {
    const whole = `${page}# EOF`
    for (let length = 1; length < whole.length; length += 1) {
      const outcome = freshOutcomeOf(whole.slice(0, length), 'openmetrics')
      assert.ok(outcome.kind === 'refused' && outcome.code === 'truncated', `${length}`)
    }
    for (const ending of ['', '\n']) {
      assert.equal(freshOutcomeOf(whole + ending, 'openmetrics').kind, 'page')
    }
    for (const ending of [
      '# EOF',
      'b # EOF\n',
      '# EOFX\n',
      '#EOF\n',
      '# EOF\n\n',
      '# EOF\na 2\n',
    ]) {
      const outcome = freshOutcomeOf(`a 1${ending}`, 'openmetrics')
      assert.ok(outcome.kind === 'refused' && outcome.code === 'truncated', ending)
    }
  })
})

describe('the format', () => {
  const rows: readonly (readonly [contentType: string | undefined, format: ExpositionFormat])[] = [
    [undefined, 'text'],
    ['', 'text'],
    ['text/plain; version=0.0.4; charset=utf-8', 'text'],
    ['text/plain; version=1.0.0; escaping=allow-utf-8', 'text'],
    ['application/openmetrics-text; version=1.0.0; charset=utf-8', 'openmetrics'],
    ['Application/OpenMetrics-Text', 'openmetrics'],
    ['application/json', 'text'],
  ]
  for (const [contentType, format] of rows) {
    it(`is ${format} for ${contentType}`, () => assert.equal(formatOf(contentType), format))
  }
})
