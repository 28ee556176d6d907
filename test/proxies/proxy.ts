import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { closedPort } from '../fakes/local-server.ts'
import { type Program, startProgram } from '../fakes/program.ts'
import { repositoryRoot } from '../repository.ts'
import type { FakeHost } from './backends.ts'
import { ask, eventually } from './client.ts'

/** The numbers of the shipped files, made small enough for a test. */
export interface Numbers {
  /** Requests in one vLLM at once. */
  readonly inFlight: number
  /** Requests of one client in ten seconds. */
  readonly clientRequests: number
  readonly silenceMs: number
  /** Of those that wait for each server; HAProxy alone has a queue. */
  readonly queueLimit: number
  readonly queueMs: number
}

export const roomy: Numbers = {
  inFlight: 100,
  clientRequests: 1000,
  silenceMs: 20_000,
  queueLimit: 100,
  queueMs: 5_000,
}

/** A proxy that runs the shipped file in front of two hosts. */
export interface RunningProxy {
  readonly port: number
  /** Where its files of this run lie. */
  readonly folder: string
  /** All that it has written to stdout and stderr. */
  readonly said: () => string
  /** Its log of requests so far, a line each. */
  readonly logged: () => Promise<readonly string[]>
  readonly stop: () => Promise<void>
}

export interface Options {
  readonly hosts: readonly [FakeHost, FakeHost]
  readonly numbers?: Partial<Numbers>
  /** Where HAProxy finds the other cluster. */
  readonly elsewherePort?: number
}

export const haproxyFile = join(repositoryRoot, 'config', 'haproxy', 'haproxy.cfg')
export const nginxFile = join(repositoryRoot, 'config', 'nginx', 'vllm.conf')

/** Starts HAProxy with the shipped file as it is: all that differs are the variables that it reads. */
export async function startHaproxy(options: Options): Promise<RunningProxy> {
  const { inFlight, clientRequests, silenceMs, queueLimit, queueMs } = {
    ...roomy,
    ...options.numbers,
  }
  const [first, second] = options.hosts
  const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-haproxy-'))
  const port = await closedPort()
  const env = {
    ...process.env,
    LISTEN: `127.0.0.1:${port}`,
    RUN_AS_USER: userInfo().username,
    RUN_AS_GROUP: groupName(),
    ADMIN_SOCKET: join(folder, 'admin.sock'),
    METRICS_LISTEN: `unix@${join(folder, 'metrics.sock')}`,
    GPU1: '127.0.0.1',
    GPU2: '127.0.0.1',
    GPU1_PORT: String(first.vllm.port),
    GPU2_PORT: String(second.vllm.port),
    GPU1_VITALS_PORT: String(first.vitals.port),
    GPU2_VITALS_PORT: String(second.vitals.port),
    ELSEWHERE: '127.0.0.1',
    ELSEWHERE_PORT: String(options.elsewherePort ?? (await closedPort())),
    CHECK_INTERVAL: '100ms',
    IN_FLIGHT: String(inFlight),
    QUEUE_LIMIT: String(queueLimit),
    QUEUE_TIMEOUT: `${queueMs}ms`,
    CLIENT_REQUESTS_IN_10S: String(clientRequests),
    SILENCE: `${silenceMs}ms`,
    SLOW_START: '1ms',
  }
  const program = startProgram('haproxy', ['-db', '-f', haproxyFile], env)
  const proxy = await started(program, port, folder, async () => linesOf(program.stdout()))
  // After its own start HAProxy takes a server out for one bad answer; after some good ones, for three.
  const checked = () => options.hosts.every((host) => host.asked() >= 3)
  await eventually(checked, 'HAProxy to know its servers').catch(async (error) => {
    await proxy.stop()
    throw error
  })
  return proxy
}

/** Starts nginx with the shipped file, in which addresses, paths and numbers are replaced. */
export async function startNginx(options: Options): Promise<RunningProxy> {
  const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-nginx-'))
  const port = await closedPort()
  const file = await writeNginx(folder, port, options)
  const program = startProgram('nginx', ['-p', folder, '-c', file, '-e', 'stderr'])
  const log = () => readFile(join(folder, 'vllm.log'), 'utf8')
  return started(program, port, folder, async () => linesOf(await log()))
}

/** Writes what nginx reads: a frame of its own around the shipped file. Returns the path of the frame. */
export async function writeNginx(folder: string, port: number, options: Options): Promise<string> {
  const numbers = { ...roomy, ...options.numbers }
  const [first, second] = options.hosts
  let text = await readFile(nginxFile, 'utf8')
  const replace = (from: string, to: string) => {
    if (!text.includes(from)) throw new Error(`expected ${from} in ${nginxFile}, found none`)
    text = text.replaceAll(from, to)
  }
  replace('listen 8080', `listen 127.0.0.1:${port}`)
  replace('18001', String(await closedPort()))
  replace('18002', String(await closedPort()))
  replace('10.0.0.11:8000', `127.0.0.1:${first.vllm.port}`)
  replace('10.0.0.12:8000', `127.0.0.1:${second.vllm.port}`)
  replace('10.0.0.11:19400', `127.0.0.1:${first.vitals.port}`)
  replace('10.0.0.12:19400', `127.0.0.1:${second.vitals.port}`)
  replace('/var/cache/nginx/vitals', join(folder, 'vitals'))
  replace('/var/log/vllm-requests/nginx.log', join(folder, 'vllm.log'))
  replace('max_conns=41', `max_conns=${numbers.inFlight}`)
  replace('rate=9r/s', 'rate=1r/m')
  replace('burst=18', `burst=${numbers.clientRequests - 1}`)
  replace('vllm_client_now 41', 'vllm_client_now 1000')
  replace('proxy_read_timeout 120s', `proxy_read_timeout ${numbers.silenceMs}ms`)
  replace('proxy_read_timeout 125s', `proxy_read_timeout ${numbers.silenceMs + 500}ms`)
  replace('200 502 503 504 2s', '200 502 503 504 1s')
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${join(folder, kind)};`,
  )
  const file = join(folder, 'nginx.conf')
  await mkdir(join(folder, 'logs'))
  await writeFile(join(folder, 'vllm.conf'), text)
  await writeFile(
    file,
    `daemon off;
master_process off;
pid ${join(folder, 'nginx.pid')};
error_log stderr warn;
events { worker_connections 256; }
http { ${paths.join(' ')} include ${join(folder, 'vllm.conf')}; }
`,
  )
  return file
}

/** The name of the group that the tests run as. */
function groupName(): string {
  return spawnSync('id', ['-gn'], { encoding: 'utf8' }).stdout.trim()
}

function linesOf(text: string): readonly string[] {
  return text.split('\n').filter((line) => line.startsWith('{'))
}

async function started(
  program: Program,
  port: number,
  folder: string,
  logged: () => Promise<readonly string[]>,
): Promise<RunningProxy> {
  const stop = async () => {
    await program.stop()
    await rm(folder, { recursive: true, force: true })
  }
  const listens = async () => {
    if (program.child.exitCode !== null) throw new Error(program.stdout() + program.stderr())
    const there = await ask(port, {}, { path: '/ping' }).answer.catch(() => undefined)
    return there?.status === 404
  }
  try {
    await eventually(listens, 'the proxy to listen')
    return { port, folder, said: () => program.stdout() + program.stderr(), logged, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
