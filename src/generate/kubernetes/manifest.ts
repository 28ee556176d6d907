import { Document, isMap, isScalar, isSeq } from 'yaml'
import type { GeneratedFile } from '../files.ts'

/** A document of Kubernetes or of kustomize, as it stands in its file. */
export type Manifest = Readonly<Record<string, unknown>>

/** What is said above a key or an item, by its path: `spec/containers/0/env`. */
export type Remarks = Readonly<Record<string, string>>

/** What every object of ours is called and found by. */
export const name = 'vllm-vitals'

/** The image, without a registry; the kustomizations give it another name. */
export const image = { name: 'vllm-vitals', tag: '0.1.0' } as const

/** On the workload: let the component add the sidecar. On its pods: let it be scraped. */
export const watchedLabel = { 'vllm-vitals': 'watched' } as const

/** The pods of the example. */
export const serverLabel = { 'app.kubernetes.io/name': 'vllm-server' } as const

/** What the daemon's port is called, in every container, policy and monitor. */
export const portName = 'vitals'

/**
 * Returns a file with one document, and with `remarks` as comments at their places. The remark at the empty path
 * stands on top. Throws where a path leads nowhere, so that no remark is lost when a manifest changes.
 */
export function manifestFile(
  path: string,
  manifest: Manifest,
  remarks: Remarks = {},
): GeneratedFile {
  const document = new Document(manifest, { aliasDuplicateObjects: false })
  for (const [place, text] of Object.entries(remarks)) remark(document, place, text)
  return { path, text: document.toString({ lineWidth: 0 }) }
}

/** Returns the file of a kustomization. */
export function kustomization(path: string, content: Manifest, remarks: Remarks = {}) {
  const head = { apiVersion: 'kustomize.config.k8s.io/v1beta1', kind: 'Kustomization' }
  return manifestFile(`${path}/kustomization.yaml`, { ...head, ...content }, remarks)
}

/** Returns the file of a component, which other kustomizations take in. */
export function component(path: string, content: Manifest, remarks: Remarks = {}) {
  const head = { apiVersion: 'kustomize.config.k8s.io/v1alpha1', kind: 'Component' }
  return manifestFile(`${path}/kustomization.yaml`, { ...head, ...content }, remarks)
}

function remark(document: Document, place: string, text: string): void {
  const comment = text.replaceAll(/^/gm, ' ')
  if (place === '') {
    document.commentBefore = comment
    return
  }
  const keys = place.split('/')
  const last = keys.pop() ?? ''
  const parent = keys.length === 0 ? document.contents : document.getIn(keys, true)
  const node = isMap(parent)
    ? parent.items.find(({ key }) => isScalar(key) && key.value === last)?.key
    : isSeq(parent)
      ? parent.items[Number(last)]
      : undefined
  if (!isScalar(node) && !isMap(node)) {
    throw new Error(`expected something at ${place} to remark on, found nothing`)
  }
  node.commentBefore = comment
}
