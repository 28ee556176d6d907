import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { CollectError } from '../../src/errors.ts'
import { authorizationHeaders } from '../../src/sources/authorization.ts'
import { findProgram } from '../repository.ts'

let folder = ''

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vllm-vitals-'))
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

function fileWith(content: string | Uint8Array): string {
  const path = join(folder, 'secret')
  writeFileSync(path, content, { mode: 0o600 })
  return path
}

function bearer(tokenFile: string) {
  return authorizationHeaders({ kind: 'bearer', tokenFile })
}

async function refusal(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof CollectError, `expected a CollectError, found ${String(error)}`)
  assert.equal(error.code, 'permission')
  return error.message
}

describe('the authorization of a request', () => {
  it('is no header where none is wanted', async () => {
    assert.deepEqual(await authorizationHeaders({ kind: 'none' }), {})
  })

  const tokens = [
    ['as it is', 'abc.DEF-123_~+/=', 'abc.DEF-123_~+/='],
    ['without the line feed of an editor', 'abc\n', 'abc'],
    ['without the line end of another editor', 'abc\r\n', 'abc'],
    ['with the blanks inside it', 'a b', 'a b'],
  ] as const
  for (const [how, content, token] of tokens) {
    it(`is a token from a file ${how}`, async () => {
      assert.deepEqual(await bearer(fileWith(content)), { authorization: `Bearer ${token}` })
    })
  }

  it('is a user and a password in base64, in UTF-8', async () => {
    const passwordFile = fileWith('pässword\n')
    const auth = { kind: 'basic', username: 'monitor', passwordFile } as const
    // "monitor:pässword", with ä as the bytes c3 a4.
    assert.deepEqual(await authorizationHeaders(auth), {
      authorization: 'Basic bW9uaXRvcjpww6Rzc3dvcmQ=',
    })
  })

  it('is read anew at each request, so that a secret can be changed', async () => {
    const path = fileWith('first')
    assert.deepEqual(await bearer(path), { authorization: 'Bearer first' })
    writeFileSync(path, 'second')
    assert.deepEqual(await bearer(path), { authorization: 'Bearer second' })
    rmSync(path)
    assert.match(await refusal(bearer(path)), /ENOENT/)
  })

  const unusable: readonly (readonly [string, string | Uint8Array, RegExp])[] = [
    ['an empty file', '', /an empty file/],
    ['a line feed alone', '\n', /an empty file/],
    ['two lines', 's3cr3t\ns3cr3t\n', /control characters/],
    ['a NUL', 's3cr3t\0', /control characters/],
    ['an escape', '\u001b[31ms3cr3t', /control characters/],
    ['letters outside ASCII in a token', 's3cr3t-é', /characters that a header cannot carry/],
    ['bytes that are no text', new Uint8Array([115, 51, 255, 254]), /a header cannot carry/],
    ['more than 64 KiB', 's3cr3t'.repeat(11_000), /at most 64KiB/],
  ]
  for (const [what, content, told] of unusable) {
    it(`is refused with ${what}, told by the file's name and never by its content`, async () => {
      const path = fileWith(content)
      const message = await refusal(bearer(path))
      assert.match(message, told)
      assert.ok(message.includes(path))
      assert.ok(!message.includes('s3cr3t') && !/\p{Cc}/u.test(message))
    })
  }

  it('is refused with a file that is not there, and with a folder', async () => {
    assert.match(await refusal(bearer(join(folder, 'none'))), /ENOENT/)
    mkdirSync(join(folder, 'inner'))
    assert.match(await refusal(bearer(join(folder, 'inner'))), /expected a secret in .*inner/)
  })

  it('does not wait for somebody to write into a pipe', async (t) => {
    if (findProgram('mkfifo') === undefined) return t.skip('there is no mkfifo here')
    const path = join(folder, 'pipe')
    execFileSync('mkfifo', [path])
    const limit = new AbortController()
    const late = new Promise<string>((resolve) => {
      const timer = setTimeout(() => resolve('still waiting'), 2_000)
      limit.signal.addEventListener('abort', () => clearTimeout(timer))
    })
    const found = await Promise.race([refusal(bearer(path)), late])
    limit.abort()
    assert.match(found, /regular file/)
  })
})
