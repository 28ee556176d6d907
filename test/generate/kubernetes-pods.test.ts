import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { configSchema } from '../../src/config/schema.ts'
import { image } from '../../src/generate/kubernetes/manifest.ts'
import { repositoryRoot } from '../repository.ts'
import {
  build,
  cannotBuild,
  combinations,
  defaultManifests,
  nameOf,
  type Wanted,
} from './kustomize.ts'
import type { Manifest } from './published-schemas.ts'

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string | number }
  readonly periodSeconds: number
  readonly timeoutSeconds?: number
  readonly failureThreshold?: number
}

interface Container {
  readonly name: string
  readonly image: string
  readonly env?: readonly { readonly name: string; readonly value: string }[]
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[]
  readonly startupProbe: Probe
  readonly livenessProbe: Probe
  readonly readinessProbe: Probe
  readonly resources: {
    readonly requests: Readonly<Record<string, string>>
    readonly limits: Readonly<Record<string, string>>
  }
  readonly securityContext: Readonly<Record<string, unknown>>
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[]
}

interface Pod {
  readonly metadata: {
    readonly labels: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
  }
  readonly spec: {
    readonly runtimeClassName?: string
    readonly hostPID?: boolean
    readonly hostNetwork?: boolean
    readonly automountServiceAccountToken?: boolean
    readonly containers: readonly Container[]
    readonly volumes: readonly {
      readonly name: string
      readonly configMap?: { readonly name: string }
    }[]
  }
}

type Labels = Readonly<Record<string, string>>

const files = await defaultManifests()

const builds = new Map<string, Promise<readonly Manifest[]>>()

/** Everything of one build, which is made once, and its pods. */
async function built(wanted: Wanted) {
  const key = JSON.stringify(wanted)
  const building = builds.get(key) ?? build(files, wanted)
  builds.set(key, building)
  const manifests = await building
  const workloads = manifests.filter(({ kind }) => kind === 'Deployment' || kind === 'DaemonSet')
  const pods = workloads.map((one) => (one['spec'] as { readonly template: Pod }).template)
  const vitals = pods.flatMap(({ spec }) =>
    spec.containers.filter(({ name }) => name === 'vllm-vitals'),
  )
  return { manifests, workloads, pods, vitals }
}

const skip = { skip: cannotBuild }
const sidecar = { overlay: 'sidecar', components: [] }
const daemonset = { overlay: 'daemonset', components: [] }

