import type { Config } from '../../config/schema.ts'
import type { GeneratedFile } from '../files.ts'
import { images, imagesRemark } from './base.ts'
import { configMap, podConfig, portIn, portOf, pushPorts, targetPorts } from './configuration.ts'
import { configVolume, containerRemarks, vitalsContainer } from './container.ts'
import {
  kustomization,
  type Manifest,
  manifestFile,
  name,
  portName,
  serverLabel,
} from './manifest.ts'
import { serviceMonitor } from './monitors.ts'

const folder = 'overlays/daemonset'
const labels = { 'app.kubernetes.io/name': name } as const

/** The Service by which a daemon finds the vLLM of its own node. Its name must not begin with VLLM_. */
const nodeService = 'node-vllm'

/** The label by which the pods of several vLLM are told apart: its value is the name of the target. */
const targetLabel = 'vllm-vitals/target'

/** How the daemon of a node finds one of its targets. */
interface NodeTarget {
  readonly service: string
  readonly selector: Readonly<Record<string, string>>
  readonly port: number
  /** What the daemon is told to watch. */
  readonly url: string
}

/** One for each target, in their order. A single one is found by vLLM's label alone. */
function nodeTargets({ targets }: Config): readonly NodeTarget[] {
  const taken = new Set<string>()
  return targets.map(({ name: target, url: written }) => {
    const url = new URL(written)
    const port = portIn(url)
    const slug = target
      .toLowerCase()
      .replaceAll(/[^a-z0-9]+/g, '-')
      .replaceAll(/^-|-$/g, '')
    let service = targets.length === 1 ? nodeService : `${nodeService}-${slug}`.slice(0, 58)
    // Names that differ in case or dots alone are one name of a Service.
    if (taken.has(service)) service = `${service}-${taken.size}`
    taken.add(service)
    const path = url.pathname === '/' ? '' : url.pathname
    return {
      service,
      selector: targets.length === 1 ? serverLabel : { ...serverLabel, [targetLabel]: target },
      port,
      url: `${url.protocol}//${service}:${port}${path}`,
    }
  })
}

/** One daemon for each node with GPUs, beside a vLLM that is left as it is. */
export function daemonSetFiles(config: Config): readonly GeneratedFile[] {
  return [
    kustomization(
      folder,
      {
        resources: [
          '../../base',
          'daemonset.yaml',
          ...nodeTargets(config).map(({ service }) => `${service.replace('vllm', 'service')}.yaml`),
          'service.yaml',
          'servicemonitor.yaml',
          'networkpolicy.yaml',
        ],
        patches: [{ path: 'configmap.yaml' }],
        images,
      },
      {
        '': 'In the namespace of vLLM: kubectl apply -n vllm -k config/kubernetes/overlays/daemonset',
        images: imagesRemark,
      },
    ),
    configMap(`${folder}/configmap.yaml`, nodeConfig(config), {
      '': 'Takes the place of the configuration in the base: vLLM is found by way of the Service of the node.',
    }),
    manifestFile(`${folder}/daemonset.yaml`, daemonSet(config), daemonSetRemarks),
    ...services(config),
    serviceMonitor(`${folder}/servicemonitor.yaml`, labels),
    networkPolicy(config),
  ]
}

function nodeConfig(config: Config): Config {
  const near = nodeTargets(config)
  const targets = config.targets.map((target, index) => ({
    ...target,
    url: near[index]?.url ?? target.url,
  }))
  return { ...podConfig(config), targets }
}

function daemonSet(config: Config): Manifest {
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name, labels },
    spec: {
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          runtimeClassName: 'nvidia',
          hostPID: true,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          nodeSelector: { 'nvidia.com/gpu.present': 'true' },
          tolerations: [{ key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' }],
          securityContext: {
            runAsNonRoot: true,
            runAsUser: 65_532,
            runAsGroup: 65_532,
            seccompProfile: { type: 'RuntimeDefault' },
          },
          containers: [vitalsContainer(config)],
          volumes: [configVolume],
        },
      },
    },
  }
}

