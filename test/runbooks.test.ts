import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { basename, join } from 'node:path'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { parse, stringify } from 'yaml'
import { builtinRules } from '../src/rules/builtin.ts'
import { spanText } from '../src/rules/words.ts'
import { MetricsPage, metricsOffers } from '../src/web/metrics.ts'
import { statusBody } from '../src/web/status.ts'
import { httpServer } from './fakes/local-server.ts'
import { startPrometheus } from './fakes/prometheus.ts'
import { fullSnapshot } from './fakes/snapshots.ts'
import { findProgram, repositoryRoot } from './repository.ts'
import { about } from './web/serving.ts'

const folder = join(repositoryRoot, 'docs', 'runbooks')
const index = readFileSync(join(folder, 'README.md'), 'utf8')

/** How severe an alert is, and for how long its condition holds before it rings. */
type Grade = readonly [severity: string, holds: string]

/** What only Prometheus can ring: the daemon that is gone, and budgets, which page or open a ticket. */
const burn: readonly Grade[] = [
  ['critical', '2 m'],
  ['warning', '15 m'],
]
const grades: ReadonlyMap<string, readonly Grade[]> = new Map([
  ...builtinRules.map(
    ({ name, severity, forMs }) => [name, [[severity, spanText(forMs)]] as const] as const,
  ),
  ['VllmVitalsDown', [['critical', '2 m']]],
  ['VllmLatencyBudgetBurn', burn],
  ['VllmErrorBudgetBurn', burn],
])

interface Runbook {
  readonly name: string
  readonly text: string
  readonly lines: readonly string[]
}

const runbooks: readonly Runbook[] = readdirSync(folder)
  .filter((file) => file !== 'README.md')
  .sort()
  .map((file) => {
    const text = readFileSync(join(folder, file), 'utf8')
    return { name: basename(file, '.md'), text, lines: text.trimEnd().split('\n') }
  })

const headings = [
  'Meaning',
  'Impact',
  'What to look at',
  'What to do',
  'Often mistaken for',
  'Sources',
]

/** The bodies of the second-level sections, by their headings. */
function sectionsOf({ text }: Runbook): ReadonlyMap<string, string> {
  const [, ...parts] = `\n${text}`.split(/\n## /)
  return new Map(
    parts.map((part) => {
      const end = part.indexOf('\n')
      return [part.slice(0, end), part.slice(end).trim()] as const
    }),
  )
}

interface Block {
  readonly page: string
  readonly code: string
}

/** All fenced blocks of a language, each with its page. */
function blocksOf(language: string): readonly Block[] {
  const pages = [...runbooks, { name: 'README', text: index }]
  return pages.flatMap(({ name, text }) =>
    [...text.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, 'gm'))].map(
      ([, code = '']) => ({ page: name, code }),
    ),
  )
}

/** A block may hold several queries, with an empty line between them. */
const queries = blocksOf('promql').flatMap(({ page, code }) =>
  code
    .trim()
    .split(/\n{2,}/)
    .map((query) => ({ page, code: query })),
)

