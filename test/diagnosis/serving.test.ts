import { describe } from 'node:test'
import { painTable, refused, stalled } from '../fakes/diagnosis.ts'
import { builtAtMs } from '../fakes/snapshots.ts'

const spins = { utilizationRatio: 1 }
const sure = 'no progress for 40 s with 5 running and 0 waiting requests'
/** Nothing tells whether whoever is shown is still there. */
const maybe = stalled({ kind: 'stale-gauges', certainty: 'suspected', notServing: false })
const loading = {
  ...refused,
  state: 'loading',
  loading: { summary: 'the model is being loaded, for 40 s so far', evidence: { pid: '10' } },
} as const
const pausedFor = (ms: number, agoMs: number) => ({
  engines: [{ pause: { ms, endedMs: builtAtMs - agoMs } }],
})
/** Whoever asks for a page gets an error, while /health is well. */
const brokenPage = {
  state: 'down',
  up: false,
  lastFailure: { code: 'status', message: 'expected 200, found 500' },
} as const

describe('a standstill', () => {
  painTable(
    'P1',
    [
      {
        holds: 'where requests are inside for certain and nothing moves',
        scene: { target: stalled(), gpus: [{ utilizationRatio: 0 }] },
        verdict: sure,
        confidence: 'certain',
        evidence: { seconds_without_progress: 40 },
        next: 'py-spy dump',
        ruledOut: ['P2', 'P6', 'P8', 'P7'],
      },
      {
        holds: 'of one GPU that spins: nothing else waits for it',
        scene: { target: stalled(), gpus: [spins] },
        verdict: sure,
        confidence: 'certain',
        evidence: { seconds_without_progress: 40 },
        next: 'py-spy dump',
      },
      {
        holds: 'where one GPU idles while its peers spin: that rank has died',
        scene: { target: stalled(), gpus: [spins, { gpu: '1', utilizationRatio: 0 }] },
        verdict: sure,
        confidence: 'certain',
        evidence: { seconds_without_progress: 40 },
        next: 'py-spy dump',
      },
      {
        holds: 'as a suspicion, to be decided by a probe, where clients may have gone',
        scene: { target: maybe, engines: [{ running: 5, hungUp: 2 }] },
        verdict: sure,
        confidence: 'suspected',
        evidence: { seconds_without_progress: 40 },
        next: 'curl -m 30 http://vllm:8000/v1/completions',
      },
      {
        holds: 'of one engine among several, however short',
        scene: { target: stalled({ kind: 'rank', notServing: false, stillMs: 15_000 }) },
        verdict: sure,
        confidence: 'certain',
        evidence: { seconds_without_progress: 40 },
        next: 'py-spy dump',
      },
      {
        holds: 'of a standstill that ended by itself, but was longer than any compilation',
        scene: pausedFor(80_000, 60_000),
        verdict: 'nothing moved for 80 s with requests inside, and 60 s ago it went on by itself',
        confidence: 'suspected',
        evidence: { pause_seconds: 80, ended_seconds_ago: 60 },
        next: 'journalctl',
        ruledOut: ['P8'],
      },
    ],
    [
      [
        'where as many clients hung up as are shown',
        { target: maybe, engines: [{ running: 5, hungUp: 5 }] },
        'P2',
      ],
      [
        'of what has not lasted 25 s',
        { target: stalled({ stillMs: 15_000, notServing: false }) },
        'P8',
      ],
      ['while a model is being loaded', { target: loading }, 'P7'],
      ['of a server that sleeps', { target: { state: 'sleeping' } }, 'none'],
      ['of an idle server', { target: { state: 'idle' }, engines: [{ running: 0 }] }, 'none'],
    ],
  )

  painTable(
    'P2',
    [
      {
        holds: 'where as many answers ended as requests are shown',
        scene: { target: maybe, engines: [{ running: 5, hungUp: 5 }] },
        verdict: `stale gauges, or a hang: ${sure}; as many HTTP answers ended as requests are shown`,
        confidence: 'suspected',
        evidence: { seconds_without_progress: 40, clients_hung_up: 5 },
        next: 'curl -m 30 http://vllm:8000/v1/completions',
      },
    ],
    [
      ['where fewer ended', { target: maybe, engines: [{ running: 5, hungUp: 4 }] }, 'P1'],
      [
        'where nobody counts answers',
        { target: maybe, engines: [{ running: 5, hungUp: undefined }] },
        'P1',
      ],
      ['once new traffic has moved the gauges', { engines: [{ running: 5, hungUp: 5 }] }, 'none'],
    ],
  )

  painTable(
    'P3',
    [
      {
        holds: 'where all of several GPUs spin',
        scene: { target: stalled(), gpus: [spins, { ...spins, gpu: '1' }] },
        verdict: sure,
        confidence: 'certain',
        evidence: { seconds_without_progress: 40 },
        next: 'py-spy dump',
      },
    ],
    [
      ['while tokens come out', { gpus: [spins, { ...spins, gpu: '1' }] }, 'none'],
      [
        'where one idles',
        { target: stalled(), gpus: [spins, { gpu: '1', utilizationRatio: 0 }] },
        'P1',
      ],
      [
        'where no request is shown: what the GPUs do may be another’s',
        {
          target: stalled({ kind: 'hidden', certainty: 'suspected', notServing: false }),
          gpus: [spins, { ...spins, gpu: '1' }],
        },
        'P1',
      ],
      [
        'where nobody knows which GPUs it runs on',
        {
          target: { ...stalled(), placement: { kind: 'unknown', why: 'two targets' } },
          gpus: [spins, { ...spins, gpu: '1' }],
        },
        'P1',
      ],
    ],
  )

  painTable(
    'P8',
    [
      {
        holds: 'as a suspicion until it has lasted for 25 s',
        scene: { target: stalled({ stillMs: 12_000, notServing: false }) },
        verdict: `${sure}: a pause to compile, or the beginning of a hang`,
        confidence: 'suspected',
        evidence: { seconds_without_progress: 40 },
        next: "curl -s 'http://127.0.0.1:19400/health?target=vllm'",
        ruledOut: ['P6'],
      },
      {
        holds: 'once it went on by itself within 70 s',
        scene: pausedFor(17_000, 60_000),
        verdict:
          'nothing moved for 17 s with requests inside, and 60 s ago it went on by itself: as when a new shape is compiled',
        confidence: 'likely',
        evidence: { pause_seconds: 17, ended_seconds_ago: 60 },
        next: 'journalctl',
        ruledOut: ['P1'],
      },
    ],
    [
      [
        'of what has lasted for 25 s',
        { target: stalled({ stillMs: 25_000, notServing: false }) },
        'P1',
      ],
      ['of a pause more than ten minutes ago', pausedFor(17_000, 600_001), 'none'],
      ['of a pause that was longer than any compilation', pausedFor(70_000, 60_000), 'P1'],
    ],
  )
})

