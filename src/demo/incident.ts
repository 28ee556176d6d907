import type { Clients } from './traffic.ts'

/** A stretch of the scenario's time; `untilMs` is infinite for what does not end. */
export interface Span {
  readonly fromMs: number
  readonly untilMs: number
}

/** Which data-parallel ranks something happens to. */
export type Engines = 'all' | readonly number[]

/** Engines take no step further; what they report stands still, whoever comes or goes. */
export interface Hang extends Span {
  readonly kind: 'hang'
  readonly engines: Engines
  /**
   * At once, whatever is under way; at the first step of which the gauges say that requests run; or at
   * the first request that finds the engine without work.
   */
  readonly onset: 'at-once' | 'busy' | 'idle'
  /** What a GPU draws whose kernels spin for want of an answer; absent when it has nothing to do. */
  readonly spinWatts?: number
}

/** Steps take `factor` times as long. */
export interface SlowSteps extends Span {
  readonly kind: 'slow-steps'
  readonly engines: Engines
  readonly factor: number
}

export type ThrottleReason = 'hw_slowdown' | 'hw_thermal_slowdown' | 'sw_power_cap'

/** Every GPU lowers its clock, and steps take `factor` times as long. */
export interface Throttle extends Span {
  readonly kind: 'throttle'
  readonly reason: ThrottleReason
  readonly clockMhz: number
  readonly factor: number
}

/** No more than `running` requests are let in, whatever is free: the others wait for something else. */
export interface AdmissionLimit extends Span {
  readonly kind: 'admission-limit'
  readonly running: number
  /** Share of the waiting ones that are counted as deferred. */
  readonly deferredRatio: number
}

/** The event loop of the API server is full: taking in a request costs it `requestMs`. */
export interface BusyEventLoop extends Span {
  readonly kind: 'busy-event-loop'
  readonly requestMs: number
  /** How long `/health` and `/metrics` take then. */
  readonly answerMs: readonly [low: number, high: number]
  /** Cores that the process uses. */
  readonly cores: number
}

/** Clients behave otherwise for a while. */
export interface OtherClients extends Span {
  readonly kind: 'other-clients'
  readonly clients: Partial<Clients>
}

/** So much of the traffic goes to one engine, however long its queue. */
export interface Sticky extends Span {
  readonly kind: 'sticky'
  readonly engine: number
  readonly ratio: number
}

/** Speculated tokens are accepted at another ratio. */
export interface Acceptance extends Span {
  readonly kind: 'acceptance'
  readonly ratio: number
}

/** Every client closes its connection at once. */
export interface HangUp {
  readonly kind: 'hang-up'
  readonly atMs: number
}

/** One request of its own size. */
export interface Call {
  readonly kind: 'call'
  readonly atMs: number
  readonly promptTokens: number
  readonly maxTokens: number
}

/** The engine sleeps: its weights are in the memory of the host, `leftMiB` stay on each GPU. */
export interface Sleep extends Span {
  readonly kind: 'sleep'
  readonly leftMiB: number
}

/**
 * The server is gone from `fromMs` to `untilMs`: for `dyingForMs` a dead engine stands behind an open
 * port, then nothing listens.
 */
export interface Outage extends Span {
  readonly kind: 'outage'
  readonly dyingForMs: number
  /** How long before `untilMs` the new process begins to load; 0 shows no loading on the GPUs. */
  readonly loadMs: number
  /** The outage comes again after so long. */
  readonly everyMs?: number
  /** The processes of the dead engine stay on the GPUs with their memory. */
  readonly orphan?: boolean
  /** Starts that come to nothing: one begins each `everyMs`, and its process is gone after `lastMs`. */
  readonly failures?: {
    readonly everyMs: number
    readonly lastMs: number
    /** How long a whole load would take, which says how far they come. */
    readonly loadMs: number
  }
}

/** `/metrics` answers, but not with what it should. */
export interface Metrics extends Span {
  readonly kind: 'metrics'
  readonly answer: 'no-engine-families' | 'status-500'
}

/** The memory of the engine's process on its GPU grows by `mib` in the span, in `steps` or evenly. */
export interface MemoryGrowth extends Span {
  readonly kind: 'memory-growth'
  readonly mib: number
  /** Absent for even growth; each step comes at the end of its part of the span. */
  readonly steps?: number
}

/** The memory of the engine's process on its GPU varies by up to `mib` to either side. */
export interface MemoryNoise extends Span {
  readonly kind: 'memory-noise'
  readonly mib: number
}

/** The resident memory of the engine's process on the host grows. */
export interface HostGrowth extends Span {
  readonly kind: 'host-growth'
  readonly mibPerHour: number
}

/** Another program on one of the GPUs. */
export interface Neighbour extends Span {
  readonly kind: 'neighbour'
  readonly gpu: number
  readonly name: string
  readonly mib: number
  readonly busyRatio: number
}

/** A GPU falls off the bus. */
export interface GpuLost {
  readonly kind: 'gpu-lost'
  readonly gpu: number
  readonly fromMs: number
}

/** Whatever can happen to the server, its clients and its machine. */
export type Incident =
  | Hang
  | SlowSteps
  | Throttle
  | AdmissionLimit
  | BusyEventLoop
  | OtherClients
  | Sticky
  | Acceptance
  | HangUp
  | Call
  | Sleep
  | Outage
  | Metrics
  | MemoryGrowth
  | MemoryNoise
  | HostGrowth
  | Neighbour
  | GpuLost

type OfKind<K extends Incident['kind']> = Extract<Incident, { readonly kind: K }>

/** Returns the incidents of one kind, in their order. */
export function incidentsOf<K extends Incident['kind']>(
  incidents: readonly Incident[],
  kind: K,
): readonly OfKind<K>[] {
  return incidents.filter((incident): incident is OfKind<K> => incident.kind === kind)
}

/** Returns the first of `spans` that `atMs` is in. */
export function at<S extends Span>(spans: readonly S[], atMs: number): S | undefined {
  return spans.find((span) => span.fromMs <= atMs && atMs < span.untilMs)
}

/** Returns how many milliseconds of `span` lie between `fromMs` and `untilMs`. */
export function overlapMs(span: Span, fromMs: number, untilMs: number): number {
  return Math.max(Math.min(span.untilMs, untilMs) - Math.max(span.fromMs, fromMs), 0)
}

export function concerns(engines: Engines, engine: number): boolean {
  return engines === 'all' || engines.includes(engine)
}
