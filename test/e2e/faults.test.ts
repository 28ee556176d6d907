import assert from 'node:assert/strict'
import type { RequestListener } from 'node:http'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { httpServer, type LocalServer } from '../fakes/local-server.ts'
import { startWholeDaemon, type WholeDaemon } from './whole-daemon.ts'

const goodPage =
  '# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name="m"} 1\n'

/** Ways for a server to fail, and the code that each is counted under. */
const faults: readonly (readonly [name: string, code: string, answer: RequestListener])[] = [
  ['an HTML page', 'not_exposition', (_, response) => response.end('<html>502</html>\n')],
  ['JSON', 'not_exposition', (_, response) => response.end('{"detail":"Not Found"}\n')],
  ['nothing', 'not_exposition', (_, response) => response.end()],
  ['a page that is cut off', 'truncated', (_, response) => response.end(goodPage.slice(0, -4))],
  ['a status of 500', 'status', (_, response) => response.writeHead(500).end(goodPage)],
  ['a status of 404', 'status', (_, response) => response.writeHead(404).end(goodPage)],
  [
    'a redirect',
    'redirect',
    (_, response) => response.writeHead(302, { location: 'http://127.0.0.1:9/' }).end(),
  ],
  ['a connection that breaks', 'reset', (request) => request.socket.destroy()],
  ['silence', 'timeout', () => {}],
  ['headers and then silence', 'timeout', (_, response) => response.writeHead(200).flushHeaders()],
  ['a body that drips', 'timeout', (_, response) => drip(() => response.write('#'), response)],
  [
    'a body without end',
    'too_large',
    (_, response) => {
      const chunk = '#'.repeat(65_536)
      const more = () => {
        while (!response.destroyed && response.write(chunk));
      }
      response.on('drain', more)
      more()
    },
  ],
]

function drip(write: () => void, response: { readonly destroyed: boolean }): void {
  const timer = setInterval(() => {
    if (response.destroyed) clearInterval(timer)
    else write()
  }, 20)
}

async function metrics(whole: WholeDaemon): Promise<string> {
  return await (await fetch(`${whole.url}/metrics`)).text()
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const lastMs = performance.now() + 8_000
  while (!(await condition())) {
    assert.ok(performance.now() < lastMs, `expected ${what} within 8 s`)
    await delay(50)
  }
}

describe('a target that fails', { timeout: 90_000 }, () => {
  it('is told with its cause each time, is read again when it mends, and delays no other', async () => {
    let answer: RequestListener = (_, response) => response.end(goodPage)
    const bad: LocalServer = await httpServer((request, response) => {
      if (request.url === '/metrics') answer(request, response)
      else response.writeHead(404).end()
    })
    const good = await httpServer((_, response) => response.end(goodPage))
    const whole = await startWholeDaemon(
      { scenario: 'steady' },
      {
        targets: [
          { name: 'bad', url: bad.origin },
          { name: 'good', url: good.origin },
        ],
        'scrape.max_body': '1MiB',
        'gpu.enabled': false,
      },
    )
    const up = async () => (await metrics(whole)).includes('vllm_vitals_up{target="bad"} 1')
    try {
      for (const [name, code, failing] of faults) {
        await until('the target to be up', up)
        const before = failuresOf(await metrics(whole), code)
        answer = failing
        await until(`${name} to be counted as ${code}`, async () => {
          const page = await metrics(whole)
          return failuresOf(page, code) > before && page.includes('vllm_vitals_up{target="bad"} 0')
        })
        const [other] = whole.daemon.snapshot?.targets.filter(({ name }) => name === 'good') ?? []
        assert.equal(other?.up, true, name)
        answer = (_, response) => response.end(goodPage)
      }
      await until('the target to be up', up)
      const missed = (await metrics(whole)).match(/collect_failures_total\{target="good"/g)
      assert.equal(missed, null)
      // A line when it went down and one when it was up again, for each fault.
      const lines = whole.logged().filter(({ target }) => target === 'bad')
      assert.equal(lines.length, 2 * faults.length + 1, JSON.stringify(lines))
    } finally {
      await whole.stop()
      await bad.stop()
      await good.stop()
    }
  })
})

function failuresOf(page: string, code: string): number {
  const name = `vllm_vitals_collect_failures_total{target="bad",code="${code}"}`
  const line = page.split('\n').find((one) => one.startsWith(name))
  return line === undefined ? 0 : Number(line.slice(name.length))
}
