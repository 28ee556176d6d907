import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { issuesOf, load } from './with-file.ts'

describe('the section probe', () => {
  it('gives a probe 30 s, or the interval where that is shorter', async () => {
    const timeoutOf = async (content: string) => (await load(content)).config.probe.timeoutMs
    assert.equal(await timeoutOf('probe: {enabled: true}'), 30_000)
    assert.equal(await timeoutOf('probe: {interval: 10s}'), 10_000)
    assert.equal(await timeoutOf('probe: {interval: 1h, timeout: 10m}'), 600_000)
  })

  it('takes a prompt of several lines, since it is a text and no name', async () => {
    const { config } = await load('probe: {prompt: "Say yes.\\nNow: $x"}')
    assert.equal(config.probe.prompt, 'Say yes.\nNow: $x')
  })

  it('is set by the environment', async () => {
    const env = { VLLM_VITALS_PROBE_ENABLED: 'true', VLLM_VITALS_PROBE_MODEL: 'llama' }
    const { config } = await load('{}', { env })
    assert.deepEqual([config.probe.enabled, config.probe.model], [true, 'llama'])
  })

  const range = (from: string, to: string) =>
    `expected a duration from ${from} to ${to} such as 5s or 1m30s`
  const prompt = 'probe.prompt: expected a prompt of 1 to 1000 characters'
  const rows: readonly (readonly [content: string, ...lines: readonly string[]])[] = [
    ['interval: 4s', `probe.interval: ${range('5s', '1d')}, found "4s"`],
    ['interval: 2d', `probe.interval: ${range('5s', '1d')}, found "2d"`],
    ['timeout: 999ms', `probe.timeout: ${range('1s', '10m')}, found "999ms"`],
    ['interval: 1h, timeout: 11m', `probe.timeout: ${range('1s', '10m')}, found "11m"`],
    ['interval: 5s, timeout: 6s', 'probe.timeout: expected at most the interval, 5s, found "6s"'],
    ['prompt: ""', `${prompt}, found ""`],
    ['prompt: 5', `${prompt}, found 5`],
    [`prompt: ${'x'.repeat(1_001)}`, `${prompt}, found "${'x'.repeat(120)}…"`],
    [
      'model: "a\\tb"',
      'probe.model: expected the name of a model without control characters, found "a\\tb"',
    ],
    ['enabled: on', 'probe.enabled: expected true or false, found "on"'],
  ]
  for (const [content, ...lines] of rows) {
    it(`refuses ${content.slice(0, 40)}`, async () => {
      assert.deepEqual(await issuesOf(`probe: {${content}}`), lines)
    })
  }
})
