import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startProgram } from './program.ts'

/** One series of an instant query's answer. */
export interface Sample {
  readonly metric: Readonly<Record<string, string>>
  readonly value: number
}

/** A real Prometheus on a port of the system's choice. */
export interface Prometheus {
  readonly url: string
  /** Answers an instant query; now unless `atSeconds` says otherwise. */
  readonly query: (expression: string, atSeconds?: number) => Promise<readonly Sample[]>
  /** Answers any other question of its API: the `data` of it. */
  readonly ask: (path: string) => Promise<unknown>
  readonly stop: () => Promise<void>
}

interface Answer {
  readonly error?: string
  readonly data?: {
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>
      readonly value: readonly [number, string]
    }[]
  }
}

/** Starts Prometheus with `config`; `data` is a folder of stored blocks, or else an empty one is made. */
export async function startPrometheus(config: string, data?: string): Promise<Prometheus> {
  const folder = await mkdtemp(join(tmpdir(), 'vllm-vitals-prometheus-'))
  const file = join(folder, 'prometheus.yml')
  await writeFile(file, config)
  const program = startProgram('prometheus', [
    `--config.file=${file}`,
    `--storage.tsdb.path=${data ?? join(folder, 'data')}`,
    '--storage.tsdb.retention.time=100y',
    '--web.listen-address=127.0.0.1:0',
  ])
  const stop = async () => {
    await program.stop()
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const [, address] = await program.said(/msg="Listening on".* address=(\S+)/, 20_000)
    await program.said(/Server is ready to receive web requests/, 20_000)
    const url = `http://${address}`
    const ask = async (path: string): Promise<unknown> => {
      const response = await fetch(`${url}${path}`, { signal: AbortSignal.timeout(10_000) })
      return await response.json()
    }
    return {
      url,
      ask,
      stop,
      query: async (expression, atSeconds) => {
        const time = atSeconds === undefined ? '' : `&time=${atSeconds}`
        const path = `/api/v1/query?query=${encodeURIComponent(expression)}${time}`
        const { data: found, error } = (await ask(path)) as Answer
        if (found === undefined)
          throw new Error(`expected an answer to ${expression}, found ${error}`)
        return found.result.map(({ metric, value }) => ({
          metric,
          value: Number(value[1].replace('Inf', 'Infinity')),
        }))
      },
    }
  } catch (error) {
    await stop()
    throw error
  }
}
