import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { readEnvironment } from '../../src/config/environment.ts'
import { ownLabels } from '../../src/push/settings.ts'
import { issuesOf, load } from './with-file.ts'

type Row = readonly [claim: string, content: string, ...lines: readonly string[]]

const table = (rows: readonly Row[]) => {
  for (const [claim, content, ...lines] of rows) {
    it(claim, async () => {
      const found = await issuesOf(`alertmanager: {${content}}`)
      const expected = lines.map((line) => `alertmanager.${line}`)
      assert.deepEqual([...found].sort(), [...expected].sort())
      assert.doesNotMatch(found.join('\n'), /hunter2/)
    })
  }
}

describe('the URLs of Alertmanagers', () => {
  const eight = Array.from({ length: 8 }, (_, index) => `"http://am-${index}:9093"`)
  table([
    ['may be eight', `urls: [${eight.join()}]`],
    [
      'may be no more',
      `urls: [${eight.join()}, "http://am-8:9093"]`,
      'urls: expected at most 8 URLs, found a list of 9',
    ],
    [
      'are distinct, in whatever spelling',
      'urls: ["http://am:80/x/", "HTTP://AM/x"]',
      'urls[1]: expected each URL once, found "HTTP://AM/x"',
    ],
    [
      'hold no password, and one that stands there is not shown',
      'urls: ["http://me:hunter2@am:9093"]',
      'urls[0]: expected a URL without user and password, which belong in basic_auth, found "http://***@am:9093"',
    ],
    [
      'are URLs of HTTP',
      'urls: ["am:9093", 9093]',
      'urls[0]: expected a URL that begins with http:// or https:// and a host, found "am:9093"',
      'urls[1]: expected a URL such as http://alertmanager:9093, found 9093',
    ],
  ])

  it('are taken in normal form, and from a variable', async () => {
    const { config } = await load('alertmanager: {urls: ["HTTP://AM:80/x/"]}')
    assert.deepEqual(config.alertmanager.urls, ['http://am/x'])
    const { overrides } = readEnvironment({ VLLM_VITALS_ALERTMANAGER_URLS: 'http://a, http://b' })
    assert.deepEqual(overrides[0]?.value, ['http://a', 'http://b'])
  })

  it('deserve a look where they end in what is appended', async () => {
    for (const path of ['/api/v2/alerts', '/am/api/v2', '/api/v1/alerts', '/api']) {
      const { warnings } = await load(`alertmanager: {urls: ["http://am:9093${path}"]}`)
      assert.equal(warnings.length, 1, path)
      assert.match(
        warnings[0] ?? '',
        /^alertmanager\.urls\[0\]: expected the base URL, to which \/api\/v2\/alerts is appended, found one that ends in /,
      )
    }
    const { warnings } = await load('alertmanager: {urls: ["http://am:9093/alertmanager"]}')
    assert.deepEqual(warnings, [])
  })
})

describe('the instance of alerts', () => {
  for (const text of ['gpu-host-1:19400', 'h.example', '[2001:db8::1]:19400', '']) {
    it(`may be ${JSON.stringify(text)}`, async () => {
      const { config } = await load(`alertmanager: {instance: "${text}"}`)
      assert.equal(config.alertmanager.instance, text)
    })
  }
  for (const text of ['http://h:1', 'h:1/x', 'a b', 'h:', 'me@h:1', '::1']) {
    it(`may not be ${JSON.stringify(text)}`, async () => {
      const [line, ...rest] = await issuesOf(`alertmanager: {instance: "${text}"}`)
      assert.match(
        line ?? '',
        /^alertmanager\.instance: expected HOST:PORT such as gpu-host-1:19400,/,
      )
      assert.deepEqual(rest, [])
    })
  }
})

describe('the labels of alerts', () => {
  const taken = 'expected a label that alerts do not have already'
  const named =
    'expected the name of a label: letters, digits and _, not beginning with a digit or __'
  table([
    ['may be of any name that Prometheus takes', 'labels: {cluster: berlin, _a9: b, Team: c}'],
    ...ownLabels.map(
      (name): Row => [
        `may not be ${name}, which the alert has`,
        `labels: {${name}: x}`,
        `labels.${name}: ${taken}, found "${name}"`,
      ],
    ),
    ...['a-b', '9a', '__name', 'a.b', 'é', ''].map(
      (name): Row => [
        `may not be called ${JSON.stringify(name)}`,
        `labels: {"${name}": x}`,
        `labels.${name}: ${named}, found "${name}"`,
      ],
    ),
    [
      'say something, in text',
      `labels: {a: "", b: 5, c: "${'x'.repeat(257)}"}`,
      'labels.a: expected a text, found ""',
      'labels.b: expected a text, found 5',
      `labels.c: expected a text of at most 256 characters, found "${'x'.repeat(120)}…"`,
    ],
    [
      'are at most 16',
      `labels: {${Array.from({ length: 17 }, (_, index) => `l${index}: x`)}}`,
      'labels: expected at most 16 labels, found a map',
    ],
    ['are a map', 'labels: [a]', 'labels: expected a map, found a list of 1'],
  ])
})

describe('the times of the push', () => {
  const limits = 'such as 5s or 1m30s'
  table([
    [
      'have their ranges',
      'timeout: 99ms, resend: 4s',
      `timeout: expected a duration from 100ms to 1m ${limits}, found "99ms"`,
      `resend: expected a duration from 5s to 1h ${limits}, found "4s"`,
    ],
    ['may be the same', 'timeout: 10s, resend: 10s'],
    [
      'leave each try time before the next',
      'timeout: 10s1ms, resend: 10s',
      'timeout: expected at most resend, 10s, found 10s1ms',
    ],
  ])
})

describe('the credentials for Alertmanagers', () => {
  it('stand in files beside the configuration, which are looked for', async () => {
    const { config } = await load('alertmanager: {bearer_token_file: token}', {
      files: { token: 'hunter2' },
    })
    const { auth } = config.alertmanager
    assert.equal(auth.kind, 'bearer')
    assert.match(auth.kind === 'bearer' ? auth.tokenFile : '', /^\/.*\/token$/)
  })

  table([
    [
      'have to be there',
      'basic_auth: {username: me, password_file: pw}',
      'basic_auth.password_file: expected a readable file, found no such file at pw',
    ],
    [
      'are of one kind',
      'bearer_token_file: "", basic_auth: {username: "me:hunter2", password_file: ""}',
      'basic_auth.username: expected a user name without a colon, found one with a colon',
      'basic_auth.password_file: expected the path of a file, found ""',
    ],
    [
      'are known by these keys',
      'basic_auth: {username: me, password_file: ""}, token: hunter2',
      'basic_auth.password_file: expected the path of a file, found ""',
      'token: expected one of the keys urls, instance, timeout, resend, labels, bearer_token_file, basic_auth, found "token"',
    ],
  ])

  it('are not of both kinds', async () => {
    const both = 'bearer_token_file: t, basic_auth: {username: me, password_file: t}'
    assert.deepEqual(await issuesOf(`alertmanager: {${both}}`, { files: { t: 'x' } }), [
      'alertmanager.basic_auth: expected either bearer_token_file or basic_auth, found a map',
    ])
  })
})
