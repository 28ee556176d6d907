import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Windows } from '../../src/window/windows.ts'
import { family, found, foundHistograms, pageReader, readPage } from './vllm-pages.ts'

const e2e = 'vllm:e2e_request_latency_seconds'

/** Lines of a histogram of model m, each given without name and model: `_bucket le="1" 3`, `_sum 4`. */
function histogram(...parts: readonly string[]): readonly string[] {
  return histogramOf(e2e, 'm', parts)
}

function histogramOf(name: string, model: string, parts: readonly string[]): readonly string[] {
  const lines = parts.map((part) => {
    const [suffix, ...rest] = part.split(' ')
    const [value = '', le] = rest.reverse()
    const labels = [le, `model_name="${model}"`].filter((one) => one !== undefined)
    return `${name}${suffix}{${labels.join(',')}} ${value}`
  })
  return [`# TYPE ${name} histogram`, ...lines]
}

const good = [
  '_bucket le="1" 3',
  '_bucket le="2.5" 5',
  '_bucket le="+Inf" 6',
  '_sum 12',
  '_count 6',
]

/** The good histogram with the line that begins with `start` replaced, or left out. */
function goodBut(start: string, instead?: string): readonly string[] {
  assert.ok(good.some((part) => part.startsWith(start)))
  const parts = good.map((part) => (part.startsWith(start) ? instead : part))
  return histogram(...parts.filter((part) => part !== undefined))
}

