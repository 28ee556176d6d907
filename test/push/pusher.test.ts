import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, it } from 'node:test'
import { withFile } from '../config/with-file.ts'
import { closedPort, rawServer } from '../fakes/local-server.ts'
import { alertOf } from '../fakes/snapshots.ts'
import {
  a,
  afterwards,
  at,
  b,
  Desk,
  firingAt,
  putAway,
  startReceiver,
  targetsOf,
  until,
} from './receiver.ts'

afterEach(putAway)

describe('an Alertmanager that takes alerts', () => {
  it('is told of an alert once, again after a resend, and of its end once', async () => {
    const am = await startReceiver()
    await at([am], async (desk, url = '') => {
      desk.follow(a)
      await until(() => desk.count(url, 'sent') === 1)
      for (let second = 0; second < 59; second += 1) {
        await desk.clock.jump(1_000)
        desk.follow(a)
      }
      assert.equal(am.posts.length, 1)
      await desk.clock.jump(1_000)
      desk.follow(a)
      await until(() => desk.count(url, 'sent') === 2)
      await desk.clock.jump(1_000)
      desk.follow()
      await until(() => desk.count(url, 'sent') === 3)
      desk.follow()
      assert.deepEqual(targetsOf(am), [['a'], ['a'], ['a']])
      assert.deepEqual(firingAt(am, desk.clock.nowMs()), [[true], [true], [false]])
      assert.deepEqual(desk.said, ['info: alertmanager takes alerts'])
    })
  })

  it('is told of all that begins together in one request, at its own path', async () => {
    const am = await startReceiver()
    const desk = new Desk()
    await desk.configure(`${am.origin}/alertmanager`)
    desk.follow(a, b)
    await until(() => am.posts.length === 1)
    const [post] = am.posts
    assert.equal(post?.url, '/alertmanager/api/v2/alerts')
    assert.equal(post.headers['content-type'], 'application/json')
    assert.deepEqual(
      post.alerts.map(({ labels }) => [labels['target'], labels['instance'], labels['job']]),
      [
        ['a', 'gpu-host-1:19400', 'vllm-vitals'],
        ['b', 'gpu-host-1:19400', 'vllm-vitals'],
      ],
    )
  })

  it('is told of a flood in requests of 64', async () => {
    const am = await startReceiver()
    await at([am], async (desk, url = '') => {
      const many = Array.from({ length: 150 }, (_, index) =>
        alertOf({ subject: { target: `t${index}` } }),
      )
      desk.follow(...many)
      await until(() => desk.count(url, 'sent') === 150)
      // 150 = 64 + 64 + 22.
      assert.deepEqual(
        am.posts.map(({ alerts }) => alerts.length),
        [64, 64, 22],
      )
    })
  })

  it('is told of the end of an alert that becomes held back, as alert_active ends it', async () => {
    const am = await startReceiver()
    await at([am], async (desk, url = '') => {
      desk.follow(a)
      await until(() => desk.count(url, 'sent') === 1)
      desk.follow({ ...a, heldBack: { by: 'VllmDown', subject: { target: 'a' } } })
      await until(() => desk.count(url, 'sent') === 2)
      assert.deepEqual(firingAt(am, desk.clock.nowMs()), [[true], [false]])
    })
  })

  it('gives the time of its last success, and none before', async () => {
    const am = await startReceiver()
    await at([am], async (desk, url = '') => {
      assert.equal(desk.metric('last_success_timestamp_seconds', url), undefined)
      desk.follow(a)
      await until(() => desk.count(url, 'sent') === 1)
      const seconds = desk.clock.nowMs() / 1_000
      assert.equal(desk.metric('last_success_timestamp_seconds', url), seconds)
    })
  })
})

