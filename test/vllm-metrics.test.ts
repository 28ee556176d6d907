import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { httpFamily, vllmRows } from '../src/dialects/vllm-names.ts'
import { sightOf } from '../src/dialects/vllm-sight.ts'
import type { InstrumentId } from '../src/instruments.ts'
import { repositoryRoot } from './repository.ts'

const page = readFileSync(join(repositoryRoot, 'docs/vllm-metrics.md'), 'utf8')

/** The lines of the section below a heading. */
function sectionOf(title: string): string {
  const [, section] = page.split(`\n## ${title}\n`)
  assert.ok(section !== undefined, `expected a section "${title}"`)
  return section.split('\n## ')[0] ?? ''
}

/** The cells of the rows of the only table of a section, without its head. */
function rowsOf(title: string): readonly (readonly string[])[] {
  const lines = sectionOf(title)
    .split('\n')
    .filter((line) => line.startsWith('|'))
  return lines.slice(2).map((line) => line.split('|').map((cell) => cell.trim()))
}

/** Everything that a page or a version can hide, in all combinations. */
function everyBlindSpot(): ReadonlySet<string> {
  const spots = new Set<string>()
  const optional: readonly InstrumentId[] = [
    'http_answers',
    'engine_steps',
    'planned_gpu_memory_ratio',
  ]
  for (let choice = 0; choice < 2 ** optional.length; choice += 1) {
    const declared = new Set<InstrumentId>(['requests_finished'])
    for (const [bit, id] of optional.entries()) if ((choice >> bit) % 2 === 1) declared.add(id)
    for (const version of ['0.12.0', '0.13.0', '0.17.0', '0.26.0']) {
      const sight = sightOf({ families: new Map() }, { channels: [], declared }, version)
      for (const spot of sight.blindSpots) spots.add(spot)
    }
  }
  return spots
}

describe('docs/vllm-metrics.md', () => {
  it('names every family that is read, the newest first', () => {
    const written = rowsOf('What is read').map(([, ours = '', theirs = '']) => [
      ours.replaceAll('`', ''),
      theirs.replaceAll('`', '').split(', '),
    ])
    const read = vllmRows.map(({ instrument, families }) => [instrument, [...families]])
    assert.deepEqual(written, [...read, ['http_answers', [httpFamily]]])
  })

  it('has every sentence that tells a blind spot, and no other', () => {
    const written = rowsOf('Blind spots, and where they are told').map(([, sentence]) => sentence)
    assert.deepEqual([...written].sort(), [...everyBlindSpot()].sort())
  })
})
