/**
 * Serves every recorded sequence of vLLM pages to the real path, from HTTP to the published numbers, and
 * holds those against what really happened. Lays no claim on one sequence that does not hold for all.
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { VllmDialect } from '../../src/dialects/vllm.ts'
import { ExpositionParser } from '../../src/exposition/parse.ts'
import type { Reading } from '../../src/reading.ts'
import {
  boundsAround,
  gainedBy,
  latencies,
  percentiles,
  quantileOf,
  readCount,
  readValue,
  steps,
  total,
  whyAbsent,
} from './replay-published.ts'
import { type Replayed, replay } from './replay-run.ts'
import {
  capturedPages,
  missing,
  recordedSequences,
  type Sequence,
  sumInText,
} from './replay-sequences.ts'

/** Numbers in truth.json are rounded to four places; the rest is what doubles round off. */
const rounding = 0.00005 + 1e-9

if (missing !== undefined) {
  it('publishes the truth of recorded pages', { skip: missing }, () => {})
}

for (const sequence of recordedSequences()) {
  describe(`the sequence ${sequence.name}, served over HTTP`, () => {
    const claims = claimsOf(sequence)
    readingIsWhole(claims, sequence.version)
    countsAreTrue(claims)
    httpIsTrue(claims, sequence.version)
    latenciesAreTrue(claims)
    quantilesAreTrue(claims)
    stateIsTrue(claims)
  })
}

type Claims = (name: string, holds: (all: readonly Replayed[]) => void) => void

/** Registers tests that share one replay of the sequence. */
function claimsOf(sequence: Sequence): Claims {
  let replayed: Promise<readonly Replayed[]> | undefined
  return (name, holds) => {
    it(name, async () => {
      replayed ??= replay(sequence)
      holds(await replayed)
    })
  }
}

function readingIsWhole(claim: Claims, version: string): void {
  claim('is read without a line, a value or a histogram left out', (all) => {
    assert.ok(all.length > 1)
    for (const { reading, truth, health } of all) {
      assert.equal(reading.malformedLines, 0, truth.file)
      assert.deepEqual(reading.leftOut, [], truth.file)
      assert.deepEqual(reading.limitHits, {}, truth.file)
      assert.equal(reading.version, version, truth.file)
      assert.ok(reading.capabilities.has('engine'), truth.file)
      assert.equal(health?.kind === 'answered' && health.status, 200, truth.file)
    }
  })

  claim('has nothing of what was counted before the watch began', ([baseline]) => {
    assert.ok(baseline !== undefined)
    for (const { family, suffix, measurement } of baseline.published) {
      const isCounter = family.type === 'counter' || suffix === '_count'
      if (isCounter && measurement.kind === 'value') assert.equal(measurement.value, 0, family.name)
    }
  })
}

function countsAreTrue(claim: Claims): void {
  claim('has exactly the finished requests, first tokens and generation tokens', (all) => {
    for (const one of all.slice(1)) {
      const { file, finished, first_tokens, generation_tokens } = one.truth
      const found = {
        finished: readCount(one, 'requests_per_second'),
        e2e: readValue(one, 'e2e_latency_window_observations'),
        queue: readValue(one, 'queue_time_window_observations'),
        first_tokens: readValue(one, 'ttft_window_observations'),
        generation_tokens: readCount(one, 'generation_tokens_per_second'),
      }
      const expected = { finished, e2e: finished, queue: finished }
      assert.deepEqual(found, { ...expected, first_tokens, generation_tokens }, file)
    }
  })

  claim('has exactly the prompt tokens that the text of the pages has', (all) => {
    for (const one of all.slice(1)) {
      const gained = gainedInText(one, 'vllm:prompt_tokens_total')
      assert.equal(readCount(one, 'prompt_tokens_per_second'), gained, one.truth.file)
    }
  })

  claim('divides by the time between the pages', (all) => {
    for (const one of all.slice(1)) {
      const { finished, t, since = 0, file } = one.truth
      assert.equal(readValue(one, 'requests_per_second'), finished / (t - since), file)
    }
  })

  claim('counts finished requests by the reasons of the truth', (all) => {
    for (const step of steps(all)) {
      const { by_reason, file } = step[1].truth
      const gained = gainedBy(step, { name: 'requests_finished_total', label: 'reason' })
      assert.deepEqual(gained, by_reason, file)
    }
  })

  claim('merges the buckets of the whole sequence into those of all its requests', (all) => {
    let finished = 0
    for (const one of all) {
      finished += one.truth.finished
      const top = { suffix: '_bucket', labels: { le: '+Inf' } }
      const found = readValue(one, 'e2e_latency_merged_seconds', top) ?? 0
      assert.equal(found, finished, one.truth.file)
    }
  })
}

