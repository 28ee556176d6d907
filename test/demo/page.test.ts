import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { pythonNumber } from '../../src/demo/client-text.ts'
import { SimulatedEngine } from '../../src/demo/engine.ts'
import type { Scenario } from '../../src/demo/scenario.ts'
import { findScenario } from '../../src/demo/scenarios.ts'
import type { Truth } from '../../src/demo/truth.ts'
import { repositoryRoot } from '../repository.ts'
import { DemoPage } from './demo-page.ts'

/** Edges as vLLM has them since 0.8.4, written here a second time. */
const latencyEdges = [
  0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
]
const firstTokenEdges = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
  160, 640, 2560,
]
const gapEdges = [
  0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
]
const tokenEdges = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000]

type Read = (truth: Truth, engine: number) => readonly number[]

function finished(read: (request: Truth['finished'][number]) => number): Read {
  return (truth, engine) => truth.finished.filter((one) => one.engine === engine).map(read)
}

/** What stands in each histogram, told by the truth. */
const histograms: readonly (readonly [string, readonly number[], Read])[] = [
  ['vllm:e2e_request_latency_seconds', latencyEdges, finished((one) => one.e2eSeconds)],
  ['vllm:request_queue_time_seconds', latencyEdges, finished((one) => one.queueSeconds)],
  ['vllm:request_prefill_time_seconds', latencyEdges, finished((one) => one.prefillSeconds)],
  ['vllm:request_decode_time_seconds', latencyEdges, finished((one) => one.decodeSeconds)],
  ['vllm:request_inference_time_seconds', latencyEdges, finished((one) => one.inferenceSeconds)],
  [
    'vllm:request_time_per_output_token_seconds',
    gapEdges,
    finished((one) => one.timePerOutputTokenSeconds),
  ],
  ['vllm:request_prompt_tokens', tokenEdges, finished((one) => one.promptTokens)],
  ['vllm:request_generation_tokens', tokenEdges, finished((one) => one.generationTokens)],
  ['vllm:request_params_max_tokens', tokenEdges, finished((one) => one.maxTokens)],
  [
    'vllm:request_prefill_kv_computed_tokens',
    tokenEdges,
    finished((one) => one.promptTokens - one.cachedTokens),
  ],
  [
    'vllm:time_to_first_token_seconds',
    firstTokenEdges,
    (truth, engine) =>
      truth.firstTokens.filter((one) => one.engine === engine).map((one) => one.ttftSeconds),
  ],
  [
    'vllm:inter_token_latency_seconds',
    gapEdges,
    (truth, engine) =>
      truth.gaps
        .filter((one) => one.engine === engine)
        .flatMap((one) => Array<number>(one.times).fill(one.seconds)),
  ],
]

function simulate(name: string, toMs: number, engines: number) {
  return pageOf(findScenario(name), toMs, engines)
}

function pageOf(scenario: Scenario, toMs: number, engines: number) {
  const engine = new SimulatedEngine({
    scenario,
    seed: 3,
    startWallMs: 1_700_000_000_000,
    engines,
    truthCapacity: 1_000_000,
  })
  engine.advance(toMs)
  return { text: engine.page(), truth: engine.drainTruth() }
}

