import type { GpuWork } from '../signals/gpu-work.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import type { TargetState } from './health.ts'
import type { Loading } from './loading.ts'
import { findStall, type Stall } from './stall.ts'

/** This many failures in a row, and not one lost scrape, make a target down. */
const failuresToBeDown = 2

/** What is known beside a target's own readings. */
export interface Surroundings {
  readonly gpu: GpuWork | undefined
  readonly loading: Loading | undefined
}

/** What a target is doing, and what of it is not as it should be. */
export interface Assessment {
  readonly state: TargetState
  readonly stall: Stall | undefined
  readonly loading: Loading | undefined
}

const alone: Surroundings = { gpu: undefined, loading: undefined }

/**
 * Finds out what a target is doing.
 *
 * - never tried, tried once in vain, or read last too long ago: `unknown`
 * - two failed scrapes in a row, or twice 5xx from its own health endpoint: `down`, or `loading` where the
 *   GPUs show that a model is on its way
 * - a page without anything of the engine: `unknown`
 * - put to sleep: `sleeping`
 * - work is pending for certain and nothing has progressed for long: `stalled`
 * - requests running or waiting, or tokens made since the scrape before: `serving`; otherwise `idle`
 */
export function assess(
  target: TargetWindows,
  fresh: boolean,
  { gpu, loading }: Surroundings = alone,
): Assessment {
  const read = sourceStateOf(target, fresh)
  if (read !== 'serving') {
    const isLoading = loading !== undefined && target.last?.kind === 'missed'
    return { state: isLoading ? 'loading' : read, stall: undefined, loading }
  }
  const nothing = { stall: undefined, loading: undefined }
  if (target.reading?.capabilities.has('engine') !== true) return { state: 'unknown', ...nothing }
  let pending = 0
  for (const { instrument, value } of target.lastGauges) {
    if (instrument === 'engine_asleep' && value === 1) return { state: 'sleeping', ...nothing }
    if (instrument === 'requests_running' || instrument === 'requests_waiting') pending += value
  }
  const stall = findStall(target, gpu)
  const busy = pending > 0 || hasProgressed(target)
  const state = stall?.notServing === true ? 'stalled' : busy ? 'serving' : 'idle'
  return { state, stall, loading: undefined }
}

/** Returns whether a source yields readings, which is all that the one of the GPUs does. */
export function sourceStateOf(
  target: TargetWindows,
  fresh: boolean,
): Extract<TargetState, 'serving' | 'down' | 'unknown'> {
  const { missedInARow, sickInARow } = target
  if (missedInARow >= failuresToBeDown || sickInARow >= failuresToBeDown) return 'down'
  return fresh ? 'serving' : 'unknown'
}

function hasProgressed(target: TargetWindows): boolean {
  const sinceLastScrape = target.view(0)
  if (sinceLastScrape === undefined) return false
  return (['generation_tokens', 'prompt_tokens', 'requests_finished'] as const).some((counter) =>
    sinceLastScrape.increases(counter, {}).some(({ value }) => value > 0),
  )
}