describe('a histogram', () => {
  const whole = [{ bounds: [1, 2.5], values: [3, 5, 6, 12] }]

  it('is its cumulative counts by rising edge, then all, then the sum', () => {
    assert.deepEqual(foundHistograms(readPage(histogram(...good)), 'e2e_latency'), whole)
  })

  it('is the same in whatever order its lines stand', () => {
    const shuffled = histogram(...[4, 2, 0, 3, 1].map((place) => good[place] ?? ''))
    assert.deepEqual(foundHistograms(readPage(shuffled), 'e2e_latency'), whole)
  })

  it('orders its edges as numbers, not as texts', () => {
    const parts = ['_bucket le="10.0" 2', '_bucket le="9" 1', '_bucket le="2e-05" 0']
    const reading = readPage(histogram(...parts, '_bucket le="+Inf" 2', '_sum 18', '_count 2'))
    const expected = [{ bounds: [0.00002, 9, 10], values: [0, 1, 2, 2, 18] }]
    assert.deepEqual(foundHistograms(reading, 'e2e_latency'), expected)
  })

  it('of no finite edge is all and the sum', () => {
    const reading = readPage(histogram('_bucket le="+Inf" 2', '_sum 18', '_count 2'))
    const expected = [{ bounds: [], values: [2, 18] }]
    assert.deepEqual(foundHistograms(reading, 'e2e_latency'), expected)
  })

  const leftOut: readonly (readonly [string, readonly string[]])[] = [
    ['misses its last bucket', goodBut('_bucket le="+Inf"')],
    ['misses its sum', goodBut('_sum')],
    ['misses its count', goodBut('_count')],
    ['has a bucket without le', goodBut('_bucket le="1"', '_bucket 3')],
    ['has an le that is empty', goodBut('_bucket le="1"', '_bucket le="" 3')],
    ['has an le that is no number', goodBut('_bucket le="1"', '_bucket le="one" 3')],
    ['has an le of NaN', goodBut('_bucket le="1"', '_bucket le="NaN" 3')],
    ['has one edge twice in two spellings', goodBut('_bucket le="2.5"', '_bucket le="1.0" 5')],
    ['is not cumulative', goodBut('_bucket le="1"', '_bucket le="1" 5.5')],
    ['falls in its last bucket', goodBut('_bucket le="+Inf"', '_bucket le="+Inf" 4')],
    ['has a negative bucket', goodBut('_bucket le="1"', '_bucket le="1" -1')],
    ['has a bucket of NaN', goodBut('_bucket le="2.5"', '_bucket le="2.5" NaN')],
    ['has a bucket of +Inf', goodBut('_bucket le="+Inf"', '_bucket le="+Inf" +Inf')],
    ['has a sum of NaN', goodBut('_sum', '_sum NaN')],
    ['has an infinite sum', goodBut('_sum', '_sum -Inf')],
  ]
  for (const [name, lines] of leftOut) {
    it(`is left out whole and counted, and its neighbours are not, when it ${name}`, () => {
      const neighbours = histogramOf(e2e, 'other', good).slice(1)
      const tokens = family('vllm:prompt_tokens_total', 'counter', '{model_name="m"} 50')
      const reading = readPage([...tokens, ...lines, ...neighbours])
      assert.deepEqual(foundHistograms(reading, 'e2e_latency'), whole)
      assert.equal(found(reading, 'prompt_tokens')[0]?.value, 50)
      assert.equal(reading.malformedLines, 1)
      // The key is that under which the same histogram is read when it is whole.
      const [channel] = readPage(histogram(...good)).channels
      assert.deepEqual(reading.leftOut, [channel?.key])
    })
  }

  it('that lost a bucket to a malformed line is left out: its edges did not change', () => {
    const read = pageReader()
    const [channel] = read(histogram(...good)).channels
    const torn = read(goodBut('_bucket le="2.5"', '_bucket le="2.5" 5x'))
    assert.deepEqual(torn.channels, [])
    assert.deepEqual(torn.leftOut, [channel?.key])
    // The line, and the histogram that it spoils.
    assert.equal(torn.malformedLines, 2)
    assert.deepEqual(foundHistograms(read(histogram(...good)), 'e2e_latency'), whole)
  })

  it('that lost no bucket is read, though a line elsewhere is malformed', () => {
    const read = pageReader()
    read(histogram(...good))
    const more = family('vllm:prompt_tokens_total', 'counter', '{model_name="m"} 5')
    const reading = read([...histogram(...good), ...more, 'no sample'])
    assert.deepEqual(foundHistograms(reading, 'e2e_latency'), whole)
    assert.equal(reading.malformedLines, 1)
  })

  it('that has fewer edges on a page without a fault is another one', () => {
    const read = pageReader()
    read(histogram(...good))
    const reading = read(goodBut('_bucket le="2.5"'))
    assert.deepEqual(foundHistograms(reading, 'e2e_latency'), [{ bounds: [1], values: [3, 6, 12] }])
  })

  it('that has other edges is another one, though a line elsewhere is malformed', () => {
    const read = pageReader()
    read(histogram(...good))
    const reading = read([...goodBut('_bucket le="2.5"', '_bucket le="5" 5'), 'no sample'])
    const expected = [{ bounds: [1, 5], values: [3, 5, 6, 12] }]
    assert.deepEqual(foundHistograms(reading, 'e2e_latency'), expected)
  })

  it('whose count differs from its last bucket is read by its buckets, and counted as a fault', () => {
    const reading = readPage(goodBut('_count', '_count 7'))
    assert.deepEqual(foundHistograms(reading, 'e2e_latency'), whole)
    assert.equal(reading.malformedLines, 1)
    assert.deepEqual(reading.leftOut, [])
  })

  it('keeps a sum that is negative: vLLM can observe negative times', () => {
    const reading = readPage(goodBut('_sum', '_sum -3.5'))
    const expected = [{ bounds: [1, 2.5], values: [3, 5, 6, -3.5] }]
    assert.deepEqual(foundHistograms(reading, 'e2e_latency'), expected)
    assert.equal(reading.malformedLines, 0)
  })

  it('of a name that was replaced is not read in place of a broken one of the new name', () => {
    const old = histogramOf('vllm:time_per_output_token_seconds', 'm', good)
    const now = histogramOf('vllm:inter_token_latency_seconds', 'm', good.slice(1, -1))
    const reading = readPage([...old, ...now])
    assert.deepEqual(foundHistograms(reading, 'itl'), [])
    assert.equal(reading.leftOut?.length, 1)
  })

  it('of both names on one page is read once', () => {
    const old = histogramOf('vllm:time_per_output_token_seconds', 'm', good)
    const now = histogramOf('vllm:inter_token_latency_seconds', 'm', good)
    assert.deepEqual(foundHistograms(readPage([...old, ...now]), 'itl'), whole)
    assert.deepEqual(foundHistograms(readPage(old), 'itl'), whole)
  })
})

