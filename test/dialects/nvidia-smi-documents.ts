import assert from 'node:assert/strict'
import { cutDocument } from '../../src/dialects/nvidia-smi-text.ts'
import { type Gpu, type GpuDocument, readGpus } from '../../src/dialects/nvidia-smi-values.ts'
import { treeOf } from '../../src/sources/nvidia-smi.ts'

/** Reads a document on the way that the source takes: cut out, parsed by the package, put into values. */
export async function documentOf(xml: string): Promise<GpuDocument> {
  const output = { end: { kind: 'exited', exitCode: 0 }, stdout: xml, stderr: '' } as const
  const cut = cutDocument(output, { processes: true })
  assert.ok(cut.kind === 'whole', `expected a whole document, found ${cut.kind}`)
  return readGpus(await treeOf(cut.xml))
}

/** Reads a document of one GPU with these elements. */
export async function gpuOf(body: string): Promise<Gpu> {
  const { gpus } = await documentOf(logOf(`<gpu id="00000000:01:00.0">${body}</gpu>`))
  assert.ok(gpus.length === 1 && gpus[0] !== undefined)
  return gpus[0]
}

export function logOf(body: string): string {
  return `<nvidia_smi_log>${body}</nvidia_smi_log>`
}

/** Nests elements: `nest('a/b', 'x')` is `<a><b>x</b></a>`. */
export function nest(path: string, text: string): string {
  return path.split('/').reduceRight((inner, name) => `<${name}>${inner}</${name}>`, text)
}
