import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { ExpositionParser } from '../../src/exposition/parse.ts'
import { seeded } from '../bench/loads.ts'
import { findProgram, repositoryRoot } from '../repository.ts'
import { freshOutcomeOf, limits, type Outcome, outcomeOf } from './outcome.ts'

const recordings = join(repositoryRoot, '../shared/vllm-expositions')
const promtool = findProgram('promtool')
// Debian's package is for Debian's own Python, which need not be the first on PATH.
const python = [findProgram('python3') ?? 'python3', '/usr/bin/python3'].find(
  (program) => spawnSync(program, ['-c', 'import prometheus_client']).status === 0,
)

/** A small page with all that is easy to get wrong, in the words of vLLM. */
const page = `# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a/b"} 3.0
vllm:num_requests_running{engine="1",model_name="a/b"} 12
# HELP vllm:request_success_total Count of successfully processed requests.
# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="a/b"} 1.234567e+06
vllm:request_success_total{engine="0",finished_reason="a \\"b\\" \\\\ c\\n",model_name="é"} 0.5
# HELP vllm:e2e_request_latency_seconds Histogram of e2e request latency in seconds.
# TYPE vllm:e2e_request_latency_seconds histogram
vllm:e2e_request_latency_seconds_bucket{engine="0",le="0.3",model_name="a/b"} 4.0
vllm:e2e_request_latency_seconds_bucket{engine="0",le="+Inf",model_name="a/b"} 10.0
vllm:e2e_request_latency_seconds_count{engine="0",model_name="a/b"} 10.0
vllm:e2e_request_latency_seconds_sum{engine="0",model_name="a/b"} 12.30000000000000426
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.76522e+09 1395066363000
`
/** What takes the place of a piece of the page, or comes into it. */
const pieces = [
  '"',
  '\\',
  '{',
  '}',
  ',',
  '=',
  ' ',
  '\n',
  '#',
  '\t',
  'e',
  '.',
  '0',
  '9',
  '-',
  '+',
  '_',
  ':',
  'x',
  '\r',
  'é',
  '\0',
]

function mutated(random: () => number): string {
  const at = Math.floor(random() * page.length)
  const piece = pieces[Math.floor(random() * pieces.length)] ?? ''
  const cut = Math.floor(random() * 3)
  return page.slice(0, at) + (random() < 0.3 ? '' : piece) + page.slice(at + cut)
}

/** Whether all of the page was taken, nothing left out. */
function isWhole(outcome: Outcome): boolean {
  if (outcome.kind === 'refused' || outcome.malformedLines > 0) return false
  return Object.keys(outcome.limitHits).length === 0
}

describe('a page that was changed a little', () => {
  it('is taken whole where promtool takes it, and nowhere else', {
    skip: promtool === undefined && 'promtool is not installed',
  }, () => {
    const random = seeded(20)
    const told = { taken: 0, refused: 0 }
    for (let run = 0; run < 40; run += 1) {
      const text = mutated(random)
      const { status, stderr } = spawnSync(promtool ?? '', ['check', 'metrics'], {
        input: text,
        encoding: 'utf8',
      })
      // 0 is a good page, 3 one whose names or helps could be better, 1 one that cannot be read.
      assert.ok(status === 0 || status === 1 || status === 3, stderr)
      told[status === 1 ? 'refused' : 'taken'] += 1
      // Three things are left to others: an unknown escape is kept as Prometheus' scrape parser keeps
      // it, the edges of buckets concern whoever knows histograms, and HELP is a text like any comment.
      const line = text.split('\n')[Number(/in line (\d+)/.exec(stderr)?.[1]) - 1]
      const lenient =
        /invalid escape sequence|expected float as value for 'le' label/.test(stderr) ||
        /^[ \t]*#[ \t]*HELP[ \t]/.test(line ?? '')
      if (status === 1 && lenient) continue
      assert.equal(isWhole(freshOutcomeOf(text)), status !== 1, `${stderr}\n${text}`)
    }
    // Otherwise the comparison would be one of nothing.
    assert.ok(told.taken >= 5 && told.refused >= 5, JSON.stringify(told))
  })

  it('gives no value of a sample but one that stands on its line', () => {
    const random = seeded(21)
    for (let run = 0; run < 3000; run += 1) {
      const text = mutated(random)
      const outcome = freshOutcomeOf(text)
      if (outcome.kind === 'refused') continue
      const lines = text.split('\n')
      for (const [name, labels, value] of outcome.samples) {
        const matching = lines.filter((line) => {
          const words = line
            .trim()
            .split(/[ \t}]+/)
            .slice(-2)
            .map(Number)
          return line.trimStart().startsWith(name) && words.some((word) => Object.is(word, value))
        })
        assert.ok(matching.length > 0, `${name} ${JSON.stringify(labels)} ${value} in\n${text}`)
      }
    }
  })
})

