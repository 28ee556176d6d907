import type { Scenario } from '../../../src/demo/scenario.ts'
import { startToldDaemon } from '../../e2e/told-daemon.ts'
import { onlyJob } from './boards.ts'

/** What a daemon served while scenarios ran beside it in told time. */
export interface Life {
  /** What Prometheus would call it. */
  readonly instance: string
  readonly pages: readonly { readonly atSeconds: number; readonly text: string }[]
}

/** Lets a daemon watch `scenarios`, and keeps every page of its `/metrics`. */
export async function live(options: {
  readonly instance: string
  readonly scenarios: readonly Scenario[]
  readonly from: number
  readonly to: number
  readonly every: number
  readonly windows?: readonly string[]
}): Promise<Life> {
  const { instance, from, to, every, windows } = options
  const settings = { 'gpu.enabled': true, ...(windows === undefined ? {} : { windows }) }
  const daemon = await startToldDaemon({ ...options, settings })
  const pages: { atSeconds: number; text: string }[] = []
  try {
    for (let atSeconds = from + every; atSeconds <= to; atSeconds += every) {
      await daemon.passTo(atSeconds)
      const response = await fetch(`${daemon.url}/metrics`)
      pages.push({ atSeconds, text: await response.text() })
    }
  } finally {
    await daemon.stop()
  }
  return { instance, pages }
}

const sampleLine = /^(\w+)(?:\{(.*)\})? (\S+)$/

/**
 * Returns `lives` as OpenMetrics with times, as if Prometheus had scraped them under the job `vllm-vitals`, the
 * last page of each at `endSeconds`. What a page says of times is moved with it; a process of `restarted` is
 * started anew half-way.
 */
export function asHistory(
  lives: readonly Life[],
  { endSeconds, restarted }: { readonly endSeconds: number; readonly restarted: readonly string[] },
): string {
  const lines: { readonly at: number; readonly line: string }[] = []
  for (const { instance, pages } of lives) {
    const last = pages.at(-1)?.atSeconds ?? 0
    for (const [index, { atSeconds, text }] of pages.entries()) {
      const at = endSeconds - last + atSeconds
      const begun = restarted.includes(instance) && 2 * index > pages.length ? pages.length >> 1 : 0
      const own = `instance="${instance}",job="${onlyJob}"`
      const put = (name: string, labels: string, value: string) =>
        lines.push({
          at,
          line: `${name}{${labels === '' ? '' : `${labels},`}${own}} ${value} ${at}`,
        })
      put('up', '', '1')
      for (const raw of text.split('\n')) {
        const [, name = '', labels = '', value = ''] = sampleLine.exec(raw) ?? []
        if (name === '') continue
        if (name === 'vllm_vitals_last_success_timestamp_seconds') put(name, labels, String(at))
        else if (name === 'process_start_time_seconds') {
          put(name, labels, String(endSeconds - last + (pages[begun]?.atSeconds ?? 0)))
        } else put(name, labels, value)
      }
    }
  }
  lines.sort((a, b) => a.at - b.at)
  return `${lines.map(({ line }) => line).join('\n')}\n# EOF\n`
}

/**
 * Returns `count` hosts with one target and one GPU each, all in the trouble that the target and the first GPU of
 * `life` are in at its end, each with a model of its own. `more` are further lines of their pages.
 */
export function many(
  count: number,
  life: Life,
  { target, more }: { readonly target: string; readonly more: readonly string[] },
): readonly Life[] {
  const pages = life.pages.slice(-2).map(({ atSeconds, text }) => ({
    atSeconds,
    lines: [...text.split('\n'), ...more].filter(
      (line) =>
        !/^(#|nodejs_|$)/.test(line) &&
        !/window="(1m|1h)"/.test(line) &&
        (!line.includes('target="') || /target="(|gpu)"/.test(line) || line.includes(target)) &&
        (!line.includes('gpu="') || line.includes('gpu="0"')),
    ),
  }))
  return Array.from({ length: count }, (_, index) => ({
    instance: `host-${index}:19400`,
    pages: pages.map(({ atSeconds, lines }) => ({
      atSeconds,
      text: lines
        .join('\n')
        .replaceAll(/model_name="[^"]+"/g, `model_name="model-${index}"`)
        .replaceAll(target, `target="vllm-${index}"`),
    })),
  }))
}
