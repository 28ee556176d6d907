import type { Config } from '../../config/schema.ts'
import type { GeneratedFile } from '../files.ts'
import { images, imagesRemark } from './base.ts'
import { firstTarget, targetPorts } from './configuration.ts'
import { configVolume, containerRemarks, vitalsContainer } from './container.ts'
import {
  component,
  kustomization,
  type Manifest,
  manifestFile,
  name,
  portName,
  watchedLabel,
} from './manifest.ts'
import { podMonitor } from './monitors.ts'
import { serverFiles } from './server.ts'

const labelSelector = Object.entries(watchedLabel)
  .map(([key, value]) => `${key}=${value}`)
  .join(',')

/** A patch for every workload that asks for it by its label. */
const patches = (path: string) =>
  ['Deployment', 'StatefulSet'].map((kind) => ({ path, target: { kind, labelSelector } }))

/** vLLM with the daemon in its pod, and the parts of it that other kustomizations take in. */
export function sidecarFiles(config: Config): readonly GeneratedFile[] {
  return [
    ...sidecarComponent(config),
    ...trafficByHealth(config),
    kustomization(
      'overlays/sidecar',
      {
        resources: [
          '../../base',
          'deployment.yaml',
          'service.yaml',
          'podmonitor.yaml',
          'networkpolicy.yaml',
        ],
        components: ['../../components/sidecar'],
        images,
      },
      {
        '': 'kubectl apply -n vllm -k config/kubernetes/overlays/sidecar',
        components: `Further ones, each explained in docs/kubernetes.md: ../../components/dashboards, ../../components/traffic-by-health,
../../components/scaling-keda or ../../components/scaling-hpa, ../../components/host-processes.`,
        images: imagesRemark,
      },
    ),
    ...serverFiles(config),
    podMonitor('overlays/sidecar/podmonitor.yaml', watchedLabel),
    networkPolicy(config),
  ]
}

function sidecarComponent(config: Config): readonly GeneratedFile[] {
  const place = 'spec/template/spec/containers/0'
  return [
    component(
      'components/sidecar',
      { patches: patches('patch.yaml') },
      {
        '': `Adds the daemon to every Deployment and StatefulSet that has the label "vllm-vitals: watched". The ConfigMap is that of
the base.`,
      },
    ),
    manifestFile(
      'components/sidecar/patch.yaml',
      {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'any' },
        spec: {
          template: {
            metadata: { labels: watchedLabel },
            spec: {
              runtimeClassName: 'nvidia',
              containers: [vitalsContainer(config)],
              volumes: [configVolume],
            },
          },
        },
      },
      {
        'spec/template/spec/runtimeClassName':
          'The NVIDIA runtime, which gives the sidecar its sight of the GPUs. It changes nothing for vLLM, whose GPU the device plugin gives.',
        'spec/template/spec/containers': `A plain container, and not an init container with restartPolicy: Always: vLLM must not wait for its monitor, and the pod
must run on Kubernetes before 1.29. The price: at the end of the pod the daemon goes first.`,
        ...containerRemarks(place),
      },
    ),
  ]
}

/** Lets the verdict on vLLM decide whether the pod gets traffic. */
function trafficByHealth(config: Config): readonly GeneratedFile[] {
  const target = firstTarget(config).name
  const readinessProbe = {
    httpGet: { path: `/health?target=${encodeURIComponent(target)}`, port: portName },
    periodSeconds: 5,
    timeoutSeconds: 5,
    failureThreshold: 6,
  }
  const folder = 'components/traffic-by-health'
  return [
    component(folder, { patches: patches('patch.yaml') }, { '': 'Stands behind the sidecar.' }),
    manifestFile(
      `${folder}/patch.yaml`,
      {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'any' },
        spec: { template: { spec: { containers: [{ name, readinessProbe }] } } },
      },
      {
        'spec/template/spec/containers/0/readinessProbe': `A pod is ready when all its containers are, so this takes a hung vLLM out of its Services, whose own /health says 200.
healthy and degraded are 200: a fleet that is busy, slow or out of budget keeps its traffic. unhealthy (down, stalled) is 503,
and so is unknown, which a server is while it loads or sleeps and before the daemon has looked once. Six failures in a
row, 30 s: a server in a burst may be too busy to be read twice, which is down for as long. Readiness restarts nothing.`,
      },
    ),
  ]
}

function networkPolicy(config: Config): GeneratedFile {
  const from: readonly Manifest[] = [
    { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } },
  ]
  return manifestFile(
    'overlays/sidecar/networkpolicy.yaml',
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name },
      spec: {
        podSelector: { matchLabels: watchedLabel },
        policyTypes: ['Ingress'],
        ingress: [
          { ports: [{ port: portName, protocol: 'TCP' }], from },
          { ports: targetPorts(config).map((port) => ({ port, protocol: 'TCP' })) },
        ],
      },
    },
    {
      '': `The policy selects the whole pod, so what is not listed here is closed for vLLM, too: add the ports that engines of
several nodes or a KV-cache transfer need. Egress stays as it is: the sidecar speaks to loopback alone, and vLLM
loads its model from wherever it does. Probes come from the node, which policies let pass.`,
      'spec/ingress/0':
        'Prometheus in the namespace "monitoring". A load balancer that asks /health goes here, too: another item below from.',
      'spec/ingress/1': "vLLM's own port, for everyone as before.",
    },
  )
}
