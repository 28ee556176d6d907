import type { Draft, Evidence, Finding } from '../finding.ts'
import type { GpuFacts, HostFacts } from '../signals/gpu-facts.ts'
import type { GpuProcess } from '../signals/gpu-processes.ts'
import type { TargetSnapshot } from '../snapshot.ts'
import { duration, figure, type Scene } from './scene.ts'

/** P16: a card is gone, or asks for a reset. `on` are the targets that run on it. */
export function lostGpu(
  { gpu, uuid, lost, recoveryAction }: GpuFacts,
  on: readonly TargetSnapshot[],
): Finding | undefined {
  if (!lost && recoveryAction === undefined) return undefined
  const [target] = on
  const what = lost ? 'is lost' : `asks for recovery: ${recoveryAction}`
  const whose =
    target === undefined
      ? ''
      : `, on which ${on.map(({ name, state }) => `${name} (${state})`).join(', ')} runs`
  return {
    pain: 'P16',
    subject: { ...(target === undefined ? {} : { target: target.name }), uuid },
    verdict: `GPU ${gpu} (${uuid}) ${what}${whose}`,
    confidence: 'certain',
    evidence: evidenceOf({ gpu_lost: lost ? 1 : 0, recovery_action: recoveryAction }),
    ruledOut: [{ pain: 'P17', why: 'the card does not answer, or says that it cannot go on' }],
    notChecked: ['the Xid in the log of the kernel, which nvidia-smi does not tell'],
    next: `dmesg -T | grep -iE 'xid|nvrm'   # 79: fallen off the bus; then drain the host, reset or reboot`,
    weight: target === undefined ? 80 : 99,
  }
}

/** P5: memory is held by what serves nobody. */
export function orphans(scene: Scene): Draft | undefined {
  const found = scene.gpus.flatMap(({ processes = [] }) =>
    processes.flatMap((one) => (one.owner.kind === 'orphan' ? [{ one, owner: one.owner }] : [])),
  )
  const [first] = found
  if (first === undefined) return undefined
  const bytes = found.reduce((total, { one }) => total + one.usedBytes, 0)
  const serves = scene.target.state === 'serving' || scene.target.state === 'idle'
  const names = found.map(({ one }) => `${one.process} (pid ${one.pid})`).join(', ')
  return {
    pain: 'P5',
    verdict: `${names} ${found.length === 1 ? 'holds' : 'hold'} ${gib(bytes)} of GPU memory and belong${found.length === 1 ? 's' : ''} to no server that answers, for ${duration(scene.atMs - first.owner.sinceMs)}${serves ? '' : ': a new one finds no room'}`,
    confidence: 'likely',
    evidence: evidenceOf({
      pids: found.map(({ one }) => one.pid).join(' '),
      memory_bytes: bytes,
      left_over_seconds: (scene.atMs - first.owner.sinceMs) / 1_000,
    }),
    ruledOut: [{ pain: 'P7', why: 'the process is older than the outage: it is no load' }],
    notChecked: ['whether the process still works: names and times alone tell whose it is'],
    next: `ps -o pid,ppid,etime,stat,cmd -p ${found.map(({ one }) => one.pid).join(',')}   # then kill it, and start vLLM again`,
    weight: serves ? 57 : 97,
  }
}

/** P15: memory of the card grows, or another program takes what was vLLM's. */
export function cardFillsUp(scene: Scene): Draft | undefined {
  for (const gpu of scene.gpus) {
    const [grows] = gpu.growth?.growing ?? []
    if (grows === undefined) continue
    const perHour = grows.growth.slope * 3_600
    const left = gpu.growth?.secondsToFull
    const who =
      grows.pid === '' ? `GPU ${gpu.gpu}` : `${grows.process} (pid ${grows.pid}) on GPU ${gpu.gpu}`
    return {
      pain: 'P15',
      subject: { target: scene.target.name, uuid: gpu.uuid },
      verdict: `the memory of ${who} grows by ${gib(perHour)} an hour (${gib(grows.growth.low * 3_600)} to ${gib(grows.growth.high * 3_600)})${left === undefined ? '' : `: the card is full in ${duration(1_000 * left)}`}`,
      confidence: 'certain',
      evidence: evidenceOf({
        growth_bytes_per_second: grows.growth.slope,
        growth_low_bytes_per_second: grows.growth.low,
        grown_bytes: grows.growth.grown,
        watched_seconds: grows.growth.coveredMs / 1_000,
        seconds_to_full: left,
      }),
      ruledOut: [{ pain: 'P5', why: 'it grows evenly, in one process' }],
      next: `plan a restart before then; look for what came with it: multi-modal requests, prompt log-probabilities, LoRA adapters`,
      weight: 59,
    }
  }
  return undefined
}

