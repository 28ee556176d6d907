import { SimulatedEngine } from '../../src/demo/engine.ts'
import { type HostMemory, SimulatedGpus } from '../../src/demo/gpus.ts'
import type { Scenario } from '../../src/demo/scenario.ts'
import { findScenario, vary } from '../../src/demo/scenarios.ts'
import type { Truth } from '../../src/demo/truth.ts'
import { DemoPage } from './demo-page.ts'

/** What one GPU shows, as far as the incidents change it. */
export interface GpuLook {
  readonly utilizationPercent: number
  readonly watts: number
  readonly usedMiB: number
  readonly smMhz: number
  readonly celsius: number
  readonly throttled: readonly string[]
  readonly processes: readonly {
    readonly pid: number
    readonly name: string
    readonly usedMiB: number
  }[]
}

/** What is to be seen of a simulated server and its machine at one moment. */
export interface Look {
  readonly atMs: number
  readonly portOpen: boolean
  readonly healthStatus: number
  readonly healthTookMs: number
  readonly pending: number
  /** The page of metrics; empty while nothing listens. */
  readonly text: string
  readonly gpus: readonly GpuLook[]
  readonly smiStderr: string
  readonly memory: HostMemory
  /** What truly happened since the look before. */
  readonly truth: Truth
}

export interface WatchOptions {
  readonly seed?: number
  readonly fromMs?: number
  readonly untilMs?: number
  readonly everyMs?: number
}

/** The scenario as it is written, and `count` others of its kind. */
export function variants(name: string, count = 2): readonly Scenario[] {
  const asWritten = findScenario(name)
  const others = Array.from({ length: count }, (_, index) => vary(asWritten, index + 1))
  return [asWritten, ...others]
}

/** Plays a scenario by told time and looks at it again and again. */
export function watch(scenario: Scenario, options: WatchOptions = {}): readonly Look[] {
  const { label } = scenario
  const { seed = 1, fromMs = -30_000, untilMs = label.runMs, everyMs = 10_000 } = options
  const startWallMs = 1_700_000_000_000
  const prewarmMs = 200_000 - fromMs
  const engine = new SimulatedEngine({
    scenario,
    seed,
    startWallMs,
    prewarmMs,
    truthCapacity: 1_000_000,
  })
  const count = Math.max(scenario.gpus, scenario.engines * scenario.gpusPerEngine)
  const gpus = new SimulatedGpus({ count, startWallMs, incidents: scenario.incidents })
  engine.advance(fromMs - everyMs)
  gpus.observe(engine.loads(), fromMs - everyMs)
  engine.drainTruth()
  const looks: Look[] = []
  for (let atMs = fromMs; atMs <= untilMs; atMs += everyMs) {
    engine.advance(atMs)
    gpus.observe(engine.loads(), atMs)
    const { stdout, stderr } = gpus.answer()
    looks.push({
      atMs,
      portOpen: engine.portOpen,
      healthStatus: engine.healthStatus,
      healthTookMs: engine.healthTookMs,
      pending: engine.pending,
      text: engine.portOpen ? engine.page() : '',
      gpus: stdout.split('<gpu id=').slice(1).map(gpuLook),
      smiStderr: stderr,
      memory: gpus.hostMemory(),
      truth: engine.drainTruth(),
    })
  }
  return looks
}

export function pageOf(look: Look | undefined): DemoPage {
  return new DemoPage(look?.text ?? '')
}

/** The value of a metric, all its series with at least these labels added up; 0 without any. */
export function metric(
  look: Look | undefined,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  // A test asks thousands of times, so that the page is searched and not parsed.
  const text = look?.text ?? ''
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`)
  let sum = 0
  for (let at = text.indexOf(`\n${name}`); at >= 0; at = text.indexOf(`\n${name}`, at + 1)) {
    const after = text[at + 1 + name.length]
    if (after !== ' ' && after !== '{') continue
    const line = text.slice(at + 1, text.indexOf('\n', at + 1))
    if (wanted.every((pair) => line.includes(pair)))
      sum += Number(line.slice(line.lastIndexOf(' ')))
  }
  return sum
}

/** All that the page says of the engine. */
export function engineLines(look: Look): string {
  return look.text
    .split('\n')
    .filter((line) => line.startsWith('vllm:'))
    .join('\n')
}

/** The looks of a stretch of time, both ends among them. */
export function between(looks: readonly Look[], fromMs: number, untilMs: number): readonly Look[] {
  return looks.filter(({ atMs }) => atMs >= fromMs && atMs <= untilMs)
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

export function quantile(values: readonly number[], q: number): number {
  const ascending = [...values].sort((a, b) => a - b)
  return ascending[Math.floor(q * (ascending.length - 1))] ?? Number.NaN
}

function gpuLook(xml: string): GpuLook {
  const number = (name: string) =>
    Number(new RegExp(`<${name}>([\\d.]+)`).exec(xml)?.[1] ?? Number.NaN)
  const memory = xml.slice(xml.indexOf('<fb_memory_usage>'))
  const throttled = [...xml.matchAll(/<clocks_event_reason_(\w+)>Active/g)].map(([, name]) => {
    return name ?? ''
  })
  return {
    utilizationPercent: number('gpu_util'),
    watts: number('average_power_draw'),
    usedMiB: Number(/<used>(\d+)/.exec(memory)?.[1]),
    smMhz: number('sm_clock'),
    celsius: number('gpu_temp'),
    throttled: throttled.filter((name) => name !== 'gpu_idle'),
    processes: [...xml.matchAll(/<process_info>([\s\S]*?)<\/process_info>/g)].map(
      ([, info = '']) => ({
        pid: Number(/<pid>(\d+)/.exec(info)?.[1]),
        name: /<process_name>(.*)<\/process_name>/.exec(info)?.[1] ?? '',
        usedMiB: Number(/<used_memory>(\d+)/.exec(info)?.[1]),
      }),
    ),
  }
}
