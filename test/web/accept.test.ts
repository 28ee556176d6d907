import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { preferred } from '../../src/web/accept.ts'
import { metricsOffers } from '../../src/web/metrics.ts'

const json = { mediaType: 'application/json', contentType: 'application/json' }
const plain = { mediaType: 'text/plain', contentType: 'text/plain' }
const offers = [json, plain] as const

const prometheus2 =
  'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,' +
  'text/plain;version=0.0.4;q=0.5,*/*;q=0.1'
const prometheus3 =
  'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,' +
  'application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,' +
  'text/plain;version=0.0.4;q=0.3,*/*;q=0.2'
const browser = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'

describe('the offer that an Accept header likes best', () => {
  for (const [claim, accept, wanted] of [
    ['is the first without a header', undefined, json],
    ['is the first for an empty header', '', json],
    ['is the first for anything', '*/*', json],
    ['is the first for a browser', browser, json],
    ['is the first where nothing matches', 'image/png', json],
    ['is the one that is named', 'text/plain', plain],
    ['is named without regard to case', 'TEXT/Plain', plain],
    ['may be named by its type alone', 'text/*', plain],
    ['may be named with parameters', 'text/plain; charset=utf-8', plain],
    ['has the highest quality', 'application/json;q=0.4, text/plain;q=0.5', plain],
    ['is the one named more exactly at equal quality', '*/*, text/plain', plain],
    ['is the earlier one at equal quality and exactness', 'text/plain, application/json', json],
    ['has the quality of its most exact range', 'text/plain;q=0.1, text/*, */*;q=0.5', json],
    ['is not one with quality 0', 'application/json;q=0, */*;q=0.1', plain],
    ['is the first where only another one is refused', 'text/plain;q=0', json],
    ['is the first where all are refused', '*/*;q=0', json],
    ['ignores a range with a senseless quality', 'application/json;q=7, text/plain;q=0.1', plain],
    ['ignores a quality that is no number', 'application/json;q=x, text/plain;q=0.1', plain],
    ['ignores parameters without a value', 'text/plain;;q', plain],
  ] as const) {
    it(claim, () => assert.equal(preferred(accept, offers), wanted))
  }

  for (const [claim, accept, form] of [
    ['is OpenMetrics for Prometheus 2', prometheus2, 'openMetrics'],
    ['is OpenMetrics for Prometheus 3', prometheus3, 'openMetrics'],
    ['is OpenMetrics without a version', 'application/openmetrics-text', 'openMetrics'],
    [
      'is OpenMetrics with a quoted version',
      'application/openmetrics-text; version="1.0.0"',
      'openMetrics',
    ],
    ['is not OpenMetrics of another version', 'application/openmetrics-text;version=0.0.1', 'text'],
    ['is text for text of version 0.0.4', 'text/plain;version=0.0.4', 'text'],
    ['is text for the protocol buffers of old', 'application/vnd.google.protobuf;proto=x', 'text'],
  ] as const) {
    it(`${claim} at /metrics`, () => assert.equal(preferred(accept, metricsOffers).form, form))
  }

  it('is always one of the offers, whatever the header says', () => {
    const part = fc.constantFrom(
      'text/plain',
      '*/*',
      ';',
      ',',
      'q=',
      '0.5',
      '=',
      '"',
      '/',
      ' ',
      '\0',
    )
    const header = fc.oneof(
      fc.string(),
      fc.array(part).map((parts) => parts.join('')),
    )
    fc.assert(
      fc.property(header, (accept) => offers.some((one) => one === preferred(accept, offers))),
    )
  })

  it('is found in no time in a header of nothing but commas', () => {
    const startMs = performance.now()
    preferred(','.repeat(1_000_000), offers)
    assert.ok(performance.now() - startMs < 100)
  })
})
