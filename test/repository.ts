import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder that holds package.json, with whatever name of folder the tests were compiled into. */
export const repositoryRoot = folderWith('package.json', dirname(fileURLToPath(import.meta.url)))

function folderWith(name: string, start: string): string {
  for (let folder = start; ; folder = dirname(folder)) {
    if (existsSync(join(folder, name))) return folder
    if (dirname(folder) === folder) throw new Error(`expected ${name} above ${start}, found none`)
  }
}

/** The first of the folders on PATH that holds `program`, or `undefined`. */
export function findProgram(program: string): string | undefined {
  for (const folder of (process.env['PATH'] ?? '').split(':')) {
    if (folder !== '' && existsSync(join(folder, program))) return join(folder, program)
  }
  return undefined
}
