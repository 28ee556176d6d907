import { stringify } from 'yaml'
import type { GeneratedFile } from '../files.ts'

/** Tells Grafana where the dashboards lie. */
const dashboards = {
  apiVersion: 1,
  providers: [
    {
      name: 'vllm-vitals',
      orgId: 1,
      folder: 'vllm-vitals',
      type: 'file',
      disableDeletion: false,
      allowUiUpdates: true,
      updateIntervalSeconds: 30,
      options: { path: '/var/lib/grafana/dashboards/vllm-vitals' },
    },
  ],
}

/** An example: a Grafana that knows its Prometheus already needs none. */
const datasources = {
  apiVersion: 1,
  datasources: [
    {
      name: 'Prometheus',
      type: 'prometheus',
      access: 'proxy',
      url: '$PROMETHEUS_URL',
      isDefault: true,
      jsonData: { httpMethod: 'POST', timeInterval: '15s' },
    },
  ],
}

/** What Grafana reads at its start, beside the dashboards. */
export function provisioningFiles(): readonly GeneratedFile[] {
  return [
    {
      path: 'provisioning/dashboards/vllm-vitals.yaml',
      text: `# The folder of options.path holds the files of dashboards/.\n${stringify(dashboards)}`,
    },
    {
      path: 'provisioning/datasources/prometheus.yaml',
      text: `# Grafana fills PROMETHEUS_URL in from its own environment, such as http://prometheus:9090.\n# timeInterval is how often Prometheus scrapes the daemons.\n${stringify(datasources)}`,
    },
  ]
}
