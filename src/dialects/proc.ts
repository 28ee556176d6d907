import { type HostMemory, programName } from './nvidia-smi.ts'

// The kernel writes kB and means KiB.
const memTotal = /^MemTotal:\s+(\d{1,12}) kB$/m
const memAvailable = /^MemAvailable:\s+(\d{1,12}) kB$/m
const vmRss = /^VmRSS:\s+(\d{1,12}) kB$/m

/** Reads `/proc/meminfo`. What it does not tell is `undefined`. */
export function readMeminfo(text: string): Pick<HostMemory, 'totalBytes' | 'availableBytes'> {
  return { totalBytes: bytesOf(text, memTotal), availableBytes: bytesOf(text, memAvailable) }
}

/** Returns the resident memory that `/proc/PID/status` tells; a process that has ended holds none. */
export function residentBytes(status: string): number | undefined {
  return bytesOf(status, vmRss)
}

/**
 * Whether `/proc/PID/cmdline` is that of the program that nvidia-smi calls `name`: in a container the pids
 * are those of the host, and another process may have them here.
 */
export function isProgram(cmdline: string, name: string): boolean {
  const [first = ''] = cmdline.split('\0', 1)
  const program = programName(first)
  return program !== '' && program === programName(name)
}

// The kernel counts in hundredths of a second towards programs, whatever its own clock.
const ticksPerSecond = 100

/** Returns when the host was booted, in Unix seconds, from `/proc/stat`. */
export function bootSeconds(stat: string): number | undefined {
  const found = /^btime (\d{1,12})$/m.exec(stat)?.[1]
  return found === undefined ? undefined : Number(found)
}

/** A process's parent, and when it started, in seconds since the boot. */
export interface Birth {
  readonly parent: number
  readonly afterBootSeconds: number
}

/** Reads `/proc/PID/stat`; `undefined` for what is none. The name in it may hold anything, parentheses too. */
export function readBirth(stat: string): Birth | undefined {
  const fields = stat
    .slice(stat.lastIndexOf(')') + 1)
    .trim()
    .split(/\s+/)
  // The state is field 3 of the whole line, the parent field 4 and the start field 22 (proc_pid_stat(5)).
  const parent = Number(fields[1])
  const ticks = Number(fields[19])
  if (fields.length < 20 || !Number.isInteger(parent) || !Number.isFinite(ticks)) return undefined
  return { parent, afterBootSeconds: ticks / ticksPerSecond }
}

function bytesOf(text: string, pattern: RegExp): number | undefined {
  const kibibytes = pattern.exec(text)?.[1]
  return kibibytes === undefined ? undefined : 1_024 * Number(kibibytes)
}