for (const wanted of combinations) {
  describe(`the pods of ${nameOf(wanted)}`, skip, () => {
    it('hold the daemon once, which asks for no GPU and sees all of them', async () => {
      const { pods, vitals } = await built(wanted)
      assert.deepEqual([pods.length, vitals.length], [1, 1])
      for (const { resources, env } of vitals) {
        const asked = [...Object.keys(resources.requests), ...Object.keys(resources.limits)]
        assert.deepEqual(asked, ['cpu', 'memory', 'memory'])
        assert.deepEqual(env, [
          { name: 'NVIDIA_VISIBLE_DEVICES', value: 'all' },
          { name: 'NVIDIA_DRIVER_CAPABILITIES', value: 'utility' },
        ])
      }
      assert.deepEqual(
        pods.map(({ spec }) => spec.runtimeClassName),
        ['nvidia'],
      )
    })

    it('let the daemon start and live by /livez alone', async () => {
      const { vitals } = await built(wanted)
      const ready = wanted.components.includes('traffic-by-health')
        ? '/health?target=vllm'
        : '/readyz'
      for (const { startupProbe, livenessProbe, readinessProbe } of vitals) {
        assert.equal(startupProbe.httpGet.path, '/livez')
        assert.equal(livenessProbe.httpGet.path, '/livez')
        assert.equal(readinessProbe.httpGet.path, ready)
        // A minute to start in, half a minute of silence before it is restarted, and time for a busy node to answer.
        const patience = (probe: Probe) => probe.periodSeconds * (probe.failureThreshold ?? 3)
        assert.ok(patience(startupProbe) >= 60)
        assert.ok(patience(livenessProbe) >= 30)
        assert.ok((livenessProbe.timeoutSeconds ?? 1) >= 5)
      }
    })

    it('restrict the daemon as the Pod Security Standard "restricted" does, and more', async () => {
      const { pods, vitals } = await built(wanted)
      for (const { securityContext } of vitals) {
        assert.deepEqual(securityContext, {
          runAsNonRoot: true,
          runAsUser: 65_532,
          runAsGroup: 65_532,
          readOnlyRootFilesystem: true,
          allowPrivilegeEscalation: false,
          capabilities: { drop: ['ALL'] },
          seccompProfile: { type: 'RuntimeDefault' },
        })
      }
      for (const { spec } of pods) {
        assert.equal(spec.automountServiceAccountToken, false)
        assert.equal(spec.hostNetwork, undefined)
        for (const volume of spec.volumes) assert.ok(!('hostPath' in volume))
        for (const { securityContext } of spec.containers) {
          assert.equal(securityContext['allowPrivilegeEscalation'], false)
          assert.deepEqual(securityContext['capabilities'], { drop: ['ALL'] })
        }
      }
    })

    it('are found by everything that selects: each selector matches some labels', async () => {
      const { manifests, workloads, pods } = await built(wanted)
      const selected = manifests.flatMap(podSelectorsOf)
      assert.ok(selected.length >= 3)
      for (const { who, labels } of selected) {
        assert.ok(
          pods.some(({ metadata }) => matches(labels, metadata.labels)) || isElsewhere(who, wanted),
          who,
        )
      }
      for (const [index, { spec }] of workloads.entries()) {
        const { selector } = spec as { readonly selector: { readonly matchLabels: Labels } }
        assert.ok(matches(selector.matchLabels, pods[index]?.metadata.labels ?? {}))
      }
      for (const monitor of manifests.filter(({ kind }) => kind === 'ServiceMonitor')) {
        const { selector } = monitor['spec'] as {
          readonly selector: { readonly matchLabels: Labels }
        }
        const found = manifests.filter(
          ({ kind, metadata }) =>
            kind === 'Service' && matches(selector.matchLabels, metadata.labels ?? {}),
        )
        assert.deepEqual(
          found.map(({ metadata }) => metadata.name),
          ['vllm-vitals'],
        )
        const [service] = found
        const { ports } = specOf<{ readonly ports: readonly { readonly name: string }[] }>(service)
        const { endpoints } = specOf<{ readonly endpoints: readonly { readonly port: string }[] }>(
          monitor,
        )
        assert.deepEqual(
          endpoints.map(({ port }) => port),
          ports.map(({ name }) => name),
        )
      }
    })

    it('have every port that is named', async () => {
      const { manifests, pods } = await built(wanted)
      const names = pods.flatMap(({ spec }) => spec.containers.flatMap(({ ports }) => ports))
      const known = new Map<string | number, number>(
        names.map(({ name, containerPort }) => [name, containerPort]),
      )
      assert.equal(known.get('vitals'), 19_400)
      for (const name of portNamesIn(manifests)) assert.ok(known.has(name), name)
    })

    it('mount a ConfigMap that is there and holds a valid configuration, which expects a GPU', async () => {
      const { manifests, pods } = await built(wanted)
      const mounted = pods.flatMap(({ spec }) =>
        spec.volumes.flatMap(({ configMap }) => configMap?.name ?? []),
      )
      assert.deepEqual(mounted, ['vllm-vitals'])
      const map = manifests.find(
        ({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === 'vllm-vitals',
      )
      const { data } = map as unknown as { readonly data: Labels }
      const config = configSchema.parse(parse(data['vllm-vitals.yaml'] ?? ''))
      assert.equal(config.gpu.enabled, true)
      const url = wanted.overlay === 'sidecar' ? 'http://127.0.0.1:8000' : 'http://node-vllm:8000'
      assert.deepEqual(
        config.targets.map((target) => target.url),
        [url],
      )
    })
  })
}

/** The vLLM that a daemon of the node looks at is not part of its overlay. */
function isElsewhere(who: string, { overlay }: Wanted): boolean {
  return overlay === 'daemonset' && who === 'Service node-vllm'
}

function podSelectorsOf({ kind, metadata, ...rest }: Manifest) {
  const spec = rest['spec'] as {
    readonly selector?: Labels & { readonly matchLabels?: Labels }
    readonly podSelector?: { readonly matchLabels: Labels }
  }
  const who = `${kind} ${metadata.name}`
  if (kind === 'Service') return [{ who, labels: spec.selector ?? {} }]
  if (kind === 'PodMonitor') return [{ who, labels: spec.selector?.matchLabels ?? {} }]
  if (kind === 'NetworkPolicy') return [{ who, labels: spec.podSelector?.matchLabels ?? {} }]
  if (kind === 'Deployment' || kind === 'DaemonSet') {
    return [{ who, labels: spec.selector?.matchLabels ?? {} }]
  }
  return []
}

function matches(selector: Labels, labels: Labels): boolean {
  const wanted = Object.entries(selector)
  return wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value)
}

/** Every name, but no number, that stands where a port is meant. */
function portNamesIn(value: unknown): readonly string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, inner]) =>
    (key === 'port' || key === 'targetPort') && typeof inner === 'string'
      ? [inner]
      : portNamesIn(inner),
  )
}

describe('vLLM in the example', skip, () => {
  const vllm = async () => {
    const { pods } = await built(sidecar)
    const found = pods[0]?.spec.containers.find(({ name }) => name === 'vllm')
    assert.ok(found)
    return found
  }

  it('is the only container that asks for a GPU', async () => {
    const { resources } = await vllm()
    assert.equal(resources.limits['nvidia.com/gpu'], '1')
  })

  it('may load for 40 minutes, which the longest start on record takes 2222 s of', async () => {
    const { startupProbe } = await vllm()
    assert.equal(startupProbe.periodSeconds * (startupProbe.failureThreshold ?? 0), 2_400)
  })

  it('is what kubectl means where no container is named', async () => {
    const { pods } = await built(sidecar)
    const [annotations] = pods.map(({ metadata }) => metadata.annotations ?? {})
    assert.equal(annotations?.['kubectl.kubernetes.io/default-container'], 'vllm')
  })
})

