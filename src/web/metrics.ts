import { collectDefaultMetrics, type Metric, Registry, type RegistryContentType } from 'prom-client'
import type { Labels } from '../reading.ts'
import type { Family, Measured } from '../signals/signal.ts'
import type { Snapshot } from '../snapshot.ts'
import type { Offer } from './accept.ts'

/** What every metric of ours is called by. */
export const metricPrefix = 'vllm_vitals_'

/** The forms of `/metrics`: the first is sent where none is preferred. */
export const metricsOffers = [
  {
    form: 'text',
    mediaType: 'text/plain',
    version: '0.0.4',
    contentType: Registry.PROMETHEUS_CONTENT_TYPE,
  },
  {
    form: 'openMetrics',
    mediaType: 'application/openmetrics-text',
    version: '1.0.0',
    contentType: Registry.OPENMETRICS_CONTENT_TYPE,
  },
] as const satisfies readonly (Offer & { form: string })[]

export type MetricsOffer = (typeof metricsOffers)[number]

/** What the daemon says of itself beside its measurements. */
export interface About {
  readonly version: string
  readonly revision: string
  readonly nodeVersion: string
}

export interface MetricsOptions {
  readonly about: About
  readonly lastReloadSuccessful: () => boolean
  /** What parts beside the evaluation measure of themselves. */
  readonly ownMeasured?: (() => readonly Measured[]) | undefined
}

interface Sample {
  /** The sample's whole name, where it is not the family's. */
  readonly metricName?: string
  readonly labels: Labels
  readonly value: number
}

interface Exposed {
  readonly name: string
  readonly type: string
  readonly help: string
  readonly samples: readonly Sample[]
}

/**
 * The text of `/metrics`, rendered at most once for each evaluation and form, whoever asks and however
 * many ask at once. What the process says of itself is as old as the evaluation.
 */
export class MetricsPage {
  readonly #options: MetricsOptions
  #sequence = -1
  #families: Promise<readonly Exposed[]> | undefined
  readonly #bodies = new Map<string, Promise<Buffer>>()

  constructor(options: MetricsOptions) {
    this.#options = options
  }

