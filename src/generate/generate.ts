import type { Product } from '../config/flags.ts'
import type { Config } from '../config/schema.ts'
import { alertmanagerFiles } from './alertmanager.ts'
import type { GeneratedFile } from './files.ts'
import { kubernetesFiles } from './kubernetes/kubernetes.ts'
import { prometheusFiles } from './prometheus.ts'

type Maker = (config: Config) => readonly GeneratedFile[] | Promise<readonly GeneratedFile[]>

/** Who makes what. A maker with a large library is loaded when it is asked for. */
const makers: Readonly<Record<Product, Maker>> = {
  'prometheus-rules': prometheusFiles,
  alertmanager: alertmanagerFiles,
  kubernetes: async (config) =>
    kubernetesFiles(config, {
      rules: await makeFiles('prometheus-rules', config),
      grafana: await makeFiles('grafana', config),
    }),
  grafana: async (config) => (await import('./grafana/grafana.ts')).grafanaFiles(config),
}

/** Returns the files of `product` for `config`. The same configuration gives the same files, byte for byte. */
export async function makeFiles(
  product: Product,
  config: Config,
): Promise<readonly GeneratedFile[]> {
  return await makers[product](config)
}
