import { describe } from 'node:test'
import { gib, growthOf, painTable, processOf, refused, stalled } from '../fakes/diagnosis.ts'
import { builtAtMs } from '../fakes/snapshots.ts'

const orphan = processOf({ owner: { kind: 'orphan', sinceMs: builtAtMs - 100_000 } })
const foreign = (usedGib: number) =>
  processOf({ pid: '7', process: 'trainer', usedBytes: usedGib * gib, owner: { kind: 'foreign' } })

describe('memory of the GPU', () => {
  painTable(
    'P5',
    [
      {
        holds: 'where a process of vLLM is left over and nobody answers',
        scene: { target: refused, gpus: [{ processes: [orphan] }] },
        verdict:
          'VLLM::EngineCore (pid 10) holds 60 GiB of GPU memory and belongs to no server that answers, for 100 s: a new one finds no room',
        confidence: 'likely',
        evidence: {
          pids: '10',
          memory_bytes: Number((60 * gib).toPrecision(4)),
          left_over_seconds: 100,
        },
        next: 'ps -o pid,ppid,etime,stat,cmd -p 10',
        ruledOut: ['P7'],
      },
      {
        holds: 'of several, beside a server that serves',
        scene: {
          gpus: [
            { processes: [processOf({ pid: '20' }), orphan] },
            { gpu: '1', processes: [{ ...orphan, pid: '11' }] },
          ],
        },
        verdict:
          'VLLM::EngineCore (pid 10), VLLM::EngineCore (pid 11) hold 120 GiB of GPU memory and belong to no server that answers, for 100 s',
        confidence: 'likely',
        evidence: { pids: '10 11' },
        next: 'ps -o pid,ppid,etime,stat,cmd -p 10,11',
      },
    ],
    [
      [
        'of another program on the card: that is a second tenant',
        { gpus: [{ processes: [processOf(), foreign(3)] }] },
        'P15',
      ],
      ['of the processes of a server that is down just now', { target: refused }, 'P4'],
      [
        'where the driver lists no process',
        { target: refused, gpus: [{ processes: undefined }] },
        'P4',
      ],
    ],
  )

  const growing = { gpu: '0', uuid: 'GPU-a', pid: '10', process: 'VLLM::EngineCore' }
  const grows = { ...growing, growth: growthOf() }
  painTable(
    'P15',
    [
      {
        holds: 'where the memory of a process grows for certain',
        scene: {
          gpus: [{ growth: { ...growing, all: [grows], growing: [grows], secondsToFull: 7_200 } }],
        },
        verdict:
          'the memory of VLLM::EngineCore (pid 10) on GPU 0 grows by 1 GiB an hour (0.9 GiB to 1.1 GiB): the card is full in 120 min',
        confidence: 'certain',
        evidence: { seconds_to_full: 7_200, watched_seconds: 7_200 },
        next: 'plan a restart before then',
        ruledOut: ['P5'],
      },
      {
        holds: 'of a second tenant on the card',
        scene: { gpus: [{ processes: [processOf(), foreign(3)] }] },
        // 75 of 80 GiB are in use.
        verdict: 'trainer (pid 7) holds 3 GiB of GPU 0, on which vLLM runs; 5 GiB are free',
        confidence: 'certain',
        evidence: { foreign_bytes: Number((3 * gib).toPrecision(4)) },
        next: 'ps -o pid,user,etime,cmd -p 7',
        ruledOut: ['P5'],
      },
    ],
    [
      [
        'of a warm-up, or of steps that settle',
        {
          gpus: [
            {
              growth: {
                ...growing,
                all: [{ ...grows, growth: growthOf({ course: 'uneven' }) }],
                growing: [],
                secondsToFull: undefined,
              },
            },
          ],
        },
        'none',
      ],
      [
        'of a display that takes less than a GiB',
        { gpus: [{ processes: [processOf(), foreign(0.9)] }] },
        'none',
      ],
      [
        'of another program on a card without vLLM',
        { gpus: [{}, { gpu: '1', processes: [foreign(9)] }] },
        'none',
      ],
    ],
  )

  painTable(
    'P16',
    [
      {
        holds: 'where a card is lost on which a target runs',
        scene: { target: stalled(), gpus: [{ lost: true }], onLost: ['vllm'] },
        verdict: 'GPU 0 (GPU-a) is lost, on which vllm (stalled) runs',
        confidence: 'certain',
        evidence: { gpu_lost: 1 },
        next: "dmesg -T | grep -iE 'xid|nvrm'",
        ruledOut: ['P17'],
      },
      {
        holds: 'where a card asks to be reset',
        scene: { gpus: [{ recoveryAction: 'gpu_reset' }] },
        verdict: 'GPU 0 (GPU-a) asks for recovery: gpu_reset',
        confidence: 'certain',
        evidence: { gpu_lost: 0, recovery_action: 'gpu_reset' },
        next: 'dmesg',
      },
    ],
    [
      [
        'where a driver was upgraded, so that no card can be read at all',
        { gpus: [], gpusUnknown: 'they cannot be read: driver/library version mismatch' },
        'none',
      ],
    ],
  )
})

describe('memory of the host', () => {
  const leak = {
    pid: '10',
    process: 'VLLM::EngineCore',
    bytes: 40 * gib,
    growth: growthOf({ slope: (2 * gib) / 3_600 }),
  }
  painTable(
    'P14',
    [
      {
        holds: 'where that of a worker grows for certain',
        scene: { host: { growths: [leak], availableBytes: 10 * gib } },
        // 10 GiB at 2 GiB an hour are 5 hours.
        verdict:
          'the host memory of VLLM::EngineCore (pid 10) grows by 2 GiB an hour, to 40 GiB by now: the host is full in 300 min',
        confidence: 'certain',
        evidence: { watched_seconds: 7_200 },
        next: "grep -E 'VmRSS|RssAnon|RssShmem' /proc/10/status",
        ruledOut: ['P15'],
      },
    ],
    [
      [
        'of a cache that fills up and then stays',
        { host: { growths: [{ ...leak, growth: growthOf({ course: 'uneven' }) }] } },
        'none',
      ],
      [
        'of memory that swings',
        { host: { growths: [{ ...leak, growth: growthOf({ course: 'steady' }) }] } },
        'none',
      ],
    ],
  )
})