describe('the runbooks', () => {
  it('are one for each alert, and one alone', () => {
    assert.deepEqual(
      runbooks.map(({ name }) => name),
      [...grades.keys()].sort(),
    )
  })

  it('are there for every alert that Prometheus is given, with its grades', () => {
    const daemons = new Set<string>(builtinRules.map(({ name }) => name))
    for (const { alert, holds, severity } of alertingRules()) {
      const own = grades.get(alert)
      assert.ok(own !== undefined, `expected a runbook of ${alert}, found none`)
      // The alerts of the daemon have waited already, and only a configuration grades them otherwise.
      if (daemons.has(alert)) continue
      const isTold = own.some(([told, span]) => told === severity && span === holds)
      assert.ok(isTold, `expected ${alert} ${severity} for ${holds} among ${own.join('; ')}`)
    }
  })

  for (const runbook of runbooks) {
    const { name, lines } = runbook

    it(`name ${name} first, then how severe it is and how long it holds, then what to do`, () => {
      const [title, grade = '', first = ''] = lines
      assert.equal(title, `# ${name}`)
      const told = [...grade.matchAll(/Severity: (\w+)\. For: ([^.]+)\./g)]
      assert.deepEqual(
        told.map(([, severity, holds]) => [severity, holds]),
        grades.get(name),
      )
      assert.equal(told.map(([whole]) => whole).join(' '), grade)
      assert.match(first, /^\*\*Now:\*\* .{40,}/)
    })

    it(`have of ${name} the sections in their order, each with something in it`, () => {
      const sections = sectionsOf(runbook)
      assert.deepEqual([...sections.keys()], headings)
      const empty = [...sections].filter(([, body]) => body.length < 40)
      assert.deepEqual(empty, [])
      assert.ok(lines.length >= 60 && lines.length <= 140, `${lines.length} lines`)
    })

    it(`show for ${name} commands and queries to look with, and steps to take in order`, () => {
      const sections = sectionsOf(runbook)
      const look = sections.get('What to look at') ?? ''
      assert.ok(look.includes('```sh') && look.includes('```promql'))
      const steps = [...(sections.get('What to do') ?? '').matchAll(/^(\d+)\. /gm)]
      assert.ok(steps.length >= 4)
      assert.deepEqual(
        steps.map(([, number]) => Number(number)),
        steps.map((_, i) => i + 1),
      )
    })

    it(`give the sources of ${name}, each as a link`, () => {
      const sources = (sectionsOf(runbook).get('Sources') ?? '').split('\n')
      const unlike = sources.filter(
        (line) => !/^- .+: https:\/\/\S+(?:(?:,| and) https:\/\/\S+)*$/.test(line),
      )
      assert.deepEqual(unlike, [])
    })
  }
})

describe('the index of the runbooks', () => {
  it('has a row for each alert, in the order of the catalogue, with its severities', () => {
    const rows = [...index.matchAll(/^\| \[(\w+)\]\((\w+)\.md\) \| ([\w, ]+) \| .+ \|$/gm)]
    assert.deepEqual(
      rows.map(([, name, file, severities]) => [name, file, severities]),
      [...grades].map(([name, own]) => [name, name, own.map(([severity]) => severity).join(', ')]),
    )
  })
})

