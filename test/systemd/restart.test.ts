import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, beforeEach, describe, it } from 'node:test'
import { findProgram } from '../repository.ts'
import { growthPage, insidePage, type ScriptHost, scriptHost, statePage } from './script.ts'

const missing = ['sh', 'curl', 'awk'].find((program) => findProgram(program) === undefined)
const skip = missing === undefined ? false : `needs ${missing}`
const restarted = ['start vllm-restart.service']

/** Gives each test a host of its own. */
function eachOnItsHost(): () => ScriptHost {
  let host: ScriptHost | undefined
  beforeEach(async () => {
    await host?.stop()
    host = await scriptHost()
  })
  after(async () => await host?.stop())
  return () => {
    if (host === undefined) throw new Error('expected a host')
    return host
  }
}

describe('vllm-restart.sh when-hung', { skip }, () => {
  const host = eachOnItsHost()

  it('restarts an engine that hangs for the whole time, and keeps what the daemon said', async () => {
    host().page = () => statePage('stalled')
    const { code, out } = await host().run('when-hung', { EVIDENCE_COMMAND: 'echo stacks' })
    assert.equal(code, 0)
    assert.match(out, /hung for 1 s .*\nunhealthy\nvllm VllmEngineStalled .*\nstacks/)
    assert.deepEqual(await host().told(), restarted)
  })

  for (const state of ['serving', 'idle', 'loading', 'sleeping', 'down', 'unknown']) {
    it(`does nothing to a target that is ${state}, be it degraded or suspected`, async () => {
      host().page = () =>
        `${statePage(state)}vllm_vitals_health_status{target="vllm",status="degraded"} 1
vllm_vitals_alert_active{alertname="VllmEngineStalled",target="vllm",state="pending"} 1\n`
      assert.deepEqual(await host().run('when-hung'), { code: 0, out: '', errors: '' })
      assert.deepEqual(await host().told(), [])
    })
  }

  it('does nothing to an engine that goes on while it looks', async () => {
    let looks = 0
    host().page = () => statePage(++looks > 2 ? 'serving' : 'stalled')
    const { code, out } = await host().run('when-hung')
    assert.equal(code, 0)
    assert.match(out, /is serving again/)
    assert.deepEqual(await host().told(), [])
  })

  it('does nothing and says why where the daemon does not answer, at once or later', async () => {
    const { code, errors } = await host().run('when-hung')
    assert.equal(code, 1)
    assert.match(errors, /does not answer/)
    let looks = 0
    host().page = () => {
      if (++looks === 2) host().page = undefined
      return statePage('stalled')
    }
    assert.equal((await host().run('when-hung')).code, 1)
    assert.deepEqual(await host().told(), [])
  })

  it('does nothing and says why where the daemon has no such target', async () => {
    host().page = () => statePage('stalled', 'vllm-2')
    const { code, errors } = await host().run('when-hung')
    assert.equal(code, 1)
    assert.match(errors, /no target vllm/)
    assert.deepEqual(await host().told(), [])
  })

  it('fails where systemd refuses one restart more', async () => {
    host().page = () => statePage('stalled')
    const { code, errors } = await host().run('when-hung', { SYSTEMCTL_STATUS: '1' })
    assert.equal(code, 1)
    assert.match(errors, /a person has to look/)
  })
})

describe('vllm-restart.sh when-leaking', { skip }, () => {
  const host = eachOnItsHost()
  const hours = (count: number) => count * 3600

  interface Row {
    readonly what: string
    readonly page: string
    readonly env?: Readonly<Record<string, string>>
    readonly restarts: boolean
  }
  const day = { HOUR: '12' }
  const night = { HOUR: '03' }
  const rows: readonly Row[] = [
    { what: 'is full in 50 min', page: growthPage(3000, 'vllm'), env: day, restarts: true },
    {
      what: 'is full in 20 h, by day',
      page: growthPage(hours(20), 'vllm'),
      env: day,
      restarts: false,
    },
    {
      what: 'is full in 20 h, by night',
      page: growthPage(hours(20), 'vllm'),
      env: night,
      restarts: true,
    },
    {
      what: 'is full in 27 h, by night',
      page: growthPage(hours(27), 'vllm'),
      env: night,
      restarts: false,
    },
    { what: 'does not grow', page: '', env: night, restarts: false },
    {
      what: 'is full who knows when',
      page: growthPage('NaN', 'vllm'),
      env: night,
      restarts: false,
    },
    { what: 'grows by a stranger', page: growthPage(3000, 'blender'), restarts: false },
    {
      what: 'grows by VLLM::Worker_TP0',
      page: growthPage(3000, 'VLLM::Worker_TP0'),
      restarts: true,
    },
    { what: 'grows by nobody knows whom', page: growthPage(3000, undefined), restarts: true },
    { what: 'is written as 3e+03', page: growthPage('3e+03', 'python3.12'), restarts: true },
    {
      what: 'is the card of others',
      page: growthPage(3000, 'vllm', '1'),
      env: { VLLM_GPUS: '0 2' },
      restarts: false,
    },
    {
      what: 'is the second of two that grow',
      page: growthPage(hours(90), 'vllm') + growthPage(3000, 'vllm', '1'),
      env: { VLLM_GPUS: '0 1' },
      restarts: true,
    },
    {
      what: 'is full in the last quiet hour, over midnight',
      page: growthPage(hours(20), 'vllm'),
      env: { HOUR: '04', QUIET_FROM: '22', QUIET_TO: '5' },
      restarts: true,
    },
    {
      what: 'is full in the morning after the quiet hours, over midnight',
      page: growthPage(hours(20), 'vllm'),
      env: { HOUR: '08', QUIET_FROM: '22', QUIET_TO: '5' },
      restarts: false,
    },
  ]
  for (const { what, page, env, restarts } of rows) {
    it(`${restarts ? 'restarts' : 'does nothing'} where the card ${what}`, async () => {
      host().page = () => statePage('serving') + page
      const { code, errors } = await host().run('when-leaking', env)
      assert.deepEqual([code, errors], [0, ''])
      assert.deepEqual(await host().told(), restarts ? restarted : [])
    })
  }

  for (const state of ['loading', 'stalled', 'down', 'unknown']) {
    it(`does nothing to a target that is ${state}`, async () => {
      host().page = () => statePage(state) + growthPage(3000, 'vllm')
      assert.equal((await host().run('when-leaking')).code, 0)
      assert.deepEqual(await host().told(), [])
    })
  }

  it('does nothing and says why where the daemon does not answer', async () => {
    const { code, errors } = await host().run('when-leaking')
    assert.equal(code, 1)
    assert.match(errors, /does not answer/)
    assert.deepEqual(await host().told(), [])
  })
})

