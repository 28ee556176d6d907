import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { InstrumentId } from '../../src/instruments.ts'
import { TargetWindows } from '../../src/window/target-windows.ts'
import { type Found, family, found, readPage } from './vllm-pages.ts'

const m = { model_name: 'm' }

/** What a page says of one instrument. */
interface Row {
  readonly name: string
  readonly page: readonly (readonly string[])[]
  readonly instrument: InstrumentId
  readonly found: readonly Found[]
}

function testRows(rows: readonly Row[]): void {
  for (const { name, page, instrument, found: expected } of rows) {
    it(name, () => assert.deepEqual(found(readPage(page.flat()), instrument), expected))
  }
}

describe('vLLM names', () => {
  testRows([
    {
      name: 'reads KV usage under its name of today',
      page: [family('vllm:kv_cache_usage_perc', 'gauge', '{model_name="m",engine="0"} 0.25')],
      instrument: 'kv_cache_usage',
      found: [{ labels: m, value: 0.25 }],
    },
    {
      name: 'reads KV usage under its name of before 0.9.2',
      page: [family('vllm:gpu_cache_usage_perc', 'gauge', '{model_name="m"} 0.25')],
      instrument: 'kv_cache_usage',
      found: [{ labels: m, value: 0.25 }],
    },
    {
      name: 'reads the newer of two names on one page and not the older, wherever each stands',
      page: [
        family('vllm:gpu_cache_usage_perc', 'gauge', '{model_name="m"} 0.5'),
        family('vllm:kv_cache_usage_perc', 'gauge', '{model_name="m"} 0.25'),
      ],
      instrument: 'kv_cache_usage',
      found: [{ labels: m, value: 0.25 }],
    },
    {
      name: 'reads the older name where the newer is declared without a sample',
      page: [
        ['# TYPE vllm:prefix_cache_hits_total counter'],
        family('vllm:gpu_prefix_cache_hits_total', 'counter', '{model_name="m"} 7'),
      ],
      instrument: 'prefix_cache_hits',
      found: [{ labels: m, value: 7 }],
    },
    {
      name: 'counts prefix cache look-ups once where both names are there',
      page: [
        family('vllm:prefix_cache_queries_total', 'counter', '{model_name="m"} 9'),
        family('vllm:gpu_prefix_cache_queries_total', 'counter', '{model_name="m"} 9'),
      ],
      instrument: 'prefix_cache_queries',
      found: [{ labels: m, value: 9 }],
    },
    {
      name: 'adds no cause of waiting to the number that waits',
      page: [
        family('vllm:num_requests_waiting', 'gauge', '{model_name="m"} 5'),
        family(
          'vllm:num_requests_waiting_by_reason',
          'gauge',
          '{model_name="m",reason="capacity"} 4',
          '{model_name="m",reason="deferred"} 1',
        ),
      ],
      instrument: 'requests_waiting',
      found: [{ labels: m, value: 5 }],
    },
    {
      name: 'keeps finish reasons as vLLM writes them, known or not',
      page: [
        family(
          'vllm:request_success_total',
          'counter',
          '{model_name="m",finished_reason="stop"} 3',
          '{model_name="m",finished_reason="new_in_2030"} 1',
        ),
      ],
      instrument: 'requests_finished',
      found: [
        { labels: { ...m, reason: 'stop' }, value: 3 },
        { labels: { ...m, reason: 'new_in_2030' }, value: 1 },
      ],
    },
    {
      name: 'reads a model without a name as one without a name',
      page: [family('vllm:prompt_tokens_total', 'counter', ' 5')],
      instrument: 'prompt_tokens',
      found: [{ labels: { model_name: '' }, value: 5 }],
    },
  ])

  it('keeps the label text of any model, and tells the models apart', () => {
    const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 30 })
    fc.assert(
      fc.property(fc.uniqueArray(text, { minLength: 1, maxLength: 4 }), (models) => {
        const samples = models.map((model, position) => {
          const escaped = model
            .replaceAll('\\', '\\\\')
            .replaceAll('"', '\\"')
            .replaceAll('\n', '\\n')
          return `{model_name="${escaped}"} ${position}`
        })
        const reading = readPage(family('vllm:prompt_tokens_total', 'counter', ...samples))
        const expected = models.map((model, value) => ({ labels: { model_name: model }, value }))
        assert.deepEqual(found(reading, 'prompt_tokens'), expected)
        assert.equal(new Set(reading.channels.map(({ key }) => key)).size, models.length)
      }),
      { numRuns: 200 },
    )
  })

  it('finds a series again by its key when the labels change their order', () => {
    const keys = ['{engine="0",model_name="m"} 1', '{model_name="m",engine="0"} 1'].map(
      (sample) => readPage(family('vllm:prompt_tokens_total', 'counter', sample)).channels[0]?.key,
    )
    assert.equal(typeof keys[0], 'string')
    assert.equal(keys[0], keys[1])
  })
})

