import { unreachable } from '../errors.ts'
import type { HealthProbe, Labels, ProbeResult } from '../reading.ts'
import type { Alert } from '../rules/alert.ts'
import type { Subject } from '../rules/rule.ts'
import type { AbsentWhy, Measured } from '../signals/signal.ts'
import type { Snapshot, TargetSnapshot } from '../snapshot.ts'
import { type FindingBody, findingBody } from './diagnosis.ts'
import {
  type GpuBody,
  gpuBody,
  type HealthBody,
  healthBody,
  type JsonNumber,
  jsonNumber,
  type ReasonBody,
  reasonBody,
  type SourceBody,
  sourceBody,
  type TargetBody,
  targetBody,
  unknownBody,
} from './health.ts'
import { type About, metricPrefix } from './metrics.ts'

/** One number with its evidence, or why there is none. Labels of the object it stands in are left out. */
export type MeasurementBody = { readonly name: string; readonly labels: Labels } & (
  | { readonly value: JsonNumber; readonly count: number; readonly at_least: boolean }
  | { readonly absent: AbsentWhy; readonly detail?: string }
)

/** What `/api/v1/status` adds to a target, and to the GPU source. */
interface More {
  readonly version: string | null
  readonly up: boolean | null
  readonly last_failure: { readonly code: string; readonly message: string } | null
  readonly health_probe: HealthProbeBody | null
  /** The last completion asked for because nothing else decided; left out where none is ever asked for. */
  readonly probe?: ProbeBody | null
  readonly notes: readonly string[]
  /** Alerts whose requests are too few to be sure. */
  readonly undecided: readonly UndecidedBody[]
  readonly pending: readonly ReasonBody[]
  readonly measurements: readonly MeasurementBody[]
}

interface UndecidedBody {
  readonly alert: string
  readonly model_name?: string
  readonly summary: string
}

type HealthProbeBody =
  | { readonly status: number; readonly took_seconds: number }
  | { readonly code: string; readonly took_seconds: number }

type ProbeBody = { readonly age_seconds: number; readonly took_seconds: number } & (
  | { readonly outcome: 'answered' }
  | { readonly outcome: 'failed'; readonly status: number }
  | { readonly outcome: 'unanswered'; readonly code: string }
  | { readonly outcome: 'inconclusive'; readonly reason: string }
)

type GpuStatusBody = GpuBody & {
  readonly name: string
  readonly pending: readonly ReasonBody[]
  readonly measurements: readonly MeasurementBody[]
}

/** The body of `/api/v1/status`. */
export interface StatusBody extends Omit<HealthBody, 'targets' | 'gpus' | 'gpu_source'> {
  readonly revision: string
  readonly node_version: string
  readonly ready: boolean
  readonly targets: readonly (TargetBody & More)[]
  readonly gpus: readonly GpuStatusBody[]
  readonly gpu_source?: SourceBody & More
  /** What is the matter, the gravest first. */
  readonly diagnosis: readonly FindingBody[]
  /** What speaks of no target and no GPU. */
  readonly daemon: {
    readonly pending: readonly ReasonBody[]
    readonly measurements: readonly MeasurementBody[]
  }
}

/** Returns everything that is known, as of the evaluation. */
export function statusBody(snapshot: Snapshot, about: About): StatusBody {
  const owned = new Owned(snapshot)
  const { gpuSource } = snapshot
  const { status, time, version } = healthBody(snapshot, about.version)
  return {
    status,
    time,
    version,
    revision: about.revision,
    node_version: about.nodeVersion,
    ready: snapshot.ready,
    targets: snapshot.targets.map((target) => ({
      ...targetBody(snapshot, target),
      ...more(snapshot, target, owned),
    })),
    gpus: snapshot.gpus.map((gpu) => ({
      ...gpuBody(snapshot, gpu),
      name: gpu.name,
      ...owned.of('uuid', gpu.uuid),
    })),
    ...(gpuSource === undefined
      ? {}
      : {
          gpu_source: { ...sourceBody(snapshot, gpuSource), ...more(snapshot, gpuSource, owned) },
        }),
    diagnosis: snapshot.diagnosis.map(findingBody),
    daemon: owned.of('daemon', ''),
  }
}

/** Returns the body of `/api/v1/status` while nothing is known, and why. */
export function unknownStatusBody(nowMs: number, about: About, detail: string): StatusBody {
  const { status, time, version } = unknownBody(nowMs, about.version, detail)
  return {
    status,
    time,
    version,
    detail,
    targets: [],
    gpus: [],
    revision: about.revision,
    node_version: about.nodeVersion,
    ready: false,
    diagnosis: [],
    daemon: { pending: [], measurements: [] },
  }
}

