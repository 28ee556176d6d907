import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { stringify } from 'yaml'
import { makeFiles } from '../../../src/generate/generate.ts'
import { MetricsPage, metricsOffers } from '../../../src/web/metrics.ts'
import { configOf } from '../../config/with-file.ts'
import { fullSnapshot } from '../../fakes/snapshots.ts'
import { about } from '../../web/serving.ts'
import { type Board, boardsOf, filledIn, type Panel, questionsOf, sourceOf } from './boards.ts'

const boards = await boardsOf()
const panelsOf = (board: Board) => board.panels.filter(({ type }) => type !== 'row')
const selectors = (expr: string) =>
  [...expr.matchAll(/([a-zA-Z_:][\w:]*)\{([^{}]*)\}/g)].map(([, name = '', matchers = '']) => ({
    name,
    matchers,
  }))

function panel(board: string, title: string, from = boards): Panel {
  const found = from
    .find(({ uid }) => uid === `vllm-vitals-${board}`)
    ?.panels.find((one) => one.title === title)
  assert.ok(found !== undefined, `expected a panel ${title} on ${board}`)
  return found
}

const stepsOf = (one: Panel) =>
  one.fieldConfig?.defaults.thresholds?.steps.map(({ value }) => value)

describe('the dashboards', () => {
  it('are three, under the names that alerts link to', () => {
    assert.deepEqual(
      boards.map(({ uid }) => uid),
      ['vllm-vitals-host', 'vllm-vitals-fleet', 'vllm-vitals-slo'],
    )
  })

  it('name no data source but the variable, which is one of Prometheus', () => {
    for (const board of boards) {
      const [first] = board.templating.list
      assert.deepEqual(
        [first?.name, first?.type, first?.query],
        ['datasource', 'datasource', 'prometheus'],
      )
      const uids = [...JSON.stringify(board).matchAll(/"uid":"([^"]*)"/g)].map(([, uid]) => uid)
      // biome-ignore lint/suspicious/noTemplateCurlyInString: as Grafana has it.
      assert.deepEqual([...new Set(uids)].sort(), ['${datasource}', board.uid])
      for (const { datasource } of [
        ...board.annotations.list,
        ...panelsOf(board).flatMap((one) => [one, ...(one.targets ?? [])]),
        ...board.templating.list.filter(({ type }) => type === 'query'),
      ]) {
        // biome-ignore lint/suspicious/noTemplateCurlyInString: as Grafana has it.
        assert.deepEqual(datasource, { type: 'prometheus', uid: '${datasource}' })
      }
    }
  })

  it('mark alerts and restarts, in the words of every Grafana', () => {
    for (const { uid, annotations } of boards) {
      assert.deepEqual(
        annotations.list.map(({ name }) => name),
        ['Alerts', 'Restarts of vLLM', 'Restarts of the daemon'],
        uid,
      )
      for (const { expr, target } of annotations.list) assert.equal(target.expr, expr)
    }
  })

  it('narrow every selector by job, and by instance but for what is recorded for all of them', () => {
    for (const { where, expr } of boards.flatMap(questionsOf)) {
      const found = selectors(expr)
      assert.ok(found.length > 0, where)
      // No metric is named without braces.
      const named = expr.match(/\b(vllm_vitals_\w+|process_\w+|ALERTS|up)\b(?![{:\w])/g) ?? []
      assert.deepEqual(named, [], where)
      for (const { name, matchers } of found) {
        assert.ok(matchers.includes('job=~"$job"'), `${where}: ${name}`)
        const isOfJob = name.includes(':') || name === 'ALERTS'
        assert.equal(matchers.includes('instance=~"$instance"'), !isOfJob, `${where}: ${name}`)
      }
    }
  })

  it('name only metrics that are published, recorded, or made by Prometheus itself', async () => {
    const [offer] = metricsOffers
    const page = new MetricsPage({ about, lastReloadSuccessful: () => true })
    const body = (await page.render(fullSnapshot(), offer)).toString()
    const published = new Set([...body.matchAll(/^(\w+)[{ ]/gm)].map(([, name]) => name))
    // The snapshot has no vLLM on its GPU; the test of the queries meets these.
    for (const name of ['planned_bytes', 'growth_bytes_per_second', 'seconds_to_full']) {
      published.add(`vllm_vitals_gpu_memory_${name}`)
    }
    const queries = boards.flatMap((board) => [
      ...questionsOf(board).map(({ expr }) => expr),
      ...board.templating.list
        .filter(({ type }) => type === 'query')
        .map((variable) => sourceOf(variable).series.replace(/\{.*/, '{}'))
        .map((series) => (series.endsWith('{}') ? series : `${series}{}`)),
    ])
    const names = new Set(queries.flatMap(selectors).map(({ name }) => name))
    const unknown = [...names].filter(
      (name) => !published.has(name) && name !== 'up' && name !== 'ALERTS',
    )
    assert.ok(names.size > 60, `${names.size}`)
    assert.deepEqual(
      unknown.filter((name) => !/^(model|job|slo):vllm_vitals_\w+:\w+$/.test(name)),
      [],
    )
  })
})

describe('every panel of the dashboards', () => {
  const all = boards.flatMap((board) => panelsOf(board).map((one) => ({ board, one })))

  it('says what it shows, and in which unit', () => {
    for (const { board, one } of all) {
      const where = `${board.uid}: ${one.title}`
      assert.ok(one.title.length > 2, where)
      assert.ok((one.description ?? '').length > 30, where)
      assert.ok((one.fieldConfig?.defaults.unit ?? '') !== '', where)
      assert.ok((one.targets ?? []).length > 0, where)
    }
  })

  it('has an axis that begins at 0, unless a budget can be overdrawn', () => {
    const open = all.filter(
      ({ one }) => one.type === 'timeseries' && one.fieldConfig?.defaults.min !== 0,
    )
    assert.deepEqual(
      open.map(({ one }) => one.title),
      ['Latency budget left over time', 'Errors budget left over time'],
    )
  })

  it('names its lines', () => {
    for (const { one } of all.filter(({ one }) => one.type !== 'table')) {
      const legends = (one.targets ?? []).map(({ legendFormat }) => legendFormat ?? '')
      assert.ok(
        legends.every((legend) => legend !== ''),
        one.title,
      )
      assert.equal(new Set(legends).size, legends.length, one.title)
    }
  })

  it('has an id of its own and a place of its own, within the 24 columns', () => {
    for (const board of boards) {
      const ids = board.panels.map(({ id }) => id)
      assert.deepEqual(ids, [...new Set(ids)])
      const taken = new Map<string, string>()
      for (const { title, gridPos } of board.panels) {
        assert.ok(gridPos.x + gridPos.w <= 24, title)
        for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
          for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
            assert.equal(taken.get(`${x},${y}`), undefined, `${board.uid}: ${title}`)
            taken.set(`${x},${y}`, title)
          }
        }
      }
    }
  })

  it('overrides only columns and lines that it has', () => {
    for (const { board, one } of all) {
      const columns = one.transformations?.[0]?.options.include?.names ?? []
      const renamed = JSON.stringify(one.transformations ?? [])
      const legends = (one.targets ?? []).map(({ legendFormat }) => legendFormat)
      for (const { matcher } of one.fieldConfig?.overrides ?? []) {
        if (matcher.id !== 'byName') continue
        const isThere =
          columns.includes(matcher.options) ||
          renamed.includes(`"Value":"${matcher.options}"`) ||
          legends.includes(matcher.options) ||
          legends.includes('{{status}}')
        assert.ok(isThere, `${board.uid}: ${one.title}: ${matcher.options}`)
      }
    }
  })

  it('shows in a table only columns that its query keeps', () => {
    for (const { one } of all.filter(({ one }) => one.type === 'table')) {
      const [query] = one.targets ?? []
      const kept = [...(query?.expr ?? '').matchAll(/by \(([^)]*)\)/g)].flatMap(([, labels = '']) =>
        labels.split(', '),
      )
      const columns = one.transformations?.[0]?.options.include?.names ?? []
      assert.deepEqual(
        columns.filter((name) => name !== 'Value' && !kept.includes(name)),
        [],
        one.title,
      )
      assert.deepEqual([query?.format, query?.instant], ['table', true], one.title)
    }
  })
})

