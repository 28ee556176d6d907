import type { Exposition } from '../exposition/exposition.ts'
import type { Plan } from './plan.ts'
import { isAtLeast, parseVersion, type Version } from './version.ts'

/**
 * What a vLLM page of the version at hand can tell beyond its numbers; members of `Reading.capabilities`.
 *
 * - `engine`: the page has families of vLLM at all
 * - `engine-errors`: among the finished requests it names those that the engine failed
 * - `http`: it counts HTTP answers by status
 * - `http-certain`: every 5xx among them is a failure of the server
 * - `http-at-end`: it counts an answer when that has ended, so that each client that hangs up ends one
 */
export type VllmCapability = 'engine' | 'engine-errors' | 'http' | 'http-certain' | 'http-at-end'

/** What can be known of a server beyond its numbers, and what cannot. */
export interface Sight {
  readonly capabilities: ReadonlySet<VllmCapability>
  /** Sentences for a person. */
  readonly blindSpots: readonly string[]
}

/** Versions from the first up to, and without, the second; without end where there is no second. */
type Versions = readonly [from: Numbers, until?: Numbers]
type Numbers = readonly [major: number, minor: number, patch: number]

/** vLLM finishes requests that it failed with the reason `error`, which earlier ones leave out. */
const namesErrors: Versions = [[0, 13, 0]]

/** Some bad requests, though answered with 4xx, are counted as 5xx. */
const countsBadRequestsAs5xx: Versions = [
  [0, 17, 0],
  [0, 26, 0],
]

/**
 * Tells what can be known of a server, by what its page declares and by the version it says it is. An
 * unknown version counts as the newest.
 */
export function sightOf(
  { families }: Pick<Exposition, 'families'>,
  { channels, declared }: Pick<Plan, 'channels' | 'declared'>,
  versionText: string | undefined,
): Sight {
  const version = parseVersion(versionText)
  const capabilities = new Set<VllmCapability>()
  for (const family of families.keys()) {
    if (family.startsWith('vllm:')) capabilities.add('engine')
  }
  const hasError = channels.some(
    ({ instrument, labels }) => instrument === 'requests_finished' && labels['reason'] === 'error',
  )
  if (hasError || (declared.has('requests_finished') && isOf(version, namesErrors))) {
    capabilities.add('engine-errors')
  }
  if (declared.has('http_answers')) {
    capabilities.add('http')
    if (!isOf(version, countsBadRequestsAs5xx)) capabilities.add('http-certain')
    // The front end that counts streams as they begin has no histogram of steps; the other one always has.
    if (declared.has('engine_steps')) capabilities.add('http-at-end')
  }
  return { capabilities, blindSpots: blindSpotsOf(capabilities, declared) }
}

function blindSpotsOf(
  capabilities: ReadonlySet<VllmCapability>,
  declared: Plan['declared'],
): readonly string[] {
  const http = capabilities.has('http')
  const engineErrors = capabilities.has('engine-errors')
  const spots: string[] = []
  if (!http && !engineErrors) {
    spots.push(
      'Failures cannot be seen: this version counts neither HTTP answers nor requests that the engine failed.',
    )
  }
  spots.push('Requests that clients aborted are counted nowhere by the Python front end.')
  if (http) spots.push('Answers of 401 are never counted.')
  if (!capabilities.has('http-at-end')) {
    spots.push(
      'Whether clients have hung up cannot be told from the answers counted, so that a hang with requests inside is only suspected unless the GPUs prove it.',
    )
  }
  if (http && !capabilities.has('http-certain')) {
    spots.push('This version counts some bad requests as 5xx: they are in the upper bound alone.')
  }
  if (http && !engineErrors) {
    spots.push('A failure in the middle of a streamed answer does not show in this version.')
  }
  if (!declared.has('planned_gpu_memory_ratio')) {
    spots.push(
      'What the engine planned to take of GPU memory is not exposed: VllmGpuMemoryHigh goes by what its processes settled at, where they are seen.',
    )
  }
  return spots
}

function isOf(version: Version | undefined, [from, until]: Versions): boolean {
  return isAtLeast(version, from) && (until === undefined || !isAtLeast(version, until))
}
