import { formatDuration } from '../units.ts'

/** Writes a ratio as people read it: `2.9 %`, `0.04 %`, `0.001 %`. */
export function percent(ratio: number): string {
  // What the division of a ratio left behind its twelfth figure is none of it.
  const hundredths = Number((ratio * 100).toPrecision(12))
  if (hundredths > 0 && hundredths < 0.01) return `${Number(hundredths.toPrecision(1))} %`
  const digits = hundredths >= 10 || Number.isInteger(hundredths) ? 0 : hundredths >= 0.1 ? 1 : 2
  return `${hundredths.toFixed(digits)} %`
}

/** Writes seconds as people read them: `10 s`, `0.3 s`. */
export function seconds(value: number): string {
  return `${value} s`
}

/** Writes the length of a window: `5 m`. */
export function spanText(ms: number): string {
  return formatDuration(ms)
    .replaceAll(/(\d+)([a-z]+)/g, '$1 $2 ')
    .trim()
}

/** Writes bytes as people read them, in GiB. */
export function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`
}

/** Writes a duration that is not exact, in the unit that gives it one or two figures: `40 s`, `17 h`, `2.5 d`. */
export function roughly(durationSeconds: number): string {
  for (const [unit, length] of [
    ['d', 86_400],
    ['h', 3_600],
    ['m', 60],
  ] as const) {
    const count = durationSeconds / length
    if (count >= 2) return `${count < 10 ? Math.round(2 * count) / 2 : Math.round(count)} ${unit}`
  }
  return `${Math.round(durationSeconds)} s`
}
