import type { Histogram } from './ledger.ts'

/** A line of the page: all before the value, and where the value comes from. A comment has none. */
export interface Line {
  readonly head: string
  readonly read?: (nowSeconds: number) => number
}

export type LabelSet = Readonly<Record<string, string>>

/**
 * Returns a number as the Python client writes it: Python's shortest form, but with an exponent from
 * 1e6 on, written with a leading zero whatever its length (`1e+06`, `2.5e+010`).
 */
export function pythonNumber(value: number): string {
  if (Number.isInteger(value)) {
    if (Math.abs(value) < 1e6) return `${value}.0`
    if (value > 0 && value < 1e16) return withExponent(String(value), '')
  }
  if (Number.isNaN(value)) return 'NaN'
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf'
  const size = Math.abs(value)
  if (size < 1e-4 || size >= 1e16) {
    return value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2')
  }
  const [whole = '0', fraction = '0'] = String(value).split('.')
  return value >= 1e6 ? withExponent(whole, fraction) : `${whole}.${fraction}`
}

function withExponent(whole: string, fraction: string): string {
  const mantissa = `${whole.slice(0, 1)}.${whole.slice(1)}${fraction}`.replace(/\.?0*$/, '')
  return `${mantissa}e+0${whole.length - 1}`
}

/** Returns a sample's name and labels with the blank behind them, labels sorted as the client does. */
export function head(name: string, labels: LabelSet): string {
  const pairs = Object.entries(labels).sort(([left], [right]) => (left < right ? -1 : 1))
  if (pairs.length === 0) return `${name} `
  return `${name}{${pairs.map(([label, value]) => `${label}="${value}"`).join(',')}} `
}

export function comments(name: string, type: string, help: string): Line {
  return { head: `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n` }
}

/** The samples of one histogram in the order of the client: buckets, count, sum. */
export function bucketLines(name: string, labels: LabelSet, histogram: Histogram): Line[] {
  const lines: Line[] = [...histogram.bounds, Number.POSITIVE_INFINITY].map((bound, index) => ({
    head: head(`${name}_bucket`, { ...labels, le: pythonNumber(bound) }),
    read: () => histogram.upTo(index),
  }))
  lines.push({ head: head(`${name}_count`, labels), read: () => histogram.count })
  lines.push({ head: head(`${name}_sum`, labels), read: () => histogram.sum })
  return lines
}
