import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Reading } from '../../src/reading.ts'
import { engineSignals } from '../../src/signals/catalog.ts'
import { errorRatio, failuresOf } from '../../src/signals/errors.ts'
import { missing, recordedSequences } from '../e2e/replay-sequences.ts'
import { remembered, signalSettings, type Written, written } from '../fakes/signals.ts'
import { family, pageReader, readPage } from './vllm-pages.ts'

const success = 'vllm:request_success_total'
const http = 'http_requests_total'

describe('what a page is capable of', () => {
  const scheduler = family('vllm:num_requests_running', 'gauge', '{model_name="m"} 0')
  const answers = [`# TYPE ${http} counter`]
  const finished = (reason: string) =>
    family(success, 'counter', `{model_name="m",finished_reason="${reason}"} 0`)
  // Read as 0.12 unless said otherwise: then the engine's word for failures has to be seen.
  const rows: readonly (readonly [string, readonly (readonly string[])[], readonly string[]])[] = [
    ['nothing: a page of another program', [family('up', 'gauge', ' 1')], []],
    ['nothing: a page of comments', [['# a comment']], []],
    [
      'nothing: names that only resemble those of vLLM',
      [family('ray_vllm_num_requests_running', 'gauge', ' 1'), family('vllm_x', 'gauge', ' 1')],
      [],
    ],
    ['answers alone: vLLM with --disable-log-stats', [answers], ['http', 'http-certain']],
    ['no answers where the family is no counter', [[`# TYPE ${http} gauge`]], []],
    ['the engine alone: V0 before its first request', [scheduler], ['engine']],
    ['the engine by a family without a sample', [['# TYPE vllm:x counter']], ['engine']],
    ['the engine alone: reasons that are none of failures', [finished('stop')], ['engine']],
    ['the engine’s failures by their reason', [finished('error')], ['engine', 'engine-errors']],
    [
      'no failures of the engine where the family is no counter',
      [family(success, 'gauge', '{model_name="m",finished_reason="error"} 0')],
      ['engine'],
    ],
  ]
  for (const [name, page, expected] of rows) {
    it(`is ${name}`, () => {
      assert.deepEqual(capabilities(readPage(page.flat(), '0.12.0')), expected)
    })
  }

  it('is no failures of the engine, whatever the version, where finished requests are not counted', () => {
    assert.deepEqual(capabilities(readPage(scheduler, '0.27.0')), ['engine'])
  })
})

const failedInStream = /streamed answer/
const badRequests = /bad requests as 5xx/
const aborted = /aborted .* Python front end/
const unauthorized = /401/
const hungUp = /clients have hung up cannot be told/

/** What each version is known by: its page, what can be told of it, and its error ratios. */
interface Era {
  readonly version: string | undefined
  /** Whether the page has answers of HTTP, and the reason `error`. */
  readonly http: boolean
  readonly error: boolean
  readonly capabilities: readonly string[]
  readonly blindSpots: readonly RegExp[]
  /** Certain and possible: 970 answers of 2xx and 30 of 5xx; of the finished, 20 by an error where it is named. */
  readonly ratios: readonly [number, number] | undefined
}

const certainToday = ['engine', 'engine-errors', 'http', 'http-at-end', 'http-certain']
// The larger of 20 and 30, and their sum, ÷ 1,000.
const today = {
  http: true,
  error: true,
  capabilities: certainToday,
  blindSpots: [aborted, unauthorized],
  ratios: [0.03, 0.05],
} as const
// Bad requests are among the 30: 20 are certain.
const between = {
  ...today,
  capabilities: ['engine', 'engine-errors', 'http', 'http-at-end'],
  blindSpots: [aborted, unauthorized, badRequests],
  ratios: [0.02, 0.05],
} as const
// 5xx is all there is.
const before = {
  http: true,
  error: false,
  capabilities: ['engine', 'http', 'http-at-end', 'http-certain'],
  blindSpots: [aborted, unauthorized, failedInStream],
  ratios: [0.03, 0.03],
} as const

