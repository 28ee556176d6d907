import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type Alert, alertKey, configure, step } from '../../src/rules/alert.ts'
import type { Finding, Rule, Subject } from '../../src/rules/rule.ts'

const rule: Rule = {
  name: 'VllmLatencyP99High',
  severity: 'critical',
  forMs: 120_000,
  keepFiringForMs: 0,
  windowMs: 300_000,
  description: 'Too slow.',
  judge: () => [],
}

const subject: Subject = { target: 'vllm', model_name: 'llama' }

type Outcome = Finding['outcome']

function finding(outcome: Outcome, about: Subject = subject, summary = 'slow'): Finding {
  return outcome === 'fail' || outcome === 'suspected'
    ? { outcome, subject: about, summary, evidence: { over_ratio: 0.5 } }
    : { outcome, subject: about }
}

/** A time in seconds, and what the rule finds then; `gone` is no finding at all. */
type Moment = readonly [number, Outcome | 'gone']

/** The alerts after each moment, each as its state and the second since which it holds. */
function replay(moments: readonly Moment[], one: Rule = rule): readonly string[] {
  let alerts: readonly Alert[] = []
  return moments.map(([second, outcome]) => {
    alerts = step(one, keyed(alerts), {
      findings: outcome === 'gone' ? [] : [finding(outcome)],
      atMs: second * 1_000,
    })
    return alerts.map(({ state, sinceMs }) => `${state} since ${sinceMs / 1_000}`).join() || 'none'
  })
}

function keyed(alerts: readonly Alert[]): ReadonlyMap<string, Alert> {
  return new Map(alerts.map((alert) => [alertKey(alert.alert, alert.subject), alert]))
}