describe('the variables of the dashboards', () => {
  it('follow the range of time and begin at All, one instance of a host at a time', () => {
    for (const board of boards) {
      for (const variable of board.templating.list.filter(({ type }) => type === 'query')) {
        const where = `${board.uid}: ${variable.name}`
        assert.equal(variable.refresh, 2, where)
        assert.ok(variable.includeAll, where)
        const isOne = board.uid === 'vllm-vitals-host' && variable.name === 'instance'
        assert.equal(variable.multi, !isOne, where)
        assert.deepEqual(variable.current?.value, isOne ? '$__all' : ['$__all'], where)
      }
    }
  })

  it('offer the windows that the daemon publishes, the second first', async () => {
    const windowOf = (from: readonly Board[]) =>
      from.map(({ templating }) => templating.list.find(({ name }) => name === 'window'))
    for (const variable of windowOf(boards)) {
      assert.deepEqual([variable?.query, variable?.current?.value], ['1m,5m,1h', '5m'])
    }
    for (const variable of windowOf(await boardsOf({ windows: ['90s'] }))) {
      assert.deepEqual([variable?.query, variable?.current?.value], ['1m30s', '1m30s'])
    }
  })

  it('are filled in as Grafana does it', () => {
    const [host] = boards
    assert.ok(host !== undefined)
    const query = 'a{instance=~"$instance",model_name=~"$model",window="$window"}[$__rate_interval]'
    assert.equal(
      filledIn(query, host, { instance: ['h.x:1'], model: ['a/b', 'c+'] }),
      String.raw`a{instance=~"h\\.x:1",model_name=~"(a/b|c\\+)",window="5m"}[1m]`,
    )
    assert.equal(filledIn(query, host, {}), 'a{instance=~".*",model_name=~".*",window="5m"}[1m]')
  })
})

