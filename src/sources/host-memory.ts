import { join } from 'node:path'
import {
  type HostMemory,
  type HostProcess,
  type ListedProcess,
  programName,
} from '../dialects/nvidia-smi.ts'
import { isProgram, readMeminfo, residentBytes } from '../dialects/proc.ts'
import { readStart } from './regular-file.ts'

// 64 processes take some 20 ms; a reading of the GPUs does not wait much longer than that.
const READ_WITHIN_MS = 300
// The lines that are wanted stand in the first KiB of a status, and the program's name begins its line.
const MAX_BYTES = 4_096

/**
 * Reads from `/proc` what the host has of memory, and what the processes on its GPUs hold of it.
 *
 * One file at a time: the kernel lets a reader of `cmdline` wait for the process, for ever when that hangs
 * in a driver, and each such wait takes one of the few threads that all file operations share.
 */
export class HostMemoryReader {
  readonly #root: string
  #reading = false

  /** `root` is `/proc`, or what stands for it. */
  constructor(root: string) {
    this.#root = root
  }

  /**
   * Resolves with what can be read of `listed` within 0.3 s, or until `signal` aborts.
   *
   * - a process that is gone, hidden, or not the program that nvidia-smi names: left out
   * - none of several can be read, or time runs out: a note says so
   * - an earlier call still hangs in the kernel: nothing is read
   */
  async read(listed: readonly ListedProcess[], signal: AbortSignal): Promise<HostMemory> {
    const found = new Found()
    if (this.#reading) return found.sum(listed, false)
    const ending = new AbortController()
    const end = () => ending.abort()
    const timer = setTimeout(end, READ_WITHIN_MS)
    signal.addEventListener('abort', end)
    if (signal.aborted) end()
    try {
      this.#reading = true
      const work = this.#readAll(listed, found, ending.signal).finally(() => {
        this.#reading = false
      })
      const ended = await Promise.race([work, aborted(ending.signal)])
      return found.sum(listed, ended)
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
    }
  }

  /** Returns whether everything was read. */
  async #readAll(
    listed: readonly ListedProcess[],
    found: Found,
    signal: AbortSignal,
  ): Promise<boolean> {
    found.meminfo = readMeminfo((await this.#text('meminfo')) ?? '')
    for (const { pid, name } of listed) {
      if (signal.aborted) return false
      const cmdline = await this.#text(String(pid), 'cmdline')
      if (cmdline === undefined || !isProgram(cmdline, name)) continue
      const bytes = residentBytes((await this.#text(String(pid), 'status')) ?? '')
      if (bytes === undefined) continue
      found.processes.push({ pid, process: programName(name), residentBytes: bytes })
    }
    return true
  }

  async #text(...names: readonly string[]): Promise<string | undefined> {
    try {
      const start = await readStart(join(this.#root, ...names), MAX_BYTES)
      return start.kind === 'read' ? new TextDecoder().decode(start.bytes) : undefined
    } catch (error) {
      // Gone meanwhile, hidden from us, or no descriptor is left: there is nothing to read.
      if (error instanceof TypeError) throw error
      return undefined
    }
  }
}

/** What was found so far; a call whose time is over returns what it has. */
class Found {
  meminfo: Pick<HostMemory, 'totalBytes' | 'availableBytes'> = readMeminfo('')
  readonly processes: HostProcess[] = []

  sum(listed: readonly ListedProcess[], isWhole: boolean): HostMemory {
    return {
      ...this.meminfo,
      processes: [...this.processes],
      note: noteOf({ read: this.processes.length, of: listed.length, isWhole }),
    }
  }
}

function noteOf(how: {
  readonly read: number
  readonly of: number
  readonly isWhole: boolean
}): string | undefined {
  if (how.of === 0) return undefined
  if (!how.isWhole) return `host memory: ${how.read} of ${how.of} processes could be read in time`
  if (how.read > 0) return undefined
  return `host memory: none of the ${how.of} processes on the GPUs is in /proc under its pid and name, which a pid namespace of our own or hidepid would explain`
}

async function aborted(signal: AbortSignal): Promise<false> {
  if (!signal.aborted) {
    await new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
  }
  return false
}
