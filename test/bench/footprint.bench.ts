/**
 * Prints what `serve` occupies beside an idle Node on this machine: resident memory and processor time with
 * one target of eight engines scraped each second, without GPUs and with the eight of the simulator.
 *
 * `--seconds=N` shortens the two minutes.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { startDemo } from '../../src/demo/run.ts'

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '120' } } })
const seconds = Number(values.seconds)
const main = join(import.meta.dirname, '../../src/main.js')

interface Subject {
  readonly name: string
  readonly child: ChildProcess
}

interface Usage {
  readonly residentMiB: number
  readonly peakMiB: number
  readonly cpuSeconds: number
}

/** Each second, whatever a scrape costs. */
const pace = { VLLM_VITALS_SCRAPE_INTERVAL: '1s', VLLM_VITALS_SCRAPE_MAX_OVERHEAD: '0' }

const ending = new AbortController()
const demo = await startDemo({ scenario: 'steady', engines: 8, signal: ending.signal })
const [target] = demo.targets
const page = await (await fetch(`${target?.url}/metrics`)).text()
const subjects: Subject[] = [
  { name: 'idle Node', child: start(['-e', 'setInterval(() => {}, 1000)']) },
  {
    name: 'serve, no GPUs',
    child: start(await serveArgs(), { ...pace, VLLM_VITALS_GPU_ENABLED: 'false' }),
  },
  {
    name: 'serve, 8 GPUs',
    child: start(await serveArgs(), {
      ...pace,
      VLLM_VITALS_GPU_ENABLED: 'true',
      VLLM_VITALS_GPU_COMMAND: demo.gpuCommand,
    }),
  },
]
try {
  print(`page of ${(page.length / 1000).toFixed(0)} KB, scraped each second for ${seconds} s`)
  await delay(seconds * 1000)
  report()
} finally {
  for (const { child } of subjects) child.kill('SIGTERM')
  ending.abort()
  await demo.stop()
}

function report(): void {
  const [idle, ...others] = subjects.map(({ name, child }) => ({ name, ...usageOf(child) }))
  if (idle === undefined) return
  print(`${idle.name.padEnd(16)} ${idle.residentMiB.toFixed(1).padStart(6)} MiB resident`)
  for (const { name, residentMiB, peakMiB, cpuSeconds } of others) {
    const above = (residentMiB - idle.residentMiB).toFixed(1)
    const share = ((100 * cpuSeconds) / seconds).toFixed(1)
    print(
      `${name.padEnd(16)} ${residentMiB.toFixed(1).padStart(6)} MiB resident, idle + ${above} MiB ` +
        `(peak ${peakMiB.toFixed(1)} MiB), ${share} % of one core`,
    )
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

function start(args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
  const stdio = ['ignore', 'ignore', 'inherit'] as const
  return spawn(process.execPath, args, { env: { ...process.env, ...env }, stdio: [...stdio] })
}

async function serveArgs(): Promise<string[]> {
  const port = await freePort()
  return [
    main,
    'serve',
    `--target=${target?.url}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ].concat('--log.level=error')
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}

function usageOf({ pid }: ChildProcess): Usage {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const mebibytes = (field: string) =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 'NaN') / 1024
  // Behind the name in parentheses, which may hold spaces: fields 14 and 15 in ticks of 10 ms.
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const cpuSeconds = (Number(fields[11]) + Number(fields[12])) / 100
  return { residentMiB: mebibytes('VmRSS'), peakMiB: mebibytes('VmHWM'), cpuSeconds }
}
