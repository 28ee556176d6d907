import { makeFiles } from '../../../src/generate/generate.ts'
import { configOf } from '../../config/with-file.ts'

export interface Target {
  readonly refId: string
  readonly expr: string
  readonly instant: boolean
  readonly legendFormat?: string
  readonly format?: string
  readonly datasource: Source
}

export interface Source {
  readonly type: string
  readonly uid: string
}

export interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly description?: string
  readonly datasource?: Source
  readonly gridPos: Readonly<Record<'x' | 'y' | 'w' | 'h', number>>
  readonly targets?: readonly Target[]
  readonly transformations?: readonly { readonly id: string; readonly options: Options }[]
  readonly fieldConfig?: {
    readonly defaults: {
      readonly unit?: string
      readonly min?: number
      readonly thresholds?: { readonly steps: readonly { readonly value: number | null }[] }
      readonly links?: readonly { readonly url: string }[]
    }
    readonly overrides: readonly {
      readonly matcher: { readonly id: string; readonly options: string }
      readonly properties: readonly { readonly id: string; readonly value: unknown }[]
    }[]
  }
}

interface Options {
  readonly include?: { readonly names: readonly string[] }
}

export interface Variable {
  readonly name: string
  readonly type: string
  readonly query: string | { readonly query: string }
  readonly multi: boolean
  readonly includeAll: boolean
  readonly allValue?: string
  readonly refresh?: number
  readonly datasource?: Source
  readonly current?: { readonly text: string | readonly string[]; readonly value: unknown }
}

export interface Board {
  readonly uid: string
  readonly title: string
  readonly schemaVersion: number
  readonly panels: readonly Panel[]
  readonly links: readonly { readonly url: string; readonly includeVars: boolean }[]
  readonly templating: { readonly list: readonly Variable[] }
  readonly annotations: {
    readonly list: readonly {
      readonly name: string
      readonly expr: string
      readonly target: { readonly expr: string }
      readonly datasource: Source
    }[]
  }
}

/** Makes the dashboards of a configuration whose file says `settings`, by path. */
export async function boardsOf(
  settings: Readonly<Record<string, unknown>> = {},
): Promise<readonly Board[]> {
  const files = await makeFiles('grafana', await configOf(settings))
  return files
    .filter(({ path }) => path.startsWith('dashboards/'))
    .map(({ text }) => JSON.parse(text) as Board)
}

/** One query of a panel, or the one of an annotation. */
export interface Question {
  readonly where: string
  /** The board and the title: what all queries of a panel share. */
  readonly panel: string
  readonly expr: string
  readonly instant: boolean
}

export function questionsOf(board: Board): readonly Question[] {
  const ofPanels = board.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ refId, expr, instant }) => ({
      where: `${board.uid}: ${title}: ${refId}`,
      panel: `${board.uid}: ${title}`,
      expr,
      instant,
    })),
  )
  const ofAnnotations = board.annotations.list.map(({ name, expr }) => ({
    where: `${board.uid}: annotation ${name}`,
    panel: `${board.uid}: annotation ${name}`,
    expr,
    instant: false,
  }))
  return [...ofPanels, ...ofAnnotations]
}

/** The series that a variable takes its values from: `label_values(SERIES, LABEL)`. */
export function sourceOf({ query }: Variable): { readonly series: string; readonly label: string } {
  const text = typeof query === 'string' ? query : query.query
  const [, series = '', label = ''] = /^label_values\((.*), (\w+)\)$/.exec(text) ?? []
  return { series, label }
}

/**
 * What is chosen, by variable; one that is not named here stands at All, which is its own value or, where it has none,
 * every value that it offers: the one job of the tests.
 */
export const onlyJob = 'vllm-vitals'

export type Chosen = Readonly<Record<string, readonly string[]>>

/**
 * Fills in the variables as Grafana's data source for Prometheus does: All is its own value as it is, chosen values
 * are escaped as regular expressions and joined where a variable can hold several or all, and else written as a
 * string of PromQL.
 */
export function filledIn(expr: string, board: Board, chosen: Chosen, interval = '1m'): string {
  const text = expr
    .replaceAll('$__rate_interval', interval)
    .replaceAll('$__range', '3600s')
    .replaceAll(/\$(\w+)|\$\{(\w+)\}/g, (whole, plain?: string, braced?: string) => {
      const variable = board.templating.list.find(({ name }) => name === (plain ?? braced))
      return variable === undefined ? whole : writtenFor(variable, chosen[variable.name])
    })
  if (text.includes('$')) throw new Error(`expected every variable to be known, found ${text}`)
  return text
}

function writtenFor(variable: Variable, chosen: readonly string[] | undefined): string {
  const { multi, includeAll, allValue, current } = variable
  if (!multi && !includeAll) {
    const [value = String(current?.value)] = chosen ?? []
    return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')
  }
  if (chosen === undefined && allValue !== undefined) return allValue
  const escaped = (chosen ?? [onlyJob]).map((value) =>
    value.replaceAll('\\', '\\\\\\\\').replaceAll(/[$^*{}[\]'+?.()|]/g, '\\\\$&'),
  )
  return escaped.length === 1 ? (escaped[0] ?? '') : `(${escaped.join('|')})`
}
