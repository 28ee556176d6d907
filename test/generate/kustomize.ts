import { execFile, execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parseAllDocuments, stringify } from 'yaml'
import { loadConfig } from '../../src/config/load.ts'
import { type GeneratedFile, writeFiles } from '../../src/generate/files.ts'
import { makeFiles } from '../../src/generate/generate.ts'
import { kubernetesFiles } from '../../src/generate/kubernetes/kubernetes.ts'
import { findProgram } from '../repository.ts'
import type { Manifest } from './published-schemas.ts'

/** Why nothing can be built here, or `false`. Components need the kustomize that kubectl has since 1.22. */
export const cannotBuild: string | false = whyNot()

function whyNot(): string | false {
  const kubectl = findProgram('kubectl')
  if (kubectl === undefined) return 'kubectl is not on PATH'
  const said = execFileSync(kubectl, ['version', '--client'], { encoding: 'utf8' })
  const minor = Number(/v1\.(\d+)/.exec(said)?.[1] ?? 0)
  return minor >= 22 ? false : `kubectl 1.${minor} is older than 1.22`
}

/** A dashboard, so that its component is there whether or not others are generated. */
const dashboard: GeneratedFile = {
  path: 'dashboards/vllm-vitals-sample.json',
  text: '{\n  "uid": "sample",\n  "title": "50% of $window",\n  "panels": []\n}\n',
}

/** What is made of the default configuration, with one dashboard more. */
export async function defaultManifests(): Promise<readonly GeneratedFile[]> {
  const { config } = await loadConfig({})
  return kubernetesFiles(config, {
    rules: await makeFiles('prometheus-rules', config),
    grafana: [...(await makeFiles('grafana', config)), dashboard],
  })
}

/** A kustomization as a user writes it: an overlay, further components, and what else is wanted. */
export interface Wanted {
  readonly overlay: string
  readonly components: readonly string[]
  readonly more?: Readonly<Record<string, unknown>>
}

export function nameOf({ overlay, components }: Wanted): string {
  return [overlay, ...components].join(' + ')
}

const pods = ['dashboards', 'kube-prometheus-stack'] as const
const workloads = [...pods, 'traffic-by-health', 'host-processes'] as const

/** Each overlay alone, with each component, and with all that go together. */
export const combinations: readonly Wanted[] = [
  ...[[], ...workloads.map((one) => [one])].map((components) => ({
    overlay: 'sidecar',
    components,
  })),
  ...['scaling-hpa', 'scaling-keda'].flatMap((scaling) => [
    { overlay: 'sidecar', components: [scaling] },
    { overlay: 'sidecar', components: [scaling, ...workloads] },
  ]),
  ...[[], ...pods.map((one) => [one]), pods].map((components) => ({
    overlay: 'daemonset',
    components,
  })),
]

/** Builds what is wanted of `files` as `kubectl kustomize` does; rejects with its words where it refuses. */
export async function build(
  files: readonly GeneratedFile[],
  { overlay, components, more }: Wanted,
): Promise<readonly Manifest[]> {
  const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-kustomize-'))
  try {
    const kustomization = {
      resources: [`../overlays/${overlay}`],
      components: components.map((name) => `../components/${name}`),
      ...more,
    }
    await writeFiles(
      [...files, { path: 'own/kustomization.yaml', text: stringify(kustomization) }],
      folder,
    )
    const run = promisify(execFile)
    const { stdout, stderr } = await run('kubectl', ['kustomize', join(folder, 'own')])
    if (stderr !== '') throw new Error(stderr)
    return documentsOf(stdout)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

export function documentsOf(text: string): readonly Manifest[] {
  return parseAllDocuments(text).map((document): Manifest => document.toJS())
}
