import { realpathSync, writeFileSync } from 'node:fs'
import { argv } from 'node:process'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { builtinRules } from '../rules/builtin.ts'
import { alertNames } from '../rules/settings.ts'
import { formatDuration } from '../units.ts'
import { environmentName } from './keys.ts'
import { configSchema } from './schema.ts'

type Json = Readonly<Record<string, unknown>>

/** Returns the text of `config/schema.json`: the JSON Schema by which editors complete the file. */
export function schemaJson(): string {
  return `${JSON.stringify(jsonSchema(), undefined, 2)}\n`
}

/** Returns the text of `config/reference.md`: each setting with its default, variable and effect. */
export function referenceMarkdown(): string {
  const rows = settingsBelow(withSharedAlert(jsonSchema()), []).map(({ path, schema }) => [
    code(path.join('.')),
    tableText(kindOf(schema)),
    schema['default'] === undefined ? '–' : code(JSON.stringify(schema['default'])),
    path[0] === 'targets[]' ? '–' : code(environmentName(path)),
    tableText(String(schema['description'] ?? '')),
  ])
  const header = ['key', 'value', 'default', 'environment variable', 'effect']
  return `${introduction}
${table(header, rows)}

\`NAME\` is one of ${alertNames.map(code).join(', ')}; in the name of a variable it is in upper case.

## Alerts as they are without settings

${keepFiring()} No other fires after its condition has ended.

${table(['alert', 'severity', 'for', 'window', 'fires when'], alertRows())}
`
}

function keepFiring(): string {
  return builtinRules
    .filter(({ keepFiringForMs }) => keepFiringForMs > 0)
    .map(({ name, keepFiringForMs }) => {
      return `${code(name)} fires on for ${code(formatDuration(keepFiringForMs))} after its condition last held.`
    })
    .join(' ')
}

function alertRows(): readonly (readonly string[])[] {
  return builtinRules.map(({ name, severity, forMs, windowMs, description }) => [
    code(name),
    severity,
    code(formatDuration(forMs)),
    code(formatDuration(windowMs)),
    tableText(description),
  ])
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, header.map(() => '---'), ...rows]
  return all.map((row) => `| ${row.join(' | ')} |`).join('\n')
}

const introduction = `# Configuration reference

Written by \`npm run docs\` from the schema in \`src/\`; changes made here are lost.

Defaults give way to the file, the file to the environment, the environment to flags. The file is YAML
(JSON is YAML), and a key that is not below is refused. Durations are whole numbers with units, from
large to small: \`500ms\`, \`5s\`, \`1m30s\`, \`2h\`, \`1d\`. Sizes are \`512B\`, \`64KiB\`, \`16MiB\`, \`1GiB\`. In a
variable, a list is separated by commas; targets are \`NAME=URL\`, and what has no short form there (secrets)
needs the file.
`

function jsonSchema(): Json {
  return {
    title: 'Configuration of vllm-vitals',
    ...z.toJSONSchema(configSchema, { io: 'input', target: 'draft-7' }),
  }
}

interface Described {
  readonly path: readonly string[]
  readonly schema: Json
}

/** Every setting below `schema` with a value of its own. The alerts share one schema, so they share rows. */
function settingsBelow(schema: Json, path: readonly string[]): readonly Described[] {
  const items = asMap(schema['items'])
  if (items?.['properties'] !== undefined) {
    const last = `${path.at(-1)}[]`
    return [{ path, schema }, ...settingsBelow(items, [...path.slice(0, -1), last])]
  }
  const properties = asMap(schema['properties'])
  if (properties === undefined) return [{ path, schema }]
  return Object.entries(properties).flatMap(([key, value]) =>
    settingsBelow(asMap(value) ?? {}, [...path, key]),
  )
}

/** The JSON Schema with one entry, NAME, in place of all alerts. */
function withSharedAlert(root: Json): Json {
  const alert = asMap(root['definitions'])?.['alert']
  return {
    ...root,
    properties: { ...asMap(root['properties']), alerts: { properties: { NAME: alert } } },
  }
}

function kindOf(schema: Json): string {
  const items = asMap(schema['items'])
  if (items !== undefined) return `list of ${items['properties'] ? 'maps' : `${kindOf(items)}s`}`
  const choices = schema['enum'] ?? schema['anyOf']
  if (Array.isArray(choices)) {
    return choices
      .map((choice) => (typeof choice === 'string' ? choice : kindOf({ ...choice })))
      .join(' or ')
  }
  const { minimum, maximum, type, title, const: only } = schema
  const kind = String(only ?? title ?? type)
  return minimum === undefined ? kind : `${kind}, ${minimum} to ${maximum}`
}

function code(text: string): string {
  return `\`${text}\``
}

/** A bar would end the cell of the table. */
function tableText(text: string): string {
  return text.replaceAll('|', '\\|')
}

function asMap(value: unknown): Json | undefined {
  return typeof value === 'object' && value !== null ? { ...value } : undefined
}

// Run as a program (`npm run docs`), this file writes what it describes.
const self = fileURLToPath(import.meta.url)
if (argv[1] !== undefined && realpathSync(argv[1]) === self) {
  const folder = new URL('../../../config/', import.meta.url)
  writeFileSync(new URL('schema.json', folder), schemaJson())
  writeFileSync(new URL('reference.md', folder), referenceMarkdown())
}