describe('an Alertmanager that is away', () => {
  it('is told once it is back, of each alert once and in its newest state', async () => {
    const port = await closedPort()
    const url = `http://127.0.0.1:${port}`
    const desk = new Desk()
    await desk.configure(url)
    desk.follow(a, b)
    // The dice give half of 1 s, 2 s and 4 s.
    for (const [failed, waitMs] of [
      [2, 500],
      [4, 1_000],
      [6, 2_000],
    ] as const) {
      await until(() => desk.clock.isAskedFor(waitMs))
      assert.equal(desk.count(url, 'failed'), failed)
      assert.equal(desk.metric('queue_length', url), 2)
      if (failed < 6) await desk.clock.jump(waitMs)
    }
    const am = await startReceiver(undefined, port)
    desk.follow({ ...a, summary: 'newer' })
    assert.equal(am.posts.length, 0)
    await desk.clock.jump(2_000)
    await until(() => desk.count(url, 'sent') === 2)
    desk.follow({ ...a, summary: 'newer' })
    assert.deepEqual(
      am.posts.map(({ alerts }) =>
        alerts.map(({ labels, annotations, endsAt }) => [
          labels['target'],
          annotations['summary'],
          Date.parse(endsAt) > desk.clock.nowMs(),
        ]),
      ),
      [
        [
          ['a', 'newer', true],
          ['b', b.summary, false],
        ],
      ],
    )
    assert.equal(desk.metric('queue_length', url), 0)
    assert.deepEqual(desk.said, [
      'warn: alertmanager cannot take alerts',
      'info: alertmanager takes alerts again',
    ])
    assert.deepEqual(desk.lines[1]?.fields, {
      alertmanager: url,
      tries: 3,
      dropped: 0,
      // 500 + 1000 + 2000.
      tookMs: 3_500,
    })
    assert.deepEqual(desk.failures, [])
  })

  it('keeps no other waiting, and neither does the evaluation wait', async () => {
    const hanging = await startReceiver(() => {})
    const well = await startReceiver()
    await at([hanging, well], async (desk, _, url = '') => {
      desk.follow(a)
      await until(() => desk.count(url, 'sent') === 1 && hanging.posts.length === 1)
      desk.follow(a, b)
      await until(() => desk.count(url, 'sent') === 2)
      desk.follow(b)
      await until(() => desk.count(url, 'sent') === 3)
      assert.equal(hanging.posts.length, 1)
    })
  })

  it('is given up after the deadline, whether it never answers or answers drop by drop', async () => {
    const silent = await startReceiver(() => {})
    const dripping = await rawServer((socket) => {
      const timer = setInterval(() => socket.write('H'), 20)
      socket.on('close', () => clearInterval(timer))
    })
    afterwards(dripping.stop)
    const desk = new Desk()
    const urls = [silent.origin, dripping.origin]
    await desk.configure(...urls, { timeoutMs: 150 })
    desk.follow(a)
    for (const url of urls) await until(() => desk.count(url, 'failed') === 1)
    const codes = desk.lines.map(({ fields }) => Object(fields).code)
    assert.ok(codes.includes('timeout'), codes.join())
  })

  it('has taken what it answered with 200, though its body never ends', async () => {
    const am = await startReceiver((response) => response.write('x'))
    await at(
      [am],
      async (desk, url = '') => {
        desk.follow(a)
        await until(() => desk.count(url, 'sent') === 1)
        assert.equal(desk.count(url, 'failed'), 0)
      },
      { timeoutMs: 150 },
    )
  })
})

