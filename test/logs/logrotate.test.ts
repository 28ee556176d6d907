import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { gunzipSync, gzipSync } from 'node:zlib'
import { startProgram } from '../fakes/program.ts'
import { findProgram, repositoryRoot } from '../repository.ts'

const skip = findProgram('logrotate') === undefined ? 'needs logrotate' : false

interface Place {
  /** Stands for `/`. */
  readonly root: string
  readonly rotate: (...words: string[]) => string
  /** Names and texts of the files of one folder below `/var/log`, unpacked. */
  readonly files: (folder: string) => Promise<Readonly<Record<string, string>>>
}

/** The shipped file, with every path in a folder of the test's own. */
async function inPlace(body: (place: Place) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'vllm-vitals-logrotate-'))
  try {
    for (const name of ['vllm-requests', 'vllm', 'vllm-vitals']) {
      await mkdir(join(root, 'var', 'log', name), { recursive: true })
    }
    await mkdir(join(root, 'run'))
    const text = await readFile(join(repositoryRoot, 'config', 'logrotate', 'vllm'), 'utf8')
    const file = join(root, 'vllm.conf')
    await writeFile(
      file,
      text.replaceAll('/var/log/', `${root}/var/log/`).replaceAll('/run/', `${root}/run/`),
    )
    await chmod(file, 0o644)
    const rotate = (...words: string[]) => {
      const all = [...words, '--state', join(root, 'state'), file]
      const { status, stdout, stderr } = spawnSync('logrotate', all, { encoding: 'utf8' })
      assert.equal(status, 0, stdout + stderr)
      return stdout + stderr
    }
    const files = async (folder: string) => {
      const found: Record<string, string> = {}
      const path = join(root, 'var', 'log', folder)
      for (const name of (await readdir(path)).sort()) {
        const bytes = await readFile(join(path, name))
        found[name] = (name.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString()
      }
      return found
    }
    await body({ root, rotate, files })
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

/** A program that writes one number a line, some each second, and opens its log anew at USR1 if it is told to. */
async function numbers(path: string, reopens: boolean, pidFile: string) {
  const anew = reopens ? `trap 'exec >> ${path}' USR1;` : ''
  const program = startProgram('sh', [
    '-c',
    `echo $$ > ${pidFile}; exec >> ${path}; ${anew} n=0; while :; do n=$((n + 1)); echo $n; sleep 0.02; done`,
  ])
  const enough = async () => (await readFile(path, 'utf8').catch(() => '')).split('\n').length > 5
  while (!(await enough())) await new Promise((resolve) => setTimeout(resolve, 20))
  return program
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 300))
const numbersIn = (text: string | undefined) => (text ?? '').split('\n').filter(Boolean).map(Number)

describe('config/logrotate/vllm', () => {
  it('has no word that logrotate does not know', { skip }, () =>
    inPlace(async ({ rotate }) => {
      assert.doesNotMatch(rotate('--debug'), /error|unknown|bad/i)
    }),
  )

  it('loses no line of a program that opens its log anew', { skip }, () =>
    inPlace(async ({ root, rotate, files }) => {
      const log = join(root, 'var', 'log', 'vllm-requests', 'nginx.log')
      const program = await numbers(log, true, join(root, 'run', 'nginx.pid'))
      try {
        rotate('--force')
        await pause()
      } finally {
        await program.stop()
      }
      const { 'nginx.log': now, ...old } = await files('vllm-requests')
      const [rotated = '', ...more] = Object.keys(old)
      assert.deepEqual(more, [])
      assert.match(rotated, /^nginx\.log-\d{8}-\d+$/)
      const all = [...numbersIn(old[rotated]), ...numbersIn(now)]
      assert.ok(numbersIn(now).length > 3)
      assert.deepEqual(
        all,
        all.map((_, at) => at + 1),
      )
    }),
  )

  it(
    'empties the log of a program that never opens it anew, and keeps a packed copy',
    { skip },
    () =>
      inPlace(async ({ root, rotate, files }) => {
        const log = join(root, 'var', 'log', 'vllm', 'vllm.log')
        const program = await numbers(log, false, join(root, 'pid'))
        try {
          rotate('--force')
          await pause()
        } finally {
          await program.stop()
        }
        const { 'vllm.log': now, ...old } = await files('vllm')
        const [packed = ''] = Object.keys(old)
        assert.match(packed, /^vllm\.log-\d{8}-\d+\.gz$/)
        const [first, ...rest] = numbersIn(now)
        assert.ok(rest.length > 3)
        assert.equal(numbersIn(old[packed])[0], 1)
        // At most what was written while it was copied is lost; there is no hole of zeros in front.
        assert.ok((first ?? 0) - (numbersIn(old[packed]).at(-1) ?? 0) < 50)
      }),
  )

  it('keeps fourteen rotated logs of requests, and seven of vLLM', { skip }, () =>
    inPlace(async ({ root, rotate, files }) => {
      for (let at = 0; at < 16; at += 1) {
        for (const [folder, name] of [
          ['vllm-requests', 'nginx'],
          ['vllm', 'vllm'],
        ] as const) {
          const path = join(root, 'var', 'log', folder)
          await writeFile(join(path, `${name}.log`), `${at}\n`)
          const old = `${name}.log-20260101-${1_700_000_000 + at}.gz`
          await writeFile(join(path, old), gzipSync(`${at}\n`))
        }
      }
      rotate('--force')
      const rotated = async (folder: string) =>
        Object.keys(await files(folder)).filter((name) => name.includes('.log-')).length
      assert.deepEqual([await rotated('vllm-requests'), await rotated('vllm')], [14, 7])
    }),
  )
})
