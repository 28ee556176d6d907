import type { TargetWindows } from '../window/target-windows.ts'
import type { TargetState } from './health.ts'

/** This many failures in a row, and not one lost scrape, make a target down. */
const failuresToBeDown = 2

/**
 * Returns what a target is doing, as far as its readings tell.
 *
 * - never tried, tried once in vain, or read last too long ago: `unknown`
 * - two failed scrapes in a row, or twice 5xx from its own health endpoint: `down`
 * - a page without anything of the engine: `unknown`
 * - requests running or waiting, or tokens made since the scrape before: `serving`
 */
export function stateOf(target: TargetWindows, fresh: boolean): TargetState {
  const read = sourceStateOf(target, fresh)
  if (read !== 'serving') return read
  if (target.reading?.capabilities.has('engine') !== true) return 'unknown'
  let pending = 0
  let asleep = false
  for (const { instrument, value } of target.lastGauges) {
    if (instrument === 'engine_asleep' && value === 1) asleep = true
    if (instrument === 'requests_running' || instrument === 'requests_waiting') pending += value
  }
  if (asleep) return 'sleeping'
  return pending > 0 || hasProgressed(target) ? 'serving' : 'idle'
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