describe('a number', () => {
  const gauge = ['vllm:num_requests_waiting', 'gauge', 'requests_waiting'] as const
  const counter = ['vllm:prompt_tokens_total', 'counter', 'prompt_tokens'] as const
  const rows = [
    ...['NaN', '+Inf', '-Inf'].map((text) => ({ of: gauge, text, value: undefined })),
    ...['NaN', '+Inf', '-Inf', '-1'].map((text) => ({ of: counter, text, value: undefined })),
    { of: gauge, text: '-1', value: -1 },
    { of: gauge, text: '0', value: 0 },
    { of: counter, text: '0', value: 0 },
    { of: counter, text: '1.302e+010', value: 13_020_000_000 },
  ]
  for (const { of, text, value } of rows) {
    const [name, type, instrument] = of
    const verb = value === undefined ? 'is left out and counted' : 'is taken'
    it(`${verb}: a ${type} of ${text}`, () => {
      const samples = ['{model_name="a"} 7', `{model_name="b"} ${text}`, '{model_name="c"} 8']
      const reading = readPage(family(name, type, ...samples))
      const values = found(reading, instrument).map((one) => one.value)
      assert.deepEqual(values, value === undefined ? [7, 8] : [7, value, 8])
      assert.equal(reading.malformedLines, value === undefined ? 1 : 0)
      const after = readPage(family(name, type, '{model_name="b"} 1'))
      assert.deepEqual(reading.leftOut, value === undefined ? [after.channels[0]?.key] : [])
    })
  }
})

describe('a plan', () => {
  const page = (tokens: string, bucket = 3) => [
    ...family('vllm:prompt_tokens_total', 'counter', `{model_name="m"} ${tokens}`),
    ...goodBut('_bucket le="1"', `_bucket le="1" ${bucket}`),
  ]

  it('is used again for a page of the same shape: channels stay the same, values do not', () => {
    const read = pageReader()
    const one = read(page('5'))
    const other = read(page('6', 4))
    assert.equal(other.channels, one.channels)
    assert.equal(other.capabilities, one.capabilities)
    assert.equal(other.declared, one.declared)
    assert.deepEqual(found(one, 'prompt_tokens'), [{ labels: { model_name: 'm' }, value: 5 }])
    assert.deepEqual(found(other, 'prompt_tokens'), [{ labels: { model_name: 'm' }, value: 6 }])
    assert.equal(foundHistograms(other, 'e2e_latency')[0]?.values[0], 4)
  })

  it('is made anew when a series appears, and again when it is gone', () => {
    const read = pageReader()
    const first = read(page('5'))
    const more = family('vllm:generation_tokens_total', 'counter', '{model_name="m"} 1')
    const second = read([...page('6'), ...more])
    assert.equal(second.channels.length, first.channels.length + 1)
    assert.deepEqual(
      found(second, 'generation_tokens').map(({ value }) => value),
      [1],
    )
    assert.deepEqual(read(page('7')).channels, first.channels)
  })

  it('is made anew when only a type changes', () => {
    const read = pageReader()
    read(page('5'))
    const gauge = page('6').map((line) => line.replace(/ counter$/, ' gauge'))
    assert.deepEqual(found(read(gauge), 'prompt_tokens'), [])
  })

  it('is made anew when only a family without samples is declared', () => {
    const read = pageReader()
    assert.ok(!read(page('5')).capabilities.has('http'))
    const declared = ['# TYPE http_requests_total counter', ...page('5')]
    const reading = read(declared)
    assert.ok(reading.capabilities.has('http'))
    assert.ok(reading.declared?.has('http_answers'))
    assert.ok(!read(page('5')).capabilities.has('http'))
  })

  it('outlives a version that becomes known, though what can be told does not', () => {
    const read = pageReader()
    const answers = ['# TYPE http_requests_total counter', ...page('5')]
    const one = read(answers)
    const other = read(answers, '0.20.0')
    assert.equal(other.channels, one.channels)
    assert.ok(one.capabilities.has('http-certain'))
    assert.ok(!other.capabilities.has('http-certain'))
  })

  it('outlives a value that is left out for one scrape', () => {
    const read = pageReader()
    const one = read(page('5'))
    const spoilt = read(page('NaN', 9))
    assert.deepEqual(spoilt.channels, [])
    assert.equal(spoilt.malformedLines, 2)
    const other = read(page('6'))
    assert.equal(other.channels, one.channels)
    assert.equal(other.malformedLines, 0)
    assert.deepEqual(other.leftOut, [])
  })

  it('gives each reading numbers of its own', () => {
    const read = pageReader()
    const one = read(page('5'))
    one.values.fill(0)
    assert.equal(found(read(page('5')), 'prompt_tokens')[0]?.value, 5)
  })

  it('is that of one target: two targets do not share', () => {
    const one = pageReader()
    const other = pageReader()
    assert.notEqual(one(page('5')).channels, other(page('5')).channels)
  })
})