function more(snapshot: Snapshot, target: TargetSnapshot, owned: Owned): More {
  return {
    version: target.version ?? null,
    up: target.up ?? null,
    last_failure: failureBody(target),
    health_probe: target.health === undefined ? null : healthProbeBody(target.health),
    ...(target.probe === undefined ? {} : { probe: probeBody(snapshot, target.probe.last) }),
    notes: target.notes,
    undecided: target.undecided.map(({ alert, subject, summary }) => ({
      alert,
      ...(subject.model_name === undefined ? {} : { model_name: subject.model_name }),
      summary,
    })),
    ...owned.of('target', target.name),
  }
}

function healthProbeBody(probe: HealthProbe): HealthProbeBody {
  const took_seconds = probe.tookMs / 1000
  return probe.kind === 'answered'
    ? { status: probe.status, took_seconds }
    : { code: probe.code, took_seconds }
}

function failureBody({ lastFailure }: TargetSnapshot): More['last_failure'] {
  if (lastFailure === undefined) return null
  const { code, message } = lastFailure
  return { code, message }
}

function probeBody({ atMs }: Snapshot, probe: ProbeResult | undefined): ProbeBody | null {
  if (probe === undefined) return null
  const times = {
    age_seconds: Math.max(0, Math.round(atMs - probe.atMs)) / 1000,
    took_seconds: probe.tookMs / 1000,
  }
  switch (probe.kind) {
    case 'answered':
      return { outcome: probe.kind, ...times }
    case 'failed':
      return { outcome: probe.kind, status: probe.status, ...times }
    case 'unanswered':
      return { outcome: probe.kind, code: probe.code, ...times }
    case 'inconclusive':
      return { outcome: probe.kind, reason: probe.reason, ...times }
    default:
      return unreachable(probe)
  }
}

type OwnerKind = 'target' | 'uuid' | 'daemon'

interface Belongings {
  readonly pending: ReasonBody[]
  readonly measurements: MeasurementBody[]
}

/** Deals out measurements and pending alerts to what they speak of, in one pass. */
class Owned {
  readonly #byOwner = new Map<string, Belongings>()

  constructor(snapshot: Snapshot) {
    for (const { name } of snapshot.targets) this.#add('target', name)
    for (const { uuid } of snapshot.gpus) this.#add('uuid', uuid)
    if (snapshot.gpuSource !== undefined) this.#add('target', snapshot.gpuSource.name)
    this.#add('daemon', '')
    for (const measured of snapshot.measured) {
      const kind = this.#kindOf(measured.labels)
      this.of(kind, ownerOf(kind, measured.labels)).measurements.push(
        measurementBody(measured, kind),
      )
    }
    for (const alert of snapshot.alerts) {
      if (alert.state === 'pending') this.#pendingOf(alert).push(reasonBody(snapshot, alert))
    }
  }

  of(kind: OwnerKind, owner: string): Belongings {
    return this.#byOwner.get(kind + owner) ?? { pending: [], measurements: [] }
  }

  #add(kind: OwnerKind, owner: string): void {
    this.#byOwner.set(kind + owner, { pending: [], measurements: [] })
  }

  #pendingOf(alert: Alert): ReasonBody[] {
    const kind = this.#kindOf(alert.subject)
    return this.of(kind, ownerOf(kind, alert.subject)).pending
  }

  // A GPU that is gone, or a target that was taken out, has no object of its own any more.
  #kindOf(labels: Labels | Subject): OwnerKind {
    if (this.#byOwner.has(`uuid${labels['uuid'] ?? ''}`)) return 'uuid'
    if (this.#byOwner.has(`target${labels['target'] ?? ''}`)) return 'target'
    return 'daemon'
  }
}

function ownerOf(kind: OwnerKind, labels: Labels | Subject): string {
  return kind === 'daemon' ? '' : (labels[kind] ?? '')
}

const impliedLabels = { target: ['target'], uuid: ['uuid', 'gpu'], daemon: [] } as const

function measurementBody(measured: Measured, kind: OwnerKind): MeasurementBody {
  const { family, suffix, measurement } = measured
  const implied: readonly string[] = impliedLabels[kind]
  const labels: Record<string, string> = {}
  for (const [name, value] of Object.entries(measured.labels)) {
    if (!implied.includes(name)) labels[name] = value
  }
  const name = metricPrefix + family.name + suffix
  if (measurement.kind === 'absent') {
    const { why, detail } = measurement
    return { name, labels, absent: why, ...(detail === undefined ? {} : { detail }) }
  }
  const { value, count, atLeast } = measurement
  return { name, labels, value: jsonNumber(value), count, at_least: atLeast }
}
