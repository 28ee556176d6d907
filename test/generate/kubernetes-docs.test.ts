import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { writeFiles } from '../../src/generate/files.ts'
import { repositoryRoot } from '../repository.ts'
import { cannotBuild, defaultManifests, documentsOf } from './kustomize.ts'
import { complaintsOf } from './published-schemas.ts'

const docs = readFileSync(join(repositoryRoot, 'docs', 'kubernetes.md'), 'utf8')
const files = await defaultManifests()
const textOf = (path: string) => {
  const file = files.find((one) => one.path === path)
  assert.ok(file, path)
  return file.text
}

/** What a user would have in a folder, beside the copy of config/kubernetes. */
async function withCopy<T>(own: string, use: (folder: string) => T): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'vllm-vitals-docs-'))
  try {
    await writeFiles(files, join(folder, 'vllm-vitals'))
    writeFileSync(join(folder, 'deployment.yaml'), textOf('overlays/sidecar/deployment.yaml'))
    writeFileSync(join(folder, 'kustomization.yaml'), own)
    return use(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const examples = [...docs.matchAll(/```yaml\n(# kustomization\.yaml.*?)```/gs)].map(
  ([, text = '']) => text,
)

describe('docs/kubernetes.md', () => {
  it('names every folder of config/kubernetes, and no other', () => {
    const there = new Set(files.map(({ path }) => path.split('/').slice(0, -1).join('/')))
    const named = [...docs.matchAll(/`((?:overlays|components)\/[\w-]+)`|`(base)`/g)].map(
      ([, folder, base]) => folder ?? base ?? '',
    )
    assert.deepEqual([...new Set(named)].sort(), [...there].sort())
  })

  it('has kustomizations that can be built and are valid', { skip: cannotBuild }, async () => {
    assert.equal(examples.length, 2)
    for (const example of examples) {
      const built = await withCopy(example, (folder) =>
        execFileSync('kubectl', ['kustomize', folder], { encoding: 'utf8' }),
      )
      const manifests = documentsOf(built)
      assert.match(JSON.stringify(manifests), /"--config\.file=/)
      for (const one of manifests) assert.deepEqual(complaintsOf(one), [], one.kind)
    }
  })

  it('has a patch that leaves the rules out', { skip: cannotBuild }, async () => {
    const [, patches = ''] = /```yaml\n(patches:\n.*?)```/s.exec(docs) ?? []
    const built = await withCopy(`resources: [vllm-vitals/base]\n${patches}`, (folder) =>
      execFileSync('kubectl', ['kustomize', folder], { encoding: 'utf8' }),
    )
    assert.deepEqual(
      documentsOf(built).map(({ kind }) => kind),
      ['ConfigMap'],
    )
  })

  it('has a command by which kubectl patches a Deployment that is there', {
    skip: cannotBuild,
  }, () => {
    const [, command = ''] = /^(sed .*\n {2}kubectl patch .*)$/m.exec(docs) ?? []
    const deployment = 'config/kubernetes/overlays/sidecar/deployment.yaml'
    // --local patches a file in place of an object of a cluster.
    const local = command
      .replace('deployment NAME', `--local -o yaml -f ${deployment}`)
      .replaceAll('NAME', 'vllm-server')
    const said = execFileSync('sh', ['-c', local], { cwd: repositoryRoot, encoding: 'utf8' })
    const { metadata, spec } = parse(said)
    assert.equal(metadata.name, 'vllm-server')
    const names = spec.template.spec.containers.map(({ name }: { readonly name: string }) => name)
    assert.deepEqual(names.sort(), ['vllm', 'vllm-vitals'])
  })

  it('says the numbers that the manifests have', () => {
    const patch = parse(textOf('components/sidecar/patch.yaml'))
    const [{ resources }] = patch.spec.template.spec.containers
    const { requests, limits } = resources
    for (const value of [requests.memory, requests.cpu, limits.memory]) {
      assert.ok(docs.includes(`| ${value} |`), value)
    }
    const [vllm] = parse(textOf('overlays/sidecar/deployment.yaml')).spec.template.spec.containers
    const { periodSeconds, failureThreshold } = vllm.startupProbe
    assert.ok(docs.includes(`for ${periodSeconds * failureThreshold} s |`))
    const [daemon] = parse(textOf('components/traffic-by-health/patch.yaml')).spec.template.spec
      .containers
    const { readinessProbe } = daemon
    const seconds = readinessProbe.periodSeconds * readinessProbe.failureThreshold
    assert.ok(docs.includes(`leaves its Services ${seconds} s after`))
    assert.ok(docs.includes(`\`${readinessProbe.httpGet.path}\``))
  })
})
