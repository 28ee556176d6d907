import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execPath } from 'node:process'
import type { HostMemory, SmiAnswer } from './gpus.ts'

/** What the driver and the kernel tell at one moment. */
export interface MachineState {
  readonly answer: SmiAnswer
  readonly memory: HostMemory
}

/** A program on the disk that answers like `nvidia-smi`, and beside it a folder like `/proc`. */
export interface SmiProgram {
  /** The path to run. */
  readonly path: string
  /** The folder that holds `meminfo` and for each process `PID/status` and `PID/cmdline`. */
  readonly procRoot: string
  /**
   * Makes `state` what the program prints and the folder holds from now on; a run under way sees the
   * old answer or the new one.
   */
  publish(state: MachineState): Promise<void>
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
 * Writes the program into a new folder that only this user can enter, and has it tell `first`.
 * It runs with the Node that runs this, so that none has to be on the path.
 */
export async function createSmiProgram(first: MachineState): Promise<SmiProgram> {
  const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-demo-'))
  const path = join(folder, 'nvidia-smi')

  const procRoot = join(folder, 'proc')
  let pids: ReadonlySet<number> = new Set()

  async function publish({ answer, memory }: MachineState): Promise<void> {
    await replace(join(folder, 'answer.json'), JSON.stringify(answer))
    pids = await publishProcesses(procRoot, memory, pids)
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
  return { path, procRoot, publish, remove }
}

/** Writes what the kernel tells of `memory` and removes those of the processes `before` that are gone. */
async function publishProcesses(
  procRoot: string,
  memory: HostMemory,
  before: ReadonlySet<number>,
): Promise<ReadonlySet<number>> {
  const { totalBytes, availableBytes, processes } = memory
  const kib = (bytes: number) => `${Math.round(bytes / 1024)} kB`
  await mkdir(procRoot, { recursive: true, mode: 0o700 })
  const meminfo = `MemTotal:       ${kib(totalBytes)}\nMemAvailable:   ${kib(availableBytes)}\n`
  await replace(join(procRoot, 'meminfo'), meminfo)
  const pids = new Set(processes.map(({ pid }) => pid))
  for (const { pid, name, rssBytes } of processes) {
    const process = join(procRoot, String(pid))
    await mkdir(process, { recursive: true, mode: 0o700 })
    // The kernel keeps the first 15 bytes of a name.
    const status = `Name:\t${name.slice(0, 15)}\nState:\tS (sleeping)\nPid:\t${pid}\n`
    await replace(join(process, 'status'), `${status}VmRSS:\t${kib(rssBytes)}\n`)
    await replace(join(process, 'cmdline'), `${name}\0`)
  }
  for (const pid of before) {
    if (!pids.has(pid)) await rm(join(procRoot, String(pid)), { recursive: true, force: true })
  }
  return pids
}

/** Puts a file in the place of another one at once, so that nobody reads half of it. */
async function replace(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text, { mode: 0o600 })
  await rename(`${path}.new`, path)
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
