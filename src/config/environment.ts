import { z } from 'zod'
import { shorten } from '../errors.ts'
import { targetFromText } from '../sources/settings.ts'
import { type Override, showFound } from './issues.ts'
import { allSettings, environmentName, environmentPrefix, type Setting, takes } from './keys.ts'
import { nearest } from './nearest.ts'

/** More unknown variables than this are not named one by one. */
const maxNamed = 20

/** Values given in text, and what was wrong with the text itself. */
export interface TextSettings {
  readonly overrides: readonly Override[]
  readonly issues: readonly string[]
}

/**
 * Returns the settings that `env` holds under `VLLM_VITALS_…`, one variable for each path of the schema.
 * Lists are separated by commas. A variable that is set to nothing is a mistake, never a default.
 *
 * `unknown` has one line for each variable with the prefix that is no setting: Kubernetes injects some for a
 * Service of this name, so they are told and not refused.
 */
export function readEnvironment(
  env: Readonly<Record<string, string | undefined>>,
): TextSettings & { readonly unknown: readonly string[] } {
  const settings = new Map(allSettings().map((setting) => [environmentName(setting.path), setting]))
  const overrides: Override[] = []
  const issues: string[] = []
  const unknown: string[] = []
  for (const [origin, text] of Object.entries(env)) {
    if (text === undefined || !origin.startsWith(environmentPrefix)) continue
    const setting = settings.get(origin)
    if (setting === undefined) {
      const close = nearest(origin, settings.keys())
      const hint = close === undefined ? '' : `, the nearest is ${close}`
      unknown.push(
        `${shorten(origin)}: expected the name of a setting${hint}, found an unknown variable`,
      )
    } else if (text === '') {
      issues.push(`${origin}: expected a value, or the variable not set, found ""`)
    } else {
      const { value, issue } = fromText(setting, text, origin)
      overrides.push({ path: setting.path, value, origin })
      if (issue !== undefined) issues.push(issue)
    }
  }
  const rest = unknown.splice(maxNamed).length
  if (rest > 0) unknown.push(`${environmentPrefix}*: and ${rest} more unknown variables`)
  return { overrides, issues, unknown }
}

/**
 * Returns the targets that several `[NAME=]URL` name, in the spelling of the file. At most one may be without
 * NAME: a second one has an `issue` that begins with `origin`, and those behind the first are left out.
 */
export function targetsFromTexts(
  texts: readonly string[],
  origin: string,
): { readonly value: unknown; readonly issue: string | undefined } {
  const targets = texts.map(targetFromText)
  const [first, second] = targets.filter(({ named }) => !named)
  const issue =
    second === undefined
      ? undefined
      : `${origin}: expected NAME=URL for all targets but one, found ${showFound(second.url)}`
  const kept = targets.filter((target) => target.named || target === first)
  return { value: kept.map(({ name, url }) => ({ name, url })), issue }
}

function fromText(
  { schema }: Setting,
  text: string,
  origin: string,
): { readonly value: unknown; readonly issue?: string | undefined } {
  if (!(schema instanceof z.ZodArray)) return { value: scalar(schema, text) }
  const parts = text.split(',').map((part) => part.trim())
  // Targets are the one list of maps, and have a short form of their own.
  if (takes(schema.element, 'map')) return targetsFromTexts(parts, origin)
  return { value: parts.map((part) => scalar(schema.element, part)) }
}

/** Text that is no boolean or number stays text, for the schema to say what it expected instead. */
function scalar(schema: z.core.$ZodType, text: string): unknown {
  if (takes(schema, 'boolean') && (text === 'true' || text === 'false')) return text === 'true'
  if (takes(schema, 'number') && /^-?\d+(\.\d+)?(e-?\d+)?$/i.test(text)) return Number(text)
  return text
}
