import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** A generated file: where it lies below the folder it is written to, with forward slashes, and its text. */
export interface GeneratedFile {
  readonly path: string
  readonly text: string
}

/**
 * Returns `files` as one text: a single file as it is, several as a stream of YAML documents (JSON is YAML), each with
 * a comment that names it. Files that are no YAML are left out, and named in `leftOut`.
 */
export function asStream(files: readonly GeneratedFile[]): {
  readonly text: string
  readonly leftOut: readonly string[]
} {
  const documents = files.filter(({ path }) => /\.(ya?ml|json)$/.test(path))
  const leftOut = files.filter((file) => !documents.includes(file)).map(({ path }) => path)
  const [only] = documents
  if (documents.length === 1 && only !== undefined) return { text: only.text, leftOut }
  const parts = documents.map(({ path, text }) => `---\n# Source: ${path}\n${text}`)
  return { text: parts.join(''), leftOut }
}

/** Writes `files` below `folder`, which is made where it is missing. Returns their paths. */
export async function writeFiles(
  files: readonly GeneratedFile[],
  folder: string,
): Promise<readonly string[]> {
  const paths: string[] = []
  for (const { path, text } of files) {
    const file = join(folder, path)
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, text)
    paths.push(file)
  }
  return paths
}
