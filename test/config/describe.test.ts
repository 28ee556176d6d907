import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { referenceMarkdown, schemaJson } from '../../src/config/describe.ts'
import { allSettings, environmentName } from '../../src/config/keys.ts'
import { alertNames } from '../../src/rules/settings.ts'
import { repositoryRoot } from '../repository.ts'

const checkedIn = (name: string) => readFileSync(join(repositoryRoot, 'config', name), 'utf8')

type Json = Readonly<Record<string, unknown>>

/** Every map inside of `value`, itself included. */
function maps(value: unknown): readonly Json[] {
  if (typeof value !== 'object' || value === null) return []
  const inner = Object.values(value).flatMap(maps)
  return Array.isArray(value) ? inner : [{ ...value }, ...inner]
}

describe('the generated descriptions', () => {
  it('are fresh: config/schema.json says what the schema says (npm run docs)', () => {
    assert.equal(checkedIn('schema.json'), schemaJson())
  })

  it('are fresh: config/reference.md says what the schema says (npm run docs)', () => {
    assert.equal(checkedIn('reference.md'), referenceMarkdown())
  })
})

describe('config/schema.json', () => {
  const schema: unknown = JSON.parse(schemaJson())

  it('refuses unknown keys in every map, as the daemon does', () => {
    const all = maps(schema).filter((map) => map['type'] === 'object')
    // The names of alertmanager.labels are those that the user gives.
    const objects = all.filter((map) => map['title'] !== 'map of texts')
    assert.equal(objects.length, all.length - 1)
    assert.ok(objects.length > 8)
    for (const map of objects) assert.equal(map['additionalProperties'], false)
  })

  it('describes every key', () => {
    const keys = maps(schema).flatMap((map) =>
      map['type'] === 'object' ? Object.entries({ ...Object(map['properties']) }) : [],
    )
    assert.ok(keys.length > 40)
    const mute = keys.filter(([name, value]) => {
      const isAlert = alertNames.some((alert) => alert === name)
      return !isAlert && typeof Object(value).description !== 'string'
    })
    assert.deepEqual(mute, [])
  })
})

describe('config/reference.md', () => {
  const rows = referenceMarkdown()
    .split('\n')
    .filter((line) => line.startsWith('| `'))

  it('has a row for every setting with its variable', () => {
    for (const { path } of allSettings()) {
      const [section, alert, ...rest] = path
      const shown = section === 'alerts' && alert !== undefined ? ['alerts', 'NAME', ...rest] : path
      const start = `| \`${shown.join('.')}\` |`
      const row = rows.find((line) => line.startsWith(start))
      assert.ok(row?.includes(`\`${environmentName(shown)}\``), start)
    }
  })

  it('has five cells and a sentence in every row', () => {
    for (const row of rows) {
      const cells = row.split(/(?<!\\)\|/)
      assert.equal(cells.length, 7, row)
      assert.match(cells[5] ?? '', /^ [A-Z0-9/].{10,} $/, row)
    }
  })

  it('names every alert', () => {
    for (const name of alertNames) assert.ok(referenceMarkdown().includes(`\`${name}\``), name)
  })

  it('shows defaults as they are written', () => {
    const row = (key: string) => rows.find((line) => line.startsWith(`| \`${key}\` |`)) ?? ''
    assert.match(row('scrape.interval'), /\| duration \| `"5s"` \|/)
    assert.match(row('scrape.max_samples'), /\| integer, 1 to 5000000 \| `200000` \|/)
    assert.match(row('gpu.enabled'), /\| auto or boolean \| `"auto"` \|/)
    assert.match(row('windows'), /\| list of durations \| `\["1m","5m","1h"\]` \|/)
    assert.match(row('alerts.NAME.severity'), /\| critical or warning \| – \|/)
  })
})
