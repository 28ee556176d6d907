import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { loadConfig } from '../../src/config/load.ts'
import { readSecret } from '../../src/sources/secret.ts'
import { findProgram } from '../repository.ts'
import { issuesOf, load, withFile } from './with-file.ts'

const bearer = 'targets: [{name: a, url: "http://h", bearer_token_file: token}]'
const basic =
  'targets: [{name: a, url: "http://h", basic_auth: {username: me, password_file: token}}]'
const withToken = (token: string) => ({ files: { token } })

describe('a secret', () => {
  const rows: readonly (readonly [claim: string, content: string, secret: string])[] = [
    ['is what the file holds', 'hunter2', 'hunter2'],
    ['loses the newline at its end', 'hunter2\n', 'hunter2'],
    ['loses the newline of Windows', 'hunter2\r\n', 'hunter2'],
    ['keeps its spaces', ' hunter 2 \n', ' hunter 2 '],
    ['keeps what is no ASCII', 'pässword\n', 'pässword'],
    // 64 KiB are 65536 bytes.
    ['may be 64 KiB long', 'x'.repeat(65_536), 'x'.repeat(65_536)],
  ]
  for (const [claim, content, secret] of rows) {
    it(claim, async () => {
      await withFile(content, async (path) => assert.equal(await readSecret(path), secret))
    })
  }

  const refused: readonly (readonly [claim: string, content: string, message: string])[] = [
    ['is refused if there is none', '', 'expected a secret, found an empty file'],
    ['is refused if there is only a newline', '\n', 'expected a secret, found an empty file'],
    [
      'is refused if it has a second line',
      'hunter2\nhunter3\n',
      'expected one line of text, found control characters',
    ],
    [
      'is refused with control characters',
      'hunter2\u0000',
      'expected one line of text, found control characters',
    ],
    ['is refused beyond 64 KiB', 'x'.repeat(65_537), 'expected at most 64KiB, found more'],
  ]
  for (const [claim, content, message] of refused) {
    it(claim, async () => {
      await withFile(content, async (path) => {
        await assert.rejects(readSecret(path), { message })
      })
    })
  }

  const noPipes = findProgram('mkfifo') === undefined ? 'needs mkfifo' : false
  it('is refused at once from a pipe that nobody writes to', {
    skip: noPipes,
    timeout: 5_000,
  }, async () => {
    await withFile('', async (_, folder) => {
      const pipe = join(folder, 'pipe')
      assert.equal(spawnSync('mkfifo', [pipe]).status, 0)
      await assert.rejects(readSecret(pipe), {
        message: 'expected a regular file, found another kind of entry',
      })
    })
  })
})

describe('the file of a secret', () => {
  it('is looked for in the folder of the configuration', async () => {
    await withFile(bearer, async (path, folder) => {
      await writeFile(join(folder, 'token'), 'hunter2\n', { mode: 0o600 })
      const { config, warnings } = await loadConfig({ path })
      assert.deepEqual(config.targets[0]?.auth, {
        kind: 'bearer',
        tokenFile: join(folder, 'token'),
      })
      assert.deepEqual(warnings, [])
      assert.doesNotMatch(JSON.stringify(config), /hunter2/)
    })
  })

  it('is kept by its path for basic authentication, the secret not at all', async () => {
    const { config } = await load(basic, withToken('hunter2'))
    const [target] = config.targets
    assert.ok(target?.auth.kind === 'basic')
    assert.equal(target.auth.username, 'me')
    assert.match(target.auth.passwordFile, /^\/.*\/token$/)
    assert.doesNotMatch(JSON.stringify(config), /hunter2/)
  })

  const rows: readonly (readonly [
    claim: string,
    files: Readonly<Record<string, string>>,
    found: string,
  ])[] = [
    ['must be there', {}, 'expected a readable file, found no such file'],
    ['must hold something', { token: '' }, 'expected a secret, found an empty file'],
    ['must hold more than a newline', { token: '\n' }, 'expected a secret, found an empty file'],
    [
      'must hold one line',
      { token: 'hunter2\nhunter3' },
      'expected one line of text, found control characters',
    ],
    ['must not be endless', { token: 'h'.repeat(70_000) }, 'expected at most 64KiB, found more'],
  ]
  for (const [claim, files, found] of rows) {
    it(claim, async () => {
      assert.deepEqual(await issuesOf(bearer, { files }), [
        `targets[0].bearer_token_file: ${found} at token`,
      ])
      assert.deepEqual(await issuesOf(basic, { files }), [
        `targets[0].basic_auth.password_file: ${found} at token`,
      ])
    })
  }

  it('is told beside every other mistake', async () => {
    assert.deepEqual(await issuesOf(`${bearer}\nlog: {level: x}`), [
      'log.level: expected one of debug, info, warn, error, found "x"',
      'targets[0].bearer_token_file: expected a readable file, found no such file at token',
    ])
  })

  it('is warned about where everyone may read it', async () => {
    for (const [mode, warned] of [
      [0o644, true],
      [0o604, true],
      [0o640, false],
      [0o600, false],
      [0o400, false],
    ] as const) {
      const { warnings } = await load(bearer, { ...withToken('hunter2'), mode })
      assert.deepEqual(
        warnings,
        warned
          ? [
              'targets[0].bearer_token_file: expected a file that only its owner reads, found token readable by all',
            ]
          : [],
        mode.toString(8),
      )
    }
  })
})

describe('a secret in the wrong place', () => {
  const rows: readonly (readonly [claim: string, target: string, ...lines: readonly string[]])[] = [
    [
      'is not shown from a URL',
      'url: "http://me:hunter2@h"',
      'targets[0].url: expected a URL without user and password, which belong in basic_auth, found "http://***@h"',
    ],
    [
      'is not shown from a URL that is broken elsewhere',
      'url: "htp://me:hunter2@h"',
      'targets[0].url: expected a URL that begins with http:// or https:// and a host, found "htp://***@h"',
    ],
    [
      'is not shown from a password with a slash and an @',
      'url: "http://me:hunter2/@hunter2@h/x"',
      'targets[0].url: expected a URL such as http://127.0.0.1:8000, found "http://***@h/x"',
    ],
    [
      'is not shown from one text for user and password',
      'url: "http://h", basic_auth: "me:hunter2"',
      'targets[0].basic_auth: expected a map, found text',
    ],
    [
      'is not shown from a user name that goes on',
      'url: "http://h", basic_auth: {username: "me:hunter2", password_file: token}',
      'targets[0].basic_auth.username: expected a user name without a colon, found one with a colon',
    ],
    [
      'is not shown from a key of its own',
      'url: "http://h", basic_auth: {username: me, password: hunter2}',
      'targets[0].basic_auth.password_file: expected the path of a file, found nothing',
      'targets[0].basic_auth.password: expected one of the keys username, password_file, found "password"',
    ],
    [
      'is not shown from a URL that became a key',
      '"http://me:hunter2@h": x, url: "http://h"',
      'targets[0].http://***@h: expected one of the keys name, url, bearer_token_file, basic_auth, found "http://***@h"',
    ],
    [
      'is refused beside the other kind',
      'url: "http://h", bearer_token_file: token, basic_auth: {username: me, password_file: token}',
      'targets[0].basic_auth: expected either bearer_token_file or basic_auth, found a map',
    ],
  ]
  for (const [claim, target, ...lines] of rows) {
    it(claim, async () => {
      const found = await issuesOf(`targets: [{name: a, ${target}}]`, withToken('secret'))
      assert.deepEqual(found, lines)
      assert.doesNotMatch(found.join('\n'), /hunter2/)
    })
  }
})
