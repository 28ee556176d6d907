import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SimulatedEngine } from '../../src/demo/engine.ts'
import { SimulatedGpus } from '../../src/demo/gpus.ts'
import type { Incident } from '../../src/demo/incident.ts'
import type { Scenario } from '../../src/demo/scenario.ts'
import { type SimulatedServer, startSimulatedServer } from '../../src/demo/server.ts'
import type { Truth } from '../../src/demo/truth.ts'

/** How `nvidia-smi` fails: what it prints, and the status that it ends with. */
export interface SmiFailure {
  readonly stdout: string
  readonly exitCode: number
}

/** Simulated servers on one host with its GPUs. Time passes there when it is told, and not by itself. */
export interface ToldMachine {
  readonly urls: readonly string[]
  /** The path of what stands for `nvidia-smi`. */
  readonly smi: string
  /** How many requests for tokens have come over the network, those of the scenarios' clients left out. */
  readonly posts: () => number
  /** Since when the one that waits for longest has had no answer, in the scenarios' time. */
  readonly waitingSinceMs: () => number | undefined
  /** Lets time pass up to `atMs` of the scenarios. */
  readonly follow: (atMs: number) => void
  /** What truly happened at each server since this was asked last; the newest of each kind. */
  readonly drainTruth: () => readonly Truth[]
  /** Lets `nvidia-smi` fail from now on, or work again. */
  readonly fail: (failure: SmiFailure | undefined) => void
  readonly stop: () => Promise<void>
}

/** Servers and GPUs after this much of a past, so that no server is young unless its scenario says so. */
const prewarmMs = 900_000

/** So many requests may finish between two looks at what truly happened. */
const truthCapacity = 20_000

/**
 * Starts a server for each scenario at `fromMs` of their time. The GPUs of the first scenario come first, then
 * those of the next one. What befalls GPUs is told by the first scenario, for all of them.
 */
export async function startToldMachine(options: {
  readonly scenarios: readonly Scenario[]
  readonly fromMs: number
  /** The wall clock at 0 of the scenarios. */
  readonly startWallMs: number
}): Promise<ToldMachine> {
  const { scenarios, fromMs, startWallMs } = options
  let nowMs = fromMs
  const engines = scenarios.map(
    (scenario, index) =>
      new SimulatedEngine({ scenario, seed: 1 + index, startWallMs, prewarmMs, truthCapacity }),
  )
  const servers: SimulatedServer[] = []
  for (const engine of engines) {
    engine.advance(nowMs)
    servers.push(await startSimulatedServer({ engine, nowMs: () => nowMs }))
  }
  const gpus = new GpusOfAll({ scenarios, engines, startWallMs })
  const urls = servers.map(({ url }) => url)
  const counter = countPosts(urls, () => nowMs)
  const smi = createSmi()
  const follow = (atMs: number) => {
    nowMs = atMs
    for (const server of servers) server.follow()
    smi.publish(gpus.answer(atMs))
  }
  follow(nowMs)
  return {
    urls,
    smi: smi.path,
    posts: counter.posts,
    waitingSinceMs: counter.waitingSinceMs,
    follow,
    drainTruth: () => engines.map((engine) => engine.drainTruth()),
    fail: smi.fail,
    stop: async () => {
      counter.stop()
      await Promise.all(servers.map((server) => server.stop()))
      smi.remove()
    },
  }
}

/** The GPUs of a host, with the processes of all its servers. */
class GpusOfAll {
  readonly #engines: readonly SimulatedEngine[]
  readonly #firstGpus: readonly number[]
  readonly #gpus: SimulatedGpus

  constructor(options: {
    readonly scenarios: readonly Scenario[]
    readonly engines: readonly SimulatedEngine[]
    readonly startWallMs: number
  }) {
    const { scenarios, engines, startWallMs } = options
    this.#engines = engines
    let count = 0
    this.#firstGpus = scenarios.map((scenario) => {
      const first = count
      count += Math.max(scenario.gpus, scenario.engines * scenario.gpusPerEngine)
      return first
    })
    const incidents: readonly Incident[] = scenarios[0]?.incidents ?? []
    this.#gpus = new SimulatedGpus({ count, startWallMs, incidents })
  }

  answer(atMs: number) {
    const loads = this.#engines.flatMap((engine, index) =>
      engine.loads().map((load) => ({
        ...load,
        gpu: load.gpu + (this.#firstGpus[index] ?? 0),
        pid: load.pid + 10_000 * index,
      })),
    )
    this.#gpus.observe(loads, atMs)
    return this.#gpus.answer()
  }
}

/**
 * A program that prints what it is told to. It is a script for the shell, since another Node for each
 * reading would cost most of the time of a test.
 */
function createSmi() {
  const folder = mkdtempSync(join(tmpdir(), 'vllm-vitals-told-'))
  const path = join(folder, 'nvidia-smi')
  const tell = (file: string, text: string) => writeFileSync(join(folder, file), text)
  const script = [
    '#!/bin/sh',
    `read -r status < '${folder}/status'`,
    `cat '${folder}/stdout'`,
    `cat '${folder}/stderr' >&2`,
    'exit "$status"',
    '',
  ]
  writeFileSync(path, script.join('\n'), { mode: 0o700 })
  let failure: SmiFailure | undefined
  return {
    path,
    publish: ({ stdout, stderr }: { readonly stdout: string; readonly stderr: string }) => {
      tell('stdout', failure?.stdout ?? stdout)
      tell('stderr', failure === undefined ? stderr : '')
      tell('status', `${failure?.exitCode ?? 0}\n`)
    },
    fail: (given: SmiFailure | undefined) => {
      failure = given
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}

/** Counts the requests with the method POST that arrive at any of `urls`. */
function countPosts(urls: readonly string[], nowMs: () => number) {
  const ports = new Set(urls.map((url) => Number(new URL(url).port)))
  const waiting = new Map<ServerResponse, number>()
  let posts = 0
  const onRequest = (message: unknown) => {
    const { request, response } = message as {
      readonly request: IncomingMessage
      readonly response: ServerResponse
    }
    const isHere = ports.has(request.socket.localPort ?? 0)
    if (!isHere || request.method !== 'POST') return
    posts += 1
    waiting.set(response, nowMs())
    response.on('close', () => waiting.delete(response))
  }
  subscribe('http.server.request.start', onRequest)
  return {
    posts: () => posts,
    waitingSinceMs: () => [...waiting.values()][0],
    stop: () => unsubscribe('http.server.request.start', onRequest),
  }
}
