import type { GeneratedFile } from '../files.ts'
import { component, manifestFile, name } from './manifest.ts'

/** `kubectl apply` keeps the whole object in an annotation, which may hold less than the object. */
const annotationBytes = 262_144

/**
 * Returns a component with the dashboards of `files` as ConfigMaps, which the sidecar of Grafana's chart takes in;
 * none where there are no dashboards. Throws where one is too large for `kubectl apply`.
 */
export function dashboardFiles(files: readonly GeneratedFile[]): readonly GeneratedFile[] {
  const dashboards = files.filter(({ path, text }) => path.endsWith('.json') && isDashboard(text))
  if (dashboards.length === 0) return []
  const folder = 'components/dashboards'
  const made = dashboards.map(({ path, text }) => {
    const file = path.slice(path.lastIndexOf('/') + 1)
    const own = file.replace(/\.json$/, '').replace(new RegExp(`^${name}-`), '')
    const manifest = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name: `${name}-dashboard-${own}`,
        labels: { grafana_dashboard: '1' },
        annotations: { grafana_folder: name },
      },
      data: { [file]: text },
    }
    if (Buffer.byteLength(JSON.stringify(manifest)) > annotationBytes) {
      throw new RangeError(`expected a dashboard that fits ${annotationBytes} bytes: ${path}`)
    }
    return manifestFile(`${folder}/${own}.yaml`, manifest)
  })
  const resources = made.map(({ path }) => path.slice(folder.length + 1))
  return [
    component(
      folder,
      { resources },
      {
        '': `The dashboards of config/grafana. The sidecar of Grafana's Helm chart looks for the label grafana_dashboard, in its own
namespace alone unless sidecar.dashboards.searchNamespace is ALL.`,
      },
    ),
    ...made,
  ]
}

function isDashboard(text: string): boolean {
  const content: unknown = JSON.parse(text)
  return typeof content === 'object' && content !== null && 'panels' in content
}

/** Shows the daemon the processes of the host, for a sidecar. */
export function hostProcessesFiles(): readonly GeneratedFile[] {
  const folder = 'components/host-processes'
  return [
    component(
      folder,
      {
        patches: ['Deployment', 'StatefulSet'].map((kind) => ({
          path: 'patch.yaml',
          target: { kind, labelSelector: 'vllm-vitals=watched' },
        })),
      },
      {
        '': `For vLLM's pod with the sidecar: process ids of the host, which the driver speaks in. It opens the names of all
processes of the node to both containers, and in vLLM's, which runs as root, more than the names. The DaemonSet has
it without that. What it buys: docs/kubernetes.md, "Processes".`,
      },
    ),
    manifestFile(`${folder}/patch.yaml`, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'any' },
      spec: { template: { spec: { hostPID: true } } },
    }),
  ]
}

/** The label by which a Prometheus of kube-prometheus-stack chooses its monitors and rules. */
export function releaseLabelFiles(): readonly GeneratedFile[] {
  return [
    component(
      'components/kube-prometheus-stack',
      {
        labels: [{ pairs: { release: 'kube-prometheus-stack' }, includeSelectors: false }],
      },
      {
        '': `A Prometheus of the chart kube-prometheus-stack looks only at monitors and rules with the label of its release. Put
the name of yours here: helm list -A.`,
      },
    ),
  ]
}
