import type { Finding } from '../finding.ts'
import { type JsonNumber, jsonNumber } from './health.ts'

/** One finding of the diagnosis, in `/api/v1/status`. */
export interface FindingBody {
  /** `P1` to `P22` of docs/verdicts.md; `none` where nothing is the matter. */
  readonly pain: string
  readonly target?: string
  readonly uuid?: string
  readonly verdict: string
  readonly confidence: string
  readonly evidence: readonly {
    readonly what: string
    readonly value: JsonNumber | string
    readonly age_seconds: number
  }[]
  readonly ruled_out: readonly { readonly pain: string; readonly why: string }[]
  readonly not_checked: readonly string[]
  readonly next: string
}

/** Returns a finding as JSON shows it. */
export function findingBody(finding: Finding): FindingBody {
  const { pain, subject, verdict, confidence, ruledOut, notChecked, next } = finding
  return {
    pain,
    ...subject,
    verdict,
    confidence,
    evidence: finding.evidence.map(({ what, value, ageSeconds }) => ({
      what,
      value: typeof value === 'number' ? jsonNumber(value) : value,
      age_seconds: ageSeconds,
    })),
    ruled_out: ruledOut,
    not_checked: notChecked,
    next,
  }
}

/** Returns a finding as two lines of text: what is the matter, and what to run. */
export function findingLines(finding: Finding): readonly string[] {
  const { pain, subject, confidence, verdict, next } = finding
  const who = subject.target ?? subject.uuid ?? 'host'
  const what = pain === 'none' ? 'diagnosis' : `diagnosis ${pain} ${confidence}`
  return [`${who} ${what}: ${verdict}`, `${who} next: ${next}`]
}