describe('vLLM labels that merge away', () => {
  const rows: readonly (readonly [string, string])[] = [
    ['the rank of an engine', 'engine="1"'],
    ['the process of an API server', 'pid="4711"'],
    ['a priority', 'priority="<-1"'],
    ['labels of a proxy', 'namespace="a",pod="b-0",le_mans="24h"'],
  ]
  for (const [name, labels] of rows) {
    it(`are left out but tell series apart: ${name}`, () => {
      const sample = `{model_name="m",${labels}} 2`
      const type = 'vllm:generation_tokens_total'
      const reading = readPage(family(type, 'counter', '{model_name="m"} 1', sample))
      const expected = [
        { labels: m, value: 1 },
        { labels: m, value: 2 },
      ]
      assert.deepEqual(found(reading, 'generation_tokens'), expected)
      const [one, other] = reading.channels
      assert.notEqual(one?.key, other?.key)
    })
  }

  it('merge by adding up, but for KV usage, of which the fullest rank counts', () => {
    const windows = new TargetWindows('t', { keepMs: 60_000 })
    const reading = readPage([
      ...family(
        'vllm:num_requests_running',
        'gauge',
        '{model_name="m",engine="0"} 2',
        '{model_name="m",engine="1"} 3',
      ),
      ...family(
        'vllm:kv_cache_usage_perc',
        'gauge',
        '{model_name="m",engine="0",pid="7"} 0.25',
        '{model_name="m",engine="0",pid="8"} 0.75',
        '{model_name="m",engine="1",pid="7"} 0.5',
      ),
    ])
    windows.record({ target: 't', atMs: 1, wallMs: 1, tookMs: 1, kind: 'read', reading })
    // 2 + 3 run; of 0.25, 0.75 and 0.5 the fullest is 0.75.
    assert.deepEqual(windows.gauges, [
      { instrument: 'requests_running', labels: m, value: 5 },
      { instrument: 'kv_cache_usage', labels: m, value: 0.75 },
    ])
  })

  it('make a group of series that are reset together: a rank of a model, or the HTTP server', () => {
    const reading = readPage([
      ...family(
        'vllm:prompt_tokens_total',
        'counter',
        '{model_name="m",engine="0"} 1',
        '{model_name="m",engine="1"} 1',
        '{model_name="other",engine="0"} 1',
      ),
      ...family('vllm:generation_tokens_total', 'counter', '{engine="0",model_name="m"} 1'),
      ...family('http_requests_total', 'counter', '{handler="/v1/x",method="POST",status="2xx"} 1'),
    ])
    // Generation tokens come before prompt tokens, HTTP answers last.
    const [rank0, sameRank0, rank1, otherModel, http] = reading.channels.map(({ group }) => group)
    assert.equal(reading.channels.length, 5)
    assert.equal(rank0, sameRank0)
    assert.equal(new Set([rank0, rank1, otherModel, http]).size, 4)
  })
})

describe('the types of a vLLM page', () => {
  const sample = '{model_name="m"} 4'
  const rows: readonly (readonly [string, string, InstrumentId, readonly number[]])[] = [
    ['vllm:num_requests_running', 'gauge', 'requests_running', [4]],
    ['vllm:num_requests_running', 'counter', 'requests_running', []],
    ['vllm:num_requests_running', 'untyped', 'requests_running', []],
    ['vllm:prompt_tokens_total', 'counter', 'prompt_tokens', [4]],
    ['vllm:prompt_tokens_total', 'gauge', 'prompt_tokens', []],
    ['vllm:e2e_request_latency_seconds', 'gauge', 'e2e_latency', []],
  ]
  for (const [name, type, instrument, values] of rows) {
    const verb = values.length > 0 ? 'read' : 'leave out'
    it(`${verb} ${name} as ${type}`, () => {
      const reading = readPage(family(name, type, sample))
      assert.deepEqual(
        found(reading, instrument).map(({ value }) => value),
        values,
      )
    })
  }

  it('are needed: a counter without a TYPE line is none', () => {
    assert.deepEqual(readPage(['vllm:prompt_tokens_total{model_name="m"} 1']).channels, [])
  })
})

describe('the sleep of an engine', () => {
  const rows: readonly (readonly [string, readonly string[], number | undefined])[] = [
    ['awake', ['{sleep_state="awake"} 1', '{sleep_state="weights_offloaded"} 0'], 0],
    ['level 1', ['{sleep_state="awake"} 0', '{sleep_state="weights_offloaded"} 1'], 1],
    ['level 2', ['{sleep_state="awake"} 0', '{sleep_state="discard_all"} 1'], 1],
    [
      'one rank of two',
      ['{engine="0",sleep_state="discard_all"} 0', '{engine="1",sleep_state="discard_all"} 1'],
      1,
    ],
    ['a page that does not tell', [], undefined],
  ]
  for (const [name, samples, expected] of rows) {
    it(`shows as ${expected ?? 'nothing'}: ${name}`, () => {
      const reading = readPage(family('vllm:engine_sleep_state', 'gauge', ...samples))
      const values = found(reading, 'engine_asleep').map(({ value }) => value ?? Number.NaN)
      assert.equal(values.length === 0 ? undefined : Math.max(...values), expected)
    })
  }
})

