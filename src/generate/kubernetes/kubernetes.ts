import type { Config } from '../../config/schema.ts'
import type { GeneratedFile } from '../files.ts'
import { baseFiles } from './base.ts'
import { dashboardFiles, hostProcessesFiles, releaseLabelFiles } from './components.ts'
import { daemonSetFiles } from './daemonset.ts'
import { scalingFiles } from './scaling.ts'
import { sidecarFiles } from './sidecar.ts'

/** What other makers have made, to be carried by objects of Kubernetes. */
export interface Carried {
  /** The rule files of Prometheus. */
  readonly rules: readonly GeneratedFile[]
  /** The files for Grafana, of which the dashboards are taken. */
  readonly grafana: readonly GeneratedFile[]
}

/** Returns a kustomize base, its overlays and components. */
export function kubernetesFiles(
  config: Config,
  { rules, grafana }: Carried,
): readonly GeneratedFile[] {
  return [
    ...baseFiles(config, rules),
    ...sidecarFiles(config),
    ...daemonSetFiles(config),
    ...scalingFiles(config),
    ...dashboardFiles(grafana),
    ...hostProcessesFiles(),
    ...releaseLabelFiles(),
  ]
}
