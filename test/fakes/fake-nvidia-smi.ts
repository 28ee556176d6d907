import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { repositoryRoot } from '../repository.ts'

/** A run of nvidia-smi to be replayed; the keys are those of the recorded failures. */
export interface SmiCase {
  readonly stdout?: string | undefined
  readonly stdout_base64?: string | undefined
  /** Below `folder`. */
  readonly stdout_file?: string | undefined
  readonly folder?: string | undefined
  /** Repeats the `<gpu>` elements until the document is that long. */
  readonly repeat_gpu_to_bytes?: number | undefined
  /** Writes that many further bytes to a stream. */
  readonly flood?: { readonly stream: 'stdout' | 'stderr'; readonly bytes: number } | undefined
  readonly stderr?: string | undefined
  readonly exit_code?: number | null | undefined
  readonly signal?: string | undefined
  readonly spawn_error?: string | undefined
  readonly hang?: boolean | undefined
  readonly ignores_sigterm?: boolean | undefined
  /** Starts a child of its own that never ends; `grandchildPid` tells its pid. */
  readonly grandchild?: boolean | undefined
}

export interface FakeSmi {
  readonly command: string
  /** How often it was started. */
  readonly starts: () => number
  /** The pid of the last start. */
  readonly pid: () => number
  readonly grandchildPid: () => number
  /** Replays another case from the next start on. */
  readonly replay: (smi: SmiCase) => void
  readonly remove: () => void
}

const program = `
const { appendFileSync, readFileSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')
const smi = JSON.parse(readFileSync(join(__dirname, 'case.json'), 'utf8'))
if (smi.ignores_sigterm) process.on('SIGTERM', () => {})
appendFileSync(join(__dirname, 'starts'), process.pid + '\\n')
const write = (stream, bytes) => new Promise((resolve) => stream.write(bytes, resolve))
process.stdout.on('error', () => process.exit(1))
const main = async () => {
  await write(process.stdout, readFileSync(join(__dirname, 'stdout')))
  await write(process.stderr, smi.stderr ?? '')
  if (smi.flood) {
    const chunk = Buffer.alloc(1048576, 'flood\\n')
    for (let left = smi.flood.bytes; left > 0; left -= chunk.length) {
      await write(process[smi.flood.stream], chunk)
    }
  }
  if (smi.grandchild) {
    const hold = ['-e', 'process.on("SIGTERM", () => {}); setInterval(() => {}, 1000)']
    const child = require('node:child_process').spawn(process.execPath, hold, { stdio: 'inherit' })
    writeFileSync(join(__dirname, 'grandchild'), String(child.pid))
    child.unref()
  }
  if (smi.hang) setInterval(() => {}, 1000)
  else if (smi.signal) process.kill(process.pid, smi.signal)
  else process.exit(smi.exit_code ?? 0)
}
main()
`

/** Writes an executable into a folder of its own that replays `smi`; `remove` takes it away again. */
export function fakeNvidiaSmi(smi: SmiCase): FakeSmi {
  const folder = mkdtempSync(join(tmpdir(), 'fake-nvidia-smi-'))
  const command = join(folder, 'nvidia-smi')
  const replay = (next: SmiCase) => {
    writeFileSync(join(folder, 'stdout'), stdoutOf(next))
    const { stdout, stdout_base64, ...rest } = next
    writeFileSync(join(folder, 'case.json'), JSON.stringify(rest))
  }
  replay(smi)
  if (smi.spawn_error !== 'ENOENT') {
    // Without a suffix and a package.json above it, Node takes the file for CommonJS.
    const mode = smi.spawn_error === 'EACCES' ? 0o644 : 0o755
    // A package.json further up must not turn the program into a module.
    writeFileSync(join(folder, 'package.json'), '{"type":"commonjs"}\n')
    writeFileSync(command, `#!${process.execPath}\n${program}`, { mode })
  }
  const pids = () => {
    const file = join(folder, 'starts')
    return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').map(Number) : []
  }
  return {
    command,
    replay,
    starts: () => pids().length,
    pid: () => pids().at(-1) ?? Number.NaN,
    grandchildPid: () => Number(readFileSync(join(folder, 'grandchild'), 'utf8')),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    // A zombie can still be signalled; it is dead all the same.
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

/** A small document of our own making. */
export function smiFixture(name: string): string {
  return readFileSync(join(repositoryRoot, 'test', 'fixtures', 'nvidia-smi', name), 'utf8')
}

/** The folder of recorded documents beside the repository, where it exists. */
export function recordedSmi(): string | undefined {
  const folder = join(repositoryRoot, '..', 'shared', 'nvidia-smi')
  return existsSync(join(folder, 'expected.json')) ? folder : undefined
}

function stdoutOf(smi: SmiCase): Buffer {
  if (smi.stdout_base64 !== undefined) return Buffer.from(smi.stdout_base64, 'base64')
  if (smi.stdout_file === undefined) return Buffer.from(smi.stdout ?? '')
  const text = readFileSync(join(smi.folder ?? '.', smi.stdout_file), 'utf8')
  const from = text.indexOf('<gpu ')
  const to = text.lastIndexOf('</gpu>') + '</gpu>'.length
  const gpus = text.slice(from, to)
  const wanted = smi.repeat_gpu_to_bytes ?? text.length
  const times = 1 + Math.max(0, Math.ceil((wanted - text.length) / gpus.length))
  return Buffer.from(text.slice(0, from) + gpus.repeat(times) + text.slice(to))
}