describe('an Alertmanager that answers with an error', () => {
  const failing = (status: number, headers = {}) =>
    startReceiver((response, count) =>
      response.writeHead(count === 1 ? status : 200, headers).end(),
    )

  for (const [status, headers, waitMs] of [
    [500, {}, 500],
    [503, {}, 500],
    [429, {}, 500],
    // What is asked for, and half a second behind it.
    [429, { 'retry-after': '7' }, 7_500],
  ] as const) {
    it(`is told again after ${waitMs} ms: ${status} ${JSON.stringify(headers)}`, async () => {
      const am = await failing(status, headers)
      await at([am], async (desk, url = '') => {
        desk.follow(a)
        await until(() => desk.clock.isAskedFor(waitMs))
        assert.equal(desk.count(url, 'failed'), 1)
        await desk.clock.jump(waitMs)
        await until(() => desk.count(url, 'sent') === 1)
        assert.equal(am.posts.length, 2)
      })
    })
  }

  for (const status of [400, 401, 404, 413]) {
    it(`is not told again before the resend, and people are: ${status}`, async () => {
      const am = await failing(status)
      await at([am], async (desk, url = '') => {
        desk.follow(a)
        await until(() => desk.count(url, 'dropped') === 1)
        assert.equal(desk.metric('queue_length', url), 0)
        assert.deepEqual(desk.said, ['warn: alertmanager refuses alerts'])
        await desk.clock.jump(59_000)
        desk.follow(a)
        assert.equal(am.posts.length, 1)
        await desk.clock.jump(1_000)
        desk.follow(a)
        await until(() => desk.count(url, 'sent') === 1)
        assert.equal(desk.said[1], 'info: alertmanager takes alerts again')
        assert.equal(Object(desk.lines[1]?.fields).dropped, 1)
      })
    })
  }

  it('is waited for as at first once it has taken something in between', async () => {
    const statuses = [500, 500, 200, 500]
    const am = await startReceiver((response, count) =>
      response.writeHead(statuses[count - 1] ?? 200).end(),
    )
    await at([am], async (desk, url = '') => {
      desk.follow(a)
      for (const waitMs of [500, 1_000]) {
        await until(() => desk.clock.isAskedFor(waitMs))
        await desk.clock.jump(waitMs)
      }
      await until(() => desk.count(url, 'sent') === 1)
      desk.follow(a, b)
      await until(() => desk.clock.isAskedFor(500))
      assert.equal(desk.count(url, 'failed'), 3)
    })
  })

  it('is not followed elsewhere, nor are credentials', async () => {
    const elsewhere = await startReceiver()
    const am = await startReceiver((response) =>
      response.writeHead(307, { location: `${elsewhere.origin}/?token=s3cr3t` }).end(),
    )
    await withFile('s3cr3t', async (tokenFile) => {
      await at(
        [am],
        async (desk, url = '') => {
          desk.follow(a)
          await until(() => desk.count(url, 'dropped') === 1)
          assert.equal(am.posts[0]?.headers['authorization'], 'Bearer s3cr3t')
          assert.equal(elsewhere.accepted(), 0)
          assert.equal(Object(desk.lines[0]?.fields).code, 'redirect')
          assert.doesNotMatch(JSON.stringify(desk.lines), /s3cr3t/)
        },
        { auth: { kind: 'bearer', tokenFile } },
      )
    })
  })

  it('makes one line of log for each change, however long it goes on', async () => {
    const am = await startReceiver((response) => response.writeHead(500).end())
    await at([am], async (desk, url = '') => {
      desk.follow(a)
      for (let tries = 1; tries <= 20; tries += 1) {
        await until(() => desk.count(url, 'failed') === tries && desk.clock.sleeping > 0)
        await desk.clock.jump(60_000)
      }
      assert.deepEqual(desk.said, ['warn: alertmanager cannot take alerts'])
    })
  })
})

describe('credentials', () => {
  it('are read for each try; without them nothing is sent', async () => {
    const am = await startReceiver()
    await withFile('', async (_, folder) => {
      const passwordFile = join(folder, 'password')
      await at(
        [am],
        async (desk, url = '') => {
          desk.follow(a)
          await until(() => desk.clock.isAskedFor(500))
          assert.equal(am.posts.length, 0)
          assert.equal(Object(desk.lines[0]?.fields).code, 'permission')
          await writeFile(passwordFile, 'pw')
          await desk.clock.jump(500)
          await until(() => desk.count(url, 'sent') === 1)
          // `me:pw` in base64.
          assert.equal(am.posts[0]?.headers['authorization'], 'Basic bWU6cHc=')
        },
        { auth: { kind: 'basic', username: 'me', passwordFile } },
      )
    })
  })
})

describe('the limit of alerts', () => {
  it('keeps the rest from being sent, and counts it', async () => {
    const am = await startReceiver()
    const desk = new Desk({ maxAlerts: 1 })
    await desk.configure(am.origin)
    desk.follow(a, b)
    await until(() => desk.count(am.origin, 'sent') === 1)
    desk.follow(a, b)
    assert.deepEqual(targetsOf(am), [['a']])
    assert.equal(desk.count(am.origin, 'dropped'), 1)
  })
})
