import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { configSchema } from '../../src/config/schema.ts'
import { dashboardFiles } from '../../src/generate/kubernetes/components.ts'
import { podConfig } from '../../src/generate/kubernetes/configuration.ts'
import { kubernetesFiles } from '../../src/generate/kubernetes/kubernetes.ts'
import { manifestFile } from '../../src/generate/kubernetes/manifest.ts'
import { jobMatcher } from '../../src/generate/rule-group.ts'
import { configOf } from '../config/with-file.ts'
import { repositoryRoot } from '../repository.ts'

/** A file for credentials has to be readable; what is in it does not matter here. */
const readable = join(repositoryRoot, 'config/compose/secrets/slack_url')

/** The files of a configuration, parsed, by their paths. */
async function manifestsOf(settings: Readonly<Record<string, unknown>>) {
  const files = kubernetesFiles(await configOf(settings), { rules: [], grafana: [] })
  return (path: string) => {
    const file = files.find((one) => one.path === path)
    assert.ok(file, path)
    return parse(file.text)
  }
}

const mapped = (map: { readonly data: Readonly<Record<string, string>> }) =>
  parse(map.data['vllm-vitals.yaml'] ?? '')

describe('the ConfigMap', () => {
  it('holds the targets and what differs from the defaults, and nothing else', async () => {
    const of = await manifestsOf({ 'thresholds.queue_time_p95': '10s' })
    assert.deepEqual(mapped(of('base/configmap.yaml')), {
      targets: [{ name: 'vllm', url: 'http://127.0.0.1:8000' }],
      gpu: { enabled: true },
      thresholds: { queue_time_p95: '10s' },
    })
  })

  it('read again, is the configuration of the pod', async () => {
    const settings = {
      targets: [
        { name: 'a', url: 'http://127.0.0.1:8000', bearer_token_file: readable },
        { name: 'b', url: 'http://127.0.0.1:8001' },
      ],
      windows: ['2m', '10m'],
      'alerts.VllmDown': { for: '1m' },
      'scrape.interval': '2s',
      'slo.errors': 0.99,
    }
    const of = await manifestsOf(settings)
    const read = configSchema.parse(mapped(of('base/configmap.yaml')))
    assert.deepEqual(read, podConfig(await configOf(settings)))
  })

  it('expects a GPU where that is left open, and none where they are switched off', async () => {
    for (const [given, wanted] of [
      ['auto', true],
      [true, true],
      [false, false],
    ]) {
      const of = await manifestsOf({ 'gpu.enabled': given })
      for (const path of ['base/configmap.yaml', 'overlays/daemonset/configmap.yaml']) {
        assert.equal(mapped(of(path)).gpu.enabled, wanted)
      }
    }
  })
})

describe('the manifests of another configuration', () => {
  it('have the port that the daemon listens on, reachable from outside of the pod', async () => {
    const of = await manifestsOf({ 'web.listen': ['127.0.0.1:9999'] })
    assert.deepEqual(mapped(of('base/configmap.yaml')).web, { listen: ['0.0.0.0:9999'] })
    const [container] = of('components/sidecar/patch.yaml').spec.template.spec.containers
    assert.deepEqual(container.ports, [{ name: 'vitals', containerPort: 9999 }])
    assert.equal(of('overlays/daemonset/service.yaml').spec.ports[0].port, 9999)
  })

  it('leave an address alone that others can reach', async () => {
    const of = await manifestsOf({ 'web.listen': ['127.0.0.1:1', '[::]:19401'] })
    assert.deepEqual(mapped(of('base/configmap.yaml')).web, { listen: ['[::]:19401'] })
  })

  it('have the name and the port of its vLLM', async () => {
    const of = await manifestsOf({ targets: [{ name: 'llama', url: 'http://127.0.0.1:8080' }] })
    const [vllm] = of('overlays/sidecar/deployment.yaml').spec.template.spec.containers
    assert.deepEqual(vllm.ports, [{ name: 'http', containerPort: 8080 }])
    assert.ok(vllm.args.includes('--port=8080'))
    const [daemon] = of('components/traffic-by-health/patch.yaml').spec.template.spec.containers
    assert.equal(daemon.readinessProbe.httpGet.path, '/health?target=llama')
    assert.equal(of('overlays/sidecar/networkpolicy.yaml').spec.ingress[1].ports[0].port, 8080)
    assert.equal(of('overlays/daemonset/networkpolicy.yaml').spec.egress[1].ports[0].port, 8080)
    assert.deepEqual(mapped(of('overlays/daemonset/configmap.yaml')).targets, [
      { name: 'llama', url: 'http://node-vllm:8080' },
    ])
  })

  it('scale at half of the wait that rings', async () => {
    const of = await manifestsOf({ 'thresholds.queue_time_p95': '8s' })
    // 8 s ÷ 2
    assert.equal(
      of('components/scaling-keda/scaledobject.yaml').spec.triggers[0].metadata.threshold,
      '4',
    )
    assert.equal(of('components/scaling-hpa/hpa.yaml').spec.metrics[0].external.target.value, '4')
  })
})

