import { stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { ConfigError, shorten, unreachable } from '../errors.ts'
import { readSecret } from '../sources/secret.ts'
import { maxTargets, shortGpuIntervalMs, type TargetAuth } from '../sources/settings.ts'
import { formatDuration } from '../units.ts'
import { readEnvironment } from './environment.ts'
import { fileProblem, readConfigFile } from './file.ts'
import { describeIssues, expectation, formatPath, type Override, valueAt } from './issues.ts'
import { type Config, configSchema } from './schema.ts'

export interface LoadOptions {
  /** The configuration file; without one, none is read. */
  readonly path?: string | undefined
  /** Where `VLLM_VITALS_…` variables are looked for. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** What flags say; each wins over everything else. */
  readonly flags?: readonly Override[]
  /** Whether the files with secrets have to be there; true unless it is said otherwise, as where nothing is asked with them. */
  readonly withSecrets?: boolean
}

export interface Loaded {
  readonly config: Config
  /** What works but deserves a look, one line each. */
  readonly warnings: readonly string[]
}

/** Of more mistakes than these only the number is told. */
const maxIssues = 100

/**
 * Returns the effective configuration: defaults, then the file, then the environment, then flags.
 *
 * Anything wrong in any of them: throws `ConfigError` with all mistakes, one line each, in the form
 * `path: expected …, found …`. Files that hold secrets must exist and hold something; what they hold is not
 * kept. Relative paths of secrets are taken from the folder of the configuration file.
 */
export async function loadConfig(options: LoadOptions): Promise<Loaded> {
  const { path, env = {}, flags = [], withSecrets = true } = options
  const issues: string[] = []
  const environment = readEnvironment(env)
  const overrides = [...environment.overrides, ...flags]

  let tree: unknown = {}
  try {
    if (path !== undefined) tree = await readConfigFile(path)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    issues.push(...error.issues)
  }
  for (const override of overrides) tree = withValue(tree, override.path, override.value)

  const parsed = configSchema.safeParse(tree, { error: expectation })
  if (!parsed.success) issues.push(...describeIssues(parsed.error.issues, tree, overrides))
  issues.push(...environment.issues)

  const folder = path === undefined ? '.' : dirname(path)
  // A path that is refused as such is not looked for.
  const refused = new Set(parsed.error?.issues.map((issue) => formatPath(issue.path)))
  const secrets = withSecrets
    ? await checkSecrets(tree, folder, refused)
    : { issues: [], warnings: [] }
  issues.push(...secrets.issues)
  if (!parsed.success || issues.length > 0) throw new ConfigError(limited(issues))
  const { targets, alertmanager } = parsed.data
  const config = {
    ...parsed.data,
    targets: targets.map((target) => ({ ...target, auth: inFolder(target.auth, folder) })),
    alertmanager: { ...alertmanager, auth: inFolder(alertmanager.auth, folder) },
  }
  return {
    config,
    warnings: [
      ...environment.unknown,
      ...secrets.warnings,
      ...urlWarnings(config),
      ...paceWarnings(config),
    ],
  }
}

/** Returns `tree` with `value` at `path`. Where a parent is no map it stays, for the schema to refuse. */
function withValue(tree: unknown, path: readonly string[], value: unknown): unknown {
  const [key, ...rest] = path
  if (key === undefined) return value
  if (tree === undefined) return { [key]: withValue(undefined, rest, value) }
  if (typeof tree !== 'object' || tree === null || Array.isArray(tree)) return tree
  // Copied, because aliases make one node stand in several places.
  const child: unknown = Object.hasOwn(tree, key) ? Reflect.get(tree, key) : undefined
  return { ...tree, [key]: withValue(child, rest, value) }
}

function inFolder(auth: TargetAuth, folder: string): TargetAuth {
  switch (auth.kind) {
    case 'none':
      return auth
    case 'bearer':
      return { ...auth, tokenFile: resolve(folder, auth.tokenFile) }
    case 'basic':
      return { ...auth, passwordFile: resolve(folder, auth.passwordFile) }
    default:
      return unreachable(auth)
  }
}

/**
 * Looks at the secrets that `tree` names, valid or not, so that their mistakes are told with the others; those
 * at the paths in `refused` have one already.
 */
async function checkSecrets(
  tree: unknown,
  folder: string,
  refused: ReadonlySet<string>,
): Promise<{ readonly issues: readonly string[]; readonly warnings: readonly string[] }> {
  const issues: string[] = []
  const warnings: string[] = []
  for (const path of secretPaths(tree)) {
    const written = valueAt(tree, path)
    if (typeof written !== 'string' || written === '' || refused.has(formatPath(path))) continue
    const file = resolve(folder, written)
    const shown = shorten(file, 200)
    try {
      await readSecret(file)
      const { mode } = await stat(file)
      if ((mode & 0o004) !== 0) {
        const found = `${shown} readable by all`
        warnings.push(
          `${formatPath(path)}: expected a file that only its owner reads, found ${found}`,
        )
      }
    } catch (error) {
      if (!(error instanceof Error)) throw error
      const problem =
        'code' in error ? `expected a readable file, found ${fileProblem(error)}` : error.message
      issues.push(`${formatPath(path)}: ${problem} at ${shown}`)
    }
  }
  return { issues, warnings }
}

function secretPaths(tree: unknown): readonly (readonly (string | number)[])[] {
  const targets = valueAt(tree, ['targets'])
  const count = Array.isArray(targets) ? Math.min(targets.length, maxTargets) : 0
  const asked = Array.from({ length: count }, (_, index) => ['targets', index])
  return [...asked, ['alertmanager']].flatMap((path) => [
    [...path, 'bearer_token_file'],
    [...path, 'basic_auth', 'password_file'],
  ])
}

/** Paths that people know of vLLM, and that are appended or not meant. */
const knownPath = /\/(?:metrics|health|version|v1)$/

/** The same of Alertmanager. */
const knownPushPath = /\/(?:alerts|api(?:\/v\d)?(?:\/alerts)?)$/

function urlWarnings({ targets, alertmanager }: Config): readonly string[] {
  const warning = (key: string, appended: string, [path]: readonly string[] = []) =>
    path === undefined
      ? []
      : `${key}: expected the base URL, to which ${appended} is appended, found one that ends in ${path}`
  return [
    ...targets.flatMap(({ url }, index) =>
      warning(`targets[${index}].url`, '/metrics', knownPath.exec(url) ?? []),
    ),
    ...alertmanager.urls.flatMap((url, index) =>
      warning(`alertmanager.urls[${index}]`, '/api/v2/alerts', knownPushPath.exec(url) ?? []),
    ),
  ]
}

function paceWarnings({ gpu }: Config): readonly string[] {
  if (gpu.enabled === false || gpu.intervalMs >= shortGpuIntervalMs) return []
  const least = formatDuration(shortGpuIntervalMs)
  const found = formatDuration(gpu.intervalMs)
  return [
    `gpu.interval: expected ${least} or more, since each reading costs the host, found ${found}`,
  ]
}

function limited(issues: readonly string[]): readonly string[] {
  if (issues.length <= maxIssues) return issues
  const rest = issues.length - maxIssues
  return [...issues.slice(0, maxIssues), `configuration: and ${rest} more mistakes`]
}
