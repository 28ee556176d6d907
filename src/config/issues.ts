import type { z } from 'zod'
import { shorten } from '../errors.ts'
import { knownKeys } from './keys.ts'
import { nearest } from './nearest.ts'

/** A value that came from outside the file. */
export interface Override {
  /** The setting it takes the place of, in the spelling of the file. */
  readonly path: readonly string[]
  readonly value: unknown
  /** The environment variable or the flag, as the user wrote it. */
  readonly origin: string
}

/**
 * Returns one line for each mistake that the schema found in `tree`: `path: expected …, found …`. The path
 * is that of the file, or the name of the variable or flag which the value came from.
 */
export function describeIssues(
  issues: readonly z.core.$ZodIssue[],
  tree: unknown,
  overrides: readonly Override[],
): readonly string[] {
  return issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => unknownKey(issue.path, key))
    }
    const origin = originOf(issue.path, overrides) ?? formatPath(issue.path)
    return [`${origin}: ${issue.message}, found ${foundBy(issue, valueAt(tree, issue.path))}`]
  })
}

/** What was expected, in words, where the schema of a field has none of its own. */
export function expectation(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code !== 'invalid_type') return undefined
  switch (issue.expected) {
    case 'object':
    case 'record':
      return 'expected a map'
    case 'array':
      return 'expected a list'
    case 'nonoptional':
      return 'expected a value'
    default:
      return `expected a ${issue.expected}`
  }
}

/** Writes a path as people do: `targets[1].url`. The path of the whole is `configuration`. */
export function formatPath(path: readonly PropertyKey[]): string {
  let text = ''
  for (const key of path) {
    if (typeof key === 'number') text += `[${key}]`
    else text += `${text === '' ? '' : '.'}${shorten(withoutUserinfo(String(key)))}`
  }
  return text === '' ? 'configuration' : text
}

/** Shows a value in a message: shortened, and without what stands before an `@`, which may be a password. */
export function showFound(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  if (typeof value === 'string') return `"${shorten(withoutUserinfo(value), 120)}"`
  if (Array.isArray(value))
    return value.length === 0 ? 'an empty list' : `a list of ${value.length}`
  if (typeof value === 'object') return 'a map'
  return String(value)
}

function foundBy(issue: z.core.$ZodIssue, value: unknown): string {
  // A check may name what it found: a default that the file does not hold, or a secret in the wrong place.
  const named: unknown = issue.code === 'custom' ? issue.params?.['found'] : undefined
  if (typeof named === 'string') return named
  // In place of a map it may be `user:password`.
  const inPlaceOfMap = issue.code === 'invalid_type' && issue.expected === 'object'
  return inPlaceOfMap && typeof value === 'string' ? 'text' : showFound(value)
}

function withoutUserinfo(text: string): string {
  const at = text.lastIndexOf('@')
  if (at < 0) return text
  const scheme = text.indexOf('://')
  return `${scheme >= 0 && scheme < at ? text.slice(0, scheme + 3) : ''}***${text.slice(at)}`
}

function unknownKey(path: readonly PropertyKey[], key: string): string {
  const known = knownKeys(path)
  const close = nearest(key, known)
  const expected =
    close === undefined
      ? `one of the keys ${known.join(', ')}`
      : `a known key, the nearest is ${close}`
  return `${formatPath([...path, key])}: expected ${expected}, found ${showFound(key)}`
}

/** The flag or variable that the value at `path`, or one around it, came from. */
function originOf(
  path: readonly PropertyKey[],
  overrides: readonly Override[],
): string | undefined {
  // The last one wins, as it did when the values were laid over each other.
  return overrides.findLast((override) => override.path.every((key, index) => path[index] === key))
    ?.origin
}

/** Returns what stands at `path` in `tree`; own properties alone count. */
export function valueAt(tree: unknown, path: readonly PropertyKey[]): unknown {
  let value = tree
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
    value = Reflect.get(value, key)
  }
  return value
}
