import * as common from '@grafana/grafana-foundation-sdk/common'
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard'
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus'
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat'
import { PanelBuilder as TimelineBuilder } from '@grafana/grafana-foundation-sdk/statetimeline'
import { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table'
import { PanelBuilder as LinesBuilder } from '@grafana/grafana-foundation-sdk/timeseries'
import type { Coded } from './query.ts'

/** The variable that holds the data source. No other data source is named anywhere. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana fills it in.
export const datasource = { type: 'prometheus', uid: '${datasource}' }

export interface Query {
  readonly expr: string
  /** What a line is called, with `{{label}}`; a table has none. */
  readonly legend?: string
}

/** A value from which on something has another color. */
export interface Step {
  readonly from: number
  readonly color: string
}

/** A link of a value; its URL may hold `${__data.fields.NAME}` in tables, `${__field.labels.NAME}` elsewhere. */
export interface ValueLink {
  readonly title: string
  readonly url: string
}

interface Shown {
  readonly title: string
  /** What the panel shows, and what it does not. */
  readonly description: string
  readonly unit: string
  /** Of the 24 columns of a dashboard. */
  readonly width: number
  readonly height?: number
  readonly queries: readonly Query[]
  readonly decimals?: number
  readonly link?: ValueLink
}

export interface Lines extends Shown {
  /** Drawn as dashed lines, and nothing below the first. */
  readonly thresholds?: readonly Step[]
  readonly max?: number
  /** Where no smallest value is known, as for a budget that is overdrawn. */
  readonly openBelow?: boolean
  readonly stacked?: boolean
  /** Legends of two lines that bound a third: the space between them is filled. */
  readonly bands?: readonly {
    readonly lower: string
    readonly upper: string
    readonly color: string
  }[]
  /** Legends with a color of their own. */
  readonly colors?: Readonly<Record<string, string>>
  /** A regular expression of the legends that are limits and not measurements: drawn dashed. */
  readonly dashed?: string
}

export interface Stat extends Shown {
  readonly steps?: readonly Step[]
  readonly coded?: Coded
  readonly colors?: Readonly<Record<string, string>>
  readonly text?: 'value' | 'both'
}

export interface Table extends Shown {
  /** The columns in their order; those that are not named are hidden. */
  readonly columns: readonly string[]
  /** What the column with the value is called; hidden if it is not said. */
  readonly value?: string
  readonly steps?: readonly Step[]
  readonly ascending?: boolean
  readonly sortBy?: string
  /** Links of columns. */
  readonly links?: Readonly<Record<string, ValueLink>>
  /** What the values of columns look like. */
  readonly words?: Readonly<Record<string, Readonly<Record<string, string>>>>
  readonly coded?: Coded
}

export type Panel = LinesBuilder | StatBuilder | TableBuilder | TimelineBuilder

/** Lines over time. */
export function lines(spec: Lines): Panel {
  const panel = begin(new LinesBuilder(), spec, 'range')
    .lineWidth(1)
    .fillOpacity(spec.stacked === true ? 30 : 0)
    .showPoints(common.VisibilityMode.Never)
    .legend(
      new common.VizLegendOptionsBuilder()
        .showLegend(true)
        .displayMode(common.LegendDisplayMode.List)
        .placement(common.LegendPlacement.Bottom),
    )
    .tooltip(
      new common.VizTooltipOptionsBuilder()
        .mode(common.TooltipDisplayMode.Multi)
        .sort(common.SortOrder.Descending),
    )
  if (spec.openBelow !== true) panel.min(0)
  if (spec.max !== undefined) panel.max(spec.max)
  if (spec.stacked === true) {
    panel.stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal))
  }
  if (spec.thresholds !== undefined) {
    panel
      .thresholds(stepsOf(spec.thresholds))
      .thresholdsStyle(
        new common.GraphThresholdsStyleConfigBuilder().mode(common.GraphThresholdsStyleMode.Dashed),
      )
  }
  if (spec.dashed !== undefined) panel.overrideByRegexp(spec.dashed, [dashes])
  colorFields(panel, spec.colors)
  for (const { lower, upper, color } of spec.bands ?? []) {
    const edge = [fixed(color), { id: 'custom.lineWidth', value: 0 }, offLegend]
    panel
      .overrideByName(lower, edge)
      .overrideByName(upper, [
        ...edge,
        { id: 'custom.fillBelowTo', value: lower },
        { id: 'custom.fillOpacity', value: 20 },
      ])
  }
  return panel
}

/** Single values, of now. */
export function stat(spec: Stat): Panel {
  const panel = begin(new StatBuilder(), spec, 'instant')
    .colorMode(common.BigValueColorMode.Background)
    .graphMode(common.BigValueGraphMode.None)
    .textMode(
      spec.text === 'value' ? common.BigValueTextMode.Value : common.BigValueTextMode.ValueAndName,
    )
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .thresholds(stepsOf(spec.steps ?? []))
    .colorScheme(byThresholds())
  if (spec.coded !== undefined) panel.mappings([mapped(spec.coded)])
  colorFields(panel, spec.colors)
  return panel
}

