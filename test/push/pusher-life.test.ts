import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import { Pusher } from '../../src/push/pusher.ts'
import { closedPort } from '../fakes/local-server.ts'
import { snapshotOf } from '../fakes/snapshots.ts'
import { keepingLog } from '../web/serving.ts'
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

describe('another configuration', () => {
  it('leaves an Alertmanager that stays what it is owed, and tells a new one of all that fires', async () => {
    const down = await closedPort()
    const stays = `http://127.0.0.1:${down}`
    const [goes, comes] = [await startReceiver(), await startReceiver()]
    const desk = new Desk()
    await desk.configure(stays, goes.origin)
    desk.follow(a, b)
    await until(() => desk.count(goes.origin, 'sent') === 2 && desk.clock.isAskedFor(500))
    desk.follow(b)
    await until(() => desk.count(goes.origin, 'sent') === 3)
    await desk.configure(comes.origin, stays, { timeoutMs: 4_000 })
    desk.follow(b)
    await until(() => desk.count(comes.origin, 'sent') === 1)
    assert.deepEqual(targetsOf(comes), [['b']])
    assert.equal(desk.count(goes.origin, 'sent'), undefined)
    const back = await startReceiver(undefined, down)
    await desk.clock.jump(500)
    await until(() => desk.count(stays, 'sent') === 2)
    // The end of `a`, which a new queue would know nothing of, and `b`.
    assert.deepEqual(targetsOf(back)[0]?.toSorted(), ['a', 'b'])
    assert.deepEqual(desk.failures, [])
  })

  it('leaves one that it does not name alone, in the middle of a try or of a wait', async () => {
    const hanging = await startReceiver(() => {})
    const failing = await startReceiver((response) => response.writeHead(500).end())
    await at([hanging, failing], async (desk) => {
      desk.follow(a)
      await until(() => hanging.posts.length === 1 && desk.clock.isAskedFor(500))
      await desk.configure()
      await until(() => hanging.ended() === 1 && desk.clock.sleeping === 0)
      await desk.clock.jump(60_000)
      assert.deepEqual([hanging.posts.length, failing.posts.length], [1, 1])
    })
  })

  it('with another severity ends the alert that was and begins the other', async () => {
    const am = await startReceiver()
    await at([am], async (desk, url = '') => {
      desk.follow(a)
      await until(() => desk.count(url, 'sent') === 1)
      desk.follow({ ...a, severity: 'warning' })
      await until(() => desk.count(url, 'sent') === 3)
      const [, post] = am.posts
      assert.deepEqual(
        post?.alerts.map(({ labels, endsAt }) => [
          labels['severity'],
          Date.parse(endsAt) > desk.clock.nowMs(),
        ]),
        [
          ['critical', false],
          ['warning', true],
        ],
      )
    })
  })

  it('without any Alertmanager pushes nothing and measures nothing', async () => {
    const desk = new Desk()
    await desk.configure()
    desk.follow(a)
    assert.deepEqual(desk.pusher.measured(), [])
    await desk.pusher.stop()
  })
})

describe('the end of the daemon', () => {
  it('hands over what is owed, ends no alert, and waits a second at most for one that hangs', async () => {
    const hanging = await startReceiver(() => {})
    const recovering = await startReceiver((response, count) =>
      response.writeHead(count === 1 ? 500 : 200).end(),
    )
    const failures: unknown[] = []
    const pusher = new Pusher({
      clock: systemClock,
      log: keepingLog([]),
      // The next try would come after half a minute.
      random: () => 30,
      fail: (error) => failures.push(error),
    })
    afterwards(() => pusher.stop())
    await pusher.configure({
      alertmanager: {
        urls: [hanging.origin, recovering.origin],
        instance: 'h:1',
        timeoutMs: 30_000,
        resendMs: 60_000,
        labels: {},
        auth: { kind: 'none' },
      },
      links: { runbooks: '', grafana: '' },
      host: { name: 'h', urls: [] },
    })
    const wallMs = Date.now()
    pusher.follow(snapshotOf({ alerts: [a], wallMs }))
    await until(() => hanging.posts.length === 1 && recovering.posts.length === 1)
    const beganMs = performance.now()
    await pusher.stop()
    const tookMs = performance.now() - beganMs
    assert.ok(tookMs > 900 && tookMs < 1_500, `${tookMs} ms`)
    assert.deepEqual(targetsOf(recovering), [['a'], ['a']])
    assert.deepEqual(firingAt(recovering, Date.now()), [[true], [true]])
    assert.equal(hanging.posts.length, 1)
    // Told of nothing any more.
    pusher.follow(snapshotOf({ alerts: [a, b] }))
    assert.deepEqual(pusher.measured(), [])
    assert.deepEqual(failures, [])
  })

  it('is not kept up by one that is idle', async () => {
    const am = await startReceiver()
    const desk = new Desk()
    await desk.configure(am.origin)
    await desk.pusher.stop()
    assert.equal(am.posts.length, 0)
  })
})