const daemonSetRemarks = {
  'spec/template/spec/runtimeClassName':
    'The NVIDIA runtime. The GPU Operator makes this class; with CDI, its default since 25.10, monitors need it in any case.',
  'spec/template/spec/hostPID': `The driver gives process ids of the host. With them a load is told from an outage, memory that a dead vLLM left behind and
leaks are told by process, and whose card it is where several vLLM share the node. It shows the names of all processes
of the node, and lets none be touched: the daemon has no capabilities and no user in common with them. The Pod
Security Standards "baseline" and "restricted" forbid it, so a namespace that enforces one has to be without: remove the
line, and these verdicts are lost and nothing else.`,
  'spec/template/spec/nodeSelector':
    'The label that GPU Feature Discovery sets. Narrow it to the nodes where vLLM runs: on others VllmDown or VllmVitalsBlind fires.',
  ...containerRemarks('spec/template/spec/containers/0'),
}

function services(config: Config): readonly GeneratedFile[] {
  return [
    ...nodeTargets(config).map((one) => nodeServiceFile(one)),
    manifestFile(`${folder}/service.yaml`, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, labels },
      spec: {
        clusterIP: 'None',
        selector: labels,
        ports: [{ name: portName, port: portOf(config), targetPort: portName }],
      },
    }),
  ]
}

function nodeServiceFile({ service, selector, port }: NodeTarget): GeneratedFile {
  return manifestFile(
    `${folder}/${service.replace('vllm', 'service')}.yaml`,
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: service },
      spec: {
        selector,
        internalTrafficPolicy: 'Local',
        publishNotReadyAddresses: true,
        ports: [{ name: 'http', port, targetPort: port }],
      },
    },
    {
      '': `A name that leads each daemon to the vLLM on its own node, and nowhere else: no network of the host, no port of the
host. One pod of vLLM on a node for each such Service: between two, the readings would alternate and every one
would look like a restart. A second model gets a target of its own, and with it a Service.`,
      'spec/publishNotReadyAddresses':
        'A vLLM that loads or hangs is to be watched, too, when it is not ready.',
      'spec/selector':
        targetLabel in selector
          ? `The labels of vLLM's pods: with several targets, each pod has ${targetLabel} with the name of its own.`
          : "The label of vLLM's pods.",
    },
  )
}

function networkPolicy(config: Config): GeneratedFile {
  const inNamespace = (value: string) => ({
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': value } },
  })
  const dns = {
    ...inNamespace('kube-system'),
    podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } },
  }
  const pushed = pushPorts(config)
  return manifestFile(
    `${folder}/networkpolicy.yaml`,
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name },
      spec: {
        podSelector: { matchLabels: labels },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [
          { ports: [{ port: portName, protocol: 'TCP' }], from: [inNamespace('monitoring')] },
        ],
        egress: [
          {
            ports: ['UDP', 'TCP'].map((protocol) => ({ port: 53, protocol })),
            to: [dns],
          },
          {
            ports: targetPorts(config).map((port) => ({ port, protocol: 'TCP' })),
            to: [{ podSelector: { matchLabels: serverLabel } }],
          },
          ...(pushed.length === 0
            ? []
            : [{ ports: pushed.map((port) => ({ port, protocol: 'TCP' })) }]),
        ],
      },
    },
    {
      'spec/ingress/0':
        'Prometheus in the namespace "monitoring". A load balancer that asks /health goes here, too: another item below from.',
      'spec/egress/0':
        'Names. With NodeLocal DNSCache add an ipBlock of its address, such as 169.254.20.10/32.',
      'spec/egress/1': pushed.length === 0 ? 'vLLM, and nothing else.' : 'vLLM.',
      ...(pushed.length === 0
        ? {}
        : { 'spec/egress/2': 'Alertmanager, to which alerts are pushed.' }),
    },
  )
}
