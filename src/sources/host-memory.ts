import { join } from 'node:path'
import {
  type HostMemory,
  type HostProcess,
  type ListedProcess,
  programName,
} from '../dialects/nvidia-smi.ts'
import { bootSeconds, isProgram, readBirth, readMeminfo, residentBytes } from '../dialects/proc.ts'
import { readStart } from './regular-file.ts'

// 64 processes take some 20 ms; a reading of the GPUs does not wait much longer than that.
const READ_WITHIN_MS = 300
// The lines that are wanted stand in the first KiB of a status, and the program's name begins its line.
const MAX_BYTES = 4_096
// The boot time stands behind lines that are as many and as long as there are processors and interrupts.
const MAX_STAT_BYTES = 1_048_576
// An engine's process descends from the server by a child or two.
const MAX_GENERATIONS = 4

/**
 * Reads from `/proc` what the host has of memory, and what the processes on its GPUs hold of it.
 *
 * One file at a time: the kernel lets a reader of `cmdline` wait for the process, for ever when that hangs
 * in a driver, and each such wait takes one of the few threads that all file operations share.
 */
export class HostMemoryReader {
  readonly #root: string
  #reading = false
  /** When the host was booted. */
  #bootSeconds: number | 'unknown' | undefined

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
    found.meminfo = readMeminfo((await this.#text(['meminfo'])) ?? '')
    for (const { pid, name } of listed) {
      if (signal.aborted) return false
      const cmdline = await this.#text([String(pid), 'cmdline'])
      if (cmdline === undefined || !isProgram(cmdline, name)) continue
      const bytes = residentBytes((await this.#text([String(pid), 'status'])) ?? '')
      if (bytes === undefined) continue
      const starts = await this.#starts(pid)
      found.processes.push({
        pid,
        process: programName(name),
        residentBytes: bytes,
        ...(starts.length === 0 ? {} : { startsSeconds: starts }),
      })
    }
    return true
  }

  /** When a process started, its parent before it, and so on. */
  async #starts(pid: number): Promise<readonly number[]> {
    this.#bootSeconds ??=
      bootSeconds((await this.#text(['stat'], MAX_STAT_BYTES)) ?? '') ?? 'unknown'
    const boot = this.#bootSeconds
    const starts: number[] = []
    for (let next = pid; boot !== 'unknown' && next > 1 && starts.length < MAX_GENERATIONS; ) {
      const birth = readBirth((await this.#text([String(next), 'stat'])) ?? '')
      if (birth === undefined) break
      starts.push(boot + birth.afterBootSeconds)
      next = birth.parent
    }
    return starts
  }

  async #text(names: readonly string[], maxBytes = MAX_BYTES): Promise<string | undefined> {
    try {
      const start = await readStart(join(this.#root, ...names), maxBytes)
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
