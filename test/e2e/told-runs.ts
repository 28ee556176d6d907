import type { AlertName, Severity } from '../../src/rules/settings.ts'
import { ending, forever, leaking, overload, steadyBut } from './told-scenarios.ts'
import type { Watching } from './told-sights.ts'

/** An alert that is to fire in a run, by the catalogue. */
export interface Expected {
  readonly alert: AlertName
  readonly severity: Severity
  /** How long it is pending at least. */
  readonly forSeconds: number
  /** When its condition can hold first. */
  readonly begins: number
  readonly summary: RegExp
  readonly evidence: readonly string[]
  /** When it is over at last; absent for what does not end. */
  readonly ends?: number
}

export interface Run extends Watching {
  readonly claim: string
  readonly expected: readonly Expected[]
  /** Others that are right as well. */
  readonly also?: readonly AlertName[]
  /** The first finding while all of them fire. */
  readonly pain: string
  /** Whether the server serves all the time, so that traffic may go on. */
  readonly serves?: boolean
}

const gpus = { 'gpu.enabled': true }

const outage: Run = {
  claim: 'a server that is gone for a minute',
  scenario: steadyBut({
    kind: 'outage',
    fromMs: 30_000,
    untilMs: 98_000,
    dyingForMs: 0,
    loadMs: 0,
  }),
  from: -30,
  to: 120,
  pain: 'P4',
  expected: [
    {
      alert: 'VllmDown',
      severity: 'critical',
      forSeconds: 30,
      begins: 30,
      summary: /^vLLM does not answer: .*connection refused/,
      evidence: ['code', 'missed_in_a_row'],
      ends: 100,
    },
  ],
}

const stall: Run = {
  claim: 'an engine that hangs for two minutes',
  scenario: { ...ending('stall', 145), traffic: ending('stall-recovers', 145).traffic },
  from: -60,
  to: 160,
  pain: 'P1',
  expected: [
    {
      alert: 'VllmEngineStalled',
      severity: 'critical',
      forSeconds: 45,
      // It is pending after 10 s without progress.
      begins: 35,
      summary: /^no progress for \d+ s with \d+ running and \d+ waiting requests/,
      evidence: ['seconds_without_progress', 'requests_running', 'requests_waiting'],
      ends: 150,
    },
  ],
}

const slow: Run = {
  claim: 'more requests than can be served, for ten minutes',
  scenario: overload(640),
  from: -60,
  to: 1010,
  settings: {
    ...gpus,
    'probe.enabled': true,
    'thresholds.ttft_p99': '5s',
    // No engine of the simulator is as fast as that.
    'thresholds.generation_tokens_per_second_min': 100_000,
  },
  pain: 'P10',
  serves: true,
  also: ['VllmKvCachePressure'],
  expected: [
    {
      alert: 'VllmLatencyP99High',
      severity: 'critical',
      forSeconds: 120,
      begins: 15,
      summary:
        /^[\d.]+ % of \d+ requests took longer than 10 s(, \d+ of them still inside,)? in the/,
      evidence: ['over_ratio', 'observations', 'threshold_seconds'],
      // The queue is empty within two minutes after the end, the window of 5 m after that.
      ends: 1010,
    },
    {
      alert: 'VllmTtftP99High',
      severity: 'warning',
      forSeconds: 120,
      begins: 15,
      summary: /^[\d.]+ % of \d+ requests waited longer for their first token than 5 s/,
      evidence: ['over_ratio', 'observations', 'threshold_seconds'],
      ends: 1010,
    },
    {
      alert: 'VllmQueueWaitHigh',
      severity: 'warning',
      forSeconds: 60,
      begins: 15,
      summary:
        /^[\d.]+ % of \d+ requests waited longer than 5 s(, .*)? in the last 5 m \(allowed 5 %\)/,
      evidence: ['over_ratio', 'observations', 'threshold_seconds'],
      ends: 1010,
    },
    {
      alert: 'VllmThroughputLow',
      severity: 'warning',
      forSeconds: 300,
      begins: -60,
      summary: /^[\d.]+ tokens\/s while \d+ requests are pending \(floor 100000\)/,
      evidence: ['generation_tokens_per_second', 'requests_pending'],
      // As soon as nothing is pending at the moment of a scrape.
      ends: 1010,
    },
    {
      alert: 'VllmGpuUtilizationHigh',
      severity: 'warning',
      forSeconds: 600,
      begins: 15,
      summary: /^GPU 0 is 9\d % busy while \d+ requests wait/,
      evidence: ['gpu_utilization_ratio', 'requests_waiting'],
      ends: 760,
    },
  ],
}

const errors: Run = {
  claim: 'requests that fail, for three minutes',
  scenario: steadyBut({
    kind: 'other-clients',
    fromMs: 0,
    untilMs: 200_000,
    clients: { serverErrorRatio: 0.02, engineErrorRatio: 0.035 },
  }),
  from: -30,
  to: 480,
  pain: 'none',
  expected: [
    {
      alert: 'VllmErrorRatioHigh',
      severity: 'critical',
      forSeconds: 120,
      begins: 0,
      summary: /^[\d.]+ % of \d+ requests failed in the last 5 m \(allowed 1 %\)/,
      evidence: ['error_ratio', 'failed', 'failed_at_most', 'requests'],
      // Nothing of it is left in the window then.
      ends: 500,
    },
  ],
}