  /**
   * Returns the page as UTF-8, in the form of `offer`.
   *
   * - no `snapshot` yet: the daemon's own metrics alone
   * - a measurement without a value is not exposed, nor is a family without a sample
   */
  render(snapshot: Snapshot | undefined, offer: MetricsOffer): Promise<Buffer> {
    const sequence = snapshot?.sequence ?? 0
    if (sequence !== this.#sequence) {
      this.#sequence = sequence
      this.#families = undefined
      this.#bodies.clear()
    }
    const known = this.#bodies.get(offer.form)
    if (known !== undefined) return known
    this.#families ??= collect(snapshot, this.#options)
    const body = format(this.#families, offer)
    this.#bodies.set(offer.form, body)
    // What could not be made is tried afresh for the next who asks.
    body.catch(() => {
      if (this.#sequence === sequence) this.#sequence = -1
    })
    return body
  }
}

async function collect(
  snapshot: Snapshot | undefined,
  options: MetricsOptions,
): Promise<readonly Exposed[]> {
  const families = snapshot === undefined ? [] : exposedFamilies(snapshot.measured)
  families.push(...exposedFamilies(options.ownMeasured?.() ?? []))
  const { version, revision, nodeVersion } = options.about
  families.push(
    {
      name: `${metricPrefix}config_last_reload_successful`,
      type: 'gauge',
      help: '1 while the last reading of the configuration succeeded.',
      samples: [{ labels: {}, value: options.lastReloadSuccessful() ? 1 : 0 }],
    },
    {
      name: `${metricPrefix}build_info`,
      type: 'gauge',
      help: 'Version and source revision of the daemon and version of its Node.js.',
      samples: [{ labels: { version, revision, nodeversion: nodeVersion }, value: 1 }],
    },
  )
  for (const family of await processFamilies()) families.push(family)
  return families
}

/** The families of `measured` that are published here and have a sample, in its order. */
function exposedFamilies(measured: readonly Measured[]): Exposed[] {
  const byName = new Map<string, { family: Family; samples: Sample[] }>()
  for (const { family, suffix, labels, measurement } of measured) {
    if (family.apiOnly === true || measurement.kind !== 'value') continue
    if (Number.isNaN(measurement.value)) continue
    let entry = byName.get(family.name)
    if (entry === undefined) {
      entry = { family, samples: [] }
      byName.set(family.name, entry)
    }
    const { value } = measurement
    entry.samples.push(
      suffix === ''
        ? { labels, value }
        : { metricName: `${metricPrefix}${family.name}${suffix}`, labels, value },
    )
  }
  const families: Exposed[] = []
  for (const { family, samples } of byName.values()) {
    const { name, type, help } = family
    families.push({
      name: metricPrefix + name,
      type,
      help,
      samples: type === 'summary' || type === 'histogram' ? grouped(samples) : samples,
    })
  }
  return families
}

/** The samples with those of one summary or histogram side by side, as OpenMetrics demands. */
function grouped(samples: readonly Sample[]): Sample[] {
  const groups = new Map<string, Sample[]>()
  for (const sample of samples) {
    let key = ''
    for (const name in sample.labels) {
      if (name !== 'le' && name !== 'quantile') key += `${name}\0${sample.labels[name]}\0`
    }
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [sample])
    else group.push(sample)
  }
  return [...groups.values()].flat()
}

// Gauges whose names end in `_total`, which `promtool check metrics` refuses.
const misnamed = [
  'nodejs_active_handles_total',
  'nodejs_active_resources_total',
  'nodejs_active_requests_total',
]

// At prom-client's 10 ms the timer behind the event loop's lag costs an idle process 0.8 % of a core,
// more than most of what the daemon does. The lag that is reported includes this pace.
const eventLoopPaceMs = 50

// The observers of a process cannot be taken off again, so there is one set of them.
let processRegistry: Registry | undefined

async function processFamilies(): Promise<Exposed[]> {
  if (processRegistry === undefined) {
    processRegistry = new Registry()
    collectDefaultMetrics({
      register: processRegistry,
      eventLoopMonitoringPrecision: eventLoopPaceMs,
    })
    for (const name of misnamed) processRegistry.removeSingleMetric(name)
  }
  const families: Exposed[] = []
  // Read as values and formatted by registries of ours: an OpenMetrics registry renames the counters
  // it formats, and a text registry could not share them afterwards.
  for (const { name, type, help, values } of await processRegistry.getMetricsAsJSON()) {
    const samples: Sample[] = []
    for (const sample of values) {
      if (isUnset(name, sample.value)) continue
      const labels = labelTexts(sample.labels)
      const metricName = 'metricName' in sample ? sample.metricName : undefined
      samples.push(
        typeof metricName === 'string'
          ? { metricName, labels, value: sample.value }
          : { labels, value: sample.value },
      )
    }
    if (samples.length > 0) families.push({ name, type: String(type), help, samples })
  }
  return families
}

/** Whether a value stands for "nothing observed yet": Node's empty lag histogram has the least of 2⁶³ ns. */
function isUnset(name: string, value: number): boolean {
  return !Number.isFinite(value) || (name === 'nodejs_eventloop_lag_min_seconds' && value > 9e9)
}

function labelTexts(labels: Partial<Record<string, string | number>>): Labels {
  const texts: Record<string, string> = {}
  for (const [name, value] of Object.entries(labels)) {
    if (value === undefined) continue
    // Edges are written as floats in both forms: `10.0`.
    const isWhole = name === 'le' && Number.isInteger(value)
    texts[name] = isWhole ? `${value}.0` : String(value)
  }
  return texts
}

async function format(families: Promise<readonly Exposed[]>, offer: MetricsOffer): Promise<Buffer> {
  const registry = new Registry<RegistryContentType>()
  registry.setContentType(offer.contentType)
  const isOpenMetrics = offer.form === 'openMetrics'
  for (const { name, type, help, samples } of await families) {
    const collector = {
      // An OpenMetrics registry takes `_total` off this name and puts it back on the samples.
      name,
      type,
      // OpenMetrics wants quotes escaped in a help, which prom-client does not do.
      help: isOpenMetrics ? help.replaceAll('"', "'") : help,
      aggregator: 'first',
      get: () =>
        Promise.resolve({ name: collector.name, help: collector.help, type, values: samples }),
    }
    // The registry asks no more of a metric than this; its type names prom-client's own classes.
    registry.registerMetric(collector as unknown as Metric)
  }
  return Buffer.from(await registry.metrics(), 'utf8')
}