describe('vllm-restart.sh restart', { skip }, () => {
  const host = eachOnItsHost()
  const env = { DRAIN_COMMAND: 'tell drain', UNDRAIN_COMMAND: 'tell undrain' }

  it('sends the traffic away, waits for requests, restarts, and takes it back when it serves', async () => {
    let looks = 0
    // Served, 2 and then 1 and then none inside; gone after the restart; loaded; idle.
    const pages = [
      statePage('serving'),
      insidePage(1, 1),
      insidePage(1, 0),
      insidePage(0, 0),
      statePage('serving'),
      statePage('down'),
      statePage('loading'),
      statePage('idle'),
    ]
    host().page = () => pages[Math.min(looks++, pages.length - 1)] ?? ''
    const { code, out } = await host().run('restart', env)
    assert.equal(code, 0, out)
    assert.match(out, /all requests have finished\nvllm serves again/)
    assert.deepEqual(await host().told(), ['drain', 'restart vllm.service', 'undrain'])
    assert.equal(looks, pages.length)
  })

  it('takes requests that nobody tells of for there, and waits no longer than it may', async () => {
    host().page = () => statePage('serving')
    const { code, out } = await host().run('restart', {
      ...env,
      DRAIN_SECONDS: '1',
      GONE_SECONDS: '0',
    })
    assert.equal(code, 0)
    assert.match(out, /after 1 s an unknown number of requests are inside/)
    assert.deepEqual(await host().told(), ['drain', 'restart vllm.service', 'undrain'])
  })

  it('kills what hangs, and waits for none of its requests', async () => {
    const pages = [statePage('stalled'), statePage('down')]
    host().page = () => pages.shift() ?? statePage('idle')
    assert.equal((await host().run('restart', env)).code, 0)
    assert.deepEqual(await host().told(), [
      'kill --signal=KILL vllm.service',
      'restart vllm.service',
      'undrain',
    ])
  })

  it('fails where it does not serve in time, and leaves the traffic to the health checks', async () => {
    host().page = () => statePage('loading')
    const { code, errors } = await host().run('restart', {
      ...env,
      SERVING_SECONDS: '1',
      DRAIN_SECONDS: '0',
    })
    assert.equal(code, 1)
    assert.match(errors, /does not serve 1 s after/)
    assert.deepEqual(await host().told(), ['drain', 'restart vllm.service', 'undrain'])
  })
})

describe('vllm-restart.sh wait-gpu-free', { skip }, () => {
  const host = eachOnItsHost()
  const onGpu = async (pid: string, cgroup: string) => {
    const folder = join(host().folder, 'proc', pid)
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, 'cgroup'), `0::/system.slice/${cgroup}\n`)
    await writeFile(join(host().folder, 'gpu-pids'), `${pid}\n`)
  }

  it('waits for a process of the unit to leave', async () => {
    await onGpu('111', 'vllm.service')
    await writeFile(join(host().folder, 'gpu-once'), '')
    const beganMs = Date.now()
    assert.equal((await host().run('wait-gpu-free')).code, 0)
    assert.ok(Date.now() - beganMs >= 1000)
  })

  it('does not wait for the processes of others', async () => {
    await onGpu('222', 'vllm-2.service')
    const beganMs = Date.now()
    assert.equal((await host().run('wait-gpu-free')).code, 0)
    assert.ok(Date.now() - beganMs < 1000)
  })

  it('says so where nvidia-smi fails', async () => {
    const { code, errors } = await host().run('wait-gpu-free', { SMI_STATUS: '9' })
    assert.equal(code, 1)
    assert.match(errors, /nobody knows/)
  })
})

describe('vllm-restart.sh', { skip }, () => {
  const host = eachOnItsHost()

  it('refuses a word that it does not know', async () => {
    const { code, errors } = await host().run('now')
    assert.equal(code, 1)
    assert.match(errors, /expected when-hung.*found now/)
  })
})
