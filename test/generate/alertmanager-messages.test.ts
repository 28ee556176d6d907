import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type Alertmanager,
  alertmanagerProgram,
  type PostedAlert,
  startAlertmanager,
} from '../fakes/alertmanager.ts'
import { type Receivers, type SlackAttachment, startReceivers } from '../fakes/receivers.ts'
import { folders } from './checked-in.ts'

const waits = { group_wait: '500ms', group_interval: '500ms' }
/** Long enough for a message that would come to have come, once another of the same moment has. */
const settleMs = 1_500

const minutes = 60_000

interface Scene {
  readonly severity?: 'critical' | 'warning'
  readonly annotations?: Readonly<Record<string, string>>
  readonly labels?: Readonly<Record<string, string>>
  /** Since when; now, unless it is told. What began before the wait of a group is sent without any. */
  readonly sinceMs?: number
}

const longAgoMs = Date.UTC(2026, 10, 24, 9, 58, 10)

/** An alert of `host` as the generated rules of Prometheus ring it. */
function alert(alertname: string, host: string, scene: Scene = {}): PostedAlert {
  const { severity = 'critical', annotations, labels, sinceMs } = scene
  const instance = `${host}:19400`
  return {
    labels: { alertname, severity, job: 'vllm-vitals', instance, ...labels },
    annotations: {
      summary: `${alertname} on ${host}: 2.9% of 412 requests`,
      description: `What ${alertname} means.`,
      runbook_url: `http://${instance}/runbooks/${alertname}`,
      ...annotations,
    },
    startsAt: new Date(sinceMs ?? Date.now()).toISOString(),
    endsAt: new Date(Date.now() + 10 * minutes).toISOString(),
  }
}

const ofTarget = { target: 'vllm' }
const ofModel = { target: 'vllm', model_name: 'llama' }