describe('the page of the simulated engine', () => {
  const { text, truth } = simulate('overload', 90_000, 2)
  const page = new DemoPage(text)

  for (const [name, edges, read] of histograms) {
    it(`counts in ${name} what truly happened, engine by engine`, () => {
      for (const engine of [0, 1]) {
        const labels = { engine: String(engine) }
        const values = read(truth, engine)
        assert.ok(values.length > 100)
        const buckets = [...page.buckets(name, labels)]
        assert.deepEqual(
          buckets.map(([le]) => (le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le))),
          [...edges, Number.POSITIVE_INFINITY],
        )
        for (const [le, count] of buckets) {
          const edge = le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le)
          assert.equal(count, values.filter((value) => value <= edge).length, `${name} ${le}`)
        }
        assert.equal(page.sum(`${name}_count`, labels), values.length)
        const sum = values.reduce((total, value) => total + value, 0)
        assert.ok(Math.abs(page.sum(`${name}_sum`, labels) - sum) <= 1e-9 * sum)
      }
    })
  }

  it('counts tokens, finishes and answers as they truly happened', () => {
    for (const reason of ['stop', 'length', 'abort', 'error', 'repetition']) {
      const found = page.sum('vllm:request_success_total', { finished_reason: reason })
      assert.equal(found, truth.finished.filter((one) => one.reason === reason).length)
    }
    let gaps = 0
    for (const gap of truth.gaps) gaps += gap.times
    assert.equal(page.sum('vllm:generation_tokens_total'), truth.firstTokens.length + gaps)
    let promptTokens = 0
    for (const one of truth.firstTokens) promptTokens += one.promptTokens
    assert.equal(page.sum('vllm:prompt_tokens_total'), promptTokens)
    assert.equal(page.sum('vllm:prompt_tokens_by_source_total'), promptTokens)
    for (const handler of ['/v1/chat/completions', '/v1/completions', '/v1/models']) {
      for (const status of ['2xx', '4xx', '5xx']) {
        const found = page.sum('http_requests_total', { handler, status })
        const truly = truth.answers.filter(
          (one) => one.handler === handler && one.status === status,
        )
        assert.equal(found, truly.length, `${handler} ${status}`)
      }
    }
    assert.equal(page.sum('http_request_duration_seconds_count'), truth.answers.length)
    assert.equal(page.sum('http_request_duration_highr_seconds_count'), truth.answers.length)
    assert.equal(page.sum('vllm:num_requests_waiting_by_reason'), waiting(page))
  })

  it('has a series for no answer of which there was none', () => {
    const early = new DemoPage(simulate('steady', 1, 1).text)
    assert.equal(early.series.filter(({ name }) => name === 'http_requests_total').length, 0)
    assert.equal(early.types.get('http_requests_total'), 'counter')
  })

  it('has with eight engines the size of 0.3 MB that vLLM has', () => {
    const bytes = Buffer.byteLength(simulate('steady', 30_000, 8).text)
    assert.ok(bytes > 250_000 && bytes < 400_000, `${bytes}`)
  })

  it('has every name, type, order and label of a real 0.27, and nothing of its own', (t) => {
    const file = join(repositoryRoot, '../shared/vllm-expositions/v1-0.27-spec/6.prom')
    if (!existsSync(file)) return t.skip('the recorded pages are not beside the repository')
    const real = new DemoPage(readFileSync(file, 'utf8'))
    // What these flags switch on stands on no page without them; the names of the cache's settings differ.
    const switchedOn = /^vllm:(spec_decode|kv_block)_/
    assertAlike(new DemoPage(simulate('errors', 90_000, 1).text), real, switchedOn)
    // With speculation on, as on the real one; of its errors none is needed.
    const guessing = findScenario('acceptance-collapse')
    const { traffic } = findScenario('errors')
    const page = pageOf({ ...guessing, traffic }, 90_000, 1).text
    assertAlike(new DemoPage(page), real, /^vllm:kv_block_/)
  })
})

function assertAlike(ours: DemoPage, real: DemoPage, without: RegExp): void {
  const types = (from: DemoPage) => [...from.types].filter(([name]) => !without.test(name))
  assert.deepEqual(types(ours), types(real))
  assert.deepEqual(shapes(ours, without), shapes(real, without))
}

function waiting(page: DemoPage): number {
  return page.sum('vllm:num_requests_waiting')
}

/** Names of samples with the names of their labels and, for buckets, the edge. */
function shapes(page: DemoPage, without: RegExp): readonly string[] {
  const found = new Set<string>()
  for (const { name, labels } of page.series) {
    if (without.test(name) || name === 'vllm:cache_config_info') continue
    const edge = labels.has('le') ? ` ${labels.get('le')}` : ''
    found.add(`${name}{${[...labels.keys()].join(',')}}${edge}`)
  }
  return [...found]
}

describe('a number as the Python client writes it', () => {
  const rows = [
    [0, '0.0'],
    [17, '17.0'],
    [-1, '-1.0'],
    [0.25, '0.25'],
    [999_999, '999999.0'],
    [1_000_000, '1e+06'],
    [1_234_567, '1.234567e+06'],
    [1_234_567.5, '1.2345675e+06'],
    [25_000_000_000, '2.5e+010'],
    [1_700_000_000.25, '1.70000000025e+09'],
    [0.0001, '0.0001'],
    [0.000_012, '1.2e-05'],
    [1e-10, '1e-10'],
    [1e16, '1e+16'],
    [Number.NaN, 'NaN'],
    [Number.POSITIVE_INFINITY, '+Inf'],
    [Number.NEGATIVE_INFINITY, '-Inf'],
  ] as const
  for (const [value, text] of rows) {
    it(`is ${text} for ${value}`, () => assert.equal(pythonNumber(value), text))
  }

  it('keeps every digit that a double has', () => {
    for (const value of [0.1 + 0.2, 1 / 3, 1_700_000_000.123_456, 12_345_678.9, 2 ** 53 - 1]) {
      assert.equal(Number(pythonNumber(value)), value)
    }
  })
})
