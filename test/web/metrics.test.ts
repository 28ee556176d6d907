import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { formatEdge } from '../../src/signals/latency.ts'
import { absent, type Measured } from '../../src/signals/signal.ts'
import type { Snapshot } from '../../src/snapshot.ts'
import { type MetricsOptions, MetricsPage, metricsOffers } from '../../src/web/metrics.ts'
import { fullSnapshot, measuredOf, snapshotOf } from '../fakes/snapshots.ts'
import { findProgram } from '../repository.ts'
import { about } from './serving.ts'

const [text, openMetrics] = metricsOffers

function pageOf(given: Partial<MetricsOptions> = {}): MetricsPage {
  return new MetricsPage({ about, lastReloadSuccessful: () => true, ...given })
}

async function renderedOf(snapshot: Snapshot | undefined, offer = metricsOffers[0] as Offer) {
  return (await pageOf().render(snapshot, offer)).toString('utf8')
}

type Offer = (typeof metricsOffers)[number]

/** The lines of one family: its comments and its samples. */
function linesOf(body: string, name: string): string[] {
  return body.split('\n').filter((line) => line.replace(/^# (HELP|TYPE) /, '').startsWith(name))
}

function linesFor(measured: readonly Measured[], name: string, offer?: Offer) {
  return renderedOf(snapshotOf({ measured }), offer).then((body) => linesOf(body, name))
}

describe('the samples of /metrics', () => {
  it('carry prefix, help and type in text', async () => {
    const labels = { target: 'vllm', window: '1m' }
    const requests = measuredOf({ name: 'requests_per_second', value: 2.5, labels })
    assert.deepEqual(await linesFor([requests], 'vllm_vitals_requests_per_second'), [
      '# HELP vllm_vitals_requests_per_second Some help.',
      '# TYPE vllm_vitals_requests_per_second gauge',
      'vllm_vitals_requests_per_second{target="vllm",window="1m"} 2.5',
    ])
  })

  it('of a counter keep _total on the sample alone in OpenMetrics', async () => {
    const resets = measuredOf({ name: 'resets_total', type: 'counter', value: 3 })
    assert.deepEqual(await linesFor([resets], 'vllm_vitals_resets'), [
      '# HELP vllm_vitals_resets_total Some help.',
      '# TYPE vllm_vitals_resets_total counter',
      'vllm_vitals_resets_total 3',
    ])
    assert.deepEqual(await linesFor([resets], 'vllm_vitals_resets', openMetrics), [
      '# HELP vllm_vitals_resets Some help.',
      '# TYPE vllm_vitals_resets counter',
      'vllm_vitals_resets_total 3',
    ])
  })

  it('of a summary stand side by side for each label set', async () => {
    const one = (model_name: string, suffix: Measured['suffix'], quantile?: string) =>
      measuredOf({
        name: 'ttft_seconds',
        type: 'summary',
        suffix,
        labels: { model_name, ...(quantile === undefined ? {} : { quantile }) },
      })
    const mixed = [one('a', '', '0.5'), one('b', '', '0.5'), one('a', '_sum'), one('b', '_sum')]
    assert.deepEqual((await linesFor(mixed, 'vllm_vitals_ttft_seconds', openMetrics)).slice(2), [
      'vllm_vitals_ttft_seconds{model_name="a",quantile="0.5"} 1',
      'vllm_vitals_ttft_seconds_sum{model_name="a"} 1',
      'vllm_vitals_ttft_seconds{model_name="b",quantile="0.5"} 1',
      'vllm_vitals_ttft_seconds_sum{model_name="b"} 1',
    ])
  })

  for (const [value, written] of [
    [Number.POSITIVE_INFINITY, '+Inf'],
    [Number.NEGATIVE_INFINITY, '-Inf'],
    [0, '0'],
    [1e21, '1e+21'],
    [0.1 + 0.2, '0.30000000000000004'],
  ] as const) {
    it(`are written as ${written} where that is the value`, async () => {
      const lines = await linesFor([measuredOf({ name: 'up', value })], 'vllm_vitals_up')
      assert.equal(lines[2], `vllm_vitals_up ${written}`)
    })
  }

  for (const [claim, hidden] of [
    ['without a value', { measurement: absent('no-traffic', 'nobody came') }],
    ['that are not a number', { value: Number.NaN }],
    ['of families for the API alone', { apiOnly: true }],
  ] as const) {
    it(`${claim} are left out, and the family with them`, async () => {
      for (const offer of metricsOffers) {
        const body = await renderedOf(
          snapshotOf({ measured: [measuredOf({ name: 'hidden', ...hidden })] }),
          offer,
        )
        assert.doesNotMatch(body, /hidden|NaN/i)
      }
    })
  }

  it('without a value do not hide those beside them', async () => {
    const some = [
      measuredOf({ name: 'up', labels: { target: 'a' }, measurement: absent('no-data') }),
      measuredOf({ name: 'up', labels: { target: 'b' } }),
    ]
    assert.deepEqual((await linesFor(some, 'vllm_vitals_up')).slice(2), [
      'vllm_vitals_up{target="b"} 1',
    ])
  })

  it('write whole edges of buckets as floats in both forms', async () => {
    const edges = [0.3, 1, 10, Number.POSITIVE_INFINITY].map((edge) =>
      measuredOf({
        name: 'ttft_merged_seconds',
        type: 'histogram',
        suffix: '_bucket',
        labels: { le: formatEdge(edge) },
      }),
    )
    for (const offer of metricsOffers) {
      const lines = await linesFor(edges, 'vllm_vitals_ttft_merged_seconds', offer)
      assert.deepEqual(
        lines.slice(2).map((line) => /le="(.*)"/.exec(line)?.[1]),
        ['0.3', '1.0', '10.0', '+Inf'],
      )
    }
  })
})

/** The value of label `x` as a reader of the format takes it. */
function unescaped(body: string): string | undefined {
  const match = /^vllm_vitals_up\{x="((?:[^"\\\n]|\\["\\n])*)"\} 1$/m.exec(body)
  return match?.[1]?.replace(/\\(.)/g, (_all, escaped: string) =>
    escaped === 'n' ? '\n' : escaped,
  )
}

describe('text from outside in /metrics', () => {
  for (const [claim, value] of [
    ['a quote', 'a"b'],
    ['a backslash at the end', 'a\\'],
    ['a backslash before an n', 'a\\n'],
    ['a line end', 'a\nvllm_vitals_up{x="forged"} 0'],
    ['the end of the labels', '"} 0\nforged 1\n#'],
    ['a carriage return', 'a\rb'],
    ['a letter beyond ASCII', 'modèle 模型 🙂'],
    ['nothing', ''],
  ] as const) {
    it(`comes back whole from a label that holds ${claim}`, async () => {
      const measured = [measuredOf({ name: 'up', labels: { x: value } })]
      for (const offer of metricsOffers) {
        const body = await renderedOf(snapshotOf({ measured }), offer)
        assert.equal(unescaped(body), value)
        assert.doesNotMatch(body, /^forged|^vllm_vitals_up\{x="forged/m)
      }
    })
  }

  it('comes back whole from a label, whatever it is', async () => {
    const anyText = fc.string({ unit: fc.oneof(fc.constantFrom(...'"\\\n{}n'), fc.string()) })
    await fc.assert(
      fc.asyncProperty(anyText, async (value) => {
        const measured = [measuredOf({ name: 'up', labels: { x: value } })]
        assert.equal(unescaped(await renderedOf(snapshotOf({ measured }))), value)
      }),
      { numRuns: 50 },
    )
  })

  it('cannot end a help', async () => {
    const measured = [measuredOf({ name: 'up', help: 'One "\\\nforged 1' })]
    for (const offer of metricsOffers) {
      const [help] = linesOf(await renderedOf(snapshotOf({ measured }), offer), 'vllm_vitals_up')
      const quote = offer === openMetrics ? "'" : '"'
      assert.equal(help, `# HELP vllm_vitals_up One ${quote}\\\\\\nforged 1`)
    }
  })
})

describe('the rendering of /metrics', () => {
  it('is done once for each evaluation and form, however many ask at once', async () => {
    let collected = 0
    const page = pageOf({ lastReloadSuccessful: () => ++collected > 0 })
    const first = snapshotOf({ sequence: 1 })
    const asked = await Promise.all(
      Array.from({ length: 1_000 }, (_, i) => page.render(first, i % 2 === 0 ? text : openMetrics)),
    )
    assert.equal(new Set(asked).size, 2)
    assert.equal(collected, 1)
    assert.equal(await page.render(first, text), asked[0])
    const second = await page.render(snapshotOf({ sequence: 2 }), text)
    assert.notEqual(second, asked[0])
    assert.equal(collected, 2)
  })

  it('is tried afresh after it failed', async () => {
    let failures = 1
    const page = pageOf({
      lastReloadSuccessful: () => {
        if (failures-- > 0) throw new Error('broken')
        return true
      },
    })
    await assert.rejects(page.render(snapshotOf(), text), /broken/)
    assert.match((await page.render(snapshotOf(), text)).toString(), /build_info/)
  })

  it('before the first evaluation holds what the daemon says of itself', async () => {
    const body = await renderedOf(undefined)
    assert.match(body, /^vllm_vitals_config_last_reload_successful 1$/m)
    assert.match(body, /^process_resident_memory_bytes [1-9]/m)
    assert.doesNotMatch(body, /^vllm_vitals_up/m)
  })

  it('makes the first evaluation visible at once', async () => {
    const page = pageOf()
    await page.render(undefined, text)
    const measured = [measuredOf({ name: 'up' })]
    assert.match(
      (await page.render(snapshotOf({ measured }), text)).toString(),
      /^vllm_vitals_up 1$/m,
    )
  })
})

describe('what the daemon says of itself at /metrics', () => {
  it('names version, revision and Node', async () => {
    const lines = linesOf(await renderedOf(undefined), 'vllm_vitals_build_info')
    const labels = 'version="0.1.0",revision="abc1234",nodeversion="24.0.0"'
    assert.equal(lines[2], `vllm_vitals_build_info{${labels}} 1`)
  })

  it('tells a refused configuration', async () => {
    const body = await pageOf({ lastReloadSuccessful: () => false }).render(snapshotOf(), text)
    assert.match(body.toString(), /^vllm_vitals_config_last_reload_successful 0$/m)
  })

  it('holds the metrics of process and Node, without the gauges that are named like counters', async () => {
    for (const offer of metricsOffers) {
      const body = await renderedOf(undefined, offer)
      for (const name of [
        'process_cpu_seconds_total',
        'process_resident_memory_bytes',
        'process_start_time_seconds',
        'process_open_fds',
        'nodejs_eventloop_lag_seconds',
        'nodejs_heap_size_used_bytes',
        'nodejs_version_info',
      ]) {
        assert.match(body, new RegExp(`^${name}[ {]`, 'm'))
      }
      const misnamed = body.split('\n').filter((line) => /^# TYPE \S+_total gauge/.test(line))
      assert.deepEqual(misnamed, [])
    }
  })

  it('holds what parts beside the evaluation measure of themselves', async () => {
    const own = measuredOf({ name: 'alertmanager_queue_length', value: 3 })
    const page = pageOf({ ownMeasured: () => [own] })
    for (const snapshot of [undefined, snapshotOf()]) {
      const body = (await page.render(snapshot, text)).toString()
      assert.match(body, /^vllm_vitals_alertmanager_queue_length 3$/m)
    }
  })

  it('writes the edges of the collector of garbage as floats, too', async () => {
    const page = pageOf()
    await page.render(snapshotOf({ sequence: 1 }), text)
    setFlagsFromString('--expose-gc')
    const collectGarbage: unknown = runInNewContext('gc')
    assert.ok(typeof collectGarbage === 'function')
    let edges: string[] = []
    for (let sequence = 2; edges.length === 0 && sequence < 100; sequence += 1) {
      collectGarbage()
      await delay(10)
      const body = (await page.render(snapshotOf({ sequence }), text)).toString()
      edges = linesOf(body, 'nodejs_gc_duration_seconds_bucket')
    }
    const whole = edges.map((line) => /le="([^"]*)"/.exec(line)?.[1])
    assert.ok(whole.includes('1.0') && whole.includes('+Inf'), whole.join())
    assert.ok(!whole.some((edge) => edge !== undefined && /^\d+$/.test(edge)), whole.join())
  })

  it('is sent with the media type of its form', () => {
    assert.equal(text.contentType, 'text/plain; version=0.0.4; charset=utf-8')
    const wanted = 'application/openmetrics-text; version=1.0.0; charset=utf-8'
    assert.equal(openMetrics.contentType, wanted)
  })
})

const promtool = findProgram('promtool')
const needsPromtool = { skip: promtool === undefined && 'needs promtool' }

describe('a page with every family', () => {
  it('leaves nothing to say for promtool check metrics', needsPromtool, async () => {
    const input = await renderedOf(fullSnapshot())
    // All that an evaluation of every instrument can publish: the seventy-odd families are there.
    assert.ok((input.match(/^# TYPE vllm_vitals_/gm)?.length ?? 0) > 70)
    const run = spawnSync(promtool ?? '', ['check', 'metrics'], { input, encoding: 'utf8' })
    assert.deepEqual([run.stdout, run.stderr, run.status], ['', '', 0])
  })

  it('would not be clean with one gauge named like a counter', needsPromtool, () => {
    const input = '# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n'
    const run = spawnSync(promtool ?? '', ['check', 'metrics'], { input, encoding: 'utf8' })
    assert.notEqual(run.status, 0)
  })

  it('ends with EOF in OpenMetrics and holds the same samples as in text', async () => {
    const page = pageOf()
    const full = fullSnapshot()
    const bodies = await Promise.all(metricsOffers.map((offer) => page.render(full, offer)))
    const samples = bodies.map((body) =>
      body
        .toString()
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith('#')),
    )
    assert.ok(String(bodies[1]).endsWith('\n# EOF\n'))
    assert.deepEqual(samples[1], samples[0])
  })
})
