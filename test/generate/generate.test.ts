import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { describe, it } from 'node:test'
import { asStream } from '../../src/generate/files.ts'
import { repositoryRoot } from '../repository.ts'
import { defaultFiles, folders } from './checked-in.ts'

describe('the generated files', () => {
  it('are fresh under config/ (npm run docs)', async () => {
    for (const { product, files } of await defaultFiles()) {
      for (const { path, text } of files) {
        assert.equal(readFileSync(join(folders[product], path), 'utf8'), text, path)
      }
    }
  })

  it('are all that is there', async () => {
    for (const { product, files } of await defaultFiles()) {
      const there = readdirSync(folders[product], { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map(({ parentPath, name }) => relative(folders[product], join(parentPath, name)))
      assert.deepEqual(there.toSorted(), files.map(({ path }) => path).toSorted(), product)
    }
  })

  it('are the same, byte for byte, when made again', async () => {
    assert.deepEqual(await defaultFiles(), await defaultFiles())
  })
})

describe('a stream of files', () => {
  const one = { path: 'a.yaml', text: 'a: 1\n' }

  it('is the text itself of a single one', () => {
    assert.deepEqual(asStream([one]), { text: 'a: 1\n', leftOut: [] })
  })

  it('names each of several, one YAML document a file', () => {
    const files = [one, { path: 'b/c.json', text: '{"c": 2}\n' }]
    const text = '---\n# Source: a.yaml\na: 1\n---\n# Source: b/c.json\n{"c": 2}\n'
    assert.deepEqual(asStream(files), { text, leftOut: [] })
  })

  it('leaves out what is no YAML, and says so', () => {
    const files = [one, { path: 'templates/a.tmpl', text: '{{ define "a" }}{{ end }}\n' }]
    assert.deepEqual(asStream(files), { text: 'a: 1\n', leftOut: ['templates/a.tmpl'] })
  })
})

describe('vllm-vitals generate', () => {
  const main = join(repositoryRoot, 'dist', 'src', 'main.js')
  const run = (...args: readonly string[]) =>
    spawnSync(process.execPath, [main, 'generate', ...args], { encoding: 'utf8' })

  it('writes to standard output what is checked in, and says what has no place there', () => {
    const { status, stdout, stderr } = run('alertmanager')
    const file = join(folders.alertmanager, 'alertmanager.yaml')
    assert.deepEqual([status, stdout], [0, readFileSync(file, 'utf8')])
    assert.equal(stderr, 'not shown, use --out DIR: templates/vllm-vitals.tmpl\n')
  })

  it('writes files below a folder that it makes, and names them', () => {
    const folder = mkdtempSync(join(tmpdir(), 'vllm-vitals-generate-'))
    try {
      const out = join(folder, 'new', 'rules')
      const { status, stdout } = run('prometheus-rules', '--out', out)
      const file = join(out, 'vllm-vitals.rules.yaml')
      assert.deepEqual([status, stdout], [0, `${file}\n`])
      const kept = readFileSync(join(folders['prometheus-rules'], 'vllm-vitals.rules.yaml'), 'utf8')
      assert.equal(readFileSync(file, 'utf8'), kept)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })

  it('takes thresholds from the configuration that the daemon has', () => {
    const folder = mkdtempSync(join(tmpdir(), 'vllm-vitals-generate-'))
    try {
      const file = join(folder, 'vllm-vitals.yaml')
      writeFileSync(file, 'thresholds: { e2e_latency_p99: 20s }\n')
      const { stdout } = run('prometheus-rules', `--config.file=${file}`)
      assert.match(stdout, /\{\{ else \}\}20 s\{\{ end \}\} in 5 m/)
      assert.doesNotMatch(stdout, /\{\{ else \}\}10 s\{\{ end \}\} in 5 m/)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })

  it('needs no secret of the hosts', () => {
    const folder = mkdtempSync(join(tmpdir(), 'vllm-vitals-generate-'))
    try {
      const file = join(folder, 'vllm-vitals.yaml')
      const target = '{ name: a, url: "http://h:8000", bearer_token_file: /nowhere/token }'
      writeFileSync(file, `targets: [${target}]\n`)
      const { status, stderr } = run('prometheus-rules', `--config.file=${file}`)
      assert.deepEqual([status, stderr], [0, ''])
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })

  it('warns where alerts would come twice, by rules and by push', () => {
    const folder = mkdtempSync(join(tmpdir(), 'vllm-vitals-generate-'))
    try {
      const file = join(folder, 'vllm-vitals.yaml')
      writeFileSync(file, 'alertmanager: { urls: ["http://a:9093"] }\n')
      const warned = (product: string) => run(product, `--config.file=${file}`).stderr
      assert.match(warned('prometheus-rules'), /^warning: alertmanager\.urls: .* told twice\n$/)
      assert.doesNotMatch(warned('alertmanager'), /told twice/)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })

  it('is refused with 78 and a line for a mistake, and writes nothing', () => {
    const { status, stdout, stderr } = run('rules')
    assert.deepEqual([status, stdout], [78, ''])
    assert.match(stderr, /^generate: expected one of prometheus-rules, .* found "rules"\n/)
  })
})
