import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { configSchema } from '../src/config/schema.ts'
import { scenarioNames } from '../src/demo/scenarios.ts'
import { pains } from '../src/finding.ts'
import { pushMeasured } from '../src/push/pusher.ts'
import { builtinRules } from '../src/rules/builtin.ts'
import { compare } from '../src/rules/shares.ts'
import { spanText } from '../src/rules/words.ts'
import { MetricsPage, metricsOffers } from '../src/web/metrics.ts'
import { fullSnapshot } from './fakes/snapshots.ts'
import { repositoryRoot } from './repository.ts'
import { about } from './web/serving.ts'

const textOf = (path: string) => readFileSync(join(repositoryRoot, path), 'utf8')
const pages = [
  'README.md',
  'CHANGELOG.md',
  'config/vllm-vitals.yaml',
  ...readdirSync(join(repositoryRoot, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md'))
    .map((path) => join('docs', path)),
].map((path) => ({ path, text: textOf(path) }))

const verdicts = textOf('docs/verdicts.md')

/** What `pattern` finds in all pages, each with the page that has it. */
function found(pattern: RegExp): readonly { readonly path: string; readonly name: string }[] {
  return pages.flatMap(({ path, text }) =>
    [...text.matchAll(pattern)].map(([, name = '']) => ({ path, name })),
  )
}

/** The cells of the rows of a table whose first cell is `first`. */
function rowOf(text: string, first: string): readonly string[] {
  const row = text.split('\n').find((line) => line.startsWith(`| ${first} |`))
  assert.ok(row !== undefined, `expected a row for ${first}, found none`)
  return row.split('|').map((cell) => cell.trim())
}

describe('docs/verdicts.md', () => {
  for (const { name, severity, forMs } of builtinRules) {
    it(`says of ${name} how severe it is and how long its condition has to hold`, () => {
      assert.deepEqual(rowOf(verdicts, `\`${name}\``).slice(2, 4), [severity, spanText(forMs)])
    })
  }

  it('has a row for each kind of trouble, in their order', () => {
    const rows = [...verdicts.matchAll(/^\| (P\d+) \|/gm)].map(([, pain]) => pain)
    assert.deepEqual(rows, Object.keys(pains))
  })

  it('says right how many of how many are too many for certain', () => {
    const rows = [...verdicts.matchAll(/^\| (\d[\d ]*) \| (\d+) \| (\d+) \|$/gm)]
    assert.ok(rows.length > 5)
    for (const [, count = '', ofHundred, ofTwenty] of rows) {
      const fewest = (allowed: number) => {
        let over = 0
        const all = Number(count.replaceAll(' ', ''))
        while (compare(over, all, allowed).outcome !== 'fail') over += 1
        return String(over)
      }
      assert.deepEqual([ofHundred, ofTwenty], [fewest(0.01), fewest(0.05)], `of ${count}`)
    }
  })

  it('shows a configuration that is valid', () => {
    const [, example] = /```yaml\n([\s\S]*?)```/.exec(verdicts) ?? []
    assert.equal(configSchema.safeParse(parse(example ?? '')).success, example !== undefined)
  })
})

describe('the README', () => {
  for (const { name, forMs } of builtinRules) {
    it(`says how long the condition of ${name} has to hold`, () => {
      assert.equal(rowOf(textOf('README.md'), `\`${name}\``)[3], spanText(forMs))
    })
  }
})

describe('the documentation', () => {
  it('names only metrics that can be published', async () => {
    const tally = { sent: 1, failed: 0, dropped: 0, queueLength: 0, lastSuccessMs: 1 }
    const page = new MetricsPage({
      about,
      lastReloadSuccessful: () => true,
      ownMeasured: () => pushMeasured([{ url: 'http://alertmanager:9093', tally }]),
    })
    const [offer] = metricsOffers
    const body = (await page.render(fullSnapshot(), offer)).toString()
    const published = new Set([...body.matchAll(/^(\w+)[{ ]/gm)].map(([, name]) => name))
    // These three need half an hour of readings, or vLLM's word on its plan, to arise.
    for (const late of ['planned_bytes', 'growth_bytes_per_second', 'seconds_to_full']) {
      published.add(`vllm_vitals_gpu_memory_${late}`)
    }
    const named = found(/(?<![\w:])(vllm_vitals_\w+)/g)
    assert.ok(named.length > 10)
    assert.deepEqual(
      named.filter(({ name }) => !published.has(name)),
      [],
    )
  })

  it('names only metrics of vLLM that docs/vllm-metrics.md explains', () => {
    const explained = textOf('docs/vllm-metrics.md')
    const named = found(/(?<![\w:])(vllm:[a-z_]+[a-z])/g)
    assert.ok(named.length > 10)
    assert.deepEqual(
      named.filter(({ name }) => !explained.includes(name)),
      [],
    )
  })

  it('names only series that the rules of Prometheus record', () => {
    const rules = textOf('config/prometheus/vllm-vitals.rules.yaml')
    const recorded = new Set([...rules.matchAll(/record: (\S+)/g)].map(([, name]) => name))
    const named = found(/(?<![\w:])([a-z_]+:vllm_vitals_[\w:]*\w)/g)
    assert.deepEqual(
      named.filter(({ name }) => !recorded.has(name)),
      [],
    )
  })

  it('names only scenarios that there are', () => {
    const named = found(/--(?:scenario|only)=([\w-]+(?:,[\w-]+)*)/g).flatMap(({ path, name }) =>
      name.split(',').map((one) => ({ path, name: one })),
    )
    assert.ok(named.length > 3)
    assert.deepEqual(
      named.filter(({ name }) => !scenarioNames.includes(name)),
      [],
    )
  })

  it('links only to files that there are, and to headings that they have', () => {
    const broken = pages.flatMap(({ path, text }) =>
      [...text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].flatMap(
        ([, to = '', anchor]) => {
          const file = to === '' ? path : join(path, '..', to)
          const there = pages.find((page) => page.path === file)
          if (anchor === undefined) return existing(file) ? [] : [`${path}: ${file}`]
          const headings = [...(there?.text ?? '').matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
            title
              .toLowerCase()
              .replaceAll(/[^\w -]/g, '')
              .replaceAll(' ', '-'),
          )
          return headings.includes(anchor) ? [] : [`${path}: ${file}#${anchor}`]
        },
      ),
    )
    assert.deepEqual(broken, [])
  })
})

function existing(path: string): boolean {
  return existsSync(join(repositoryRoot, path))
}