/** What held when, one row for each target. */
export function timeline(spec: Shown & { readonly coded: Coded }): Panel {
  return begin(new TimelineBuilder(), spec, 'range')
    .mappings([mapped(spec.coded)])
    .thresholds(stepsOf([]))
    .colorScheme(byThresholds())
    .showValue(common.VisibilityMode.Never)
    .mergeValues(true)
    .rowHeight(0.8)
    .fillOpacity(80)
    .lineWidth(0)
}

/** One row for each series, of now. */
export function table(spec: Table): Panel {
  const value = spec.value ?? ''
  const panel = begin(new TableBuilder(), spec, 'table')
    .thresholds(stepsOf(spec.steps ?? []))
    .colorScheme(byThresholds())
    .filterable(true)
    .sortBy([
      new common.TableSortByFieldStateBuilder()
        .displayName(spec.sortBy ?? value)
        .desc(spec.ascending !== true),
    ])
    .withTransformation({
      id: 'filterFieldsByName',
      options: { include: { names: [...spec.columns, ...(value === '' ? [] : ['Value'])] } },
    })
    .withTransformation({
      id: 'organize',
      options: {
        excludeByName: {},
        indexByName: Object.fromEntries(
          [...spec.columns, 'Value'].map((name, index) => [name, index]),
        ),
        renameByName: value === '' ? {} : { Value: value },
      },
    })
  if (spec.coded !== undefined) panel.mappings([mapped(spec.coded)])
  if (spec.steps !== undefined || spec.coded !== undefined) {
    panel.overrideByName(value, [coloredText])
  }
  for (const [name, { title, url }] of Object.entries(spec.links ?? {})) {
    panel.overrideByName(name, [{ id: 'links', value: [{ title, url }] }])
  }
  for (const [name, colors] of Object.entries(spec.words ?? {})) {
    const options = Object.fromEntries(
      Object.entries(colors).map(([text, color], index) => [text, { text, color, index }]),
    )
    panel.overrideByName(name, [
      coloredText,
      { id: 'mappings', value: [{ type: dashboard.MappingType.ValueToText, options }] },
    ])
  }
  return panel
}

const dashes = { id: 'custom.lineStyle', value: { fill: 'dash', dash: [10, 10] } }
const offLegend = { id: 'custom.hideFrom', value: { legend: true, tooltip: false, viz: false } }
const coloredText = { id: 'custom.cellOptions', value: { type: 'color-text' } }

function fixed(color: string) {
  return { id: 'color', value: { mode: 'fixed', fixedColor: color } }
}

function colorFields(panel: Panel, colors: Readonly<Record<string, string>> = {}): void {
  for (const [name, color] of Object.entries(colors)) panel.overrideByName(name, [fixed(color)])
}

function byThresholds() {
  return new dashboard.FieldColorBuilder().mode(dashboard.FieldColorModeId.Thresholds)
}

/** What lies below the first step is well. */
function stepsOf(steps: readonly Step[]) {
  const [lowest] = steps
  const base = lowest?.from === Number.NEGATIVE_INFINITY ? lowest.color : 'green'
  return new dashboard.ThresholdsConfigBuilder()
    .mode(dashboard.ThresholdsMode.Absolute)
    .steps([
      { value: null, color: base },
      ...steps
        .filter(({ from }) => from !== Number.NEGATIVE_INFINITY)
        .map(({ from, color }) => ({ value: from, color })),
    ])
}

function mapped({ values }: Coded): dashboard.ValueMap {
  const options = values.map(({ value, color }, place) => [
    String(place),
    { text: value, color, index: place },
  ])
  return { type: dashboard.MappingType.ValueToText, options: Object.fromEntries(options) }
}

/** What all panels have. */
function begin<B extends Panel>(panel: B, spec: Shown, kind: 'range' | 'instant' | 'table'): B {
  panel
    .title(spec.title)
    .description(spec.description)
    .datasource(datasource)
    .unit(spec.unit)
    .span(spec.width)
    .height(spec.height ?? 8)
  if (spec.decimals !== undefined) panel.decimals(spec.decimals)
  for (const [index, { expr, legend }] of spec.queries.entries()) {
    const query = new DataqueryBuilder()
      .datasource(datasource)
      .refId(String.fromCharCode('A'.charCodeAt(0) + index))
      .expr(expr)
    if (legend !== undefined) query.legendFormat(legend)
    if (kind === 'range') query.range()
    else query.instant()
    if (kind === 'table') query.format(PromQueryFormat.Table)
    panel.withTarget(query)
  }
  if (spec.link !== undefined) {
    const { title, url } = spec.link
    panel.dataLinks([new dashboard.DashboardLinkBuilder(title).url(url).targetBlank(false)])
  }
  return panel
}
