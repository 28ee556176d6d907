import type { GeneratedFile } from '../files.ts'
import { type Manifest, manifestFile, name, portName } from './manifest.ts'

const endpoint = {
  port: portName,
  path: '/metrics',
  interval: '15s',
  scrapeTimeout: '10s',
  relabelings: [
    { targetLabel: 'job', replacement: name },
    { sourceLabels: ['__meta_kubernetes_pod_node_name'], targetLabel: 'node' },
    { action: 'labeldrop', regex: 'container|endpoint|service' },
  ],
} as const

const remarks = {
  '': `job is the same wherever the daemon runs, so that rules and dashboards fit; instance stays the address of the pod,
where the runbooks of links.runbooks: "" are read. namespace, pod and node come from Kubernetes. The daemon
has no label of these names (its own are target, model_name, uuid …), so honorLabels is not needed.`,
}

/** Scrapes every pod with the label, whichever workload it belongs to. */
export function podMonitor(path: string, labels: Manifest): GeneratedFile {
  return manifestFile(
    path,
    {
      apiVersion: 'monitoring.coreos.com/v1',
      kind: 'PodMonitor',
      metadata: { name },
      spec: { selector: { matchLabels: labels }, podMetricsEndpoints: [endpoint] },
    },
    remarks,
  )
}

/** Scrapes the pods behind the Service with the labels. */
export function serviceMonitor(path: string, labels: Manifest): GeneratedFile {
  return manifestFile(
    path,
    {
      apiVersion: 'monitoring.coreos.com/v1',
      kind: 'ServiceMonitor',
      metadata: { name },
      spec: { selector: { matchLabels: labels }, endpoints: [endpoint] },
    },
    remarks,
  )
}
