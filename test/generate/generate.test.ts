import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { asStream } from '../../src/generate/files.ts'
import { defaultFiles, folders } from './checked-in.ts'

describe('the generated files', () => {
  it('are fresh under config/ (npm run docs)', async () => {
    for (const { product, files } of await defaultFiles()) {
      for (const { path, text } of files) {
        assert.equal(readFileSync(join(folders[product], path), 'utf8'), text, path)
      }
    }
  })

  it('are the same, byte for byte, when made again', async () => {
    assert.deepEqual(await defaultFiles(), await defaultFiles())
  })
})

describe('a stream of files', () => {
  it('is the text itself of a single one', () => {
    assert.equal(asStream([{ path: 'a.yaml', text: 'a: 1\n' }]), 'a: 1\n')
  })

  it('names each of several, one YAML document a file', () => {
    const files = [
      { path: 'a.yaml', text: 'a: 1\n' },
      { path: 'b/c.json', text: '{"c": 2}\n' },
    ]
    const text = '---\n# Source: a.yaml\na: 1\n---\n# Source: b/c.json\n{"c": 2}\n'
    assert.equal(asStream(files), text)
  })
})