describe('a server that does not answer', () => {
  painTable(
    'P4',
    [
      {
        holds: 'where the connection is refused that was answered before',
        scene: { target: refused, gpus: [{ processes: [] }] },
        verdict: 'nobody answers: nobody there',
        confidence: 'certain',
        // It was last read 1.2 s ago.
        evidence: {
          code: 'refused',
          last_good_scrape_seconds_ago: 1.2,
          gpus_with_its_processes: 0,
        },
        next: 'journalctl',
        ruledOut: ['P7'],
      },
      {
        holds: 'where /health says itself that the engine is dead',
        scene: {
          target: { state: 'down', health: { kind: 'answered', status: 503, tookMs: 3 } },
        },
        verdict: 'the server answers /health with 503: its engine is dead',
        confidence: 'certain',
        evidence: { code: 'health', gpus_with_its_processes: 1 },
        next: 'journalctl',
      },
      {
        holds:
          'less surely where it has never answered, and without ruling out a load that nobody can see',
        scene: {
          facts: 'unread',
          target: { ...refused, health: undefined, lastSuccessMs: undefined },
          gpusUnknown: 'nvidia-smi is not there',
        },
        verdict: 'nobody answers: nobody there',
        confidence: 'likely',
        evidence: { code: 'refused', last_good_scrape_seconds_ago: 'never' },
        next: 'journalctl',
        ruledOut: [],
      },
    ],
    [
      ['while a model is being loaded: a restart is in progress', { target: loading }, 'P7'],
      [
        'of one that is too busy to answer in time',
        {
          target: { ...refused, lastFailure: { code: 'timeout', message: 'late' } },
        },
        'none',
      ],
      ['where its page alone is broken', { target: brokenPage }, 'P22'],
    ],
  )

  painTable(
    'P7',
    [
      {
        holds: 'where the GPUs show a load',
        scene: { target: loading },
        verdict: 'the model is being loaded, for 40 s so far',
        confidence: 'likely',
        evidence: { pid: '10' },
        next: 'journalctl -u vllm -f',
        ruledOut: ['P4'],
      },
    ],
    [
      ['where nothing is on its way: that is an outage', { target: refused }, 'P4'],
      ['where it serves', { target: { loading: loading.loading } }, 'none'],
    ],
  )

  painTable(
    'P22',
    [
      {
        holds: 'where /metrics is broken and /health is well',
        scene: { target: brokenPage },
        verdict: '/metrics cannot be read (expected 200, found 500), while /health answers 200',
        confidence: 'certain',
        evidence: { code: 'status', health_status: 200 },
        next: 'curl -si http://vllm:8000/metrics',
        ruledOut: ['P4'],
      },
      {
        holds: 'where the page has nothing of vLLM',
        scene: { target: { state: 'unknown' }, facts: { showsEngine: false } },
        verdict:
          'the page of /metrics holds nothing of vLLM, so that nothing can be known of its engine',
        confidence: 'certain',
        evidence: { code: 'no engine families', health_status: 200 },
        next: 'curl -s http://vllm:8000/metrics | grep -c ^vllm:',
        ruledOut: ['P4'],
      },
    ],
    [
      [
        'where /health is ill as well',
        { target: { ...brokenPage, health: { kind: 'answered', status: 503, tookMs: 3 } } },
        'P4',
      ],
      [
        'where a scrape is late: that is a server that is too busy',
        { target: { ...brokenPage, lastFailure: { code: 'timeout', message: 'late' } } },
        'P12',
      ],
      ['of a page that shows the engine', {}, 'none'],
    ],
  )
})