function httpIsTrue(claim: Claims, version: string): void {
  claim('counts answers on serving paths by their class, and failures as they are', (all) => {
    for (const step of steps(all)) {
      const one = step[1]
      const expected = servingAnswers(one)
      assert.deepEqual(one.answers, expected, one.truth.file)
      const { '2xx': good = 0, '5xx': bad = 0 } = expected
      const { finished, http, by_reason, file } = one.truth
      const ended = gainedBy(step, { name: 'requests_ended_total', label: 'target' })
      assert.equal(total(ended), http === undefined ? finished : good + bad, file)
      const failed = gainedBy(step, { name: 'requests_failed_total', label: 'reason' })
      assert.equal(failed['http_5xx'] ?? 0, bad, file)
      assert.equal(failed['engine_error'] ?? 0, by_reason['error'] ?? 0, file)
    }
  })

  claim('publishes the error ratios that follow from the truth', (all) => {
    for (const one of all.slice(1)) {
      const { by_reason, http, file } = one.truth
      const { '2xx': good = 0, '5xx': bad = 0 } = servingAnswers(one)
      const errors = by_reason['error'] ?? 0
      // From 0.17 to 0.25 an answer of 5xx may be a bad request.
      const certain = /^0\.(1[7-9]|2[0-5])\./.test(version) ? errors : Math.max(errors, bad)
      const isKnown = http !== undefined && good + bad > 0
      const found = [readValue(one, 'error_ratio'), readValue(one, 'error_ratio_upper_bound')]
      const ratios = [certain / (good + bad), Math.min((errors + bad) / (good + bad), 1)]
      assert.deepEqual(found, isKnown ? ratios : [undefined, undefined], file)
      const why = isKnown ? undefined : http === undefined ? 'no-data' : 'no-traffic'
      assert.equal(whyAbsent(one, 'error_ratio'), why, file)
    }
  })
}

function latenciesAreTrue(claim: Claims): void {
  claim('has sums and counts whose ratio is the true mean', (all) => {
    for (const [earlier, one] of steps(all)) {
      for (const { stem, key, counted } of latencies) {
        const mean = one.truth[key]?.mean
        if (mean === undefined || mean === null) continue
        const sum = { suffix: '_sum' }
        const before = readValue(earlier, `${stem}_seconds`, sum) ?? 0
        const gained = (readValue(one, `${stem}_seconds`, sum) ?? Number.NaN) - before
        const found = gained / one.truth[counted]
        const text = `${one.truth.file} ${stem}: expected a mean of ${mean}, found ${found}`
        assert.ok(Math.abs(found - mean) <= rounding, text)
      }
    }
  })

  claim(
    'has no percentile where nothing was observed, and says that there was no traffic',
    (all) => {
      for (const one of all.slice(1)) {
        for (const { stem, counted } of latencies) {
          const why = one.truth[counted] === 0 ? 'no-traffic' : undefined
          for (const { q } of percentiles) {
            const found = whyAbsent(one, `${stem}_seconds`, { labels: { quantile: String(q) } })
            assert.equal(found, why, `${one.truth.file} ${stem}`)
          }
        }
      }
    },
  )
}

function quantilesAreTrue(claim: Claims): void {
  claim('publishes bounds between which every true percentile lies', (all) => {
    let held = 0
    for (const one of all.slice(1)) {
      for (const { stem, key, counted } of latencies) {
        for (const { q, named } of percentiles) {
          const truth = one.truth[key]?.[named]
          if (truth === undefined || truth === null) continue
          const bounds = boundsAround(one, stem, { q, n: one.truth[counted] })
          const text = `${one.truth.file} ${stem} ${named}: expected ${truth}`
          assert.ok(bounds !== undefined, text)
          const { lower, upper } = bounds
          const holds = lower - rounding <= truth && truth <= upper + rounding
          assert.ok(holds, `${text}, found ${lower} to ${upper}`)
          held += 1
        }
      }
    }
    assert.ok(held >= latencies.length * percentiles.length)
  })

  claim('publishes estimates that lie within their bounds and rise with the quantile', (all) => {
    for (const one of all.slice(1)) {
      for (const { stem, counted } of latencies) {
        if (one.truth[counted] === 0) continue
        let last = 0
        for (const { q } of percentiles) {
          const found = quantileOf(one, stem, q)
          const text = `${one.truth.file} ${stem} ${q}: found ${JSON.stringify(found)}`
          assert.ok(found !== undefined, text)
          assert.ok(found.lower <= found.value && found.value <= found.upper, text)
          assert.ok(found.value >= last, text)
          assert.equal(found.atLeast, found.upper === Number.POSITIVE_INFINITY, text)
          last = found.value
        }
      }
    }
  })
}