const preemptions: Run = {
  claim: 'answers that the KV cache cannot hold',
  scenario: ending('preemption-storm', 240),
  from: -60,
  to: 400,
  pain: 'P9',
  also: ['VllmLatencyP99High', 'VllmQueueWaitHigh'],
  expected: [
    {
      alert: 'VllmKvCachePressure',
      severity: 'warning',
      forSeconds: 120,
      begins: 25,
      summary: /^\d+ running requests were evicted in the last 1 m, .* up to (9\d|100) % full/,
      evidence: ['kv_cache_usage_ratio', 'preemptions', 'preemptions_per_second'],
      ends: 400,
    },
  ],
}

const crowded = ending('foreign-process', 380)

const card: Run = {
  claim: 'a card that is hot and shared with another program',
  scenario: {
    ...crowded,
    incidents: [...crowded.incidents, ...ending('throttling', 380).incidents],
  },
  from: -60,
  to: 390,
  settings: gpus,
  pain: 'P17',
  // Everything takes longer on it.
  also: ['VllmLatencyP99High'],
  expected: [
    {
      alert: 'VllmGpuMemoryHigh',
      severity: 'warning',
      forSeconds: 300,
      begins: 25,
      summary: /^GPU 0 has .* GiB in use \(98 %\), vLLM planned 92 %; not of vLLM: train \(pid/,
      evidence: ['gpu_memory_used_ratio', 'planned_ratio', 'foreign_bytes'],
      ends: 380,
    },
    {
      alert: 'VllmGpuThrottled',
      severity: 'warning',
      forSeconds: 300,
      begins: 25,
      summary:
        /^GPU 0 is slowed down: hw_slowdown, hw_thermal_slowdown, \d+ °C, SM clock at 900 MHz/,
      evidence: ['reasons', 'gpu_temperature_celsius', 'gpu_sm_clock_hertz'],
      ends: 380,
    },
  ],
}

const leak: Run = {
  claim: 'memory of an engine that grows for an hour',
  scenario: leaking({ mib: 1_600, from: 0, until: 3_600 }),
  from: -120,
  // It keeps firing for a quarter of an hour after it was certain last.
  to: 6_000,
  every: 60,
  settings: { ...gpus, windows: ['5m'] },
  pain: 'P15',
  expected: [
    {
      alert: 'VllmGpuMemoryLeak',
      severity: 'warning',
      forSeconds: 900,
      // What is younger than 40 minutes, of which 10 count as warm-up, is no trend.
      begins: 2_280,
      summary: /^VLLM::EngineCore \(pid 4242\) on GPU 0 grows by 1[56]\d\d MiB an hour .* full in/,
      evidence: ['pid', 'process', 'growth_bytes_per_second', 'grown_bytes', 'seconds_to_full'],
      ends: 6_000,
    },
  ],
}

const lost: Run = {
  claim: 'a spare GPU that falls off the bus',
  scenario: ending('gpu-lost', forever),
  from: -30,
  to: 90,
  settings: gpus,
  pain: 'P16',
  expected: [
    {
      alert: 'VllmGpuLost',
      severity: 'critical',
      forSeconds: 30,
      begins: 20,
      summary: /^GPU 1 .*is lost$/,
      evidence: ['gpu_lost', 'recovery_action'],
    },
  ],
}

const driverless: Run = {
  claim: 'a driver that does not answer any more',
  scenario: steadyBut(),
  from: -30,
  to: 240,
  settings: gpus,
  failing: {
    from: 30,
    to: 200,
    as: {
      stdout:
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running.\n",
      exitCode: 9,
    },
  },
  pain: 'none',
  expected: [
    {
      alert: 'VllmNoGpu',
      severity: 'critical',
      forSeconds: 60,
      begins: 30,
      summary: /^no GPU can be seen: .*couldn't communicate with the NVIDIA driver/,
      evidence: ['code', 'missed_in_a_row'],
      ends: 200,
    },
  ],
}

const blind: Run = {
  claim: 'a page that answers 500 beside a healthy server',
  scenario: ending('metrics-500', 160),
  from: -30,
  to: 170,
  pain: 'P22',
  expected: [
    {
      alert: 'VllmVitalsBlind',
      severity: 'warning',
      forSeconds: 120,
      begins: 25,
      summary: /^cannot read a: expected 200 from .*\/metrics, found 500/,
      evidence: ['code', 'missed_in_a_row'],
      ends: 160,
    },
  ],
}

const crash: Run = {
  claim: 'an nvidia-smi that crashes',
  scenario: steadyBut(),
  from: -30,
  to: 210,
  settings: gpus,
  failing: { from: 30, to: 200, as: { stdout: 'Segmentation fault\n', exitCode: 139 } },
  pain: 'none',
  serves: true,
  expected: [
    {
      alert: 'VllmVitalsBlind',
      severity: 'warning',
      forSeconds: 120,
      begins: 30,
      summary: /^cannot read gpu: .*139.*Segmentation fault/,
      evidence: ['code', 'missed_in_a_row'],
      ends: 200,
    },
  ],
}

/** A run for each alert of the catalogue, at its own duration. */
export const runs: readonly Run[] = [
  outage,
  stall,
  slow,
  errors,
  preemptions,
  card,
  leak,
  lost,
  driverless,
  blind,
  crash,
]