describe('what was left out', () => {
  it('is no increment once it is whole again, and none of it is lost where it was known before', () => {
    const windows = new Windows({ keepMs: 60_000 })
    const read = pageReader()
    const record = (atMs: number, lines: readonly string[]) => {
      const reading = read(lines)
      windows.record({ target: 't', atMs, wallMs: atMs, tookMs: 1, kind: 'read', reading })
      return windows.target('t').view(60_000)?.histogram('e2e_latency', { model_name: 'm' })?.count
    }
    const torn = goodBut('_sum')
    const grown = histogram(
      '_bucket le="1" 3',
      '_bucket le="2.5" 5',
      '_bucket le="+Inf" 9',
      '_sum 30',
      '_count 9',
    )
    record(0, torn)
    // Broken in the first page: its 6 were there before the watch began.
    assert.equal(record(1_000, histogram(...good)), 0)
    assert.equal(record(2_000, torn), 0)
    // Known with 6, missing once, now 9: 3 are new.
    assert.equal(record(3_000, grown), 3)
  })
})

describe('the limits of a page', () => {
  const counters = (models: number, ranks: number): readonly string[] => {
    const lines = ['# TYPE vllm:num_preemptions_total counter']
    for (let model = 0; model < models; model += 1) {
      for (let rank = 0; rank < ranks; rank += 1) {
        lines.push(`vllm:num_preemptions_total{model_name="m${model}",engine="${rank}"} 1`)
      }
    }
    return lines
  }
  const refusal = (message: string) => ({ name: 'CollectError', code: 'limit', message })

  it('are 200 models, and the page is refused whole beyond', () => {
    assert.equal(readPage(counters(200, 1)).channels.length, 200)
    assert.throws(
      () => readPage(counters(201, 1)),
      refusal('expected at most 200 models on a page of vLLM, found 201'),
    )
  })

  it('are 20 000 series of ours, however many others there are', () => {
    const others = Array.from({ length: 500 }, (_, index) => `other_thing{x="${index}"} 1`)
    assert.equal(readPage([...counters(200, 100), ...others]).channels.length, 20_000)
    assert.throws(
      () => readPage([...counters(199, 100), ...counters(1, 201)]),
      refusal('expected at most 20000 series on a page of vLLM, found 20001'),
    )
  })
})
