import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { readRegularFile } from '../../src/sources/regular-file.ts'
import { findProgram } from '../repository.ts'

let folder = ''

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vllm-vitals-'))
})

after(() => rmSync(folder, { recursive: true }))

function fileOf(content: string): string {
  const path = join(folder, 'file')
  writeFileSync(path, content)
  return path
}

describe('a regular file', () => {
  for (const content of ['', 'a', 'abcd']) {
    it(`is read whole with ${content.length} bytes where 4 are allowed`, async () => {
      const file = await readRegularFile(fileOf(content), 4)
      assert.ok(file.kind === 'read')
      assert.equal(Buffer.from(file.bytes).toString(), content)
    })
  }

  for (const content of ['abcde', 'x'.repeat(1_000_000)]) {
    it(`is too large with ${content.length} bytes where 4 are allowed`, async () => {
      assert.deepEqual(await readRegularFile(fileOf(content), 4), { kind: 'too_large' })
    })
  }

  const proc = process.platform === 'linux' ? false : 'needs /proc'
  it('is read to its end where its size says 0', { skip: proc }, async () => {
    const file = await readRegularFile('/proc/self/status', 100_000)
    assert.ok(file.kind === 'read')
    assert.match(Buffer.from(file.bytes).toString(), /^Name:/)
  })
})

describe('what is no regular file', () => {
  it('is told as a directory', async () => {
    assert.deepEqual(await readRegularFile(folder, 4), { kind: 'directory' })
  })

  it('is told of a device, which may have no end', async () => {
    assert.deepEqual(await readRegularFile('/dev/zero', 4), { kind: 'irregular' })
  })

  const noPipes = findProgram('mkfifo') === undefined ? 'needs mkfifo' : false
  it('is told at once of a pipe that nobody writes to', {
    skip: noPipes,
    timeout: 5_000,
  }, async () => {
    const pipe = join(folder, 'pipe')
    assert.equal(spawnSync('mkfifo', [pipe]).status, 0)
    assert.deepEqual(await readRegularFile(pipe, 4), { kind: 'irregular' })
  })

  it('throws with the code of the file system where there is nothing', async () => {
    await assert.rejects(readRegularFile(join(folder, 'nothing'), 4), { code: 'ENOENT' })
  })
})