const eras: readonly Era[] = [
  {
    version: '0.6.6',
    http: false,
    error: false,
    capabilities: ['engine'],
    blindSpots: [/cannot be seen/, aborted, hungUp],
    ratios: undefined,
  },
  { ...before, version: '0.8.5' },
  { ...before, version: '0.11.0' },
  { ...before, version: '0.12' },
  { ...today, version: '0.13.0' },
  { ...today, version: '0.16.2' },
  { ...between, version: '0.17.0' },
  { ...between, version: '0.20.0' },
  { ...between, version: '0.25.1' },
  { ...today, version: '0.26.0rc1' },
  { ...today, version: '0.26.0' },
  { ...today, version: '0.27' },
  { ...today, version: '1.2.0' },
  // Counted as the newest: none at all, a build without a release, a text of somebody.
  { ...today, version: undefined },
  { ...today, version: '0.1.dev12+gdeadbeef' },
  { ...today, version: 'nightly' },
]

describe('what is known of a version', () => {
  for (const era of eras) {
    const name = era.version ?? 'that is not known'
    const pageOf = (share: number) => [
      ...family('vllm:cache_config_info', 'gauge', '{gpu_memory_utilization="0.9"} 1'),
      ...family(
        success,
        'counter',
        `{model_name="m",finished_reason="stop"} ${950 * share}`,
        ...(era.error ? [`{model_name="m",finished_reason="error"} ${20 * share}`] : []),
      ),
      // The Python front end counts its steps, and answers as they end.
      ...(era.http ? ['# TYPE vllm:iteration_tokens_total histogram'] : []),
      ...(era.http
        ? family(http, 'counter', answer('2xx', 970, share), answer('5xx', 30, share))
        : []),
    ]

    it(`${name} is what its page can tell`, () => {
      assert.deepEqual(capabilities(readPage(pageOf(1), era.version)), era.capabilities)
    })

    it(`${name} is what nobody can see of it`, () => {
      const found = readPage(pageOf(1), era.version).blindSpots ?? []
      assert.equal(found.length, era.blindSpots.length, found.join('\n'))
      for (const [position, spot] of era.blindSpots.entries()) {
        assert.match(found[position] ?? '', spot)
      }
    })

    it(`${name} is how many requests failed, for certain and at most`, () => {
      const read = pageReader()
      const target = remembered([0, 1].map((share) => at(share, read(pageOf(share), era.version))))
      const view = target.view(60_000)
      assert.ok(view !== undefined)
      const failures = failuresOf(target, view)
      const ratios = (['certain', 'possible'] as const).map((which) => {
        const ratio = errorRatio(failures, which)
        return ratio.kind === 'value' ? ratio.value : ratio.why
      })
      assert.deepEqual(ratios, era.ratios ?? ['no-data', 'no-data'])
    })
  }

  it('names failures from 0.13 on, also before the first one', () => {
    const declared = [`# TYPE ${success} counter`]
    assert.deepEqual(capabilities(readPage(declared, '0.12.9')), ['engine'])
    assert.deepEqual(capabilities(readPage(declared, '0.13.0')), ['engine', 'engine-errors'])
  })

  it('is that planned memory is not exposed, where the page does not declare it', () => {
    const spot = /planned to take of GPU memory is not exposed: VllmGpuMemoryHigh goes by/
    const planned = '# TYPE vllm:cache_config_info gauge'
    const has = (lines: readonly string[]) =>
      (readPage(lines, '0.27.0').blindSpots ?? []).some((one) => spot.test(one))
    assert.equal(has(['# TYPE vllm:x counter']), true)
    assert.equal(has(['# TYPE vllm:x counter', planned]), false)
  })
})

describe('what a page declares', () => {
  const rows: readonly (readonly [string, readonly string[], readonly string[]])[] = [
    ['is nothing where no family is ours', ['# TYPE vllm:other counter'], []],
    ['is an instrument without a sample', [`# TYPE ${success} counter`], ['requests_finished']],
    [
      'is an instrument by its name of before',
      ['# TYPE vllm:gpu_cache_usage_perc gauge'],
      ['kv_cache_usage'],
    ],
    ['is answers of HTTP without a sample', [`# TYPE ${http} counter`], ['http_answers']],
    ['is no family in another type', [`# TYPE ${success} gauge`], []],
    [
      'is an instrument with samples',
      family('vllm:num_requests_running', 'gauge', '{model_name="m"} 0'),
      ['requests_running'],
    ],
  ]
  for (const [claim, lines, expected] of rows) {
    it(claim, () => assert.deepEqual([...(readPage(lines).declared ?? [])], expected))
  }
})

