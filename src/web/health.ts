import type { Alert } from '../rules/alert.ts'
import type { HealthStatus, TargetState } from '../rules/health.ts'
import type { GpuSnapshot, Snapshot, TargetSnapshot } from '../snapshot.ts'

/** A number as JSON can hold it: infinities are written as Prometheus writes them. */
export type JsonNumber = number | '+Inf' | '-Inf' | 'NaN'

export interface ReasonBody {
  readonly alert: string
  readonly severity: string
  readonly since: string
  readonly summary: string
  readonly evidence: Readonly<Record<string, JsonNumber | string>>
  readonly runbook: string
  /** There where the evidence does not decide; what is certain has none. */
  readonly certainty?: 'suspected'
}

/** A firing alert that is held back: another one, or the state of its target, tells the cause. */
export interface SuppressedBody extends ReasonBody {
  readonly suppressed_by: string
}

/** What is said of anything that is read. */
export interface SourceBody {
  readonly name: string
  readonly status: HealthStatus
  readonly last_scrape_age_seconds: number | null
  readonly reasons: readonly ReasonBody[]
  /** Left out where nothing is held back. */
  readonly suppressed?: readonly SuppressedBody[]
  /** Why the status is what it is, where no alert says so or says it all. */
  readonly detail?: string
}

export interface TargetBody extends SourceBody {
  readonly state: TargetState
  readonly models: readonly string[]
}

export interface GpuBody {
  readonly uuid: string
  readonly index: number
  readonly status: HealthStatus
  readonly reasons: readonly ReasonBody[]
  /** Left out where nothing is held back. */
  readonly suppressed?: readonly SuppressedBody[]
}

/** The body of `/health`. */
export interface HealthBody {
  readonly status: HealthStatus
  readonly time: string
  readonly version: string
  /** Why nothing can be said at all. */
  readonly detail?: string
  readonly targets: readonly TargetBody[]
  readonly gpus: readonly GpuBody[]
  /** The reading of the GPUs itself; left out where it is off, or silent on a host without GPUs. */
  readonly gpu_source?: SourceBody
}

/** The HTTP status that tells a probe about `status`: 200 where traffic may go on, 503 where not. */
export function healthCode(status: HealthStatus, failOnDegraded: boolean): 200 | 503 {
  switch (status) {
    case 'healthy':
      return 200
    case 'degraded':
      return failOnDegraded ? 503 : 200
    case 'unknown':
    case 'unhealthy':
      return 503
  }
}

/**
 * Returns the body of `/health`, as of the evaluation.
 *
 * - `only`, a target or the GPU source: its status is the body's, and other targets are left out
 * - with a target, GPUs on which it does not run are left out, too
 */
export function healthBody(
  snapshot: Snapshot,
  version: string,
  only?: TargetSnapshot | undefined,
): HealthBody {
  const targets = only === undefined ? snapshot.targets : snapshot.targets.filter((t) => t === only)
  const { gpuSource } = snapshot
  const isTarget = only !== undefined && only !== gpuSource
  const gpus = isTarget ? snapshot.gpus.filter((gpu) => runsOn(only, gpu)) : snapshot.gpus
  return {
    status: only?.status ?? snapshot.status,
    time: isoTime(snapshot.wallMs),
    version,
    targets: targets.map((target) => targetBody(snapshot, target)),
    gpus: gpus.map((gpu) => gpuBody(snapshot, gpu)),
    ...(gpuSource === undefined ? {} : { gpu_source: sourceBody(snapshot, gpuSource) }),
  }
}

/** Whether a target runs on a GPU, or may: where nobody can tell, on each that has a process of vLLM's. */
function runsOn({ name, placement }: TargetSnapshot, gpu: GpuSnapshot): boolean {
  if (placement.kind === 'unknown') return gpu.runsEngine !== false
  return placement.gpus.has(String(gpu.index)) || gpu.targetsOnLost.includes(name)
}

/** Returns the body of `/health` while nothing can be said, and why. */
export function unknownBody(nowMs: number, version: string, detail: string): HealthBody {
  return { status: 'unknown', time: isoTime(nowMs), version, detail, targets: [], gpus: [] }
}

/** Returns the target called `name`, or the GPU source by its own. */
export function findTarget(snapshot: Snapshot, name: string): TargetSnapshot | undefined {
  return readSources(snapshot).find((source) => source.name === name)
}

/** Everything that is read: the targets, and the GPU source where there is one. */
export function readSources(snapshot: Snapshot): readonly TargetSnapshot[] {
  const { targets, gpuSource } = snapshot
  return gpuSource === undefined ? targets : [...targets, gpuSource]
}

/**
 * Returns `body` as text: the status, then a line for each reason, each beginning with its subject, and the
 * lines of `more` behind them.
 */
export function healthText(body: HealthBody, more: readonly string[] = []): string {
  const lines: string[] = [body.status]
  if (body.detail !== undefined) lines.push(body.detail)
  for (const target of body.targets) pushReasons(lines, target.name, target)
  for (const gpu of body.gpus) pushReasons(lines, gpu.uuid, gpu)
  if (body.gpu_source !== undefined) pushReasons(lines, body.gpu_source.name, body.gpu_source)
  return `${[...lines, ...more].map(oneLine).join('\n')}\n`
}

