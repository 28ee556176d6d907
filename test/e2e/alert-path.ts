import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/schema.ts'
import type { Scenario } from '../../src/demo/scenario.ts'
import { findScenario } from '../../src/demo/scenarios.ts'
import type { GeneratedFile } from '../../src/generate/files.ts'
import { makeFiles } from '../../src/generate/generate.ts'
import { type Alertmanager, startAlertmanager } from '../fakes/alertmanager.ts'
import { startPrometheus } from '../fakes/prometheus.ts'
import { type Receivers, startReceivers } from '../fakes/receivers.ts'
import { startWholeDaemon, type WholeDaemon } from './whole-daemon.ts'

/** How long everything takes: as it is shipped, or so short that a test can wait for it. */
export interface Pace {
  /** When the trouble begins and ends, seconds after the start. */
  readonly beginSeconds: number
  readonly overloadEndSeconds: number
  readonly hangEndSeconds: number
  readonly scrapeInterval: string
  /** Of all groups of rules; absent: their own. */
  readonly ruleInterval?: string
  /** Of all routes; absent: their own. */
  readonly waits?: { readonly group_wait: string; readonly group_interval: string }
  /** Paths of the daemons' configuration. */
  readonly settings: Readonly<Record<string, unknown>>
}

/** As it is shipped: the default configuration, Prometheus at 15 s, and the generated rules and routes as they are. */
export const shipped: Pace = {
  beginSeconds: 30,
  overloadEndSeconds: 150,
  hangEndSeconds: 180,
  scrapeInterval: '15s',
  settings: { 'scrape.interval': '5s', 'scrape.timeout': '4s', 'gpu.interval': '10s' },
}

const soon = { for: '5s', window: '20s' }

/** The same path with every wait cut down. */
export const quick: Pace = {
  beginSeconds: 8,
  overloadEndSeconds: 26,
  hangEndSeconds: 48,
  scrapeInterval: '1s',
  ruleInterval: '1s',
  waits: { group_wait: '1s', group_interval: '2s' },
  settings: {
    'scrape.interval': '1s',
    'scrape.timeout': '1s',
    'alerts.VllmQueueWaitHigh': soon,
    'alerts.VllmLatencyP99High': soon,
    'alerts.VllmEngineStalled': { for: '5s' },
  },
}

/** A host in trouble, and when that begins on the wall clock, Unix milliseconds. */
export interface TroubledHost {
  readonly whole: WholeDaemon
  /** The label `instance` of its alerts: the address that Prometheus scrapes, and the host's name. */
  readonly instances: { readonly scraped: string; readonly pushed: string }
  readonly beginsMs: number
}

/**
 * Two hosts, an overload on one and an engine that hangs on the other, with everything between them and the person on
 * call: the alerts go through Prometheus to one Alertmanager, and are pushed to another one by the daemons.
 */
export interface AlertPath {
  readonly overloaded: TroubledHost
  readonly hanging: TroubledHost
  /** The two ways, by the name that `instances` has for each. */
  readonly receivers: { readonly scraped: Receivers; readonly pushed: Receivers }
  readonly stop: () => Promise<void>
}

