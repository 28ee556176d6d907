import { cardGrowths, type MemoryGrowth } from '../signals/gpu-growth.ts'
import { plannedShare, settledBytes } from '../signals/gpu-memory.ts'
import { type GpuProcess, gpuProcesses } from '../signals/gpu-processes.ts'
import type { TargetWindows } from '../window/target-windows.ts'
import { eachEngineGpu, gaugeOf, type OneGpu } from './each-gpu.ts'
import type { Finding, Rule } from './rule.ts'
import { gibibytes, percent, roughly } from './words.ts'

/**
 * Above its plan vLLM also holds captured CUDA graphs and communication buffers: a few hundredths of the
 * card at most, and not a leak. What it settled at holds them already, and grows a little with use.
 */
const slackRatio = 0.02

/** So many processes are named, the largest first. */
const mostNamed = 3

export const gpuMemoryHigh: Rule = {
  name: 'VllmGpuMemoryHigh',
  severity: 'warning',
  forMs: 300_000,
  keepFiringForMs: 0,
  windowMs: 60_000,
  description:
    'More GPU memory is in use than thresholds.gpu_memory_ratio and more, by 2 % of the card, than the running vLLM planned to take or, where it does not tell, settled at.',
  judge: (context) => {
    const { gpu, atMs } = context
    if (gpu === undefined) return []
    const targets = context.targets.map(({ target }) => target)
    const planned = plannedShare(targets)?.share
    const processes = gpuProcesses(gpu.target, targets, atMs)
    return eachEngineGpu(context, 'gpu_memory_used', (one) => {
      const { subject, position } = one
      const total = gaugeOf(one.target, 'gpu_memory_total', position)
      const here = processes.filter((process) => process.gpu === position)
      if (total === undefined || total <= 0) return { outcome: 'unknown', subject }
      const meant = meantFor(here, { planned, total, targets, atMs })
      // Without a plan or a level nothing tells a full card from a healthy one.
      if (meant === undefined) return { outcome: 'unknown', subject }
      const allowed = Math.max(context.thresholds.gpuMemoryRatio, meant.share + slackRatio)
      if (one.value / total <= allowed) return { outcome: 'pass', subject }
      return tooMuch(one, { total, meant, here })
    })
  },
}

export const gpuMemoryLeak: Rule = {
  name: 'VllmGpuMemoryLeak',
  severity: 'warning',
  forMs: 900_000,
  // A leak goes on in steps, between which it may not be certain.
  keepFiringForMs: 900_000,
  windowMs: 60_000,
  description:
    'The GPU memory of a process grows steadily, long after its warm-up: the card will be full, and vLLM fails then.',
  judge: (context) => {
    const { gpu, atMs } = context
    if (gpu === undefined) return []
    const targets = context.targets.map(({ target }) => target)
    const cards = cardGrowths(gpu.target, targets, atMs)
    return eachEngineGpu(context, 'gpu_memory_total', ({ position, subject }) => {
      const card = cards.find((one) => one.gpu === position)
      if (card === undefined || card.all.length === 0) return { outcome: 'unknown', subject }
      const [fastest] = card.growing.toSorted((a, b) => b.growth.slope - a.growth.slope)
      const { secondsToFull } = card
      if (fastest === undefined || secondsToFull === undefined) return { outcome: 'pass', subject }
      return leaking(subject, fastest, secondsToFull)
    })
  },
}

/** What the engine was meant to have of a card, and how that is known. */
interface Meant {
  readonly share: number
  readonly by: 'plan' | 'level' | 'nobody'
}

function meantFor(
  here: readonly GpuProcess[],
  card: {
    readonly planned: number | undefined
    readonly total: number
    readonly targets: readonly TargetWindows[]
    readonly atMs: number
  },
): Meant | undefined {
  if (card.planned !== undefined) return { share: card.planned, by: 'plan' }
  if (here.length === 0) return undefined
  const engines = here.filter(({ owner }) => owner.kind === 'engine')
  if (engines.length === 0) return { share: 0, by: 'nobody' }
  const settled = settledBytes(engines, card.targets, card.atMs)
  return settled === undefined ? undefined : { share: settled / card.total, by: 'level' }
}

function tooMuch(
  { position, subject, value: used }: OneGpu,
  card: { readonly total: number; readonly meant: Meant; readonly here: readonly GpuProcess[] },
): Finding {
  const { total, meant, here } = card
  const foreign = here.filter(({ owner }) => owner.kind === 'foreign')
  const orphans = here.filter(({ owner }) => owner.kind === 'orphan')
  const meantText = {
    plan: `vLLM planned ${percent(meant.share)}`,
    level: `vLLM settled at ${percent(meant.share)}`,
    nobody: 'no vLLM that serves runs there',
  }[meant.by]
  return {
    outcome: 'fail',
    subject,
    summary: [
      `GPU ${position} has ${gibibytes(used)} of ${gibibytes(total)} in use (${percent(used / total)}), ${meantText}`,
      ...(foreign.length === 0 ? [] : [`not of vLLM: ${named(foreign)}`]),
      ...(orphans.length === 0 ? [] : [`left over, as it seems: ${named(orphans)}`]),
    ].join('; '),
    evidence: {
      gpu_memory_used_ratio: used / total,
      gpu_memory_used_bytes: used,
      ...(meant.by === 'plan' ? { planned_ratio: meant.share } : {}),
      ...(meant.by === 'level' ? { settled_ratio: meant.share } : {}),
      ...(foreign.length === 0 ? {} : { foreign_bytes: bytesOf(foreign) }),
      ...(orphans.length === 0 ? {} : { left_over_bytes: bytesOf(orphans) }),
    },
  }
}

function leaking(
  subject: OneGpu['subject'],
  { gpu, pid, process, growth }: MemoryGrowth,
  secondsToFull: number,
): Finding {
  const perHour = (bytesPerSecond: number) => `${Math.round((3_600 * bytesPerSecond) / 2 ** 20)}`
  const { slope, low, high, coveredMs, grown } = growth
  const what = pid === '' ? `memory of GPU ${gpu}` : `${process} (pid ${pid}) on GPU ${gpu}`
  return {
    outcome: 'fail',
    subject,
    summary: `${what} grows by ${perHour(slope)} MiB an hour (${perHour(low)} to ${perHour(high)}), by ${gibibytes(grown)} in ${roughly(coveredMs / 1_000)}; the card is full in ${roughly(secondsToFull)}`,
    evidence: {
      pid,
      process,
      growth_bytes_per_second: slope,
      growth_low_bytes_per_second: low,
      growth_high_bytes_per_second: high,
      grown_bytes: grown,
      covered_seconds: coveredMs / 1_000,
      seconds_to_full: secondsToFull,
    },
  }
}

function named(processes: readonly GpuProcess[]): string {
  const largest = processes.toSorted((a, b) => b.usedBytes - a.usedBytes)
  const names = largest
    .slice(0, mostNamed)
    .map(({ process, pid, usedBytes }) => `${process} (pid ${pid}) ${gibibytes(usedBytes)}`)
  const more = largest.length - names.length
  return [...names, ...(more > 0 ? [`${more} more`] : [])].join(', ')
}

function bytesOf(processes: readonly GpuProcess[]): number {
  return processes.reduce((sum, { usedBytes }) => sum + usedBytes, 0)
}