describe('an alert', () => {
  const keeping = { ...rule, keepFiringForMs: 300_000 }
  const rows: readonly {
    readonly claim: string
    readonly with?: Rule
    readonly moments: readonly (readonly [...Moment, string])[]
  }[] = [
    {
      claim: 'is pending while the condition holds, and fires once it has held for `for`',
      moments: [
        [10, 'fail', 'pending since 10'],
        [129, 'fail', 'pending since 10'],
        [130, 'fail', 'firing since 10'],
      ],
    },
    {
      claim: 'stays pending for as long as its condition is only suspected',
      moments: [
        [10, 'suspected', 'pending since 10'],
        [900, 'suspected', 'pending since 10'],
        // It has held all the while, so certainty is all that was missing.
        [901, 'fail', 'firing since 10'],
        [902, 'suspected', 'firing since 10'],
        [903, 'pass', 'none'],
      ],
    },
    {
      claim: 'fires at once where `for` is 0',
      with: { ...rule, forMs: 0 },
      moments: [[10, 'fail', 'firing since 10']],
    },
    {
      claim: 'begins to wait anew when the condition did not hold once',
      moments: [
        [0, 'fail', 'pending since 0'],
        [100, 'pass', 'none'],
        [101, 'fail', 'pending since 101'],
        [150, 'fail', 'pending since 101'],
        [221, 'fail', 'firing since 101'],
      ],
    },
    {
      claim: 'ends as soon as the condition no longer holds',
      moments: [
        [0, 'fail', 'pending since 0'],
        [120, 'fail', 'firing since 0'],
        [121, 'pass', 'none'],
      ],
    },
    {
      claim: 'keeps firing for `keep_firing_for` after the condition last held',
      with: keeping,
      moments: [
        [0, 'fail', 'pending since 0'],
        [120, 'fail', 'firing since 0'],
        [419, 'pass', 'firing since 0'],
        [420, 'pass', 'none'],
      ],
    },
    {
      claim: 'goes on firing without a new wait when the condition comes back meanwhile',
      with: keeping,
      moments: [
        [0, 'fail', 'pending since 0'],
        [120, 'fail', 'firing since 0'],
        [300, 'pass', 'firing since 0'],
        [350, 'fail', 'firing since 0'],
        [649, 'pass', 'firing since 0'],
        [650, 'pass', 'none'],
      ],
    },
    {
      claim: 'never keeps a pending state for `keep_firing_for`',
      with: keeping,
      moments: [
        [0, 'fail', 'pending since 0'],
        [1, 'pass', 'none'],
      ],
    },
    {
      claim: 'waits on while one lost scrape tells nothing',
      moments: [
        [0, 'fail', 'pending since 0'],
        [60, 'fail', 'pending since 0'],
        [119, 'unknown', 'pending since 0'],
        [120, 'fail', 'firing since 0'],
      ],
    },
    {
      claim: 'does not begin to fire while nothing is known',
      moments: [
        [0, 'fail', 'pending since 0'],
        [110, 'fail', 'pending since 0'],
        [130, 'unknown', 'pending since 0'],
      ],
    },
    {
      claim: 'is let go when nothing was known for a minute',
      moments: [
        [0, 'fail', 'pending since 0'],
        [120, 'fail', 'firing since 0'],
        [179, 'unknown', 'firing since 0'],
        [180, 'unknown', 'none'],
      ],
    },
    {
      claim: 'is let go a minute after its subject is gone',
      moments: [
        [0, 'fail', 'pending since 0'],
        [120, 'fail', 'firing since 0'],
        [179, 'gone', 'firing since 0'],
        [180, 'gone', 'none'],
      ],
    },
    {
      claim: 'does not come of not knowing',
      moments: [
        [0, 'unknown', 'none'],
        [300, 'pass', 'none'],
      ],
    },
  ]
  for (const { claim, with: one, moments } of rows) {
    it(claim, () => {
      const found = replay(
        moments.map(([second, outcome]) => [second, outcome]),
        one,
      )
      assert.deepEqual(
        found,
        moments.map(([, , expected]) => expected),
      )
    })
  }

  it('carries the words and numbers of now, and the time since which it holds', () => {
    const [before] = step(rule, new Map(), { findings: [finding('fail')], atMs: 5_000 })
    assert.ok(before !== undefined)
    const later = { outcome: 'fail', subject, summary: 'slower', evidence: { n: 2 } } as const
    const found = step(rule, keyed([before]), { findings: [later], atMs: 130_000 })
    assert.deepEqual(found, [
      {
        alert: 'VllmLatencyP99High',
        severity: 'critical',
        subject,
        state: 'firing',
        certainty: 'certain',
        sinceMs: 5_000,
        lastFailMs: 130_000,
        summary: 'slower',
        evidence: { n: 2 },
        runbook: 'docs/runbooks/VllmLatencyP99High.md',
      },
    ])
  })

  it('is another one for each subject', () => {
    const other = { target: 'vllm', model_name: 'qwen' }
    const [llama] = step(rule, new Map(), { findings: [finding('fail')], atMs: 0 })
    assert.ok(llama !== undefined)
    const findings = [finding('fail'), finding('fail', other)]
    const found = step(rule, keyed([llama]), { findings, atMs: 120_000 })
    assert.deepEqual(
      found.map(({ state, subject: about }) => [about.model_name, state]),
      [
        ['llama', 'firing'],
        ['qwen', 'pending'],
      ],
    )
  })

  it('is one where two findings speak of one subject, and the failing one counts', () => {
    const found = (...findings: readonly Finding[]) =>
      step(rule, new Map(), { findings, atMs: 0 }).map(({ summary }) => summary)
    assert.deepEqual(found(finding('pass'), finding('fail')), ['slow'])
    assert.deepEqual(found(finding('fail'), finding('pass')), ['slow'])
    assert.deepEqual(found(finding('fail'), finding('fail', subject, 'other')), ['slow'])
  })

  it('leaves the alerts of other rules alone', () => {
    const [other] = step({ ...rule, name: 'VllmDown' }, new Map(), {
      findings: [finding('fail')],
      atMs: 0,
    })
    assert.ok(other !== undefined)
    assert.deepEqual(step(rule, keyed([other]), { findings: [], atMs: 1_000 }), [])
  })
})

describe('the key of an alert', () => {
  it('tells subjects apart however their labels are cut', () => {
    const keys = [
      alertKey('A', {}),
      alertKey('A', { target: 'x' }),
      alertKey('A', { model_name: 'x' }),
      alertKey('A', { uuid: 'x' }),
      alertKey('B', { target: 'x' }),
      alertKey('A', { target: 'x","' }),
      alertKey('A', { target: 'x', model_name: 'x' }),
    ]
    assert.equal(new Set(keys).size, keys.length)
  })
})

describe('a configured rule', () => {
  it('is the catalogue’s where nothing is configured', () => {
    assert.equal(configure(rule, undefined), rule)
    assert.deepEqual(configure(rule, {}), rule)
    assert.deepEqual(configure(rule, { enabled: true }), rule)
  })

  it('is nothing where it is switched off', () => {
    assert.equal(configure(rule, { enabled: false, forMs: 1 }), undefined)
  })

  it('takes what is given, 0 too, and keeps the rest', () => {
    assert.deepEqual(configure(rule, { forMs: 0, severity: 'warning' }), {
      ...rule,
      forMs: 0,
      severity: 'warning',
    })
    assert.deepEqual(configure(rule, { keepFiringForMs: 60_000, windowMs: 60_000 }), {
      ...rule,
      keepFiringForMs: 60_000,
      windowMs: 60_000,
    })
  })
})
