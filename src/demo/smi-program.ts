import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execPath } from 'node:process'
import type { SmiAnswer } from './gpus.ts'

/** A program on the disk that answers like `nvidia-smi`. */
export interface SmiProgram {
  /** The path to run. */
  readonly path: string
  /** Makes `answer` what the program prints from now on; a run under way sees the old or the new one. */
  publish(answer: SmiAnswer): Promise<void>
  /** Removes the program and everything beside it. */
  remove(): Promise<void>
}

/** The program itself. It loads nothing beyond the file system: a run takes as long as Node's start. */
const source = `'use strict'
const { readFileSync } = require('node:fs')
const { join } = require('node:path')
const { argv, stdout, stderr, exit } = require('node:process')

const wanted = argv.slice(2).sort().join(' ')
if (wanted !== '-q -x') {
  stdout.write('expected the options -q -x, found "' + argv.slice(2).join(' ') + '"\\n', () => exit(2))
} else {
  let answer
  try {
    answer = JSON.parse(readFileSync(join(__dirname, 'answer.json'), 'utf8'))
  } catch {
    stdout.write('expected a demonstration under way, found none\\n', () => exit(9))
  }
  if (answer !== undefined) {
    stderr.write(answer.stderr)
    stdout.write(answer.stdout)
  }
}
`

/** Older kernels cut a longer first line of a script off. */
const maxInterpreterLength = 120

/**
 * Writes the program into a new folder that only this user can enter, and has it print `first`.
 * It runs with the Node that runs this, so that none has to be on the path.
 */
export async function createSmiProgram(first: SmiAnswer): Promise<SmiProgram> {
  const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-demo-'))
  const path = join(folder, 'nvidia-smi')

  async function publish(answer: SmiAnswer): Promise<void> {
    const draft = join(folder, 'answer.json.new')
    await writeFile(draft, JSON.stringify(answer), { mode: 0o600 })
    await rename(draft, join(folder, 'answer.json'))
  }

  async function remove(): Promise<void> {
    await rm(folder, { recursive: true, force: true })
  }

  try {
    // A package.json further up must not turn the program into a module.
    await writeFile(join(folder, 'package.json'), '{"type":"commonjs"}\n', { mode: 0o600 })
    if (execPath.length <= maxInterpreterLength && !/\s/.test(execPath)) {
      await writeFile(path, `#!${execPath}\n${source}`, { mode: 0o700 })
    } else {
      // Such a path does not fit in a first line, but a shell can take it.
      await writeFile(join(folder, 'program.cjs'), source, { mode: 0o600 })
      const command = `exec ${quoted(execPath)} ${quoted(join(folder, 'program.cjs'))} "$@"`
      await writeFile(path, `#!/bin/sh\n${command}\n`, { mode: 0o700 })
    }
    await publish(first)
  } catch (error) {
    await remove()
    throw error
  }
  return { path, publish, remove }
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
