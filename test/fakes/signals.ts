import type { Attempt, Labels } from '../../src/reading.ts'
import type { Signal, SignalSettings } from '../../src/signals/context.ts'
import type { Measured } from '../../src/signals/signal.ts'
import { TargetWindows } from '../../src/window/target-windows.ts'

/** What tests publish unless they say otherwise. */
export const signalSettings: SignalSettings = {
  windowsMs: [60_000],
  quantiles: [0.5, 0.99],
  e2eLatencyThresholdSeconds: 10,
  queueTimeThresholdSeconds: 5,
  ttftThresholdSeconds: 0,
}

/** The past of one target, from its attempts in their order. */
export function remembered(attempts: readonly Attempt[], keepMs = 300_000): TargetWindows {
  const target = new TargetWindows(attempts[0]?.target ?? 'vllm', { keepMs })
  for (const attempt of attempts) target.record(attempt)
  return target
}

/** What `signals` say of a target after `attempts`, written as by `written`. */
export function measure(
  signals: readonly Signal[],
  attempts: readonly Attempt[],
  { settings = {}, fresh = true }: Context = {},
): Written {
  const target = remembered(attempts)
  const context = { target, settings: { ...signalSettings, ...settings }, fresh }
  return written(signals.flatMap((signal) => signal.measure(context)))
}

interface Context {
  readonly settings?: Partial<SignalSettings>
  readonly fresh?: boolean
}

/** Values by sample; text in place of a number is the reason for its absence. */
export type Written = Readonly<Record<string, number | string>>

/**
 * Writes measurements the way people read them, `name{label="value"}` without the prefix. Throws when two
 * have the same name and labels, which no page may hold.
 */
export function written(all: readonly Measured[]): Written {
  const found: Record<string, number | string> = {}
  for (const { family, suffix, labels, measurement } of all) {
    const sample = `${family.name}${suffix}${braced(labels)}`
    if (sample in found) throw new Error(`expected ${sample} once, found it twice`)
    found[sample] = measurement.kind === 'value' ? measurement.value : measurement.why
  }
  return found
}

/** The samples of `all` that begin with one of `names`, followed by labels or by nothing. */
export function only(all: Written, ...names: readonly string[]): Written {
  return Object.fromEntries(
    Object.entries(all).filter(([sample]) => names.includes(sample.replace(/\{.*$/, ''))),
  )
}

/** The names of the families that `signals` publish after `attempts`, those of the API alone left out. */
export function familyNames(all: readonly Measured[]): readonly string[] {
  const names = all.flatMap(({ family }) => (family.apiOnly === true ? [] : [family.name]))
  return [...new Set(names)].sort()
}

function braced(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${value}"`)
  return pairs.length === 0 ? '' : `{${pairs.sort().join(',')}}`
}
