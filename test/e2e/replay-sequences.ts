import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { repositoryRoot } from '../repository.ts'

/** Where recorded pages with known truth lie, beside a checkout that has them. */
export const recordedFolder = join(repositoryRoot, '..', 'shared', 'vllm-expositions')

/** What a test says that needs the recorded pages and has none; absent where they are there. */
export const missing = existsSync(recordedFolder)
  ? undefined
  : 'the recorded pages of ../shared/vllm-expositions are not here'

const percentile = z.number().nullish()
const percentiles = z.object({
  p50: percentile,
  p95: percentile,
  p99: percentile,
  mean: percentile,
})
const perRank = z.record(z.string(), z.number())

/** What really happened between two scrapes; the baseline has only its time. */
const intervalSchema = z.object({
  file: z.string(),
  t: z.number(),
  unix: z.number(),
  content_type: z.string(),
  since: z.number().optional(),
  process_restarted_since_previous: z.boolean().optional(),
  finished: z.number().default(0),
  by_reason: z.record(z.string(), z.number()).default({}),
  first_tokens: z.number().default(0),
  generation_tokens: z.number().default(0),
  http: z.record(z.string(), z.number()).optional(),
  running_at_end: perRank.default({}),
  waiting_at_end: perRank.default({}),
  e2e: percentiles.nullish(),
  ttft: percentiles.nullish(),
  queue: percentiles.nullish(),
})

const truthSchema = z.object({
  name: z.string(),
  model_name: z.string(),
  intervals: z.array(intervalSchema).min(2),
})

export type Interval = z.infer<typeof intervalSchema>

/** The pages of one server in order, and the truth about them. */
export interface Sequence {
  readonly name: string
  readonly model: string
  /** What `GET /version` answers, from the folder's name: `v1-0.27-spec` is a 0.27. */
  readonly version: string
  readonly intervals: readonly Interval[]
  readonly pages: readonly Buffer[]
}

/** Every sequence there is: a folder that is added is tested by itself. */
export function recordedSequences(): readonly Sequence[] {
  if (missing !== undefined) return []
  return readdirSync(recordedFolder)
    .filter((name) => existsSync(join(recordedFolder, name, 'truth.json')))
    .sort()
    .map(readSequence)
}

/** The pages scraped from live servers, by the names of their files. */
export function capturedPages(): ReadonlyMap<string, Buffer> {
  const folder = join(recordedFolder, 'captured')
  const names = existsSync(folder) ? readdirSync(folder).sort() : []
  return new Map(names.map((name) => [name, readFileSync(join(folder, name))]))
}

function readSequence(name: string): Sequence {
  const folder = join(recordedFolder, name)
  const truth = truthSchema.parse(JSON.parse(readFileSync(join(folder, 'truth.json'), 'utf8')))
  const version = /^v\d+-(\d+\.\d+(?:\.\d+)?)/.exec(name)?.[1]
  if (version === undefined) throw new Error(`expected a version in the folder name ${name}`)
  return {
    name,
    model: truth.model_name,
    version: version.split('.').length === 2 ? `${version}.0` : version,
    intervals: truth.intervals,
    pages: truth.intervals.map(({ file }) => readFileSync(join(folder, file))),
  }
}

/**
 * Adds up the samples of a family straight from the text of a page, as a person with grep would: to check
 * the reading of a page by other means than its own. Every text of `having` must be in the line.
 */
export function sumInText(page: Buffer, name: string, ...having: readonly string[]): number {
  let sum = 0
  for (const line of page.toString().split('\n')) {
    if (!line.startsWith(`${name}{`) || !having.every((text) => line.includes(text))) continue
    // The value is the last word: no timestamp and no exemplar follows it in these pages.
    sum += Number(line.slice(line.lastIndexOf(' ') + 1))
  }
  return sum
}