describe('what the runbooks tell to run', () => {
  it('is in languages that are looked at here', () => {
    const others = [...runbooks, { name: 'README', text: index }].flatMap(({ name, text }) =>
      [...text.matchAll(/^ *```(.*)$/gm)]
        .filter(
          ([line, language = '']) =>
            line.startsWith(' ') || !['', 'sh', 'promql'].includes(language),
        )
        .map(([line]) => `${name}: ${line}`),
    )
    assert.deepEqual(others, [])
  })

  it('is sound shell', () => {
    for (const { page, code } of blocksOf('sh')) {
      assert.equal(complaintOf('bash', ['-n'], code), undefined, page)
    }
  })

  it('asks the daemon, with jq, for what its answers have', (context) => {
    const jq = findProgram('jq')
    if (jq === undefined) return context.skip('jq is not on PATH')
    const input = JSON.stringify(statusBody(fullSnapshot(), about))
    const asked = blocksOf('sh').flatMap(({ page, code }) =>
      [...code.matchAll(/19400\/api\/v1\/status \| jq '([^']+)'/g)].map(([, filter = '']) => ({
        page,
        filter,
      })),
    )
    assert.ok(asked.length > 10)
    for (const { page, filter } of asked) {
      assert.equal(complaintOf(jq, [filter], input), undefined, `${page}: ${filter}`)
      assert.deepEqual(
        picked(filter).filter((field) => !input.includes(`"${field}":`)),
        [],
        `${page}: ${filter}`,
      )
    }
  })

  it('asks Prometheus in queries that it takes, and that find what they put together', async (context) => {
    if (findProgram('prometheus') === undefined) return context.skip('Prometheus is not on PATH')
    const daemon = await httpServer(await pageOfDaemon())
    const prometheus = await startPrometheus(scraping(daemon.origin))
    try {
      const seen = async () => (await prometheus.query('up == 1')).length > 0
      for (let i = 0; i < 100 && !(await seen()); i += 1) await sleep(100)
      for (const { page, code } of queries) {
        const found = await prometheus.query(code)
        // Series whose labels differ find no partner, and say nothing, which looks like good news.
        if (puts(code)) assert.ok(found.length > 0, `${page}: nothing found by ${code}`)
      }
    } finally {
      await Promise.all([prometheus.stop(), daemon.stop()])
    }
  })

  it('asks Prometheus for nothing that neither it nor the daemon nor the rules have', () => {
    // Names of the daemon, and of the rules, are held to what there is in docs.test.ts.
    const own = /^(?:\w+:)?vllm_vitals_\w+/
    const ofPrometheus = new Set(['up', 'scrape_duration_seconds'])
    assert.ok(queries.length > 50)
    const unknown = queries.flatMap(({ page, code }) =>
      metricsIn(code)
        .filter((name) => !own.test(name) && !ofPrometheus.has(name))
        .map((name) => `${page}: ${name}`),
    )
    assert.deepEqual(unknown, [])
  })
})

/** What a program says when it does not end well. */
function complaintOf(program: string, args: readonly string[], input: string): string | undefined {
  const { status, stderr } = spawnSync(program, args, { input, encoding: 'utf8' })
  return status === 0 ? undefined : `ended with ${status}: ${stderr}`
}

/** The names of series in a query: words that are no label, no string, no duration, no operator and no function. */
function metricsIn(query: string): readonly string[] {
  const bare = query
    .replaceAll(/"[^"]*"/g, '')
    .replaceAll(/\{[^}]*\}/g, '')
    .replaceAll(/\[[^\]]*\]/g, '')
    .replaceAll(/\b(?:by|without|on|ignoring|group_left|group_right) *\([^)]*\)/g, '')
    .replaceAll(/\boffset \w+/g, '')
  const words = bare.match(/\b[a-zA-Z_:][\w:]*(?! *\()\b(?! *\()/g) ?? []
  const operators = new Set(['and', 'or', 'unless', 'bool', 'sum', 'max', 'min', 'count'])
  return words.filter((word) => !operators.has(word))
}

/** Whether a query puts several series of the daemon together, all of them as they are now. */
function puts(query: string): boolean {
  const names = new Set(metricsIn(query).filter((name) => name.startsWith('vllm_vitals_')))
  return names.size > 1 && !query.includes('offset')
}

/** Answers like a daemon that can tell everything, and whose vLLM told its plan. */
async function pageOfDaemon(): Promise<RequestListener> {
  const [offer] = metricsOffers
  const page = new MetricsPage({ about, lastReloadSuccessful: () => true })
  const body = (await page.render(fullSnapshot(), offer)).toString()
  const [labels = ''] = /(?<=^vllm_vitals_gpu_memory_used_bytes)\{.*\}/m.exec(body) ?? []
  const plan = `vllm_vitals_gpu_memory_planned_bytes${labels} 1\n`
  return (_request, response) =>
    void response.setHeader('content-type', offer.contentType).end(plan + body)
}

function scraping(origin: string): string {
  return stringify({
    global: { scrape_interval: '1s' },
    scrape_configs: [
      { job_name: 'vllm-vitals', static_configs: [{ targets: [new URL(origin).host] }] },
    ],
  })
}

/** The fields that a filter of jq picks from an object: `{name, state}`. */
function picked(filter: string): readonly string[] {
  const [, fields = ''] = /\{([\w, ]+)\}/.exec(filter) ?? []
  return fields === '' ? [] : fields.split(',').map((field) => field.trim())
}

/** The alerts of the rules that are checked in, `for` written as people read it. */
function alertingRules(): readonly {
  readonly alert: string
  readonly holds: string
  readonly severity: string | undefined
}[] {
  const file = join(repositoryRoot, 'config', 'prometheus', 'vllm-vitals.rules.yaml')
  const { groups } = parse(readFileSync(file, 'utf8')) as {
    readonly groups: readonly { readonly rules: readonly RuleOfPrometheus[] }[]
  }
  return groups
    .flatMap(({ rules }) => rules)
    .flatMap(({ alert, for: holds = '0s', labels }) =>
      alert === undefined
        ? []
        : [{ alert, holds: holds.replace(/^(\d+)/, '$1 '), severity: labels?.['severity'] }],
    )
}

interface RuleOfPrometheus {
  readonly alert?: string
  readonly for?: string
  readonly labels?: Readonly<Record<string, string>>
}