/** Starts all of it; what was started is ended again where a part cannot be. */
export async function startAlertPath(pace: Pace): Promise<AlertPath> {
  const ends: (() => Promise<unknown>)[] = []
  const stop = async () => {
    for (const end of ends.reverse()) await end()
    ends.length = 0
  }
  const started = <T extends { readonly stop: () => Promise<unknown> }>(part: T): T => {
    ends.push(part.stop)
    return part
  }
  try {
    const throughPrometheus = started(await startReceivers())
    const pushed = started(await startReceivers())
    const config = (await loadConfig({})).config
    const behindPrometheus = started(await alertmanagerFor(config, throughPrometheus, pace))
    const behindPush = started(await alertmanagerFor(config, pushed, pace))
    const host = async (scenario: Scenario): Promise<TroubledHost> => {
      const settings = { ...pace.settings, 'alertmanager.urls': [behindPush.url] }
      const beginsMs = Date.now() + 1_000 * pace.beginSeconds
      const whole = started(await startWholeDaemon({ scenario }, settings))
      const { host: address, port } = new URL(whole.url)
      const instances = { scraped: address, pushed: `${hostname()}:${port}` }
      return { whole, instances, beginsMs }
    }
    const overloaded = await host(overloadUntil(pace))
    const hanging = await host(hangUntil(pace))
    started(await prometheusFor([overloaded, hanging], behindPrometheus, { config, pace }))
    return { overloaded, hanging, receivers: { scraped: throughPrometheus, pushed }, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function alertmanagerFor(
  config: Config,
  receivers: Receivers,
  { waits }: Pace,
): Promise<Alertmanager> {
  const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-templates-'))
  try {
    const files = await makeFiles('alertmanager', config)
    await writeAll(
      folder,
      files.filter(({ path }) => path.endsWith('.tmpl')),
    )
    return await startAlertmanager({
      config: files.find(({ path }) => path === 'alertmanager.yaml')?.text ?? '',
      templates: folder,
      receivers,
      ...(waits === undefined ? {} : { waits }),
    })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Writes `files` into `folder`, without the folders that they lie in. */
async function writeAll(folder: string, files: readonly GeneratedFile[]): Promise<void> {
  for (const { path, text } of files) {
    await writeFile(join(folder, path.split('/').at(-1) ?? path), text)
  }
}

async function prometheusFor(
  hosts: readonly TroubledHost[],
  alertmanager: Alertmanager,
  { config, pace }: { readonly config: Config; readonly pace: Pace },
) {
  const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-rules-'))
  const rules = (await makeFiles('prometheus-rules', config)).map(({ path, text }) => ({
    path,
    text:
      pace.ruleInterval === undefined
        ? text
        : text.replaceAll(/^( {4}interval:) .*$/gm, `$1 ${pace.ruleInterval}`),
  }))
  await writeAll(folder, rules)
  const remove = () => rm(folder, { recursive: true, force: true })
  const targets = hosts.map(({ instances }) => `'${instances.scraped}'`).join(', ')
  const text = `
global: { scrape_interval: ${pace.scrapeInterval}, evaluation_interval: ${pace.scrapeInterval} }
rule_files: ['${folder}/*.yaml']
alerting: { alertmanagers: [{ static_configs: [{ targets: ['${new URL(alertmanager.url).host}'] }] }] }
scrape_configs: [{ job_name: vllm-vitals, static_configs: [{ targets: [${targets}] }] }]
`
  const prometheus = await startPrometheus(text).catch(async (error: unknown) => {
    await remove()
    throw error
  })
  return {
    stop: async () => {
      await prometheus.stop()
      await remove()
    },
  }
}

/** Twice as many requests as the engine can serve, and then fewer than it can. */
function overloadUntil({ beginSeconds, overloadEndSeconds }: Pace): Scenario {
  const overload = findScenario('overload')
  const arrivals = [
    { atSeconds: beginSeconds, perSecond: 5 },
    { atSeconds: beginSeconds + 1, perSecond: 22 },
    { atSeconds: overloadEndSeconds, perSecond: 22 },
    { atSeconds: overloadEndSeconds + 1, perSecond: 3 },
  ]
  return { ...overload, traffic: { ...overload.traffic, arrivals } }
}

/** An engine that hangs behind a healthy /health, and goes on later. */
function hangUntil({ beginSeconds, hangEndSeconds }: Pace): Scenario {
  const stall = findScenario('stall')
  const times = { fromMs: 1_000 * beginSeconds, untilMs: 1_000 * hangEndSeconds }
  return { ...stall, incidents: stall.incidents.map((one) => ({ ...one, ...times })) }
}
