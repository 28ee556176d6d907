import { formatDuration } from '../units.ts'

/** Writes a ratio as people read it: `2.9 %`, `0.04 %`. */
export function percent(ratio: number): string {
  const hundredths = ratio * 100
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