function pushReasons(
  lines: string[],
  subject: string,
  from: Pick<SourceBody, 'reasons' | 'suppressed'> & { readonly detail?: string },
): void {
  for (const { alert, severity, since, summary } of from.reasons) {
    lines.push(`${subject} ${alert} ${severity} since ${since} ${summary}`)
  }
  for (const { alert, suppressed_by: cause, summary } of from.suppressed ?? []) {
    lines.push(`${subject} ${alert} suppressed by ${cause} ${summary}`)
  }
  if (from.detail !== undefined) lines.push(`${subject} ${from.detail}`)
}

// Summaries and messages quote what came from outside, and one reason has to stay one line.
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ')
}

export function targetBody(snapshot: Snapshot, target: TargetSnapshot): TargetBody {
  const { name, status, ...rest } = sourceBody(snapshot, target)
  return { name, status, state: target.state, models: target.models, ...rest }
}

export function gpuBody(snapshot: Snapshot, gpu: GpuSnapshot): GpuBody {
  const { uuid, index, status } = gpu
  return { uuid, index, status, ...alertBodies(snapshot, gpu) }
}

export function sourceBody(snapshot: Snapshot, source: TargetSnapshot): SourceBody {
  const detail = detailOf(source)
  return {
    name: source.name,
    status: source.status,
    last_scrape_age_seconds:
      source.lastSuccessMs === undefined
        ? null
        : Math.max(0, Math.round(snapshot.atMs - source.lastSuccessMs)) / 1000,
    ...alertBodies(snapshot, source),
    ...(detail === undefined ? {} : { detail }),
  }
}

function alertBodies(
  snapshot: Snapshot,
  { reasons, suppressed }: Pick<TargetSnapshot, 'reasons' | 'suppressed'>,
): Pick<SourceBody, 'reasons' | 'suppressed'> {
  const suppressedBody = (alert: Alert): SuppressedBody => ({
    ...reasonBody(snapshot, alert),
    suppressed_by: alert.heldBack?.by ?? '',
  })
  return {
    reasons: reasons.map((alert) => reasonBody(snapshot, alert)),
    ...(suppressed.length === 0 ? {} : { suppressed: suppressed.map(suppressedBody) }),
  }
}

/** Why a source is not healthy, where its alerts leave that open. */
function detailOf(source: TargetSnapshot): string | undefined {
  const { status, state, up, lastFailure, reasons, suppressed, loading } = source
  if (status === 'healthy') return undefined
  // Nobody listens while a model is loaded; that is no failure to tell of.
  if (state === 'loading') return `loading: ${loading?.summary ?? 'the model is being loaded'}`
  if (lastFailure !== undefined) {
    const { message, code } = lastFailure
    const isTold = reasons.some(({ summary }) => summary.includes(message))
    return isTold ? undefined : `${state}: ${message} (${code})`
  }
  if (reasons.length > 0) return undefined
  if (up === undefined) return `${state}: it was not read yet`
  switch (state) {
    case 'sleeping':
      return 'sleeping: the engine was put to sleep'
    case 'stalled':
      return `stalled: ${source.stall?.summary ?? 'work is pending and nothing progresses'}`
    case 'unknown':
      return 'unknown: the page that was read holds no metrics of vLLM (started with --disable-log-stats, or another program)'
    default:
      return `${state}: ${whatIsHeldBack(suppressed) ?? 'the last reading succeeded'}`
  }
}

/** Which alerts are held back, and what tells their cause; the cause itself may be over. */
function whatIsHeldBack(suppressed: readonly Alert[]): string | undefined {
  const [first] = suppressed
  if (first === undefined) return undefined
  const names = suppressed.map(({ alert }) => alert).join(', ')
  return `what follows from ${first.heldBack?.by ?? 'before'} is held back: ${names}`
}

export function reasonBody(snapshot: Snapshot, alert: Alert): ReasonBody {
  const evidence: Record<string, JsonNumber | string> = {}
  for (const [name, value] of Object.entries(alert.evidence)) {
    evidence[name] = typeof value === 'number' ? jsonNumber(value) : value
  }
  return {
    alert: alert.alert,
    severity: alert.severity,
    since: isoTime(alert.sinceWallMs ?? snapshot.wallMs - (snapshot.atMs - alert.sinceMs)),
    summary: alert.summary,
    evidence,
    runbook: alert.runbook,
    ...(alert.certainty === 'certain' ? {} : { certainty: alert.certainty }),
  }
}

export function jsonNumber(value: number): JsonNumber {
  if (Number.isFinite(value)) return value
  if (Number.isNaN(value)) return 'NaN'
  return value > 0 ? '+Inf' : '-Inf'
}

// A wall clock that was set to nonsense must not take the endpoint down.
function isoTime(wallMs: number): string {
  const date = new Date(Math.round(wallMs))
  return Number.isNaN(date.getTime()) ? new Date(0).toISOString() : date.toISOString()
}
