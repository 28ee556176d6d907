import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parse, stringify } from 'yaml'
import { makeFiles } from '../../../src/generate/generate.ts'
import { configOf } from '../../config/with-file.ts'
import { type Prometheus, startPrometheus } from '../../fakes/prometheus.ts'
import { onlyJob, type Question } from './boards.ts'

const run = promisify(execFile)

interface Rule {
  readonly record?: string
  readonly alert?: string
  readonly expr: string
  readonly for?: string
}

interface Rules {
  readonly groups: readonly {
    readonly name: string
    readonly interval?: string
    readonly rules: readonly Rule[]
  }[]
}

/** The step of range queries, seconds. */
const stepSeconds = 30

/**
 * A Prometheus that holds `history`, evaluates the generated rules on it each second, and scrapes `addresses`.
 */
export async function startFilledPrometheus(options: {
  readonly history: string
  readonly addresses: readonly string[]
}): Promise<Prometheus> {
  const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-filled-'))
  try {
    const file = join(folder, 'history.txt')
    const data = join(folder, 'data')
    await writeFile(file, options.history)
    await run('promtool', ['tsdb', 'create-blocks-from', 'openmetrics', file, data])
    const rules = join(folder, 'rules.yaml')
    await writeFile(rules, stringify(await rulesEachSecond()))
    const config = {
      global: { scrape_interval: '1s', scrape_timeout: '900ms', evaluation_interval: '1s' },
      rule_files: [rules],
      scrape_configs: [
        { job_name: onlyJob, static_configs: [{ targets: options.addresses }] },
        // Somebody else's, and not there.
        { job_name: 'other', static_configs: [{ targets: ['127.0.0.1:2'] }] },
      ],
    }
    const prometheus = await startPrometheus(stringify(config), data)
    return {
      ...prometheus,
      stop: async () => {
        await prometheus.stop()
        await rm(folder, { recursive: true, force: true })
      },
    }
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    throw error
  }
}

/** The generated rules, in a hurry: evaluated each second, and ringing at once. */
async function rulesEachSecond(): Promise<Rules> {
  const files = await makeFiles('prometheus-rules', await configOf({}))
  const groups = files.flatMap(({ text }) => (parse(text) as Rules).groups)
  return {
    groups: groups.map((group) => ({
      ...group,
      interval: '1s',
      rules: group.rules.map(({ for: _, ...rule }) => rule),
    })),
  }
}

type Labels = Readonly<Record<string, string>>

interface Answer {
  readonly status: string
  readonly error?: string
  readonly data?: { readonly result: readonly { readonly metric: Labels }[] }
}

/** The labels of what answers a question whose variables are filled in; throws when Prometheus refuses it. */
export async function seriesOf(
  prometheus: Prometheus,
  { where, expr, instant }: Question,
  span: { readonly fromSeconds: number; readonly toSeconds: number },
): Promise<readonly Labels[]> {
  const query = encodeURIComponent(expr)
  const path = instant
    ? `query?query=${query}&time=${span.toSeconds}`
    : `query_range?query=${query}&start=${span.fromSeconds}&end=${span.toSeconds}&step=${stepSeconds}`
  const answer = (await prometheus.ask(`/api/v1/${path}`)) as Answer
  if (answer.data === undefined) throw new Error(`${where}: ${answer.error}: ${expr}`)
  return answer.data.result.map(({ metric }) => metric)
}
