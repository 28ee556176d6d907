import { stringify } from 'yaml'
import { unreachable } from '../errors.ts'
import type { AlertmanagerConfig } from '../push/settings.ts'
import { type AlertSettings, alertNames } from '../rules/settings.ts'
import type { TargetAuth, TargetConfig } from '../sources/settings.ts'
import { formatDuration, formatSize } from '../units.ts'
import type { Config, ConfigFile } from './schema.ts'

/** Every key, given: a key that this file forgets does not compile. */
type Whole<T> = { readonly [Key in keyof T]-?: Exclude<T[Key], undefined> }

type Sections = Whole<ConfigFile>

/** Of two kinds of credentials at most one is given. */
type AuthKey = 'bearer_token_file' | 'basic_auth'

type WholeFile = {
  readonly [Key in keyof Sections]: Key extends 'targets' | 'windows' | 'quantiles' | 'alerts'
    ? Sections[Key]
    : Key extends 'alertmanager'
      ? Whole<Omit<Sections[Key], AuthKey>> & Pick<Sections[Key], AuthKey & keyof Sections[Key]>
      : Whole<Sections[Key]>
}

/** Returns `config` as YAML in the spelling of the file, every key shown; read again, it is the same. */
export function effectiveConfig(config: Config): string {
  return stringify(toFile(config), { lineWidth: 0, aliasDuplicateObjects: false })
}

function toFile(config: Config): WholeFile {
  const { scrape, gpu, thresholds, probe, slo, web, log } = config
  return {
    targets: config.targets.map(toTarget),
    scrape: {
      interval: formatDuration(scrape.intervalMs),
      timeout: formatDuration(scrape.timeoutMs),
      max_body: formatSize(scrape.maxBodyBytes),
      max_samples: scrape.maxSamples,
      max_overhead: scrape.maxOverhead,
    },
    windows: config.windowsMs.map(formatDuration),
    quantiles: [...config.quantiles],
    gpu: {
      enabled: gpu.enabled,
      command: gpu.command,
      interval: formatDuration(gpu.intervalMs),
      timeout: formatDuration(gpu.timeoutMs),
      processes: gpu.processes,
    },
    thresholds: {
      e2e_latency_p99: formatDuration(thresholds.e2eLatencyP99Seconds * 1_000),
      queue_time_p95: formatDuration(thresholds.queueTimeP95Seconds * 1_000),
      error_ratio: thresholds.errorRatio,
      gpu_utilization_ratio: thresholds.gpuUtilizationRatio,
      gpu_memory_ratio: thresholds.gpuMemoryRatio,
      generation_tokens_per_second_min: thresholds.generationTokensPerSecondMin,
      ttft_p99: formatDuration(thresholds.ttftP99Seconds * 1_000),
    },
    alerts: Object.fromEntries(
      alertNames.flatMap((name) => {
        const settings = config.alerts[name]
        return settings === undefined ? [] : [[name, toAlert(settings)]]
      }),
    ),
    probe: {
      enabled: probe.enabled,
      interval: formatDuration(probe.intervalMs),
      timeout: formatDuration(probe.timeoutMs),
      model: probe.model,
      prompt: probe.prompt,
    },
    slo: {
      latency: slo.latencyRatio,
      errors: slo.successRatio,
      period: formatDuration(slo.periodMs),
      alerts: slo.alerts,
    },
    links: { ...config.links },
    alertmanager: toAlertmanager(config.alertmanager),
    web: { listen: web.listen.map(({ text }) => text), enable_lifecycle: web.enableLifecycle },
    log: { level: log.level, format: log.format },
  }
}

function toTarget({ name, url, auth }: TargetConfig): NonNullable<ConfigFile['targets']>[number] {
  return { name, url, ...toAuth(auth) }
}

function toAlertmanager(config: AlertmanagerConfig): WholeFile['alertmanager'] {
  return {
    urls: [...config.urls],
    instance: config.instance,
    timeout: formatDuration(config.timeoutMs),
    resend: formatDuration(config.resendMs),
    labels: { ...config.labels },
    ...toAuth(config.auth),
  }
}

function toAuth(auth: TargetAuth): Pick<Sections['alertmanager'], AuthKey> {
  switch (auth.kind) {
    case 'none':
      return {}
    case 'bearer':
      return { bearer_token_file: auth.tokenFile }
    case 'basic':
      return { basic_auth: { username: auth.username, password_file: auth.passwordFile } }
    default:
      return unreachable(auth)
  }
}

function toAlert(settings: AlertSettings) {
  const { enabled, forMs, keepFiringForMs, severity, windowMs } = settings
  return {
    ...(enabled === undefined ? {} : { enabled }),
    ...(forMs === undefined ? {} : { for: formatDuration(forMs) }),
    ...(keepFiringForMs === undefined ? {} : { keep_firing_for: formatDuration(keepFiringForMs) }),
    ...(severity === undefined ? {} : { severity }),
    ...(windowMs === undefined ? {} : { window: formatDuration(windowMs) }),
  }
}
