import { grownUpSeconds, scrapes, still } from '../fakes/engine-pages.ts'
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
const loading = { summary: 'the model is being loaded', evidence: {} }
const grownUp = { startSeconds: grownUpSeconds }
/** Five run and have made tokens at 10 s, the last reading is that of 30 s. */
const stalled = [
  { running: 4, tokens: 900 },
  { running: 5, tokens: 980 },
  { tokens: 990 },
  ...still(4),
]
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
    [
      'when only its page is broken: /health says that it is well',
      { engine: [missed(0, 'status', { status: 500, health: answered(200) })] },
      'unknown',
    ],
    [
      'while a model is being loaded: a cold start is no outage',
      { engine: [missed(0, 'refused'), missed(5_000, 'refused')], loading },
      'pass',
    ],
  ],
)

ruleTable(
  'VllmEngineStalled',
  [
    {
      fails: 'where five requests have stood still for 20 s',
      scene: { engine: scrapes(stalled, grownUp) },
      summary: 'no progress for 20 s with 5 running and 0 waiting requests',
      evidence: {
        seconds_without_progress: 20,
        requests_running: 5,
        requests_waiting: 0,
        seconds_proven: 20,
      },
      subject: { target: 'vllm' },
    },
    {
      fails: 'through one lost scrape, which changes nothing',
      scene: { engine: scrapes([...stalled, 'missed'], grownUp) },
      summary: 'no progress for 20 s with 5 running and 0 waiting requests',
      evidence: {
        seconds_without_progress: 20,
        requests_running: 5,
        requests_waiting: 0,
        seconds_proven: 20,
      },
      subject: { target: 'vllm' },
    },
  ],
  [
    ['while tokens are made', { engine: scrapes(stalled.slice(0, 3), grownUp) }, 'pass'],
    ['of an idle engine', { engine: scrapes([{}, ...still(20)], grownUp) }, 'pass'],
    [
      'for certain where clients cannot be seen to go: it is suspected',
      { engine: scrapes(stalled, { ...grownUp, http: false }) },
      'suspected',
    ],
    [
      'once two scrapes in a row have failed',
      { engine: scrapes([...stalled, 'missed', 'missed'], grownUp) },
      'unknown',
    ],
    ['on old data', { engine: scrapes(stalled, grownUp), fresh: false }, 'unknown'],
    ['of a page without an engine', { engine: [read(0, [])] }, 'unknown'],
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
      fails: 'when /metrics answers 500 while /health says that all is well',
      scene: {
        engine: [missed(0, 'status', { status: 500, message: 'found 500', health: answered(200) })],
      },
      summary: 'cannot read vllm: found 500',
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
    [
      'when /health says 5xx as well, which VllmDown tells',
      { engine: [missed(0, 'status', { status: 503, health: answered(503) })] },
      'pass',
    ],
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
