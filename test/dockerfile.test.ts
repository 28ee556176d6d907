import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { repositoryRoot } from './repository.ts'

interface Instruction {
  readonly word: string
  readonly rest: string
}

const instructions = readInstructions(readFileSync(join(repositoryRoot, 'Dockerfile'), 'utf8'))
const all = (word: string) => instructions.filter((one) => one.word === word).map((one) => one.rest)

function readInstructions(text: string): readonly Instruction[] {
  const lines = text.split('\n').filter((line) => !line.trimStart().startsWith('#'))
  const joined = lines.join('\n').replaceAll('\\\n', ' ').split('\n')
  return joined
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [word = '', ...rest] = line.trim().split(/\s+/)
      return { word: word.toUpperCase(), rest: rest.join(' ') }
    })
}

/** The words of an instruction in exec form, that is as a JSON array; anything else would need a shell. */
function execForm(rest: string): readonly string[] {
  const parsed: unknown = JSON.parse(rest)
  assert.ok(Array.isArray(parsed))
  return parsed.map(String)
}

describe('the Dockerfile', () => {
  it('builds in one stage and runs in a second, from images named without a host', () => {
    assert.deepEqual(all('FROM'), ['$NODE_IMAGE AS build', '$RUNTIME_IMAGE'])
    const images = all('ARG').flatMap((rest) => /_IMAGE=(.*)$/.exec(rest)?.[1] ?? [])
    assert.deepEqual(images, ['node:24-bookworm-slim', 'debian:bookworm-slim'])
  })

  it('needs no shell: every command is in exec form', () => {
    const health = all('HEALTHCHECK')[0]?.replace(/^.*?CMD /, '') ?? ''
    const commands = [...all('RUN'), ...all('ENTRYPOINT'), ...all('CMD'), health].map(execForm)
    assert.equal(commands.length, 7)
    for (const words of commands) assert.doesNotMatch(words[0] ?? '', /(^|\/)(ba)?sh$/)
  })

  it('installs without scripts and ships without development dependencies', () => {
    const installs = all('RUN')
      .map(execForm)
      .filter((words) => words[0] === 'npm')
    assert.ok(installs.every((words) => words[1] === 'ci' && words.includes('--ignore-scripts')))
    assert.ok(installs.at(-1)?.includes('--omit=dev'))
  })

  it('writes the revision that it is built from where the program reads it', () => {
    const folder = mkdtempSync(join(tmpdir(), 'vllm-vitals-dockerfile-'))
    try {
      const file = join(folder, 'package.json')
      writeFileSync(file, JSON.stringify({ version: '0.1.0' }))
      const [, ...words] =
        all('RUN')
          .map(execForm)
          .find(([word]) => word === 'node') ?? []
      const env = { ...process.env, REVISION: 'abc' }
      execFileSync(process.execPath, words, { cwd: folder, env })
      const written: unknown = JSON.parse(readFileSync(file, 'utf8'))
      assert.deepEqual(written, { version: '0.1.0', revision: 'abc' })
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('runs as a user with a number that is not 0', () => {
    assert.deepEqual(all('USER'), ['65532:65532'])
  })

  it('asks the NVIDIA runtime for nvidia-smi on every GPU', () => {
    assert.match(
      all('ENV').join(' '),
      /NVIDIA_VISIBLE_DEVICES=all +NVIDIA_DRIVER_CAPABILITIES=utility/,
    )
  })

  it('exposes the default port and stops by SIGTERM', () => {
    assert.deepEqual(all('EXPOSE'), ['19400'])
    assert.deepEqual(all('STOPSIGNAL'), ['SIGTERM'])
  })

  it('copies only what is there and what .dockerignore lets through', () => {
    const ignore = readFileSync(join(repositoryRoot, '.dockerignore'), 'utf8').split('\n')
    assert.ok(ignore.includes('*'))
    const copies = all('COPY').filter((rest) => !rest.startsWith('--from='))
    const sources = copies.flatMap((rest) => rest.split(' ').slice(0, -1))
    assert.ok(sources.length >= 5)
    for (const source of sources) {
      assert.ok(existsSync(join(repositoryRoot, source)), `expected ${source}, found none`)
      assert.ok(ignore.includes(`!${source}`), `expected !${source} in .dockerignore, found none`)
    }
  })

  it('starts the program that package.json names', () => {
    const manifest: unknown = JSON.parse(readFileSync(join(repositoryRoot, 'package.json'), 'utf8'))
    const entry = execForm(all('ENTRYPOINT')[0] ?? '')[1] ?? ''
    const compiled = entry.replace('/opt/vllm-vitals/', '')
    assert.match(JSON.stringify(manifest), new RegExp(`"bin":\\{"vllm-vitals":"${compiled}"\\}`))
  })
})

describe('the health check of the image', () => {
  const [, ...words] = execForm(all('HEALTHCHECK')[0]?.replace(/^.*?CMD /, '') ?? '[]')

  async function check(listen: string): Promise<unknown> {
    const env = { ...process.env, VLLM_VITALS_WEB_LISTEN: listen }
    const [status] = await once(spawn(process.execPath, words, { env, stdio: 'ignore' }), 'exit')
    return status
  }

  async function serving(status: number): Promise<{ server: Server; port: number }> {
    const server = createServer((request, response) => {
      response.writeHead(request.url === '/livez' ? status : 404).end()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    return { server, port }
  }

  it('passes while /livez answers 200 on the port of VLLM_VITALS_WEB_LISTEN', async () => {
    const { server, port } = await serving(200)
    try {
      assert.equal(await check(`0.0.0.0:${port}`), 0)
      assert.equal(await check(`[::]:${port}, 127.0.0.1:1`), 0)
    } finally {
      server.close()
    }
  })

  it('fails with 1 on any other status and when nothing listens', async () => {
    const { server, port } = await serving(503)
    assert.equal(await check(`0.0.0.0:${port}`), 1)
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
    assert.equal(await check(`0.0.0.0:${port}`), 1)
  })
})
