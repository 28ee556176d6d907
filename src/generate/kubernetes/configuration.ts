import { parse, stringify } from 'yaml'
import { effectiveConfig } from '../../config/effective.ts'
import { type Config, configSchema } from '../../config/schema.ts'
import { type Manifest, manifestFile, name, type Remarks } from './manifest.ts'

/** Where a pod finds the file, and the folder that the ConfigMap is mounted at. */
export const configFolder = '/etc/vllm-vitals'
export const configFile = 'vllm-vitals.yaml'

/** The port that the daemon listens on in a pod. */
export function portOf({ web }: Config): number {
  return (web.listen.find(({ host }) => !isLoopback(host)) ?? web.listen[0])?.port ?? 19_400
}

/** The target whose name stands in probes, and whose port is vLLM's in the example. */
export function firstTarget({ targets }: Config): { readonly name: string; readonly url: URL } {
  const [target] = targets
  if (target === undefined) throw new RangeError('expected a target, found none')
  return { name: target.name, url: new URL(target.url) }
}

/** The port of the first target, which is vLLM's in the example. */
export function vllmPort(config: Config): number {
  return portIn(firstTarget(config).url)
}

/** The ports of all targets, each once. */
export function targetPorts({ targets }: Config): readonly number[] {
  return distinctPorts(targets.map(({ url }) => url))
}

/** The ports at which alerts are pushed, each once. */
export function pushPorts({ alertmanager }: Config): readonly number[] {
  return distinctPorts(alertmanager.urls)
}

export function portIn(url: URL): number {
  if (url.port !== '') return Number(url.port)
  return url.protocol === 'https:' ? 443 : 80
}

function distinctPorts(urls: readonly string[]): readonly number[] {
  return [...new Set(urls.map((url) => portIn(new URL(url))))]
}

/**
 * Returns the configuration for a pod: GPUs are expected unless they are switched off, and the daemon can be
 * reached from outside of the pod.
 */
export function podConfig(config: Config): Config {
  const reachable = config.web.listen.filter(({ host }) => !isLoopback(host))
  const port = portOf(config)
  const anywhere = { host: '0.0.0.0', port, text: `0.0.0.0:${port}` }
  return {
    ...config,
    gpu: { ...config.gpu, enabled: config.gpu.enabled === 'auto' ? true : config.gpu.enabled },
    web: { ...config.web, listen: reachable.length > 0 ? reachable : [anywhere] },
  }
}

/** Returns the ConfigMap that holds `config`: its targets, and what differs from the defaults. */
export function configMap(path: string, config: Config, remarks: Remarks = {}) {
  return manifestFile(
    path,
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name },
      data: { [configFile]: stringify(given(config), { lineWidth: 0 }) },
    },
    remarks,
  )
}

function given(config: Config): Manifest {
  const whole = fileOf(config)
  return { targets: whole['targets'], ...differing(whole, fileOf(configSchema.parse({}))) }
}

function fileOf(config: Config): Manifest {
  return parse(effectiveConfig(config))
}

/** The keys of `some` that `others` has not with the same value, section by section. */
function differing(some: Manifest, others: Manifest): Manifest {
  const kept = Object.entries(some).flatMap(([key, value]) => {
    const other = others[key]
    if (JSON.stringify(value) === JSON.stringify(other)) return []
    return [[key, isSection(value) && isSection(other) ? differing(value, other) : value]]
  })
  return Object.fromEntries(kept)
}

function isSection(value: unknown): value is Manifest {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.')
}
