/**
 * Runs every compiled test through node:test and ends with its exit status. `node --test` treats folders
 * and globs differently between Node 20 and 24, so the files are named one by one.
 *
 * Arguments narrow the run to files whose path contains one of them: `node dist/test/run.js window config`.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('.', import.meta.url))
const wanted = process.argv.slice(2)
const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.test.js'))
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
  .map((file) => join(root, file))
  .sort()

if (files.length === 0) {
  process.stderr.write('expected at least one test file, found none\n')
  process.exit(1)
}
// One file for each core: some of them wait for most of their time, as for an alert to arrive. By itself node:test
// leaves one core idle, which is half of a small machine.
const concurrency = `--test-concurrency=${availableParallelism()}`
const run = spawnSync(process.execPath, [...process.execArgv, '--test', concurrency, ...files], {
  stdio: 'inherit',
})
process.exit(run.status ?? 1)
