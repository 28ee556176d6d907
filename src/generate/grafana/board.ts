import {
  AnnotationQueryBuilder,
  CustomVariableBuilder,
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  RowBuilder,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard'
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus'
import type { Config } from '../../config/schema.ts'
import { type Dashboard as BoardName, dashboardUids } from '../../rules/links.ts'
import { formatDuration } from '../../units.ts'
import { datasource, type Panel, type ValueLink } from './panel.ts'
import { increase, largest, ofDaemons, select } from './query.ts'

export interface Row {
  readonly title: string
  readonly panels: readonly Panel[]
}

export interface Board {
  readonly name: BoardName
  readonly description: string
  /** The variables beside the data source, in the order in which each narrows those after it. */
  readonly variables: readonly VariableName[]
  /** Whether one daemon is looked at, or all unless some are chosen. */
  readonly single: boolean
  readonly from: string
  readonly refresh: string
  readonly annotations: readonly Annotation[]
  readonly rows: readonly Row[]
}

export interface Annotation {
  readonly name: string
  readonly color: string
  readonly expr: string
  readonly title: string
  readonly text: string
  readonly tags: string
}

const annotationStep = '15s'

/** The version of the format that Grafana 10 writes; later ones read it and bring it up to date. */
const schemaVersion = 39

const titles: Readonly<Record<BoardName, string>> = {
  host: 'vllm-vitals / Host',
  fleet: 'vllm-vitals / Fleet',
  slo: 'vllm-vitals / SLO',
}

/** Returns a dashboard in the classic format. Panels are numbered and placed in the order of `rows`. */
export function dashboardOf(board: Board, config: Config): Dashboard {
  const builder = new DashboardBuilder(titles[board.name])
    .uid(dashboardUids[board.name])
    .description(board.description)
    .tags(['vllm', 'vllm-vitals'])
    .timezone('browser')
    .tooltip(DashboardCursorSync.Crosshair)
    .time({ from: board.from, to: 'now' })
    .refresh(board.refresh)
    .variables([
      new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus'),
      ...board.variables.map((name) => variable(name, board, config)),
    ])
    .annotations(board.annotations.map(annotation))
    .links(
      Object.entries(titles)
        .filter(([name]) => name !== board.name)
        .map(([name, title]) =>
          new DashboardLinkBuilder(title)
            .url(`/d/${dashboardUids[name as BoardName]}`)
            .includeVars(true)
            .keepTime(true)
            .icon('dashboard'),
        ),
    )
  let id = 1
  for (const { title, panels } of board.rows) {
    builder.withRow(new RowBuilder(title).id(id).collapsed(false))
    id += 1
    for (const panel of panels) {
      builder.withPanel(panel.id(id))
      id += 1
    }
  }
  const built = builder.build()
  // The SDK puts links and annotations away in a menu, where nobody looks for them at night.
  return {
    ...built,
    schemaVersion,
    annotations: { list: built.annotations.list?.map(withoutPlacement) ?? [] },
    links: built.links?.map(withoutPlacement) ?? [],
  }
}

function withoutPlacement<T extends { readonly placement?: unknown }>({ placement, ...rest }: T) {
  return rest
}

/** A row's or a value's way to the dashboard of one host; `instance` is what Grafana fills its name into. */
export function toHost(instance: string): ValueLink {
  const uid = dashboardUids.host
  // biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana fills them in.
  const rest = 'var-datasource=${datasource}&${__url_time_range}'
  return { title: 'Open the host', url: `/d/${uid}/${uid}?var-instance=${instance}&${rest}` }
}

// biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana fills it in.
export const rowInstance = '${__data.fields.instance}'

/** Whose values a variable offers, and how they are sorted. */
const offered = {
  job: ['label_values(vllm_vitals_up, job)', 'Job'],
  instance: ['label_values(vllm_vitals_up{job=~"$job"}, instance)', 'Instance'],
  target: [
    'label_values(vllm_vitals_engine_state{job=~"$job",instance=~"$instance"}, target)',
    'Target',
  ],
  model: [
    'label_values(vllm_vitals_e2e_latency_window_observations{job=~"$job",instance=~"$instance",target=~"$target"}, model_name)',
    'Model',
  ],
  gpu: ['label_values(vllm_vitals_gpu_info{job=~"$job",instance=~"$instance"}, gpu)', 'GPU'],
} as const

export type VariableName = keyof typeof offered | 'window'

function variable(name: VariableName, board: Board, config: Config) {
  if (name === 'window') return windowVariable(config)
  const [query, label] = offered[name]
  const isSingle = board.single && name === 'instance'
  const builder = new QueryVariableBuilder(name)
    .label(label)
    .datasource(datasource)
    .query({ query, refId: `variable-${name}` })
    .definition(query)
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(name === 'gpu' ? VariableSort.NumericalAsc : VariableSort.NaturalAsc)
    .multi(!isSingle)
    .includeAll(true)
    .current(
      isSingle
        ? { selected: true, text: 'All', value: '$__all' }
        : { selected: true, text: ['All'], value: ['$__all'] },
    )
  // All jobs are those of daemons, not whatever else is scraped; of the rest there may be too many to name.
  return name === 'job' ? builder : builder.allValue('.*')
}

/** The windows that the daemon publishes; the second of them is shown at first. */
function windowVariable({ windowsMs }: Config) {
  const windows = windowsMs.map(formatDuration)
  const chosen = windows[1] ?? windows[0] ?? ''
  return new CustomVariableBuilder('window')
    .label('Window')
    .description('The sliding window of the daemon over which rates and quantiles are taken.')
    .values(windows.join(','))
    .options(windows.map((text) => ({ text, value: text, selected: text === chosen })))
    .current({ text: chosen, value: chosen, selected: true })
    .multi(false)
    .includeAll(false)
}

// Older versions of Grafana read the query from `expr`, later ones from `target`.
function annotation({ name, color, expr, title, text, tags }: Annotation) {
  const query = new DataqueryBuilder()
    .datasource(datasource)
    .refId('Anno')
    .expr(expr)
    .interval(annotationStep)
    .range()
  return new AnnotationQueryBuilder()
    .name(name)
    .datasource(datasource)
    .enable(true)
    .hide(false)
    .iconColor(color)
    .expr(expr)
    .step(annotationStep)
    .target(query)
    .titleFormat(title)
    .textFormat(text)
    .tagKeys(tags)
}

/** When alerts fired at the daemons of a host, which is known without rules in Prometheus. */
export function alertAnnotation(): Annotation {
  const active = select('vllm_vitals_alert_active', 'alert', 'state="firing"')
  return {
    name: 'Alerts',
    color: 'red',
    expr: largest('instance, alertname, severity, target', active),
    title: '{{alertname}}',
    text: '{{target}} on {{instance}}',
    tags: 'severity',
  }
}

/** Alerts as Prometheus rings them, those among them that only it can ring: one mark for all of a name. */
export function ruleAnnotation(alerts: string): Annotation {
  const firing = select('ALERTS', 'job', `alertname=~"${alerts}",alertstate="firing"`)
  return {
    name: 'Alerts',
    color: 'red',
    expr: `count by (alertname, severity) (${firing})`,
    title: '{{alertname}}',
    text: '{{severity}}',
    tags: 'severity',
  }
}

/** Restarts, each by itself on the board of a host, and one mark for all of a job elsewhere. */
export function restartAnnotations(of: 'each' | 'job'): readonly Annotation[] {
  const resets = increase(select('vllm_vitals_resets_total', 'target'))
  const started = select('process_start_time_seconds', 'daemon')
  const starts = ofDaemons(`changes(${started}[$__rate_interval])`)
  const isEach = of === 'each'
  return [
    {
      name: 'Restarts of vLLM',
      color: 'blue',
      expr: `${largest(isEach ? 'instance, target' : 'job', resets)} > 0`,
      title: 'vLLM restarted',
      text: isEach ? '{{target}} on {{instance}}: its counters began again' : 'job {{job}}',
      tags: isEach ? 'target' : 'job',
    },
    {
      name: 'Restarts of the daemon',
      color: 'purple',
      expr: `${largest(isEach ? 'instance' : 'job', starts)} > 0`,
      title: 'vllm-vitals restarted',
      text: isEach ? '{{instance}}' : 'job {{job}}',
      tags: isEach ? 'instance' : 'job',
    },
  ]
}
