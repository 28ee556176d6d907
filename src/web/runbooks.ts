import { readdir, readFile } from 'node:fs/promises'

/** The runbooks as they lie beside the compiled program: in a checkout, an image and an installation alike. */
const folder = new URL('../../../docs/runbooks/', import.meta.url)

const indexFile = 'README.md'

/** Texts in Markdown, by the path that each is served at. */
export type Runbooks = ReadonlyMap<string, string>

/** Where all of them are listed. */
export const runbooksPath = '/runbooks'

/**
 * Returns the runbooks of the package, each at `/runbooks/NAME` and `/runbooks/NAME.md`, and their index at `/runbooks`. They are read
 * once, so that no request reads a file. Where they were not installed there are none, and no error either: a daemon
 * without runbooks watches as well.
 */
export async function readRunbooks(from: URL = folder): Promise<Runbooks> {
  const names = await readdir(from).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  const files = names.filter((name) => name.endsWith('.md')).sort()
  const found = await Promise.all(
    files.map(async (file) => {
      const text = await readFile(new URL(file, from), 'utf8')
      const path = file === indexFile ? runbooksPath : `${runbooksPath}/${file.slice(0, -3)}`
      // The runbooks name each other by their files.
      return [[path, text] as const, [`${runbooksPath}/${file}`, text] as const]
    }),
  )
  return new Map(found.flat())
}