describe('a dashboard as a ConfigMap', () => {
  const files = (path: string, text: string) => dashboardFiles([{ path, text }])

  it('is made of dashboards alone', () => {
    assert.deepEqual(files('provisioning/a.yaml', 'panels: []'), [])
    assert.deepEqual(files('other.json', '{"rows": []}'), [])
    const [, made] = files('dashboards/vllm-vitals-a.json', '{"panels": []}')
    assert.equal(made?.path, 'components/dashboards/a.yaml')
  })

  it('is refused where kubectl apply could not take it', () => {
    const text = JSON.stringify({ panels: [], description: 'x'.repeat(262_144) })
    assert.throws(
      () => files('dashboards/a.json', text),
      /expected a dashboard that fits 262144 bytes/,
    )
  })
})

describe('a remark in a manifest', () => {
  it('stands above what it speaks of, in maps and lists', () => {
    const remarks = { '': 'All.', 'a/b': 'Of b.', 'a/b/0': 'Of the first.' }
    const { text } = manifestFile('x.yaml', { a: { b: [{ c: 1 }] } }, remarks)
    assert.equal(text, '# All.\n\na:\n  # Of b.\n  b:\n    # Of the first.\n    - c: 1\n')
  })

  it('is refused where there is nothing', () => {
    const wrong = () => manifestFile('x.yaml', { a: 1 }, { 'a/b': 'Nowhere.' })
    assert.throws(wrong, /expected something at a\/b to remark on/)
  })
})

describe('the manifests for several targets', () => {
  const settings = {
    targets: [
      { name: 'Llama.70B', url: 'http://127.0.0.1:8000' },
      { name: 'qwen', url: 'https://127.0.0.1:8001/base' },
    ],
    'alertmanager.urls': ['http://alertmanager.monitoring:9093'],
  }

  it('have a Service of the node for each, by which the daemon of the node finds it', async () => {
    const of = await manifestsOf(settings)
    const { targets } = mapped(of('overlays/daemonset/configmap.yaml'))
    assert.deepEqual(targets, [
      { name: 'Llama.70B', url: 'http://node-vllm-llama-70b:8000' },
      { name: 'qwen', url: 'https://node-vllm-qwen:8001/base' },
    ])
    const services = ['llama-70b', 'qwen'].map((one) =>
      of(`overlays/daemonset/node-service-${one}.yaml`),
    )
    assert.deepEqual(
      services.map(({ metadata, spec }) => [
        metadata.name,
        spec.ports[0].port,
        spec.selector['vllm-vitals/target'],
        spec.internalTrafficPolicy,
      ]),
      [
        ['node-vllm-llama-70b', 8000, 'Llama.70B', 'Local'],
        ['node-vllm-qwen', 8001, 'qwen', 'Local'],
      ],
    )
    const { resources } = of('overlays/daemonset/kustomization.yaml')
    assert.ok(resources.includes('node-service-llama-70b.yaml'))
    assert.ok(resources.includes('node-service-qwen.yaml'))
  })

  it('close no port of vLLM, and let the daemon out to each and to Alertmanager', async () => {
    const of = await manifestsOf(settings)
    const ports = (rule: { readonly ports: readonly { readonly port: unknown }[] }) =>
      rule.ports.map(({ port }) => port)
    const sidecar = of('overlays/sidecar/networkpolicy.yaml').spec
    assert.deepEqual(ports(sidecar.ingress[1]), [8000, 8001])
    const { egress } = of('overlays/daemonset/networkpolicy.yaml').spec
    assert.deepEqual(egress.map(ports), [[53, 53], [8000, 8001], [9093]])
  })

  it('keep names of Services apart where those of targets differ in dots alone', async () => {
    const url = (port: number) => `http://127.0.0.1:${port}`
    const of = await manifestsOf({
      targets: [
        { name: 'a.b', url: url(8000) },
        { name: 'a-b', url: url(8001) },
      ],
    })
    const { targets } = mapped(of('overlays/daemonset/configmap.yaml'))
    assert.deepEqual(
      targets.map((one: { readonly url: string }) => one.url),
      ['http://node-vllm-a-b:8000', 'http://node-vllm-a-b-1:8001'],
    )
  })
})

describe('the monitors', () => {
  for (const path of [
    'overlays/sidecar/podmonitor.yaml',
    'overlays/daemonset/servicemonitor.yaml',
  ]) {
    it(`scrape under a job that the rules look for, as often as they are asked: ${path}`, async () => {
      const { spec } = (await manifestsOf({}))(path)
      const [endpoint] = spec.podMetricsEndpoints ?? spec.endpoints
      const [, pattern = ''] = /^job=~"(.*)"$/.exec(jobMatcher) ?? []
      const { replacement } = endpoint.relabelings.find(
        ({ targetLabel }: { readonly targetLabel: string }) => targetLabel === 'job',
      )
      assert.match(replacement, new RegExp(`^${pattern}$`))
      assert.equal(endpoint.interval, '15s')
    })
  }
})
