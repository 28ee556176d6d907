import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { repositoryRoot } from '../repository.ts'
import {
  build,
  cannotBuild,
  combinations,
  defaultManifests,
  documentsOf,
  nameOf,
} from './kustomize.ts'
import { complaintsOf, type Manifest } from './published-schemas.ts'

const files = await defaultManifests()
const parsed = files
  .filter(({ path }) => !path.endsWith('values.yaml'))
  .flatMap(({ path, text }) => documentsOf(text).map((manifest) => ({ path, manifest })))
const isOfKustomize = ({ apiVersion = '' }: Manifest) => apiVersion.startsWith('kustomize.')
const isPatch = ({ metadata }: Manifest) => metadata.name === 'any'
const objects = parsed.filter(({ manifest }) => !isOfKustomize(manifest) && !isPatch(manifest))

describe('the manifests, against the published schemas', () => {
  it('are valid, each by itself', () => {
    assert.ok(objects.length > 12)
    for (const { path, manifest } of objects) assert.deepEqual(complaintsOf(manifest), [], path)
  })

  for (const wanted of combinations) {
    it(`are valid as kubectl builds them: ${nameOf(wanted)}`, { skip: cannotBuild }, async () => {
      const built = await build(files, wanted)
      assert.ok(built.length > 4)
      for (const one of built)
        assert.deepEqual(complaintsOf(one), [], `${one.kind} ${one.metadata.name}`)
    })
  }

  it('are built of all that is generated: every component is in some combination', () => {
    const components = parsed.filter(({ manifest }) => manifest.kind === 'Component')
    const used = new Set(combinations.flatMap((one) => one.components))
    for (const { path } of components) {
      const [, name = ''] = path.split('/')
      assert.ok(used.has(name) || name === 'sidecar', name)
    }
    assert.equal(components.length, 7)
  })

  it('are refused by kubectl with a field that kustomize does not know', {
    skip: cannotBuild,
  }, async () => {
    const wanted = { overlay: 'sidecar', components: [], more: { componentz: [] } }
    await assert.rejects(build(files, wanted), /unknown field \\?"componentz/)
  })
})

/** Maps whose keys are free, so that no schema can know them. */
const free = new Set('labels,annotations,matchLabels,data,limits,requests,nodeSelector'.split(','))

/** Every object in `value` whose fields a schema knows, by its path. */
function closedObjects(
  value: object,
  kind: string,
  path: readonly string[],
): readonly (readonly string[])[] {
  const inner = Object.entries(value).flatMap(([key, one]) =>
    typeof one === 'object' && one !== null ? closedObjects(one, kind, [...path, key]) : [],
  )
  return isFree(path, kind) || Array.isArray(value) ? inner : [path, ...inner]
}

/** The metadata of an object is described, that of a trigger of KEDA is not; the selector of a Service is free. */
function isFree(path: readonly string[], kind: string): boolean {
  const key = path.at(-1) ?? ''
  if (key === 'metadata') return path.includes('triggers')
  if (key === 'selector') return kind === 'Service'
  return free.has(key)
}

/** A copy of `manifest` with what `change` does to the object at `path`. */
function changed(
  manifest: Manifest,
  path: readonly string[],
  change: (object: Record<string, unknown>) => void,
): Manifest {
  const copy = structuredClone(manifest)
  let object: Record<string, unknown> = copy as unknown as Record<string, unknown>
  for (const key of path) object = object[key] as Record<string, unknown>
  change(object)
  return copy
}

const find = (kind: string) => {
  const found = objects.find(({ manifest }) => manifest.kind === kind)
  assert.ok(found, kind)
  return found.manifest
}

describe('a broken manifest', () => {
  it('is refused with an unknown field, at whatever depth', () => {
    let tried = 0
    for (const { path, manifest } of objects) {
      for (const place of closedObjects(manifest, manifest.kind, [])) {
        const wrong = changed(manifest, place, (object) => {
          object['unheardOf'] = 1
        })
        tried += 1
        const where = ['data', ...place, 'unheardOf'].join('/')
        assert.ok(complaintsOf(wrong).includes(`${where} is not known`), `${path} ${where}`)
      }
    }
    assert.ok(tried > 150, String(tried))
  })

  const broken: readonly (readonly [string, Manifest, RegExp])[] = [
    [
      'without its selector',
      changed(find('Deployment'), ['spec'], (spec) => {
        spec['selector'] = undefined
      }),
      /spec must have required property selector/,
    ],
    [
      'with a port that is no number',
      changed(
        find('DaemonSet'),
        ['spec', 'template', 'spec', 'containers', '0', 'ports', '0'],
        (port) => {
          port['containerPort'] = '19400'
        },
      ),
      /containerPort must be integer/,
    ],
    [
      'with an endpoint of a monitor whose interval is no duration',
      changed(find('PodMonitor'), ['spec', 'podMetricsEndpoints', '0'], (endpoint) => {
        endpoint['interval'] = '15 seconds'
      }),
      /interval must match pattern/,
    ],
    [
      'with a rule that has no expression',
      changed(find('PrometheusRule'), ['spec', 'groups', '0', 'rules', '0'], (rule) => {
        rule['expr'] = undefined
      }),
      /must have required property expr/,
    ],
    [
      'with nothing to scale',
      changed(find('ScaledObject'), ['spec'], (spec) => {
        spec['scaleTargetRef'] = undefined
      }),
      /must have required property scaleTargetRef/,
    ],
    [
      'with a metric without its target',
      changed(find('HorizontalPodAutoscaler'), ['spec', 'metrics', '0', 'external'], (metric) => {
        metric['target'] = undefined
      }),
      /must have required property target/,
    ],
  ]
  for (const [what, manifest, complaint] of broken) {
    it(`is refused ${what}`, () => {
      assert.match(complaintsOf(manifest).join('\n'), complaint)
    })
  }

  it('is refused when its kind is misspelt', () => {
    const wrong = { ...find('Deployment'), kind: 'Deploymnt' }
    assert.deepEqual(complaintsOf(wrong), ['no schema of apps/v1 Deploymnt'])
  })
})

describe('the PrometheusRule', () => {
  it('holds the very groups of the checked-in rule files', () => {
    const folder = join(repositoryRoot, 'config', 'prometheus')
    const groups = readdirSync(folder)
      .filter((name) => name.endsWith('.rules.yaml'))
      .sort()
      .flatMap((name) => parse(readFileSync(join(folder, name), 'utf8')).groups)
    assert.ok(groups.length > 0)
    assert.deepEqual(find('PrometheusRule')['spec'], { groups })
  })
})
