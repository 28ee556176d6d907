import { gauge, missed, read } from '../fakes/readings.ts'
import { type Firing, ruleTable } from '../fakes/rules.ts'

const down = (code: 'refused' | 'reset' | 'resolve'): Firing => ({
  fails: `when the connection fails: ${code}`,
  scene: { engine: [missed(0, code, { message: 'nobody there' })] },
  summary: 'vLLM does not answer: nobody there',
  evidence: { code, missed_in_a_row: 1 },
  subject: { target: 'vllm' },
})
const answered = (status: number) => ({ kind: 'answered', status, tookMs: 3 }) as const
const gpus = [read(0, [gauge('gpu_lost', 0)], { target: 'gpu' })]
const idle = [gauge('requests_running', 0)]

ruleTable(
  'VllmDown',
  [
    down('refused'),
    down('reset'),
    down('resolve'),
    {
      fails: 'when scrapes are answered with 5xx',
      scene: {
        engine: [
          missed(0, 'status', { status: 500 }),
          missed(5_000, 'status', { status: 503, message: 'found 503' }),
        ],
      },
      summary: 'vLLM does not answer: found 503',
      evidence: { code: 'status', missed_in_a_row: 2 },
      subject: { target: 'vllm' },
    },
    {
      fails: 'when its health endpoint says 5xx though scrapes succeed',
      scene: { engine: [read(0, idle, { health: answered(503) })] },
      summary: 'vLLM answers /health with 503: its engine is dead',
      evidence: { health_status: 503 },
      subject: { target: 'vllm' },
    },
    {
      fails: 'when its health endpoint says 5xx and scrapes hang',
      scene: { engine: [missed(0, 'timeout', { health: answered(500) })] },
      summary: 'vLLM answers /health with 500: its engine is dead',
      evidence: { health_status: 500 },
      subject: { target: 'vllm' },
    },
  ],
  [
    ['while scrapes succeed', { engine: [read(0, idle, { health: answered(200) })] }, 'pass'],
    [
      'for a health endpoint that is not there',
      { engine: [read(0, idle, { health: answered(404) })] },
      'pass',
    ],
    [
      'for a health endpoint that is late under load',
      { engine: [read(0, idle, { health: { kind: 'unanswered', code: 'timeout', tookMs: 9 } })] },
      'pass',
    ],
    ['when a scrape is late', { engine: [missed(0, 'timeout')] }, 'unknown'],
    ['for a wrong address', { engine: [missed(0, 'status', { status: 404 })] }, 'unknown'],
    ['before the first attempt', { engine: [] }, 'unknown'],
  ],
)

const lateScrape: Firing = {
  fails: 'when a scrape is late',
  scene: { engine: [missed(0, 'timeout', { message: 'found none in 4 s' })] },
  summary: 'cannot read vllm: found none in 4 s',
  evidence: { code: 'timeout', missed_in_a_row: 1 },
  subject: { target: 'vllm' },
}

ruleTable(
  'VllmVitalsBlind',
  [
    lateScrape,
    {
      fails: 'when something else answers at the address',
      scene: { engine: [missed(0, 'not_exposition', { message: 'found HTML' })] },
      summary: 'cannot read vllm: found HTML',
      evidence: { code: 'not_exposition', missed_in_a_row: 1 },
      subject: { target: 'vllm' },
    },
    {
      fails: 'when the address asks for a password',
      scene: { engine: [missed(0, 'status', { status: 401, message: 'found 401' })] },
      summary: 'cannot read vllm: found 401',
      evidence: { code: 'status', missed_in_a_row: 1 },
      subject: { target: 'vllm' },
    },
    {
      fails: 'when nvidia-smi hangs where it worked',
      scene: {
        gpu: [...gpus, missed(10_000, 'timeout', { target: 'gpu', message: 'hangs' })],
      },
      summary: 'cannot read gpu: hangs',
      evidence: { code: 'timeout', missed_in_a_row: 1 },
      subject: { target: 'gpu' },
    },
  ],
  [
    ['while everything can be read', { engine: [read(0, idle)], gpu: gpus }, 'pass', 'pass'],
    ['when vLLM is gone, which VllmDown tells', { engine: [missed(0, 'refused')] }, 'pass'],
    ['when vLLM answers 5xx', { engine: [missed(0, 'status', { status: 503 })] }, 'pass'],
    ['on a host that never had nvidia-smi', { gpu: [missed(0, 'not_found', { target: 'gpu' })] }],
    [
      'when a GPU is lost, which VllmGpuLost tells',
      { gpu: [...gpus, missed(10_000, 'gpu_lost', { target: 'gpu' })] },
      'pass',
    ],
    ['before the first attempt', { engine: [] }, 'unknown'],
  ],
)
