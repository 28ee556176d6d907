import { parse } from 'yaml'
import type { Config } from '../../config/schema.ts'
import type { GeneratedFile } from '../files.ts'
import { configMap, podConfig } from './configuration.ts'
import { image, kustomization, type Manifest, manifestFile, name } from './manifest.ts'

/** What both the sidecar and the daemon of a node need: the configuration and the rules of Prometheus. */
export function baseFiles(
  config: Config,
  rules: readonly GeneratedFile[],
): readonly GeneratedFile[] {
  return [
    kustomization('base', { resources: ['configmap.yaml', 'prometheusrule.yaml'] }),
    configMap('base/configmap.yaml', podConfig(config), {
      '': `The targets, and what differs from the defaults (config/vllm-vitals.yaml). With gpu.enabled: true a pod that started
without a GPU is told by VllmNoGpu after a minute. The name has no hash, on purpose: with one, each change
of a threshold would restart vLLM. docs/kubernetes.md says how a change is taken in.`,
    }),
    prometheusRule(rules),
  ]
}

/** Returns `images`, by which a kustomization names the registry that the image is pulled from. */
export const images = [{ name: image.name, newName: image.name, newTag: image.tag }] as const

export const imagesRemark = 'The image as your registry has it: newName: REGISTRY/vllm-vitals.'

/** The very groups of the rule files, in the order of the files. */
function prometheusRule(rules: readonly GeneratedFile[]): GeneratedFile {
  const groups = rules
    .filter(({ path }) => path.endsWith('.rules.yaml'))
    .flatMap(({ text }) => {
      const file: { readonly groups: readonly Manifest[] } = parse(text)
      return file.groups
    })
  return manifestFile(
    'base/prometheusrule.yaml',
    {
      apiVersion: 'monitoring.coreos.com/v1',
      kind: 'PrometheusRule',
      metadata: { name },
      spec: { groups },
    },
    { '': 'The rules of config/prometheus, for the Prometheus Operator.' },
  )
}
