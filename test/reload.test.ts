import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import { loadConfig } from '../src/config/load.ts'
import { ConfigError } from '../src/errors.ts'
import { createLogger } from '../src/log.ts'
import { Reloader } from '../src/reload.ts'

const { log } = createLogger({ level: 'error', format: 'json' }, (bytes, done) =>
  done(null, bytes.length),
)
const loaded = await loadConfig({})

let calls: string[] = []
let read: () => Promise<typeof loaded>
let finishApply: () => void = () => {}

beforeEach(() => {
  calls = []
  read = async () => loaded
})

function reloader(started = Promise.resolve()): Reloader {
  return new Reloader({
    log,
    notifier: { reloading: () => calls.push('reloading'), ready: () => calls.push('ready') },
    read: () => {
      calls.push('read')
      return read()
    },
    started: started.then(() => ({
      apply: async () => {
        calls.push('apply')
        await new Promise<void>((resolve) => {
          finishApply = resolve
        })
        return []
      },
      reloadFailed: () => calls.push('failed'),
    })),
  })
}

/** Lets every promise that can settle do so. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
}

describe('a reload', () => {
  it('tells the service manager, reads, applies and tells again', async () => {
    const done = reloader().reload()
    await settle()
    finishApply()
    await done
    assert.deepEqual(calls, ['reloading', 'read', 'apply', 'ready'])
  })

  it('waits for the daemon to be up', async () => {
    let up = () => {}
    const done = reloader(
      new Promise((resolve) => {
        up = resolve
      }),
    ).reload()
    await settle()
    assert.deepEqual(calls, [])
    up()
    await settle()
    finishApply()
    await done
    assert.equal(calls.length, 4)
  })

  it('is one more, however many are asked for while one is under way', async () => {
    const reloads = reloader()
    const first = reloads.reload()
    await settle()
    const others = Array.from({ length: 1_000 }, () => reloads.reload())
    finishApply()
    await first
    await settle()
    finishApply()
    await Promise.all(others)
    assert.deepEqual(
      calls.filter((call) => call === 'read'),
      ['read', 'read'],
    )
  })

  it('with a mistake applies nothing, says so, and rejects with every mistake', async () => {
    read = async () => {
      throw new ConfigError(['a: expected b, found c'])
    }
    await assert.rejects(reloader().reload(), { issues: ['a: expected b, found c'] })
    assert.deepEqual(calls, ['reloading', 'read', 'failed', 'ready'])
  })

  it('goes on after one that failed', async () => {
    const reloads = reloader()
    read = async () => {
      throw new ConfigError(['no'])
    }
    await assert.rejects(reloads.reload())
    read = async () => loaded
    const done = reloads.reload()
    await settle()
    finishApply()
    await done
    assert.equal(calls.at(-2), 'apply')
  })

  it('passes on what is no mistake in the configuration', async () => {
    read = async () => {
      throw new TypeError('a mistake in the program')
    }
    await assert.rejects(reloader().reload(), TypeError)
    assert.deepEqual(calls, ['reloading', 'read', 'ready'])
  })
})
