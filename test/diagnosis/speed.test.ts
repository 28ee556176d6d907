import { describe } from 'node:test'
import type { Stretch } from '../../src/signals/facts.ts'
import { type Given, painTable, quietStretch, timing } from '../fakes/diagnosis.ts'

/** Gaps of 0.03 s where 0.02 s are usual, in a batch that is hardly larger: 2.04 s in the engine, not 1.9 s. */
const slower: Given = {
  timings: { itl: timing(11_880, 0.03, 0.05), decode_time: timing(120, 1.84, 3) },
}

describe('a GPU that is slowed down', () => {
  painTable(
    'P17',
    [
      {
        holds: 'where it protects itself',
        scene: { ...slower, gpus: [{ throttledBy: ['hw_thermal_slowdown'], smClockHertz: 9e8 }] },
        verdict:
          'GPU 0 is slowed down (hw_thermal_slowdown) to 900 MHz: the gap between tokens is 1.5 times the usual',
        confidence: 'certain',
        evidence: {
          reasons: 'hw_thermal_slowdown',
          sm_clock_hertz: 9e8,
          itl_mean_seconds: 0.03,
          itl_mean_seconds_usual: 0.02,
          // 120 requests of 2.04 s in 120 s, and 900 of 1.9 s in 900 s.
          requests_in_batch: 2.04,
          requests_in_batch_usual: 1.9,
        },
        next: 'nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER,CLOCK -i GPU-a',
        ruledOut: ['P10'],
      },
      {
        holds: 'as a suspicion where it is at its power limit and the same work has become slower',
        scene: { ...slower, gpus: [{ throttledBy: ['sw_power_cap'] }] },
        verdict:
          'GPU 0 is slowed down (sw_power_cap) to 1980 MHz: the gap between tokens is 1.5 times the usual',
        confidence: 'suspected',
        evidence: { reasons: 'sw_power_cap' },
        next: 'nvidia-smi -q',
      },
    ],
    [
      [
        'of a busy card at its power limit that is as fast as ever',
        { gpus: [{ throttledBy: ['sw_power_cap'] }] },
        'none',
      ],
      [
        'where the batch has grown as the gaps have',
        {
          timings: { itl: timing(11_880, 0.03, 0.05), decode_time: timing(120, 6, 9) },
          gpus: [{ throttledBy: ['sw_power_cap'] }],
        },
        'none',
      ],
      ['of a card that idles', { ...slower, gpus: [{ throttledBy: ['gpu_idle'] }] }, 'none'],
      ['where tokens are slower and no card says why', slower, 'none'],
      [
        'of a card at its power limit before it is known what is usual',
        { ...slower, usual: 'unknown', gpus: [{ throttledBy: ['sw_power_cap'] }] },
        'none',
      ],
    ],
  )
})

/** What is usual, with these counts in place of its own. */
function usually(gained: Stretch['gained']): Stretch {
  const usual = quietStretch(900)
  return { ...usual, gained: { ...usual.gained, ...gained } }
}

describe('the prefix cache', () => {
  painTable(
    'P19',
    [
      {
        holds: 'where hardly anything is found in it that was before',
        // 1 800 of 36 000, where 150 of 300 are usual.
        scene: { gained: { prefix_cache_hits: 1_800 } },
        verdict: '5 % of the prompt tokens are found in the prefix cache, where 50 % were before',
        confidence: 'certain',
        evidence: { prefix_cache_hit_ratio: 0.05, prefix_cache_hit_ratio_usual: 0.5 },
        next: 'compare the prompts of now and before',
      },
      {
        holds: 'less surely where it has halved',
        scene: { gained: { prefix_cache_hits: 9_000 } },
        verdict: '25 % of the prompt tokens are found in the prefix cache, where 50 % were before',
        confidence: 'likely',
        evidence: { prefix_cache_hit_ratio: 0.25 },
        next: 'compare the prompts',
      },
    ],
    [
      [
        'where more than half of the usual is found',
        { gained: { prefix_cache_hits: 9_100 } },
        'none',
      ],
      [
        'where nothing was ever found: prefixes are shorter than a block',
        {
          gained: { prefix_cache_hits: 0 },
          usual: usually({ prefix_cache_hits: 0 }),
        },
        'none',
      ],
      [
        'for fewer than twenty requests',
        { gained: { prefix_cache_hits: 0 }, timings: { ttft: timing(19, 0.2, 0.3) } },
        'none',
      ],
      ['for few tokens', { gained: { prefix_cache_queries: 1_999, prefix_cache_hits: 0 } }, 'none'],
      [
        'before it is known what is usual',
        { gained: { prefix_cache_hits: 0 }, usual: 'unknown' },
        'none',
      ],
    ],
  )
})

describe('speculation', () => {
  const draft = (accepted: number) => ({
    spec_decode_draft_tokens: 4_000,
    spec_decode_accepted_tokens: accepted,
  })
  painTable(
    'P20',
    [
      {
        holds: 'where much less is accepted than before',
        scene: { gained: draft(1_600), usual: usually(draft(2_800)) },
        // 40 % are at most 65 % of 70 %, and more than half of that.
        verdict: '40 % of the drafted tokens are accepted, where 70 % were before',
        confidence: 'likely',
        evidence: { spec_decode_acceptance_ratio: 0.4, spec_decode_acceptance_ratio_usual: 0.7 },
        next: 'curl -s http://vllm:8000/metrics | grep spec_decode',
      },
      {
        holds: 'for certain where hardly anything is',
        scene: { gained: draft(400), usual: usually(draft(2_800)) },
        verdict: '10 % of the drafted tokens are accepted, where 70 % were before',
        confidence: 'certain',
        evidence: { spec_decode_acceptance_ratio: 0.1 },
        next: 'curl -s http://vllm:8000/metrics | grep spec_decode',
      },
    ],
    [
      [
        'for other traffic, of which somewhat less is accepted',
        { gained: draft(2_000), usual: usually(draft(2_800)) },
        'none',
      ],
      ['where nothing is drafted', {}, 'none'],
      ['where little was ever accepted', { gained: draft(0), usual: usually(draft(500)) }, 'none'],
    ],
  )
})
