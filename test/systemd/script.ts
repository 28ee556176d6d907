import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { httpServer } from '../fakes/local-server.ts'
import { startProgram } from '../fakes/program.ts'
import { repositoryRoot } from '../repository.ts'

export const script = join(repositoryRoot, 'systemd', 'vllm-restart.sh')

/** A host on which the script runs: its daemon, systemctl, nvidia-smi and clock are fakes. */
export interface ScriptHost {
  /** What the daemon's `/metrics` says; each run of the function is one scrape. `undefined`: no daemon. */
  page: (() => string) | undefined
  /** What systemctl and the drain commands were told, in order. */
  readonly told: () => Promise<readonly string[]>
  readonly run: (
    word: string,
    env?: Readonly<Record<string, string>>,
  ) => Promise<{ readonly code: number | null; readonly out: string; readonly errors: string }>
  readonly folder: string
  readonly stop: () => Promise<void>
}

export async function scriptHost(): Promise<ScriptHost> {
  const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-restart-'))
  const toldFile = join(folder, 'told')
  await writeFile(toldFile, '')
  await mkdir(join(folder, 'bin'))
  const program = async (name: string, lines: string) => {
    const path = join(folder, 'bin', name)
    await writeFile(path, `#!/bin/sh\n${lines}\n`)
    await chmod(path, 0o755)
  }
  await program('systemctl', `echo "$*" >> ${toldFile}\nexit "\${SYSTEMCTL_STATUS:-0}"`)
  await program('tell', `echo "$*" >> ${toldFile}`)
  await program('date', 'if [ "$1" = +%H ]; then echo "$HOUR"; else exec /bin/date "$@"; fi')
  await program(
    'nvidia-smi',
    `cat ${folder}/gpu-pids 2>/dev/null\nif [ -e ${folder}/gpu-once ]; then : > ${folder}/gpu-pids; fi\nexit "\${SMI_STATUS:-0}"`,
  )
  let page: (() => string) | undefined
  const daemon = await httpServer((request, response) => {
    if (page === undefined) return void request.socket.destroy()
    if (request.url === '/metrics') return void response.end(page())
    response.writeHead(503)
    response.end('unhealthy\nvllm VllmEngineStalled critical no progress\n')
  })
  return {
    get page() {
      return page
    },
    set page(now) {
      page = now
    },
    folder,
    told: async () => (await readFile(toldFile, 'utf8')).split('\n').filter((line) => line !== ''),
    run: async (word, env = {}) => {
      const program = startProgram('sh', [script, word], {
        PATH: `${join(folder, 'bin')}:${process.env['PATH']}`,
        VITALS_URL: daemon.origin,
        HUNG_SECONDS: '1',
        POLL_SECONDS: '0.2',
        GONE_SECONDS: '20',
        HOUR: '12',
        PROC_ROOT: join(folder, 'proc'),
        ...env,
      })
      const { code } = await program.ended
      return { code, out: program.stdout(), errors: program.stderr() }
    },
    stop: async () => {
      await daemon.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

const states = ['serving', 'idle', 'loading', 'sleeping', 'stalled', 'down', 'unknown']

/** The lines of a page that say in which state the target is; another target serves. */
export function statePage(state: string, target = 'vllm'): string {
  const lines = states.flatMap((one) => [
    `vllm_vitals_engine_state{target="other",state="${one}"} ${one === 'serving' ? 1 : 0}`,
    `vllm_vitals_engine_state{target="${target}",state="${one}"} ${one === state ? 1 : 0}`,
  ])
  return `# TYPE vllm_vitals_engine_state gauge\n${lines.join('\n')}\n`
}

/** The lines that say how many requests are inside. */
export function insidePage(running: number, waiting: number): string {
  return `vllm_vitals_requests_running{target="vllm",model_name="m"} ${running}
vllm_vitals_requests_waiting{target="vllm",model_name="m"} ${waiting}
vllm_vitals_requests_running{target="other",model_name="m"} 7
vllm_vitals_requests_waiting_max{target="vllm",model_name="m",window="1m"} 50
`
}

/** The lines that say that the memory of a process on a card grows, and when the card is full. */
export function growthPage(
  seconds: number | string,
  process: string | undefined,
  gpu = '0',
): string {
  const labels = process === undefined ? '' : `,pid="4711",process="${process}"`
  return `vllm_vitals_gpu_memory_growth_bytes_per_second{gpu="${gpu}",uuid="GPU-${gpu}"${labels}} 100000
vllm_vitals_gpu_memory_seconds_to_full{gpu="${gpu}",uuid="GPU-${gpu}"} ${seconds}
`
}