describe('the dashboards of a configuration', () => {
  it('draw its thresholds', async () => {
    const changed = await boardsOf({
      thresholds: {
        e2e_latency_p99: '7s',
        ttft_p99: '2s',
        queue_time_p95: '3s',
        error_ratio: 0.02,
      },
    })
    const places = [
      ['host', 'End to end ($window)', 10, 7],
      ['host', 'Time in the queue ($window)', 5, 3],
      ['host', 'Oldest wait', 5, 3],
      ['host', 'Share of failed requests ($window)', 0.01, 0.02],
      ['fleet', 'Slowest, p99 end to end ($window)', 10, 7],
      ['fleet', 'Share of failed requests (5m)', 0.01, 0.02],
    ] as const
    for (const [board, title, before, after] of places) {
      assert.deepEqual(stepsOf(panel(board, title)), [null, before], title)
      assert.deepEqual(stepsOf(panel(board, title, changed)), [null, after], title)
    }
    // Switched off by default: no line, and no series to ask for.
    const ttft = 'Time to first token ($window)'
    assert.equal(stepsOf(panel('host', ttft)), undefined)
    assert.deepEqual(stepsOf(panel('host', ttft, changed)), [null, 2])
    const over = 'Share over the threshold ($window)'
    assert.equal(panel('host', over).targets?.length, 2)
    assert.equal(panel('host', over, changed).targets?.length, 3)
  })

  it('count the budget that its objectives leave', async () => {
    const changed = await boardsOf({ slo: { latency: 0.95, errors: 0.9995, period: '28d' } })
    const title = 'Errors: share of bad requests'
    // 1 - 0.999, and 1 - 0.9995.
    assert.deepEqual(stepsOf(panel('slo', title)), [null, 0.001])
    assert.deepEqual(stepsOf(panel('slo', title, changed)), [null, 0.0005])
    const burn = panel('slo', 'Latency burn rate, for a page', changed).targets?.[0]?.expr ?? ''
    assert.ok(burn.includes(' / 0.05 and '), burn)
    // Ten per cent in a tenth of the period: 1; in a thirtieth of it: 3. Two in a 720th: 14.4; five in a 120th: 6.
    assert.deepEqual(stepsOf(panel('slo', 'Latency burn rate, for a ticket')), [null, 1, 3])
    assert.deepEqual(stepsOf(panel('slo', 'Latency burn rate, for a page')), [null, 6, 14.4])
    // A budget of 0.1 is burnt 9.5 times too fast when 95 % of the requests are bad.
    const large = await boardsOf({ slo: { latency: 0.9 } })
    assert.deepEqual(stepsOf(panel('slo', 'Latency burn rate, for a page', large)), [null, 6, 9.5])
    const texts = JSON.stringify(changed)
    for (const words of ['95 % of the requests end', '99.95 % of the requests succeed', '28 d']) {
      assert.ok(texts.includes(words), words)
    }
  })

  it('band the quantiles that it asks for', async () => {
    const changed = await boardsOf({ quantiles: [0.9, 0.999] })
    const { fieldConfig, targets } = panel('host', 'End to end ($window)', changed)
    const filled = fieldConfig?.overrides.flatMap(({ matcher, properties }) =>
      properties
        .filter(({ id }) => id === 'custom.fillBelowTo')
        .map(({ value }) => [matcher.options, value]),
    )
    assert.deepEqual(filled, [
      ['p90 upper bound', 'p90 lower bound'],
      ['p99.9 upper bound', 'p99.9 lower bound'],
    ])
    const legends = targets?.map(({ legendFormat }) => legendFormat) ?? []
    for (const pair of filled ?? []) assert.ok(pair.every((name) => legends.includes(String(name))))
  })

  it('show no GPUs where none are watched', async () => {
    const without = await boardsOf({ 'gpu.enabled': false })
    assert.equal(without.length, 3)
    for (const board of without) {
      const asked = questionsOf(board).filter(({ expr }) => expr.includes('vllm_vitals_gpu'))
      assert.deepEqual(asked, [])
      assert.ok(board.templating.list.every(({ name }) => name !== 'gpu'))
    }
    const asking = boards
      .flatMap(questionsOf)
      .filter(({ expr }) => expr.includes('vllm_vitals_gpu'))
    assert.ok(asking.length > 20, `${asking.length}`)
  })

  it('link each row of the fleet to its host', () => {
    const fleet = boards.find(({ uid }) => uid === 'vllm-vitals-fleet')
    const tables = (fleet?.panels ?? []).filter(({ fieldConfig }) =>
      fieldConfig?.overrides.some(({ matcher }) => matcher.options === 'instance'),
    )
    assert.equal(tables.length, 10)
    for (const { fieldConfig } of tables) {
      const text = JSON.stringify(fieldConfig?.overrides)
      // biome-ignore lint/suspicious/noTemplateCurlyInString: as Grafana has it.
      const url = '/d/vllm-vitals-host/vllm-vitals-host?var-instance=${__data.fields.instance}&'
      assert.ok(text.includes(`"url":"${url}`), text)
    }
  })

  it('link each alert to its runbook, at the daemon or where the configuration says', async () => {
    const title = 'Reasons: alerts pending and firing'
    const linksOf = (from: readonly Board[]) =>
      ['host', 'fleet'].map((board) => {
        const { fieldConfig } = panel(board, title, from)
        const column = fieldConfig?.overrides.find(({ matcher }) => matcher.options === 'alertname')
        return JSON.stringify(column?.properties)
      })
    for (const links of linksOf(boards)) {
      // biome-ignore lint/suspicious/noTemplateCurlyInString: as Grafana has it.
      const url = 'http://${__data.fields.instance}/runbooks/${__data.fields.alertname}'
      assert.ok(links.includes(`"url":"${url}"`), links)
    }
    for (const links of linksOf(await boardsOf({ 'links.runbooks': 'https://wiki.example/r' }))) {
      // biome-ignore lint/suspicious/noTemplateCurlyInString: as Grafana has it.
      const url = 'https://wiki.example/r/${__data.fields.alertname}.md'
      assert.ok(links.includes(`"url":"${url}"`), links)
    }
  })

  it('link to one another, with the variables and the range of time', () => {
    for (const board of boards) {
      const others = boards.filter(({ uid }) => uid !== board.uid).map(({ uid }) => `/d/${uid}`)
      assert.deepEqual(
        board.links.map(({ url }) => url),
        others,
      )
      assert.ok(board.links.every(({ includeVars }) => includeVars))
    }
  })
})

describe('the provisioning of Grafana', () => {
  it('finds the dashboards, and takes the address of Prometheus from the environment', async () => {
    const files = await makeFiles('grafana', await configOf({}))
    const text = (path: string) => files.find((file) => file.path === path)?.text ?? ''
    const providers = text('provisioning/dashboards/vllm-vitals.yaml')
    assert.ok(providers.includes('path: /var/lib/grafana/dashboards/vllm-vitals'), stringify(files))
    const sources = text('provisioning/datasources/prometheus.yaml')
    assert.ok(sources.includes('url: $PROMETHEUS_URL'))
    assert.ok(!sources.includes('uid'))
  })
})
