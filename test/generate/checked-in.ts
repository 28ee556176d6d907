import { join } from 'node:path'
import { type Product, products } from '../../src/config/flags.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { GeneratedFile } from '../../src/generate/files.ts'
import { makeFiles } from '../../src/generate/generate.ts'
import { repositoryRoot } from '../repository.ts'

/** The folder that holds what `generate` makes of the default configuration. */
export const folders: Readonly<Record<Product, string>> = {
  'prometheus-rules': join(repositoryRoot, 'config', 'prometheus'),
  alertmanager: join(repositoryRoot, 'config', 'alertmanager'),
  grafana: join(repositoryRoot, 'config', 'grafana'),
  kubernetes: join(repositoryRoot, 'config', 'kubernetes'),
}

/** Every product of the default configuration. */
export async function defaultFiles(): Promise<
  readonly { readonly product: Product; readonly files: readonly GeneratedFile[] }[]
> {
  const { config } = await loadConfig({})
  return await Promise.all(
    products.map(async (product) => ({ product, files: await makeFiles(product, config) })),
  )
}