const program = `
import json, sys
from prometheus_client.parser import text_string_to_metric_families
for text in json.load(sys.stdin):
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[json.dumps([sample.name, sorted(sample.labels.items())])] = repr(float(sample.value))
    print(json.dumps(samples))
`

/** Returns what prometheus_client reads: values by name and sorted labels, both as JSON. */
function readByPython(texts: readonly string[]): readonly unknown[] {
  const { stdout, stderr, status } = spawnSync(python ?? '', ['-c', program], {
    input: JSON.stringify(texts),
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  })
  assert.equal(status, 0, stderr)
  return stdout
    .trim()
    .split('\n')
    .map((line): unknown => JSON.parse(line))
}

/** The same of ours. Python's names for the values that are no numbers are in lower case. */
function readByUs(text: string): Readonly<Record<string, number>> {
  const outcome = freshOutcomeOf(text)
  assert.ok(outcome.kind === 'page')
  return Object.fromEntries(
    outcome.samples.map(([name, labels, value], index) => {
      const sorted = labels.toSorted(([one], [other]) => (one < other ? -1 : 1))
      // Python calls every counter so, as OpenMetrics does.
      const isCounter = outcome.owners[index]?.endsWith(' counter') ?? false
      const full = isCounter && !name.endsWith('_total') ? `${name}_total` : name
      return [JSON.stringify([full, sorted]), value]
    }),
  )
}

function recordedPages(): readonly (readonly [name: string, body: Uint8Array])[] {
  if (!existsSync(recordings)) return []
  return readdirSync(recordings, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(prom|txt)$/.test(name))
    .sort()
    .map((name) => {
      const body = readFileSync(join(recordings, name))
      // One capture lost its last line feed in somebody's editor; its server had written it.
      return [name, body.at(-1) === 0x0a ? body : Buffer.concat([body, Buffer.from('\n')])]
    })
}

describe('a recorded page of vLLM', () => {
  const skip = !existsSync(recordings) && 'the folder ../shared is not there'
  const pages = recordedPages()

  it('is read without a malformed line, and every value is that of its line', { skip }, () => {
    assert.ok(pages.length > 0)
    for (const [name, body] of pages) {
      const lines = Buffer.from(body).toString().split('\n')
      const samples = lines.filter((line) => line !== '' && !line.startsWith('#'))
      const outcome = freshOutcomeOf(body, lines.includes('# EOF') ? 'openmetrics' : 'text')
      assert.ok(outcome.kind === 'page', name)
      assert.ok(isWhole(outcome), name)
      assert.equal(outcome.samples.length, samples.length, name)
      for (const [index, line] of samples.entries()) {
        // None of these pages has a timestamp, and behind the last brace or blank there is one number.
        const written = line.slice(Math.max(line.lastIndexOf('}'), line.lastIndexOf(' ')) + 1)
        assert.equal(outcome.samples[index]?.[2], Number(written), `${name}: ${line}`)
      }
    }
  })

  it('has a type for every sample that vLLM gave one', { skip }, () => {
    for (const [name, body] of pages) {
      const openmetrics = Buffer.from(body).includes('# EOF')
      const outcome = freshOutcomeOf(body, openmetrics ? 'openmetrics' : 'text')
      assert.ok(outcome.kind === 'page', name)
      const untyped = outcome.owners.filter((owner) => owner.endsWith(' unknown'))
      assert.deepEqual(untyped, [], name)
    }
  })

  it('is read the same after the one before it', { skip }, () => {
    const parser = new ExpositionParser(limits)
    for (const [name, body] of pages) {
      const format = Buffer.from(body).includes('# EOF') ? 'openmetrics' : 'text'
      assert.deepEqual(outcomeOf(parser, body, format), freshOutcomeOf(body, format), name)
    }
  })
})

describe('what prometheus_client reads', () => {
  it('is what we read, of every recorded page and of ours', {
    skip: python === undefined && 'python3 has no prometheus_client',
  }, () => {
    const texts = [page, ...recordedPages().map(([, body]) => Buffer.from(body).toString())]
    const plain = texts.filter((text) => !text.includes('# EOF'))
    for (const [index, theirs] of readByPython(plain).entries()) {
      const ours = readByUs(plain[index] ?? '')
      assert.ok(typeof theirs === 'object' && theirs !== null)
      // Python spells JSON in its own way, so its keys are read and written anew.
      const respelled = Object.entries(theirs).map(([key, written]) => {
        return [JSON.stringify(JSON.parse(key)), Number(written)] as const
      })
      assert.deepEqual(Object.fromEntries(respelled), ours)
    }
  })
})
