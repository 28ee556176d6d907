import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** A page of the daemon as Prometheus would have scraped it. */
export interface ScrapedPage {
  readonly instance: string
  readonly atMs: number
  /** In the text format of Prometheus; absent where the scrape failed. */
  readonly page?: string
}

/**
 * Writes `pages` into blocks of Prometheus' storage in `folder`, as scrapes of the job `vllm-vitals`, each with its `up`.
 * Returns the folder that a Prometheus is started on.
 */
export async function storeScrapes(folder: string, pages: readonly ScrapedPage[]): Promise<string> {
  const lines: string[] = []
  for (const { instance, atMs, page } of pages) {
    const own = `instance="${instance}",job="vllm-vitals"`
    const at = (atMs / 1_000).toFixed(3)
    lines.push(`up{${own}} ${page === undefined ? 0 : 1} ${at}`)
    if (page === undefined) continue
    for (const line of page.split('\n')) {
      const [, name, labels, value] = /^([a-z_0-9:]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
      if (name === undefined) continue
      lines.push(`${name}{${labels === undefined ? '' : `${labels},`}${own}} ${value} ${at}`)
    }
  }
  const file = join(folder, 'scrapes.txt')
  const data = join(folder, 'data')
  await writeFile(file, `${lines.join('\n')}\n# EOF\n`)
  const words = ['tsdb', 'create-blocks-from', 'openmetrics', file, data]
  await promisify(execFile)('promtool', words, { maxBuffer: 1 << 24 })
  return data
}
