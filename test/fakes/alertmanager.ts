import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isMap, isSeq, parseDocument } from 'yaml'
import { findProgram } from '../repository.ts'
import { startProgram } from './program.ts'
import { pagerdutyKey, type Receivers } from './receivers.ts'

/** An alert as Prometheus posts it. */
export interface PostedAlert {
  readonly labels: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly startsAt?: string
  readonly endsAt?: string
  readonly generatorURL?: string
}

/** An alert as Alertmanager shows it. */
export interface ShownAlert {
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly startsAt: string
  readonly endsAt: string
  readonly generatorURL: string
  readonly receivers: readonly { readonly name: string }[]
  readonly status: {
    readonly state: 'unprocessed' | 'active' | 'suppressed'
    readonly inhibitedBy: readonly string[]
    readonly silencedBy: readonly string[]
  }
}

/** A real Alertmanager on a port of the system's choice, without a cluster. */
export interface Alertmanager {
  readonly url: string
  readonly alerts: () => Promise<readonly ShownAlert[]>
  readonly post: (alerts: readonly PostedAlert[]) => Promise<void>
  /** What it has logged. */
  readonly log: () => string
  readonly stop: () => Promise<void>
}

export interface AlertmanagerOptions {
  /** The text of its configuration. */
  readonly config: string
  /** A folder of templates, found by the configuration as `templates` beside it. */
  readonly templates?: string
  /** Where messages go: their addresses take the place of the secrets and of PagerDuty's. */
  readonly receivers?: Receivers
  /** Every wait of the routes, in place of theirs. */
  readonly waits?: {
    readonly group_wait: string
    readonly group_interval: string
    readonly repeat_interval?: string
  }
}

/** Its name upstream, and in Debian. */
export const alertmanagerProgram =
  findProgram('alertmanager') ?? findProgram('prometheus-alertmanager')

/** Starts Alertmanager. Throws where it cannot start, as for a configuration that it refuses. */
export async function startAlertmanager(options: AlertmanagerOptions): Promise<Alertmanager> {
  if (alertmanagerProgram === undefined) throw new Error('expected Alertmanager, found none')
  const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-alertmanager-'))
  const file = join(folder, 'alertmanager.yaml')
  await writeFile(file, await rewired(options, folder))
  if (options.templates !== undefined) {
    await cp(options.templates, join(folder, 'templates'), { recursive: true })
  }
  const program = startProgram(alertmanagerProgram, [
    `--config.file=${file}`,
    `--storage.path=${join(folder, 'data')}`,
    '--web.listen-address=127.0.0.1:0',
    '--web.external-url=http://alertmanager.example:9093',
    '--cluster.listen-address=',
  ])
  const stop = async () => {
    await program.stop()
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const [, address] = await program.said(/msg="Listening on".* address=(\S+)/, 20_000)
    const url = `http://${address}`
    return {
      url,
      log: program.stderr,
      stop,
      alerts: async () => (await ask(`${url}/api/v2/alerts`)).json() as Promise<ShownAlert[]>,
      post: async (alerts) => {
        await ask(`${url}/api/v2/alerts`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(alerts),
        })
      },
    }
  } catch (error) {
    await stop()
    throw error
  }
}

async function ask(url: string, init: RequestInit = {}): Promise<Response> {
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(10_000) })
  if (response.ok) return response
  throw new Error(`expected 2xx from ${url}, found ${response.status} ${await response.text()}`)
}

/** The configuration with secrets in `folder`, with the waits and the addresses of the test; else as it is. */
async function rewired(options: AlertmanagerOptions, folder: string): Promise<string> {
  const { receivers, waits } = options
  const document = parseDocument(options.config)
  if (receivers !== undefined) {
    document.setIn(['global', 'pagerduty_url'], receivers.pagerdutyUrl)
    await mkdir(join(folder, 'secrets'))
    await writeFile(join(folder, 'secrets', 'slack_url'), `${receivers.slackUrl}\n`)
    await writeFile(join(folder, 'secrets', 'pagerduty_key'), `${pagerdutyKey}\n`)
  }
  if (waits !== undefined) shorten(document.get('route'), waits)
  return document
    .toString({ lineWidth: 0 })
    .replaceAll('/etc/alertmanager/secrets/', `${join(folder, 'secrets')}/`)
}

/** Replaces the waits that `route` and those below it have. */
function shorten(route: unknown, waits: NonNullable<AlertmanagerOptions['waits']>): void {
  if (!isMap(route)) return
  for (const [name, value] of Object.entries(waits)) if (route.has(name)) route.set(name, value)
  const routes = route.get('routes')
  if (isSeq(routes)) for (const one of routes.items) shorten(one, waits)
}