function stateIsTrue(claim: Claims): void {
  claim('shows what is running and waiting over all ranks', (all) => {
    for (const one of all.slice(1)) {
      const { running_at_end, waiting_at_end, file } = one.truth
      assert.equal(readValue(one, 'requests_running'), total(running_at_end), file)
      assert.equal(readValue(one, 'requests_waiting'), total(waiting_at_end), file)
      const usage = readValue(one, 'kv_cache_usage_ratio') ?? Number.NaN
      assert.ok(usage >= 0 && usage <= 1, `${file}: KV usage ${usage}`)
    }
  })

  claim('sees the engine asleep where the page says that it is not awake', (all) => {
    for (const { page, gauges, truth } of all) {
      const states = 'vllm:engine_sleep_state'
      const isTold = page.toString().includes(`${states}{`)
      const asleep = sumInText(page, states, 'sleep_state="awake"') === 0 ? 1 : 0
      const found = gauges.find(({ instrument }) => instrument === 'engine_asleep')?.value
      assert.equal(found, isTold ? asleep : undefined, truth.file)
    }
  })

  claim('counts a reset for every restart and for nothing else', (all) => {
    let restarts = 0
    for (const one of all) {
      if (one.truth.process_restarted_since_previous === true) restarts += 1
      assert.equal(readValue(one, 'resets_total'), restarts, one.truth.file)
    }
  })
}

/** The true answers but for those to GET, which ask the engine for no work. */
function servingAnswers(one: Replayed): Readonly<Record<string, number>> {
  const answers: Record<string, number> = {}
  for (const [status, count] of Object.entries(one.truth.http ?? {})) {
    const name = 'http_requests_total'
    const serving = count - gainedInText(one, name, 'method="GET"', `status="${status}"`)
    if (serving > 0) answers[status] = serving
  }
  return answers
}

function gainedInText(one: Replayed, name: string, ...having: readonly string[]): number {
  const before = one.pageBefore === undefined ? 0 : sumInText(one.pageBefore, name, ...having)
  return sumInText(one.page, name, ...having) - before
}

describe('a page captured from a live server', () => {
  const skip = missing ?? false
  const pages = capturedPages()

  it('is read whole, whatever its version', { skip }, () => {
    assert.ok(pages.size > 0)
    for (const [name, body] of pages) {
      const reading = readCaptured(body)
      assert.equal(reading.malformedLines, 0, name)
      assert.deepEqual(reading.leftOut, [], name)
      assert.ok(reading.capabilities.has('engine'), name)
    }
  })

  it('of 0.3 counts tokens and latencies, but no finished requests and no HTTP', { skip }, () => {
    const reading = readCaptured(pages.get('0.3.x-mixtral.prom'))
    assert.deepEqual([...reading.capabilities], ['engine'])
    assert.equal(numberOf(reading, 'prompt_tokens'), 14_025)
    assert.equal(numberOf(reading, 'generation_tokens'), 58_149)
    // The first number of a histogram is the count at its lowest edge, 1 s.
    assert.equal(numberOf(reading, 'e2e_latency'), 1)
    assert.equal(numberOf(reading, 'requests_finished'), undefined)
  })

  it('of 0.5 counts finished requests, but neither HTTP nor errors', { skip }, () => {
    const reading = readCaptured(pages.get('0.5.x-llama31-8b.prom'), '0.5.4')
    assert.deepEqual([...reading.capabilities], ['engine'])
    assert.equal(numberOf(reading, 'requests_finished'), 6)
    assert.equal(numberOf(reading, 'planned_gpu_memory_ratio'), 0.9)
    assert.equal(reading.processStartSeconds, 1_723_656_838.94)
    const waiting = reading.channels.filter(({ instrument }) => instrument === 'requests_waiting')
    const models = waiting.map(({ labels }) => labels['model_name'])
    assert.deepEqual(models, ['neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8', 'other/OTHER'])
  })
})

function readCaptured(body: Buffer | undefined, version?: string): Reading {
  assert.ok(body !== undefined)
  const parser = new ExpositionParser({ maxSamples: 9_999, maxLabels: 64, maxLabelBytes: 4_096 })
  // One of the files lost its last line feed on its way into the fixture; the server wrote it.
  const page = body.at(-1) === 0x0a ? body : Buffer.concat([body, Buffer.from('\n')])
  return new VllmDialect().translate(parser.parse(page, 'text'), { version })
}

function numberOf({ channels, values }: Reading, instrument: string): number | undefined {
  const channel = channels.find((one) => one.instrument === instrument)
  return channel === undefined ? undefined : values[channel.offset]
}