/** As the Rust front end has it before the first request: families without samples, and gauges. */
const rustPage = [
  '# TYPE vllm:num_requests_running gauge',
  'vllm:num_requests_running{model_name="m",engine="0"} 0',
  '# TYPE vllm:prompt_tokens counter',
  '# TYPE vllm:generation_tokens counter',
  '# TYPE vllm:num_preemptions counter',
  '# TYPE vllm:request_success counter',
  '# TYPE vllm:e2e_request_latency_seconds histogram',
  '# TYPE vllm:time_to_first_token_seconds histogram',
  '# TYPE http_requests counter',
  '# EOF',
]

describe('a Rust front end that nobody has asked anything', () => {
  const idle = (reading: () => Reading): Written => {
    const target = remembered([at(0, reading()), at(1, reading())])
    const context = { target, settings: signalSettings, fresh: true }
    return written(engineSignals.flatMap((one) => one.measure(context)))
  }

  function isIdle(found: Written, model: string): void {
    const labels = `model_name="${model}",target="vllm"`
    const windowed = `{${labels},window="1m"}`
    for (const stem of ['requests', 'generation_tokens', 'prompt_tokens', 'preemptions']) {
      assert.equal(found[`${stem}_per_second${windowed}`], 0, stem)
    }
    for (const stem of ['e2e_latency', 'ttft']) {
      const quantile = `${stem}_seconds{model_name="${model}",quantile="0.99",target="vllm",window="1m"}`
      assert.equal(found[quantile], 'no-traffic')
      assert.equal(found[`${stem}_window_observations${windowed}`], 0)
      assert.equal(found[`${stem}_seconds_count{${labels}}`], 0)
    }
    assert.equal(found['error_ratio{target="vllm",window="1m"}'], 'no-traffic')
    assert.equal(found['requests_ended_total{target="vllm"}'], 0)
    assert.equal(found['requests_failed_total{reason="http_5xx",target="vllm"}'], 0)
  }

  it('has rates and observations of 0, and quantiles and ratios without traffic', () => {
    const read = pageReader('openmetrics')
    const found = idle(() => read(rustPage, '0.27.0'))
    isIdle(found, 'm')
    // This page does not declare it.
    const absent = 'prefix_cache_hit_ratio{model_name="m",target="vllm",window="1m"}'
    assert.equal(found[absent], 'no-data')
    assert.equal(found['itl_seconds{model_name="m",target="vllm"}'], 'no-data')
  })

  it('tells failures, of which there were none, and does not tell what memory it planned', () => {
    const reading = pageReader('openmetrics')(rustPage, '0.27.0')
    // It counts streams as they begin, so that no answer tells of a client that is gone.
    assert.deepEqual(
      capabilities(reading),
      certainToday.filter((one) => one !== 'http-at-end'),
    )
    assert.equal(reading.blindSpots?.length, 4)
    assert.match(reading.blindSpots?.at(-1) ?? '', /VllmGpuMemoryHigh/)
  })

  it('is so on the recorded page of one', { skip: missing ?? false }, () => {
    const recorded = recordedSequences().find(({ name }) => name === 'v1-0.27-rust-frontend')
    const [page] = recorded?.pages ?? []
    assert.ok(recorded !== undefined && page !== undefined)
    const lines = page.toString().trimEnd().split('\n')
    const read = pageReader('openmetrics')
    isIdle(
      idle(() => read(lines, recorded.version)),
      recorded.model,
    )
  })
})

function capabilities(reading: Reading): readonly string[] {
  return [...reading.capabilities].sort()
}

function answer(status: string, count: number, share: number): string {
  return `{handler="/v1/completions",method="POST",status="${status}"} ${count * share}`
}

/** A good collection at the given minute. */
function at(minute: number, reading: Reading) {
  const stamp = { target: 'vllm', atMs: minute * 60_000, wallMs: 0, tookMs: 1 }
  return { ...stamp, kind: 'read', reading } as const
}
