import { z } from 'zod'
import { type AlertmanagerConfig, alertmanagerSchema } from '../push/settings.ts'
import { type LinksConfig, linksSchema } from '../rules/links.ts'
import { type SloConfig, sloSchema } from '../rules/objectives.ts'
import {
  type AlertsConfig,
  alertsSchema,
  type Thresholds,
  thresholdsSchema,
} from '../rules/settings.ts'
import { type ProbeConfig, probeSchema } from '../sources/probe-settings.ts'
import {
  defaultTargets,
  type GpuConfig,
  gpuSchema,
  type ScrapeConfig,
  scrapeSchema,
  type TargetConfig,
  targetsSchema,
} from '../sources/settings.ts'
import { durationSchema, formatDuration } from '../units.ts'
import { type WebConfig, webSchema } from '../web/settings.ts'

export const logLevels = ['debug', 'info', 'warn', 'error'] as const
export const logFormats = ['json', 'pretty'] as const

/** How the daemon speaks of itself. */
export interface LogConfig {
  readonly level: (typeof logLevels)[number]
  readonly format: (typeof logFormats)[number]
}

/** The effective configuration, in the core's units. */
export interface Config {
  readonly targets: readonly TargetConfig[]
  readonly scrape: ScrapeConfig
  /** Distinct, each at least two scrape intervals; in the order given. */
  readonly windowsMs: readonly number[]
  /** Distinct, each above 0 and below 1; in the order given. */
  readonly quantiles: readonly number[]
  readonly gpu: GpuConfig
  readonly thresholds: Thresholds
  readonly alerts: AlertsConfig
  readonly probe: ProbeConfig
  readonly slo: SloConfig
  readonly links: LinksConfig
  readonly alertmanager: AlertmanagerConfig
  readonly web: WebConfig
  readonly log: LogConfig
}

const maxListed = 16

const quantileMessage = 'expected a number above 0 and below 1'

const windowsSchema = z
  .array(durationSchema({ minMs: 1_000, maxMs: 7 * 86_400_000 }))
  .min(1, { error: 'expected at least one window' })
  .max(maxListed, { error: `expected at most ${maxListed} windows` })
  .superRefine(distinct, { when: isList })

const quantilesSchema = z
  .array(
    z
      .number({ error: quantileMessage })
      .gt(0, { error: quantileMessage })
      .lt(1, { error: quantileMessage }),
  )
  .min(1, { error: 'expected at least one quantile' })
  .max(maxListed, { error: `expected at most ${maxListed} quantiles` })
  .superRefine(distinct, { when: isList })

const logSchema = z.strictObject({
  level: z
    .enum(logLevels, { error: `expected one of ${logLevels.join(', ')}` })
    .prefault('info')
    .describe('Least level that is logged: debug, info, warn or error.'),
  format: z
    .enum(logFormats, { error: `expected one of ${logFormats.join(', ')}` })
    .prefault('json')
    .describe(
      'One JSON object a line, or lines made for people (pretty); a change needs a restart.',
    ),
})

/** The file as people write it: each section's schema stands beside the code that obeys it. */
export const configSchema = z
  .strictObject({
    targets: targetsSchema
      .prefault(defaultTargets)
      .describe('The servers to watch, at most 256; names and URLs are unique.'),
    scrape: scrapeSchema.prefault({}).describe('How the targets are scraped.'),
    windows: windowsSchema
      .prefault(['1m', '5m', '1h'])
      .describe(
        'Spans over which values are published, each at least two intervals, at most 7d; 60s has the label 1m.',
      ),
    quantiles: quantilesSchema
      .prefault([0.5, 0.95, 0.99])
      .describe('Quantiles that are published, each above 0 and below 1.'),
    gpu: gpuSchema.prefault({}).describe('How the GPUs are read.'),
    thresholds: thresholdsSchema.prefault({}).describe('What the alert rules compare with.'),
    alerts: alertsSchema.prefault({}).describe('Changes to single alerts, by name.'),
    probe: probeSchema
      .prefault({})
      .describe('How an engine is asked for a token when the evidence about it does not decide.'),
    slo: sloSchema
      .prefault({})
      .describe('The promise to users by which generated rules measure an error budget.'),
    links: linksSchema.prefault({}).describe('Where the links in alerts lead.'),
    alertmanager: alertmanagerSchema
      .prefault({})
      .describe('Which Alertmanagers the daemon pushes its alerts to, where no Prometheus does.'),
    web: webSchema.prefault({}).describe('What is served, and where.'),
    log: logSchema.prefault({}).describe('How the daemon speaks of itself.'),
  })
  .superRefine(windowsHoldTwoIntervals, {
    when: ({ value }) => typeof value === 'object' && value !== null,
  })
  .transform(
    (file): Config => ({
      targets: file.targets,
      scrape: file.scrape,
      windowsMs: file.windows,
      quantiles: file.quantiles,
      gpu: file.gpu,
      thresholds: file.thresholds,
      alerts: file.alerts,
      probe: file.probe,
      slo: file.slo,
      links: file.links,
      alertmanager: file.alertmanager,
      web: file.web,
      log: file.log,
    }),
  )

/** A configuration in the spelling of the file; what is left out takes its default. */
export type ConfigFile = z.input<typeof configSchema>

/** What a cross-check of several keys found wrong: it names the value itself, which may be a default. */
function refuse(
  context: z.RefinementCtx,
  issue: {
    readonly path: readonly (string | number)[]
    readonly message: string
    readonly found: string
  },
): void {
  const { path, message, found } = issue
  context.addIssue({ code: 'custom', message, path: [...path], params: { found } })
}

function windowsHoldTwoIntervals(
  file: {
    readonly scrape?: { readonly intervalMs?: unknown } | undefined
    readonly windows?: unknown
    readonly alerts?: unknown
  },
  context: z.RefinementCtx,
): void {
  // A section that holds a mistake of its own has not been transformed; it is judged when that is mended.
  const intervalMs = file.scrape?.intervalMs
  if (typeof intervalMs !== 'number') return
  const message = `expected at least two scrape intervals, ${formatDuration(2 * intervalMs)}`
  const check = (ms: unknown, path: readonly (string | number)[]) => {
    if (typeof ms !== 'number' || ms >= 2 * intervalMs) return
    refuse(context, { path, message, found: formatDuration(ms) })
  }
  const windows: readonly unknown[] = Array.isArray(file.windows) ? file.windows : []
  for (const [index, ms] of windows.slice(0, maxListed).entries()) check(ms, ['windows', index])
  for (const [name, settings] of Object.entries(file.alerts ?? {})) {
    const windowMs: unknown = settings?.windowMs
    check(windowMs, ['alerts', name, 'window'])
  }
}

function distinct(values: readonly unknown[], context: z.RefinementCtx): void {
  const seen = new Set<unknown>()
  for (const [index, value] of values.slice(0, maxListed).entries()) {
    // What is no number has a mistake of its own.
    if (typeof value !== 'number') continue
    if (seen.has(value)) {
      context.addIssue({ code: 'custom', message: 'expected each value once', path: [index] })
    }
    seen.add(value)
  }
}

function isList({ value }: { readonly value: unknown }): boolean {
  return Array.isArray(value)
}
