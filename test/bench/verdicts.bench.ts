/**
 * Plays every scenario of the simulator with many seeds through the real parsers and the real core, in told
 * time, and prints how right the verdicts were.
 *
 *     npm run bench:verdicts                      the unseen half of 20 seeds, each with and without the probe
 *     npm run bench:verdicts -- --seeds=1-10      the half that was tuned on
 *     npm run bench:verdicts -- --only=stall,leak --seeds=11-13 --details
 */
import { availableParallelism } from 'node:os'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { findScenario, scenarioNames, vary } from '../../src/demo/scenarios.ts'
import { type Outcome, outcomeOf } from '../verdicts/outcome.ts'
import { report } from '../verdicts/report.ts'

interface Job {
  readonly scenario: string
  readonly seed: number
  readonly probe: boolean
}

async function run({ scenario, seed, probe }: Job): Promise<Outcome> {
  return outcomeOf(vary(findScenario(scenario), seed), { seed, probe })
}

/** Hands the jobs to as many threads as there are processors, one job at a time. */
async function runAll(jobs: readonly Job[]): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = []
  const queue = [...jobs]
  const work = () =>
    new Promise<void>((resolve, reject) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: 'work' })
      const next = () => {
        const job = queue.shift()
        if (job === undefined) worker.terminate().then(() => resolve(), reject)
        else worker.postMessage(job)
      }
      worker.on('error', reject)
      worker.on('message', (outcome: Outcome) => {
        outcomes.push(outcome)
        next()
      })
      next()
    })
  await Promise.all(Array.from({ length: Math.min(4, availableParallelism()) }, work))
  return outcomes
}

function option(name: string): string | undefined {
  const prefix = `--${name}=`
  return process.argv.find((word) => word.startsWith(prefix))?.slice(prefix.length)
}

async function main(): Promise<void> {
  const [first = 11, last = 20] = (option('seeds') ?? '11-20').split('-').map(Number)
  const only = option('only')?.split(',') ?? scenarioNames
  const jobs: Job[] = []
  for (const scenario of only) {
    const { stall } = findScenario(scenario).label
    for (let seed = first; seed <= last; seed += 1) {
      jobs.push({ scenario, seed, probe: false })
      // What the probe changes shows where nothing else decides, and that it is not sent where all is well.
      if (stall !== undefined || findScenario(scenario).label.pain === 'none') {
        jobs.push({ scenario, seed, probe: true })
      }
    }
  }
  const startMs = performance.now()
  const outcomes = await runAll(jobs)
  const details = process.argv.includes('--details')
  process.stdout.write(report(outcomes, { details, seeds: `${first} to ${last}` }))
  const seconds = ((performance.now() - startMs) / 1_000).toFixed(0)
  process.stdout.write(`\n${jobs.length} runs in ${seconds} s\n`)
}

if (isMainThread) await main()
else if (workerData === 'work') {
  parentPort?.on('message', async (job: Job) => parentPort?.postMessage(await run(job)))
}