describe('the messages of Alertmanager', {
  skip: alertmanagerProgram === undefined ? 'needs Alertmanager' : false,
  concurrency: true,
}, () => {
  let receivers: Receivers
  let alertmanager: Alertmanager

  before(async () => {
    receivers = await startReceivers()
    const folder = folders.alertmanager
    const config = readFileSync(join(folder, 'alertmanager.yaml'), 'utf8')
    const templates = join(folder, 'templates')
    alertmanager = await startAlertmanager({ config, templates, receivers, waits })
  })

  after(async () => {
    await alertmanager.stop()
    await receivers.stop()
    assert.deepEqual(receivers.refused, [])
    assert.doesNotMatch(alertmanager.log(), /level=(warn|error)/)
  })

  /** What Slack was told of `word`, a host or a model. */
  const slackOf = (word: string): readonly SlackAttachment[] =>
    receivers.slack.flatMap(({ attachments }) =>
      attachments.filter(({ title }) => title.includes(word)),
    )
  const pagesOf = (word: string) =>
    receivers.pagerduty.filter(({ payload }) => payload?.summary.includes(word))

  /** Posts `alerts`, and returns the message about `word` that Slack gets. */
  const told = async (word: string, ...alerts: readonly PostedAlert[]) => {
    const already = slackOf(word).length
    await alertmanager.post(alerts)
    await receivers.arrived(() => slackOf(word).length > already)
    return slackOf(word).at(-1) as SlackAttachment
  }

  it('tell Slack what is wrong, where, since when and with which numbers', async () => {
    const message = await told(
      'plain',
      alert('VllmLatencyP99High', 'plain', { labels: ofModel, sinceMs: longAgoMs }),
    )
    assert.equal(message.title, '[CRITICAL] VllmLatencyP99High: llama (vllm) on plain:19400')
    assert.equal(message.color, 'danger')
    const silence =
      'http://alertmanager.example:9093/#/silences/new?filter=%7Balertname%3D~%22VllmLatencyP99High%22' +
      '%2Cinstance%3D%22plain%3A19400%22%2Cjob%3D%22vllm-vitals%22%2Cmodel_name%3D%22llama%22%2Ctarget%3D%22vllm%22%7D'
    assert.deepEqual(message.text.split('\n'), [
      'Status: firing, host `plain:19400`, target `vllm`, model `llama`',
      '*VllmLatencyP99High* critical, since 2026-11-24 09:58:10 UTC',
      'VllmLatencyP99High on plain: 2.9% of 412 requests',
      '_What VllmLatencyP99High means._',
      '<http://plain:19400/runbooks/VllmLatencyP99High|Runbook>',
      `<${silence}|Silence>`,
    ])
    assert.match(message.fallback, /^\[CRITICAL\] VllmLatencyP99High: .*2\.9% of 412 requests$/)
  })

  it('tell PagerDuty the same, and close the incident once all is well', async () => {
    const firing = alert('VllmDown', 'paged', { labels: ofTarget, sinceMs: longAgoMs })
    await told('paged', firing)
    await receivers.arrived(() => pagesOf('paged').length === 1)
    const [page] = pagesOf('paged')
    assert.equal(page?.event_action, 'trigger')
    assert.equal(page?.payload?.severity, 'critical')
    assert.equal(page?.payload?.source, 'paged:19400')
    // The sentence does not name the daemon, as one that is pushed does not, and so the headline does.
    const headline = 'VllmDown: VllmDown on paged: 2.9% of 412 requests, vllm on paged:19400'
    assert.equal(page?.payload?.summary, headline)
    assert.deepEqual(page?.payload?.custom_details?.['firing']?.split('\n'), [
      'VllmDown (critical) vllm on paged:19400, since 2026-11-24 09:58:10 UTC',
      'VllmDown on paged: 2.9% of 412 requests',
      'What VllmDown means.',
      'Runbook: http://paged:19400/runbooks/VllmDown',
    ])
    // No Grafana is known, so that there is no link to a dashboard.
    assert.deepEqual(
      page?.links?.map(({ text }) => text),
      ['Runbook', 'Silence'],
    )
    assert.equal(page?.links?.[0]?.href, 'http://paged:19400/runbooks/VllmDown')

    await alertmanager.post([{ ...firing, endsAt: new Date().toISOString() }])
    await receivers.arrived(() => pagesOf('paged').length === 2)
    const resolved = pagesOf('paged')[1]
    assert.deepEqual([resolved?.event_action, resolved?.dedup_key], ['resolve', page?.dedup_key])
  })

  it('lead to no runbook that has no address, and are taken all the same', async () => {
    const runbook = (runbook_url: string) => ({ runbook_url, summary: 'down at odd:19400' })
    const path = { annotations: runbook('docs/runbooks/X.md'), labels: ofTarget }
    const slack = await told('odd:19400', alert('VllmDown', 'odd', path))
    assert.match(slack.text, /^Runbook: docs\/runbooks\/X\.md$/m)
    await receivers.arrived(() => pagesOf('odd:19400').length === 1)
    const none = { annotations: runbook(''), labels: { target: 'other' } }
    const bare = await told('other', alert('VllmDown', 'odd', none))
    assert.doesNotMatch(bare.text, /Runbook/)
    await receivers.arrived(() => pagesOf('odd:19400').length === 2)
    for (const { links, payload } of pagesOf('odd:19400')) {
      assert.deepEqual(
        links?.map(({ text }) => text),
        ['Silence'],
      )
      assert.equal(payload?.summary, 'VllmDown: down at odd:19400')
    }
  })

  it('are one page where a whole fleet cannot be scraped', async () => {
    const hosts = ['cut-1', 'cut-2', 'cut-3', 'cut-4']
    const job = { labels: { job: 'vllm-vitals-cut' } }
    await told('vllm-vitals-cut', ...hosts.map((host) => alert('VllmVitalsDown', host, job)))
    const pages = () =>
      receivers.pagerduty.filter(({ payload }) => JSON.stringify(payload).includes('cut-'))
    await receivers.arrived(() => pages().length > 0)
    await sleep(settleMs)
    assert.equal(new Set(pages().map(({ dedup_key }) => dedup_key)).size, 1)
    const told4 = pages().at(-1)?.payload?.custom_details?.['firing'] ?? ''
    for (const host of hosts) assert.ok(told4.includes(host), host)
    assert.equal(slackOf('vllm-vitals-cut').length, 1)
  })

  it('lead to the dashboard where there is one', async () => {
    const dashboard_url =
      'http://grafana:3000/d/vllm-vitals-host/vllm-vitals-host?var-instance=seen%3A19400'
    const annotations = { dashboard_url }
    const message = await told('seen', alert('VllmDown', 'seen', { labels: ofTarget, annotations }))
    assert.ok(message.text.includes(`\n<${dashboard_url}|Dashboard> | <`))
    await receivers.arrived(() => pagesOf('seen').length === 1)
    const links = pagesOf('seen')[0]?.links
    assert.equal(links?.find(({ text }) => text === 'Dashboard')?.href, dashboard_url)
  })

  it('say when it is over and how long it lasted', async () => {
    const firing = alert('VllmQueueWaitHigh', 'over', {
      severity: 'warning',
      labels: ofModel,
      sinceMs: longAgoMs,
    })
    const warning = await told('over', firing)
    assert.deepEqual([warning.color, warning.title.slice(0, 9)], ['warning', '[WARNING]'])
    // 12 min 30 s after 09:58:10.
    const endedMs = longAgoMs + 12.5 * minutes
    const ended = { ...firing, endsAt: new Date(endedMs).toISOString() }
    const message = await told('over', ended)
    assert.equal(message.title, '[RESOLVED] VllmQueueWaitHigh: llama (vllm) on over:19400')
    assert.equal(message.color, 'good')
    assert.deepEqual(message.text.split('\n').slice(0, 3), [
      'Status: resolved, host `over:19400`, target `vllm`, model `llama`',
      '*VllmQueueWaitHigh* resolved after 12m30s, at 2026-11-24 10:10:40 UTC',
      'Last: VllmQueueWaitHigh on over: 2.9% of 412 requests',
    ])
    assert.deepEqual(pagesOf('over'), [])
  })

  it('are one for a host and model, and one for each of two hosts', async () => {
    await alertmanager.post([
      alert('VllmLatencyP99High', 'twin-a', { labels: ofModel }),
      alert('VllmQueueWaitHigh', 'twin-a', { severity: 'warning', labels: ofModel }),
      alert('VllmLatencyP99High', 'twin-b', { labels: ofModel }),
    ])
    await receivers.arrived(() => slackOf('twin-').length >= 2)
    await sleep(settleMs)
    assert.deepEqual(
      slackOf('twin-')
        .map(({ title }) => title)
        .sort(),
      [
        '[CRITICAL] VllmLatencyP99High, VllmQueueWaitHigh: llama (vllm) on twin-a:19400',
        '[CRITICAL] VllmLatencyP99High: llama (vllm) on twin-b:19400',
      ],
    )
    assert.equal(new Set(pagesOf('twin-').map(({ dedup_key: key }) => key)).size, 2)
  })

  it('are one for a hang: its consequences on the same host are not sent, those elsewhere are', async () => {
    const consequences = ['VllmLatencyP99High', 'VllmQueueWaitHigh', 'VllmKvCachePressure']
    await alertmanager.post([
      ...consequences.map((name) => alert(name, 'hung', { labels: ofModel })),
      alert('VllmGpuUtilizationHigh', 'hung', { severity: 'warning', labels: { uuid: 'GPU-1' } }),
      alert('VllmEngineStalled', 'hung', { labels: ofTarget }),
      alert('VllmLatencyP99High', 'busy', { labels: ofModel }),
    ])
    await receivers.arrived(() => slackOf('hung').length > 0 && slackOf('busy').length > 0)
    await sleep(settleMs)
    assert.deepEqual(
      slackOf('hung').map(({ title }) => title),
      ['[CRITICAL] VllmEngineStalled: vllm on hung:19400'],
    )
    assert.equal(pagesOf('hung').length, 1)
    const shown = (await alertmanager.alerts()).filter(
      ({ labels }) => labels['instance'] === 'hung:19400',
    )
    assert.deepEqual(
      shown
        .filter(({ status }) => status.state === 'active')
        .map(({ labels }) => labels['alertname']),
      ['VllmEngineStalled'],
    )
  })

  it('are one for a lost GPU, which names no target', async () => {
    await alertmanager.post([
      alert('VllmDown', 'lost', { labels: ofTarget }),
      alert('VllmErrorRatioHigh', 'lost', { labels: ofTarget }),
      alert('VllmGpuLost', 'lost', { labels: { uuid: 'GPU-1' } }),
    ])
    await receivers.arrived(() => slackOf('lost').length > 0)
    await sleep(settleMs)
    assert.deepEqual(
      slackOf('lost').map(({ title }) => title),
      ['[CRITICAL] VllmGpuLost: lost:19400'],
    )
  })

  it('are not held back by a cause that lacks the label by which it is compared', async () => {
    const nowhere = alert('VllmDown', 'nowhere', { labels: { instance: '', target: 'lone' } })
    const slow = alert('VllmLatencyP99High', 'nowhere', {
      labels: { instance: '', target: 'lone', model_name: 'lone' },
    })
    await alertmanager.post([nowhere, slow])
    await receivers.arrived(() => slackOf('VllmLatencyP99High: lone (lone)').length === 1)
  })

  it('page once for a server that is slow and then hangs, and close that page', async () => {
    const slow = alert('VllmLatencyP99High', 'worse', { labels: ofModel })
    await told('worse', slow)
    await receivers.arrived(() => pagesOf('worse').length === 1)
    // The daemon holds back the latency as soon as it knows the cause, so that the one ends as the other begins.
    const hung = alert('VllmEngineStalled', 'worse', { labels: ofTarget })
    await alertmanager.post([hung, { ...slow, endsAt: new Date().toISOString() }])
    await receivers.arrived(() => pagesOf('VllmEngineStalled on worse').length > 0)
    await alertmanager.post([{ ...hung, endsAt: new Date().toISOString() }])
    const all = () => pagesOf('worse')
    await receivers.arrived(() => all().at(-1)?.event_action === 'resolve')
    assert.equal(new Set(all().map(({ dedup_key: key }) => key)).size, 1)
  })

  const burn = (severity: 'critical' | 'warning', model_name: string, long_window = '1h') => {
    const { labels, ...rest } = alert('VllmLatencyBudgetBurn', 'fleet', {
      severity,
      annotations: { summary: `the budget of ${model_name} burns` },
    })
    const { instance: _, ...others } = labels
    return { ...rest, labels: { ...others, model_name, long_window } }
  }

  it('let the page of a budget silence its ticket, of the same model alone', async () => {
    await alertmanager.post([
      burn('critical', 'burning'),
      burn('warning', 'burning', '3d'),
      burn('warning', 'glowing', '3d'),
    ])
    await receivers.arrived(() => slackOf('burning').length > 0 && slackOf('glowing').length > 0)
    await sleep(settleMs)
    const [page, ...more] = slackOf('burning')
    assert.equal(page?.title, '[CRITICAL] VllmLatencyBudgetBurn: burning')
    assert.deepEqual(more, [])
    assert.equal(page?.text.match(/VllmLatencyBudgetBurn\*/g)?.length, 1)
    assert.equal(slackOf('glowing')[0]?.title, '[WARNING] VllmLatencyBudgetBurn: glowing')
  })

  it('page for the budget of each model, whichever host is down', async () => {
    await alertmanager.post([
      alert('VllmDown', 'fleet', { labels: { target: 'red' } }),
      burn('critical', 'red'),
      burn('critical', 'blue'),
    ])
    await receivers.arrived(
      () => pagesOf('budget of red').length > 0 && pagesOf('budget of blue').length > 0,
    )
    const pages = [...pagesOf('budget of red'), ...pagesOf('budget of blue')]
    assert.equal(new Set(pages.map(({ dedup_key: key }) => key)).size, 2)
    assert.equal(pages[0]?.payload?.source, 'vllm-vitals')
  })

  it('tell what is left when a part is over, that part last', async () => {
    const slow = alert('VllmLatencyP99High', 'partly', { labels: ofModel })
    const queue = alert('VllmKvCachePressure', 'partly', { severity: 'warning', labels: ofModel })
    const both = await told('partly', slow, queue)
    // The gravest of them, wherever it stands in the list.
    assert.equal(
      both.title,
      '[CRITICAL] VllmKvCachePressure, VllmLatencyP99High: llama (vllm) on partly:19400',
    )
    assert.equal(both.color, 'danger')
    const message = await told('partly', { ...slow, endsAt: new Date().toISOString() })
    assert.equal(message.title, '[WARNING] VllmKvCachePressure: llama (vllm) on partly:19400')
    assert.equal(message.color, 'warning')
    const [firing, ended] = message.text.split('\n').filter((line) => line.startsWith('*'))
    assert.match(firing ?? '', /^\*VllmKvCachePressure\* warning, since /)
    assert.match(ended ?? '', /^\*VllmLatencyP99High\* resolved after /)
  })

  it('show ten of many alerts, in 3000 characters, and say how many there are', async () => {
    const names = Array.from({ length: 14 }, (_, i) => `VllmAlertWithQuiteALongName${i}`)
    const annotations = {
      summary: 'x'.repeat(2_000),
      description: 'y'.repeat(2_000),
      dashboard_url: `http://grafana:3000/d/vllm-vitals-host/vllm-vitals-host?var-instance=crowd%3A19400`,
    }
    const message = await told(
      'crowd',
      ...names.map((name) => alert(name, 'crowd', { labels: ofModel, annotations })),
    )
    assert.equal(message.text.match(/\|Runbook>/g)?.length, 10)
    assert.match(message.text, /\n10 of 14 alerts are shown: </)
    assert.ok(message.text.length <= 3_000, `${message.text.length} characters`)
    await receivers.arrived(() => pagesOf('VllmAlertWithQuite').length > 0)
    const [page] = pagesOf('VllmAlertWithQuite')
    assert.ok((page?.payload?.summary.length ?? 0) <= 1_024)
    const details = page?.payload?.custom_details?.['firing'] ?? ''
    assert.equal(details.match(/^Runbook: /gm)?.length, 10)
    assert.match(details, /\n\n10 of 14 alerts are shown\.$/)
  })

  it('escape what Slack takes for its own signs', async () => {
    const annotations = { summary: 'a < b & c > d' }
    const message = await told(
      'signs',
      alert('VllmDown', 'signs', { labels: ofTarget, annotations }),
    )
    assert.ok(message.text.includes('\na &lt; b &amp; c &gt; d\n'))
  })
})
