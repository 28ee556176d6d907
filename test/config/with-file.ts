import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Loaded, type LoadOptions, loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/schema.ts'
import { ConfigError } from '../../src/errors.ts'

/** How a configuration is loaded in a test, and what stands in its folder beside it. */
export interface Setting extends Omit<LoadOptions, 'path'> {
  /** Contents by file name. */
  readonly files?: Readonly<Record<string, string>>
  /** Permissions of those files; 0600 unless given. */
  readonly mode?: number
}

/** Runs `use` with the path of a new file that holds `content`, in a folder of its own. */
export async function withFile<T>(
  content: string | Uint8Array,
  use: (path: string, folder: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-config-'))
  try {
    const path = join(folder, 'vitals.yaml')
    await writeFile(path, content)
    return await use(path, folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** The configuration in which `settings` stand, by their paths such as `scrape.interval`; the rest are defaults. */
export async function configOf(settings: Readonly<Record<string, unknown>>): Promise<Config> {
  const flags = Object.entries(settings).map(([path, value]) => ({
    path: path.split('.'),
    value,
    origin: path,
  }))
  return (await loadConfig({ flags })).config
}

/** Loads `content` as configuration file. The folder is taken out of what is said about it. */
export async function load(
  content: string | Uint8Array,
  { files = {}, mode = 0o600, ...options }: Setting = {},
): Promise<Loaded> {
  return await withFile(content, async (path, folder) => {
    for (const [name, secret] of Object.entries(files)) {
      await writeFile(join(folder, name), secret)
      await chmod(join(folder, name), mode)
    }
    const short = (lines: readonly string[]) => lines.map((l) => l.replaceAll(`${folder}/`, ''))
    try {
      const { config, warnings } = await loadConfig({ ...options, path })
      return { config, warnings: short(warnings) }
    } catch (error) {
      throw error instanceof ConfigError ? new ConfigError(short(error.issues)) : error
    }
  })
}

/** The mistakes for which `content` is refused; none where it is taken. */
export async function issuesOf(
  content: string | Uint8Array,
  setting: Setting = {},
): Promise<readonly string[]> {
  try {
    await load(content, setting)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.issues
    throw error
  }
}
