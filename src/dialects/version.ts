/** A version of the engine as far as decisions need it. */
export interface Version {
  readonly major: number
  readonly minor: number
  readonly patch: number
}

/**
 * Reads the numbers at the start of a version text.
 *
 * - no numbers there: `undefined`
 * - a build made outside a release, which calls itself `0.1.dev…`: `undefined`, since its number says nothing
 */
export function parseVersion(text: string | undefined): Version | undefined {
  const match = /^v?(\d+)\.(\d+)(?:\.(\d+))?/.exec(text ?? '')
  if (match === null || /^v?\d+\.\d+\.dev/.test(text ?? '')) return undefined
  return { major: Number(match[1]), minor: Number(match[2]), patch: Number(match[3] ?? 0) }
}

/** Tells whether `version` is at least `major.minor.patch`; an unknown one counts as the newest. */
export function isAtLeast(
  version: Version | undefined,
  [major, minor, patch]: readonly [number, number, number],
): boolean {
  if (version === undefined) return true
  if (version.major !== major) return version.major > major
  if (version.minor !== minor) return version.minor > minor
  return version.patch >= patch
}
