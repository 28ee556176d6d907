import type { Config } from '../../config/schema.ts'
import type { GeneratedFile } from '../files.ts'
import { images, imagesRemark } from './base.ts'
import { configMap, firstTarget, podConfig, portOf, vllmPort } from './configuration.ts'
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

/** One daemon for each node with GPUs, beside a vLLM that is left as it is. */
export function daemonSetFiles(config: Config): readonly GeneratedFile[] {
  return [
    kustomization(
      folder,
      {
        resources: [
          '../../base',
          'daemonset.yaml',
          'node-service.yaml',
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
  const { url } = firstTarget(config)
  const [first, ...others] = podConfig(config).targets
  if (first === undefined) return config
  const path = url.pathname === '/' ? '' : url.pathname
  const near = `${url.protocol}//${nodeService}:${vllmPort(config)}${path}`
  return { ...podConfig(config), targets: [{ ...first, url: near }, ...others] }
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
  const port = vllmPort(config)
  return [
    manifestFile(
      `${folder}/node-service.yaml`,
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: nodeService },
        spec: {
          selector: serverLabel,
          internalTrafficPolicy: 'Local',
          publishNotReadyAddresses: true,
          ports: [{ name: 'http', port, targetPort: port }],
        },
      },
      {
        '': `A name that leads each daemon to the vLLM on its own node, and nowhere else: no network of the host, no port of the
host. One pod of vLLM on a node for each such Service: between two, the readings would alternate and every one
would look like a restart. A second model gets a Service and a target of its own.`,
        'spec/publishNotReadyAddresses':
          'A vLLM that loads or hangs is to be watched, too, when it is not ready.',
        'spec/selector': "The label of vLLM's pods.",
      },
    ),
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

function networkPolicy(config: Config): GeneratedFile {
  const inNamespace = (value: string) => ({
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': value } },
  })
  const dns = {
    ...inNamespace('kube-system'),
    podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } },
  }
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
            ports: [{ port: vllmPort(config), protocol: 'TCP' }],
            to: [{ podSelector: { matchLabels: serverLabel } }],
          },
        ],
      },
    },
    {
      'spec/ingress/0':
        'Prometheus in the namespace "monitoring". A load balancer that asks /health goes here, too: another item below from.',
      'spec/egress/0':
        'Names. With NodeLocal DNSCache add an ipBlock of its address, such as 169.254.20.10/32.',
      'spec/egress/1': 'vLLM, and nothing else.',
    },
  )
}
