import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { stringify } from 'yaml'
import { findProgram, repositoryRoot } from '../repository.ts'
import { haproxyFile, nginxFile } from './proxy.ts'

const page = readFileSync(join(repositoryRoot, 'docs', 'production-checklist.md'), 'utf8')
const haproxy = readFileSync(haproxyFile, 'utf8')
const nginx = readFileSync(nginxFile, 'utf8')

// What the worked example takes from the metrics, and what the operator allows.
const running = 32
const finishedPerSecond = 9
const servers = 2
const waitSeconds = 5
const e2eUpperBoundSeconds = 60

const inFlight = running + finishedPerSecond
const queueSeconds = waitSeconds - 1

describe('the numbers of the proxies', () => {
  const rows: readonly (readonly [string, string])[] = [
    ['IN_FLIGHT', `${inFlight}`],
    ['QUEUE_LIMIT', `${finishedPerSecond * queueSeconds}`],
    ['QUEUE_TIMEOUT', `${queueSeconds}s`],
    ['FINISHED_PER_SECOND', `${finishedPerSecond}`],
    ['CLIENT_REQUESTS_IN_10S', `${(finishedPerSecond * servers * 10) / 2}`],
    ['CLIENT_AT_ONCE', `${(inFlight * servers) / 2}`],
    ['SILENCE', `${2 * e2eUpperBoundSeconds}s`],
  ]
  for (const [name, value] of rows) {
    it(`follow from the worked example: ${name} is ${value}`, () => {
      assert.ok(haproxy.includes(`presetenv ${name} ${value}\n`), name)
    })
  }

  it('are the same for nginx, as far as it has them', () => {
    assert.equal(nginx.split(`max_conns=${inFlight} `).length - 1, servers)
    assert.ok(nginx.includes(`rate=${(finishedPerSecond * servers) / 2}r/s`))
    assert.ok(nginx.includes(`limit_conn vllm_client_now ${(inFlight * servers) / 2};`))
    assert.ok(nginx.includes(`proxy_read_timeout ${2 * e2eUpperBoundSeconds}s;`))
    const allDoneSeconds = (inFlight * servers) / (finishedPerSecond * servers)
    assert.ok(nginx.includes(`add_header Retry-After ${Math.ceil(allDoneSeconds)} always;`))
  })

  it('stand in the table as they stand in the files', () => {
    for (const value of ['**41**', '**36**', '**4 s**', '**5 s**', '**90 in 10 s**', '**120 s**']) {
      assert.ok(page.includes(value), value)
    }
  })
})

describe('the queries of the checklist', () => {
  const skip = findProgram('promtool') === undefined ? 'needs promtool' : false

  it('are queries', { skip }, () => {
    const queries = [...page.matchAll(/`([^`\n]*vllm_vitals_\w+[{[ )][^`\n]*)`/g)].map(
      ([, query = '']) => query,
    )
    assert.ok(queries.length >= 5, `${queries.length}`)
    const folder = mkdtempSync(join(tmpdir(), 'vllm-vitals-queries-'))
    try {
      const file = join(folder, 'rules.yaml')
      const rules = queries.map((expr, at) => ({ record: `query:${at}`, expr }))
      writeFileSync(file, stringify({ groups: [{ name: 'queries', rules }] }))
      const { status, stdout, stderr } = spawnSync('promtool', ['check', 'rules', file], {
        encoding: 'utf8',
      })
      assert.equal(status, 0, stdout + stderr)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
