import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { pathToFileURL } from 'node:url'
import { readRunbooks } from '../../src/web/runbooks.ts'
import { serving } from './serving.ts'

const runbooks = new Map([
  ['/runbooks', '# Runbooks\n'],
  ['/runbooks/VllmDown', '# VllmDown\n\nLook at `journalctl -u vllm` – first.\n'],
])

const ask = (url: string, method: 'GET' | 'POST' = 'GET') =>
  serving({ runbooks }, async (server) => server.inject({ method, url }))

describe('/runbooks', () => {
  it('answers with the text of a runbook, which a browser shows as it is', async () => {
    const { statusCode, headers, body } = await ask('/runbooks/VllmDown')
    assert.deepEqual([statusCode, headers['content-type']], [200, 'text/plain; charset=utf-8'])
    assert.equal(body, runbooks.get('/runbooks/VllmDown'))
    assert.equal((await ask('/runbooks')).body, '# Runbooks\n')
  })

  it('answers 405 where nothing is to be written, and 404 for no runbook', async () => {
    const post = await ask('/runbooks/VllmDown', 'POST')
    assert.deepEqual([post.statusCode, post.headers['allow']], [405, 'GET, HEAD'])
    for (const url of [
      '/runbooks/VllmUp',
      '/runbooks/../package.json',
      '/runbooks/%2e%2e%2fpackage',
      '/runbooks/VllmDown.md',
    ]) {
      const { statusCode, body } = await ask(url)
      assert.equal(statusCode, 404, url)
      // Of the runbooks the index alone is among the endpoints that are named.
      const { paths } = JSON.parse(body)
      assert.ok(paths.includes('/runbooks') && !paths.includes('/runbooks/VllmDown'), url)
    }
  })

  it('has every file of the folder, under its name, and none where there is no folder', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-runbooks-'))
    try {
      await writeFile(join(folder, 'README.md'), 'all')
      await writeFile(join(folder, 'VllmDown.md'), 'down')
      await writeFile(join(folder, 'notes.txt'), 'no runbook')
      const found = await readRunbooks(pathToFileURL(`${folder}/`))
      assert.deepEqual(
        [...found],
        [
          ['/runbooks', 'all'],
          ['/runbooks/README.md', 'all'],
          ['/runbooks/VllmDown', 'down'],
          ['/runbooks/VllmDown.md', 'down'],
        ],
      )
      const none = await readRunbooks(pathToFileURL(`${folder}/nothing/`))
      assert.deepEqual([...none], [])
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})