/** Memory of another program beyond what a display or a monitor takes. */
const muchForeignBytes = 2 ** 30

/** P15 of another kind: a second tenant on the card of vLLM. */
export function secondTenant(scene: Scene): Draft | undefined {
  for (const { gpu, uuid, processes = [], memoryUsedBytes, memoryTotalBytes } of scene.gpus) {
    const foreign = processes.filter(
      ({ owner, usedBytes }) => owner.kind === 'foreign' && usedBytes >= muchForeignBytes,
    )
    if (foreign.length === 0 || !processes.some(({ owner }) => owner.kind === 'engine')) continue
    const bytes = foreign.reduce((total, { usedBytes }) => total + usedBytes, 0)
    const free =
      memoryUsedBytes === undefined || memoryTotalBytes === undefined
        ? undefined
        : memoryTotalBytes - memoryUsedBytes
    return {
      pain: 'P15',
      subject: { target: scene.target.name, uuid },
      verdict: `${namesOf(foreign)} ${foreign.length === 1 ? 'holds' : 'hold'} ${gib(bytes)} of GPU ${gpu}, on which vLLM runs${free === undefined ? '' : `; ${gib(free)} are free`}`,
      confidence: 'certain',
      evidence: evidenceOf({ foreign_bytes: bytes, free_bytes: free }),
      ruledOut: [{ pain: 'P5', why: 'it is no program of vLLM' }],
      next: `ps -o pid,user,etime,cmd -p ${foreign.map(({ pid }) => pid).join(',')}`,
      weight: 54,
    }
  }
  return undefined
}

/** P14: the memory of the host runs out. */
export function hostLeak(host: HostFacts): Finding | undefined {
  const [grows] = host.growths.filter(({ growth }) => growth.course === 'growing')
  if (grows === undefined) return undefined
  const left =
    host.availableBytes === undefined ? undefined : host.availableBytes / grows.growth.slope
  return {
    subject: {},
    pain: 'P14',
    verdict: `the host memory of ${grows.process} (pid ${grows.pid}) grows by ${gib(grows.growth.slope * 3_600)} an hour, to ${gib(grows.bytes)} by now${left === undefined ? '' : `: the host is full in ${duration(1_000 * left)}`}`,
    confidence: 'certain',
    evidence: evidenceOf({
      growth_bytes_per_second: grows.growth.slope,
      growth_low_bytes_per_second: grows.growth.low,
      resident_bytes: grows.bytes,
      available_bytes: host.availableBytes,
      watched_seconds: grows.growth.coveredMs / 1_000,
    }),
    ruledOut: [{ pain: 'P15', why: 'it is the memory of the host, not of the card' }],
    notChecked: ['the limit of its control group, which may be reached sooner'],
    next: `grep -E 'VmRSS|RssAnon|RssShmem' /proc/${grows.pid}/status   # anonymous: a leak; plan a restart`,
    weight: 55,
  }
}

function namesOf(processes: readonly GpuProcess[]): string {
  return processes.map(({ process, pid }) => `${process} (pid ${pid})`).join(', ')
}

function gib(bytes: number): string {
  return `${figure(bytes / 2 ** 30)} GiB`
}

/** Of the last reading of the GPUs, which is never old: older ones tell nothing. */
function evidenceOf(
  found: Readonly<Record<string, number | string | undefined>>,
): readonly Evidence[] {
  return Object.entries(found).flatMap(([what, value]) =>
    value === undefined
      ? []
      : [
          {
            what,
            value: typeof value === 'number' ? Number(value.toPrecision(4)) : value,
            ageSeconds: 0,
          },
        ],
  )
}