describe('the planned share of GPU memory', () => {
  const rows: readonly (readonly [string, string, readonly number[]])[] = [
    ['a number', 'gpu_memory_utilization="0.92"', [0.92]],
    ['the word of Python for nothing', 'gpu_memory_utilization="None"', []],
    ['an empty text', 'gpu_memory_utilization=""', []],
    ['no such label', 'block_size="16"', []],
  ]
  for (const [name, label, values] of rows) {
    it(`is read from the labels of cache_config_info: ${name}`, () => {
      const sample = `{engine="0",${label},swap_space="4"} 1.0`
      const reading = readPage(family('vllm:cache_config_info', 'gauge', sample))
      const expected = values.map((value) => ({ labels: {}, value }))
      assert.deepEqual(found(reading, 'planned_gpu_memory_ratio'), expected)
      assert.equal(reading.malformedLines, 0)
    })
  }
})

describe('the size given for the KV cache', () => {
  const rows: readonly (readonly [string, string, readonly number[]])[] = [
    ['a number', 'kv_cache_memory_bytes="25769803776"', [25_769_803_776]],
    ['none, as is usual', 'kv_cache_memory_bytes="None"', []],
    ['an older page without it', 'gpu_memory_utilization="0.9"', []],
  ]
  for (const [name, label, values] of rows) {
    it(`is read beside the planned share: ${name}`, () => {
      const sample = `{engine="0",${label}} 1.0`
      const reading = readPage(family('vllm:cache_config_info', 'gauge', sample))
      const expected = values.map((value) => ({ labels: {}, value }))
      assert.deepEqual(found(reading, 'planned_kv_cache_memory'), expected)
    })
  }
})

describe('HTTP answers', () => {
  const rows: readonly (readonly [string, string, string, readonly string[]])[] = [
    ['POST', '/v1/chat/completions', '2xx', ['2xx']],
    ['POST', '/v1/embeddings', '5xx', ['5xx']],
    ['POST', '/v2/rerank', '4xx', ['4xx']],
    ['POST', '/inference/v1/generate', '2xx', ['2xx']],
    ['POST', '/cohere/v2/chat', '2xx', ['2xx']],
    ['POST', '/generate', '2xx', ['2xx']],
    ['POST', '/pooling', '2xx', ['2xx']],
    ['POST', '/score', '2xx', ['2xx']],
    ['POST', '/rerank', '2xx', ['2xx']],
    ['POST', '/classify', '2xx', ['2xx']],
    ['POST', '/invocations', '2xx', ['2xx']],
    // An exporter that does not group statuses: 503 is a 5xx.
    ['POST', '/v1/completions', '503', ['5xx']],
    ['GET', '/v1/models', '2xx', []],
    ['GET', '/v1/chat/completions', '2xx', []],
    ['OPTIONS', '/v1/chat/completions', '2xx', []],
    ['other', '/v1/chat/completions', '2xx', []],
    ['POST', '/tokenize', '2xx', []],
    ['POST', '/detokenize', '2xx', []],
    ['POST', '/v1/messages', '2xx', ['2xx']],
    ['POST', '/v1/messages/count_tokens', '2xx', []],
    ['POST', '/v1/chat/completions/render', '2xx', []],
    ['POST', '/v1/responses/{response_id}/cancel', '2xx', []],
    ['POST', '/sleep', '2xx', []],
    ['POST', '/wake_up', '2xx', []],
    ['POST', '/reset_prefix_cache', '2xx', []],
    ['POST', '/v1/load_lora_adapter', '5xx', []],
    ['POST', '/v1/unload_lora_adapter', '5xx', []],
    ['POST', '/scale_elastic_ep', '2xx', []],
    ['POST', '/generated', '2xx', []],
    ['POST', 'none', '4xx', []],
  ]
  for (const [method, handler, status, statuses] of rows) {
    const verb = statuses.length > 0 ? 'count' : 'do not count'
    it(`${verb} ${method} ${handler} with ${status}`, () => {
      const named = '{handler="/v1/other",method="GET",status="2xx"} 9'
      const sample = `{handler="${handler}",method="${method}",status="${status}"} 3`
      const reading = readPage(family('http_requests_total', 'counter', named, sample))
      const expected = statuses.map((one) => ({ labels: { status: one }, value: 3 }))
      assert.deepEqual(found(reading, 'http_answers'), expected)
    })
  }

  it('of POST all count on a server that names none of its handlers', () => {
    const reading = readPage(
      family(
        'http_requests_total',
        'counter',
        '{handler="none",method="POST",status="2xx"} 8',
        '{handler="none",method="GET",status="2xx"} 5',
        '{handler="none",method="POST",status="5xx"} 2',
      ),
    )
    assert.deepEqual(found(reading, 'http_answers'), [
      { labels: { status: '2xx' }, value: 8 },
      { labels: { status: '5xx' }, value: 2 },
    ])
  })
})
