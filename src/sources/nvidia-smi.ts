import { createRequire } from 'node:module'
import { listedProcesses, toReading } from '../dialects/nvidia-smi.ts'
import { emptyRoster, type GpuRoster } from '../dialects/nvidia-smi-roster.ts'
import { cutDocument, failureOf, lostBusIds } from '../dialects/nvidia-smi-text.ts'
import { readGpus } from '../dialects/nvidia-smi-values.ts'
import { CollectError, shorten } from '../errors.ts'
import type { Reading } from '../reading.ts'
import { HostMemoryReader } from './host-memory.ts'
import { type KillGroup, ProgramRunner } from './run-program.ts'

export interface NvidiaSmiOptions {
  /** A name on PATH or a path. */
  readonly command: string
  readonly timeoutMs: number
  /** Whether memory by process is read. */
  readonly processes: boolean
  /** Where the host's memory is read, `/proc`; unset: it is not read. */
  readonly procRoot?: string | undefined
  /** What was known of the GPUs before, and is from now on; a new one by default. */
  readonly memory?: GpuMemory | undefined
  /** Replaces the daemon's own environment for the program. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
  /** Stands in for the signal to the program's group. */
  readonly kill?: KillGroup | undefined
}

/** What the runs of one command have told of the machine's GPUs. It outlives the source that fills it. */
export interface GpuMemory {
  roster: GpuRoster
}

/** Commands that are remembered; only a reload that changes the command adds one. */
const maxMemories = 8

/**
 * The memories of a daemon, one for each command: the index of a GPU is fixed for its whole life, while a
 * reload may replace the source.
 */
export class GpuMemories {
  readonly #byCommand = new Map<string, GpuMemory>()

  /** Returns the memory of `command`; that of the command not used for longest makes room for a new one. */
  of(command: string): GpuMemory {
    const memory = this.#byCommand.get(command) ?? { roster: emptyRoster }
    this.#byCommand.delete(command)
    this.#byCommand.set(command, memory)
    const [oldest] = this.#byCommand.keys()
    if (oldest !== undefined && this.#byCommand.size > maxMemories) this.#byCommand.delete(oldest)
    return memory
  }
}

/** The GPUs of this machine, as `nvidia-smi -q -x` tells them. */
export interface NvidiaSmi {
  readonly kind: 'gpu'
  /**
   * Resolves with what one run of the program found, and throws `CollectError` for a run without a
   * complete document. A document counts even when the program complained, failed or had to be killed
   * after it; the reading's notes then say so.
   */
  collect(signal: AbortSignal): Promise<Reading>
}

/** Eight GPUs with their supported clocks write 0.4 MiB, sixteen of another type 1.2 MiB. */
const maxOutputBytes = 16_777_216

export function createNvidiaSmi(options: NvidiaSmiOptions): NvidiaSmi {
  const { command, timeoutMs, processes, env, procRoot } = options
  const memory = options.memory ?? { roster: emptyRoster }
  const runner = new ProgramRunner(options.kill === undefined ? {} : { kill: options.kill })
  const hostMemory = procRoot === undefined ? undefined : new HostMemoryReader(procRoot)
  const decoder = new TextDecoder()

  return {
    kind: 'gpu',
    collect: async (signal) => {
      const args = ['-q', '-x']
      const run = await runner.run({ command, args, timeoutMs, maxOutputBytes, signal, env })
      const output = {
        end: run.outcome,
        // Names of processes need not be UTF-8; what is not becomes U+FFFD and harms nothing else.
        stdout: decoder.decode(run.stdout),
        stderr: decoder.decode(run.stderr),
      }
      const document = cutDocument(output, { processes })
      if (document.kind !== 'whole') throw failureOf(output, document.kind, options)
      if (run.outcome.kind === 'too_large' || run.outcome.kind === 'aborted') {
        throw failureOf(output, 'incomplete', options)
      }
      const gpus = readGpus(await treeOf(document.xml))
      const { remarks } = document
      const host = await hostMemory?.read(processes ? listedProcesses(gpus) : [], signal)
      const told = { processes, lostBusIds: lostBusIds(remarks), remarks, host }
      const next = toReading(gpus, memory.roster, told)
      memory.roster = next.roster
      return next.reading
    },
  }
}

/**
 * Resolves with the tree that node-nvidia-smi makes of a document, and throws `CollectError` `malformed`
 * when it is not well-formed. The package has no option for its program, its deadline or its limits and
 * drops what it read when there is any complaint, so all it gets is a document that our own guarded run
 * has brought and cut out: in the place of `exec` stands a function that hands that over.
 */
export function treeOf(xml: string): Promise<unknown> {
  const readDocument = loadPackage()
  return new Promise((resolve, reject) => {
    handedOver = xml
    readDocument((error, tree) => {
      if (error === null || error === undefined) resolve(tree)
      else reject(malformed(error))
    })
    if (handedOver === undefined) return
    handedOver = undefined
    reject(
      new TypeError('expected node-nvidia-smi to call child_process.exec, found that it did not'),
    )
  })
}

type ReadDocument = (callback: (error: unknown, tree: unknown) => void) => void

/** The document for the call of the package that is under way; the package asks for it at once. */
let handedOver: string | undefined
let loaded: ReadDocument | undefined

function execStandIn(
  _command: string,
  callback: (error: Error | null, stdout: string, stderr: string) => void,
): void {
  const xml = handedOver ?? ''
  handedOver = undefined
  callback(null, xml, '')
}

/**
 * Loads the package at its first use, since a machine without GPUs needs neither it nor its parser.
 * It takes `exec` out of `child_process` once, while it is loaded; loading is synchronous, so nobody else
 * meets the stand-in.
 */
function loadPackage(): ReadDocument {
  if (loaded !== undefined) return loaded
  const require = createRequire(import.meta.url)
  const childProcess: { exec: unknown } = require('node:child_process')
  const { exec } = childProcess
  // If somebody else had loaded it before, it would hold the real one.
  delete require.cache[require.resolve('node-nvidia-smi')]
  childProcess.exec = execStandIn
  try {
    const found: unknown = require('node-nvidia-smi')
    if (!isReadDocument(found)) {
      throw new TypeError(`expected node-nvidia-smi to be a function, found ${typeof found}`)
    }
    loaded = found
    return found
  } finally {
    childProcess.exec = exec
  }
}

function isReadDocument(value: unknown): value is ReadDocument {
  return typeof value === 'function'
}

function malformed(error: unknown): CollectError {
  const [first = ''] = (error instanceof Error ? error.message : String(error)).split('\n')
  const message = `expected well-formed XML from nvidia-smi, found: ${shorten(first)}`
  return new CollectError('malformed', message, { cause: error })
}
