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

function bytesOf(text: string, pattern: RegExp): number | undefined {
  const kibibytes = pattern.exec(text)?.[1]
  return kibibytes === undefined ? undefined : 1_024 * Number(kibibytes)
}
