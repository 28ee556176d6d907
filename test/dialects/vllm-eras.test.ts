import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { family, found, foundHistograms, pageReader, readPage } from './vllm-pages.ts'

describe('the page of another program', () => {
  it('is no channel on the page of another program, and no fault either', () => {
    const reading = readPage([
      ...family('node_cpu_seconds_total', 'counter', '{cpu="0"} 1'),
      ...family('http_request_duration_seconds', 'summary', '{quantile="0.5"} NaN'),
    ])
    assert.deepEqual(reading.channels, [])
    assert.equal(reading.values.length, 0)
    assert.equal(reading.malformedLines, 0)
  })
})

describe('a page of V0', () => {
  it('has latencies and finishes, and no answers of HTTP', () => {
    const reading = readPage([
      ...family(
        'vllm:request_success_total',
        'counter',
        '{finished_reason="length",model_name="m"} 6',
      ),
      ...histogram('vllm:time_in_queue_requests', '{le="0.3"} 1', '{le="+Inf"} 2', 4),
      ...family('vllm:avg_prompt_throughput_toks_per_s', 'gauge', '{model_name="m"} 12'),
    ])
    const finished = { labels: { model_name: 'm', reason: 'length' }, value: 6 }
    assert.deepEqual(found(reading, 'requests_finished'), [finished])
    assert.deepEqual(found(reading, 'http_answers'), [])
    assert.deepEqual(foundHistograms(reading, 'queue_time'), [{ bounds: [0.3], values: [1, 2, 4] }])
    assert.equal(reading.processStartSeconds, undefined)
    assert.equal(reading.channels.length, 2)
  })
})

describe('a page of the Rust front end', () => {
  // OpenMetrics: counters without _total in their TYPE line, whole numbers, model_name before engine.
  const page = [
    '# HELP vllm:generation_tokens Number of generation tokens.',
    '# TYPE vllm:generation_tokens counter',
    'vllm:generation_tokens_total{model_name="m",engine="0"} 12',
    '# TYPE vllm:num_requests_running gauge',
    'vllm:num_requests_running{model_name="m",engine="0"} 3',
    '# TYPE vllm:request_success counter',
    'vllm:request_success_total{model_name="m",engine="0",finished_reason="abort"} 1',
    '# TYPE http_requests counter',
    'http_requests_total{method="POST",status="2xx",handler="/v1/completions"} 7',
    '# TYPE vllm:time_to_first_token_seconds histogram',
    'vllm:time_to_first_token_seconds_sum{model_name="m",engine="0"} 0.5',
    'vllm:time_to_first_token_seconds_count{model_name="m",engine="0"} 2',
    'vllm:time_to_first_token_seconds_bucket{le="0.1",model_name="m",engine="0"} 1',
    'vllm:time_to_first_token_seconds_bucket{le="+Inf",model_name="m",engine="0"} 2',
    '# TYPE vllm:kv_block_lifetime_seconds histogram',
    '# EOF',
  ]

  it('is read like any other', () => {
    const reading = pageReader('openmetrics')(page)
    const m = { model_name: 'm' }
    assert.deepEqual(found(reading, 'generation_tokens'), [{ labels: m, value: 12 }])
    assert.deepEqual(found(reading, 'requests_running'), [{ labels: m, value: 3 }])
    const aborted = { labels: { ...m, reason: 'abort' }, value: 1 }
    assert.deepEqual(found(reading, 'requests_finished'), [aborted])
    assert.deepEqual(found(reading, 'http_answers'), [{ labels: { status: '2xx' }, value: 7 }])
    assert.deepEqual(foundHistograms(reading, 'ttft'), [{ bounds: [0.1], values: [1, 2, 0.5] }])
    assert.equal(reading.malformedLines, 0)
  })

  it('misses families without a fault: no sleep state, no planned memory, no start', () => {
    const reading = pageReader('openmetrics')(page)
    assert.deepEqual(found(reading, 'engine_asleep'), [])
    assert.deepEqual(found(reading, 'planned_gpu_memory_ratio'), [])
    assert.equal(reading.processStartSeconds, undefined)
    for (const { startOffset } of reading.channels) assert.equal(startOffset, undefined)
  })
})

describe('when a process and its series began', () => {
  it('is read from _created and the start of the process', () => {
    const reading = readPage([
      ...family('process_start_time_seconds', 'gauge', ' 1.72365683894e+09'),
      ...family('vllm:prompt_tokens_total', 'counter', '{engine="0",model_name="m"} 5'),
      ...family('vllm:prompt_tokens_created', 'gauge', '{engine="0",model_name="m"} 1.7e+09'),
      ...histogram('vllm:time_to_first_token_seconds', '{le="1"} 1', '{le="+Inf"} 1', 0.5),
      ...family('vllm:time_to_first_token_seconds_created', 'gauge', '{model_name="m"} 1.6e+09'),
    ])
    assert.equal(reading.processStartSeconds, 1_723_656_838.94)
    const starts = reading.channels.map(({ instrument, startOffset }) => [
      instrument,
      startOffset === undefined ? undefined : reading.values[startOffset],
    ])
    assert.deepEqual(starts, [
      ['ttft', 1_600_000_000],
      ['prompt_tokens', 1_700_000_000],
    ])
  })

  it('belongs to one series alone: that of another rank says nothing', () => {
    const reading = readPage([
      ...family('vllm:prompt_tokens_total', 'counter', '{engine="0",model_name="m"} 5'),
      ...family('vllm:prompt_tokens_created', 'gauge', '{engine="1",model_name="m"} 1.7e+09'),
    ])
    assert.deepEqual(
      reading.channels.map(({ startOffset }) => startOffset),
      [undefined],
    )
  })

  for (const text of ['NaN', '+Inf', '-Inf']) {
    it(`is unknown where the page says ${text}`, () => {
      const reading = readPage([
        ...family('process_start_time_seconds', 'gauge', ` ${text}`),
        ...family('vllm:prompt_tokens_total', 'counter', '{model_name="m"} 5'),
        ...family('vllm:prompt_tokens_created', 'gauge', `{model_name="m"} ${text}`),
      ])
      assert.equal(reading.processStartSeconds, undefined)
      const start = reading.channels[0]?.startOffset
      assert.equal(start === undefined ? undefined : reading.values[start], 0)
      assert.ok(reading.values.every(Number.isFinite))
    })
  }
})

describe('the version', () => {
  it('is passed on as the server spells it', () => {
    const read = pageReader()
    for (const version of [undefined, '0.10.0', '0.27.1rc1.dev5+gabcdef']) {
      assert.equal(read(httpPage('2xx'), version).version, version)
    }
  })
})

function httpPage(status: string, count = 1): readonly string[] {
  return ['# TYPE http_requests_total counter', ...httpSample(status, count)]
}

function httpSample(status: string, count: number): readonly string[] {
  const labels = `handler="/v1/completions",method="POST",status="${status}"`
  return [`http_requests_total{${labels}} ${count}`]
}

/** A histogram of one finite bucket: each bucket is given as `{le="…"} count`. */
function histogram(name: string, finite: string, last: string, sum: number): readonly string[] {
  const bucket = (sample: string) => `${name}_bucket${sample.replace('{', '{model_name="m",')}`
  const count = last.slice(last.lastIndexOf(' ') + 1)
  return [
    `# TYPE ${name} histogram`,
    bucket(finite),
    bucket(last),
    `${name}_sum{model_name="m"} ${sum}`,
    `${name}_count{model_name="m"} ${count}`,
  ]
}
