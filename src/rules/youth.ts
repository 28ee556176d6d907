import type { TargetWindows } from '../window/target-windows.ts'

/** So long after it began to serve, or after its first work, a process is young. */
const youngMs = 300_000
/** Requests that a process of unknown age has finished before it counts as grown up. */
const grownUpFinished = 50

/** Tells whether a process may still pause to compile. Its age is that since it began to serve. */
export function isYoung(target: TargetWindows): boolean {
  const { progress, lastRead } = target
  if (progress === undefined || lastRead === undefined) return false
  if (progress.fromBirth) {
    const { firstWorkedMs } = progress
    return firstWorkedMs === undefined || lastRead.atMs - firstWorkedMs < youngMs
  }
  const startSeconds = servingSinceSeconds(target)
  if (startSeconds !== undefined) return lastRead.wallMs - 1_000 * startSeconds < youngMs
  return finishedInLife(target) < grownUpFinished && lastRead.atMs - progress.sinceMs < youngMs
}

/** When the process began to count, else when it started, in Unix seconds; absent where neither is told. */
function servingSinceSeconds({ reading }: TargetWindows): number | undefined {
  if (reading === undefined) return undefined
  let latest = 0
  for (const { rank, startOffset } of reading.channels) {
    if (rank === undefined || startOffset === undefined) continue
    latest = Math.max(latest, reading.values[startOffset] ?? 0)
  }
  return latest > 0 ? latest : reading.processStartSeconds
}

function finishedInLife({ reading }: TargetWindows): number {
  let finished = 0
  for (const { instrument, offset } of reading?.channels ?? []) {
    if (instrument === 'requests_finished') finished += reading?.values[offset] ?? 0
  }
  return finished
}