describe('the daemon of a node', skip, () => {
  it('sees the processes of the host, and a sidecar does so only when asked to', async () => {
    const of = async (wanted: Wanted) => (await built(wanted)).pods.map(({ spec }) => spec.hostPID)
    assert.deepEqual(await of(daemonset), [true])
    assert.deepEqual(await of(sidecar), [undefined])
    assert.deepEqual(await of({ ...sidecar, components: ['host-processes'] }), [true])
  })

  it('finds the vLLM of its own node, also one that is not ready', async () => {
    const { manifests } = await built(daemonset)
    const service = manifests.find(({ metadata }) => metadata.name === 'node-vllm')
    const { selector, ...spec } = specOf<{ readonly selector: Labels }>(service)
    assert.equal(Reflect.get(spec, 'internalTrafficPolicy'), 'Local')
    assert.equal(Reflect.get(spec, 'publishNotReadyAddresses'), true)
    const { pods } = await built(sidecar)
    assert.ok(matches(selector, pods[0]?.metadata.labels ?? {}))
  })
})

describe('the image', skip, () => {
  it('has the version of the package', () => {
    const text = readFileSync(join(repositoryRoot, 'package.json'), 'utf8')
    assert.equal(image.tag, parse(text).version)
  })

  it('is renamed by a kustomization, wherever it stands', async () => {
    const images = [
      { name: 'vllm-vitals', newName: 'registry.example/ops/vitals', newTag: '9.9.9' },
    ]
    for (const overlay of ['sidecar', 'daemonset']) {
      const { vitals } = await built({ overlay, components: [], more: { images } })
      assert.deepEqual(
        vitals.map((one) => one.image),
        ['registry.example/ops/vitals:9.9.9'],
      )
    }
  })
})

describe('the components', skip, () => {
  it('let Grafana find each dashboard, with its text unchanged', async () => {
    const { manifests } = await built({ ...sidecar, components: ['dashboards'] })
    const maps = manifests.filter(({ metadata }) => metadata.labels?.['grafana_dashboard'] === '1')
    const sample = maps.find(({ metadata }) => metadata.name === 'vllm-vitals-dashboard-sample')
    const { data } = sample as unknown as { readonly data: Labels }
    assert.deepEqual(data, {
      'vllm-vitals-sample.json':
        '{\n  "uid": "sample",\n  "title": "50% of $window",\n  "panels": []\n}\n',
    })
  })

  it('label what a Prometheus of kube-prometheus-stack chooses by it, and leave the pods alone', async () => {
    const { manifests, pods } = await built({ ...sidecar, components: ['kube-prometheus-stack'] })
    for (const kind of ['PodMonitor', 'PrometheusRule']) {
      const found = manifests.find((one) => one.kind === kind)
      assert.equal(found?.metadata.labels?.['release'], 'kube-prometheus-stack')
    }
    assert.equal(pods[0]?.metadata.labels['release'], undefined)
  })

  for (const scaling of ['scaling-hpa', 'scaling-keda']) {
    it(`leave the number of replicas to the scaler, and scale what is there: ${scaling}`, async () => {
      const { manifests, workloads } = await built({ ...sidecar, components: [scaling] })
      const scaler = manifests.find(({ kind }) => /scale/i.test(kind))
      const { scaleTargetRef } = specOf<{ readonly scaleTargetRef: { readonly name: string } }>(
        scaler,
      )
      const [deployment] = workloads
      assert.equal(deployment?.metadata.name, scaleTargetRef.name)
      assert.ok(!('replicas' in specOf<object>(deployment)))
    })
  }

  it('add the sidecar to what has the label, and leave everything else alone', async () => {
    const workload = (kind: string, name: string, labels: Labels) => ({
      apiVersion: 'apps/v1',
      kind,
      metadata: { name, labels },
      spec: { template: { spec: { containers: [{ name: 'app' }] } } },
    })
    const own = [
      workload('Deployment', 'one', { 'vllm-vitals': 'watched' }),
      workload('StatefulSet', 'two', { 'vllm-vitals': 'watched' }),
      workload('Deployment', 'three', { app: 'other' }),
    ]
    const text = own.map((one) => `---\n${JSON.stringify(one)}\n`).join('')
    const all = [...files, { path: 'own/own.yaml', text }]
    const more = { resources: ['own.yaml'] }
    const manifests = await build(all, { ...sidecar, components: ['sidecar'], more })
    const containers = manifests.map((one) => [
      one.metadata.name,
      ...specOf<{ readonly template: Pod }>(one).template.spec.containers.map(({ name }) => name),
    ])
    assert.deepEqual(containers.sort(), [
      ['one', 'vllm-vitals', 'app'],
      ['three', 'app'],
      ['two', 'vllm-vitals', 'app'],
    ])
  })
})

function specOf<Spec>(manifest: Manifest | undefined): Spec {
  assert.ok(manifest)
  return manifest['spec'] as Spec
}
