/** Run as a program (`npm run docs`), writes what is generated and checked in. */
import { writeFiles } from '../../src/generate/files.ts'
import { defaultFiles, folders } from './checked-in.ts'

for (const { product, files } of await defaultFiles()) await writeFiles(files, folders[product])
