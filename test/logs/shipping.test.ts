import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { createLogger } from '../../src/log.ts'
import { repositoryRoot } from '../repository.ts'

const textOf = (name: string) => readFileSync(join(repositoryRoot, 'config', 'logs', name), 'utf8')

interface Filebeat {
  readonly 'filebeat.inputs': readonly { readonly units: readonly string[] }[]
  readonly processors: readonly Readonly<Record<string, unknown>>[]
}

/** What both files say of which lines to keep and of what to take out of them. */
interface Rules {
  readonly drops: (line: string) => boolean
  readonly redacts: (line: string) => string
}

function filebeatRules(): Rules {
  const { processors } = parse(textOf('filebeat.yml')) as Filebeat
  const find = <T>(name: string) => processors.find((one) => name in one)?.[name] as T
  const { when } = find<{ when: { and: readonly Condition[] } }>('drop_event')
  const { fields } = find<{ fields: readonly { pattern: string; replacement: string }[] }>(
    'replace',
  )
  return {
    drops: (line) => when.and.every((condition) => holds(condition, line)),
    redacts: (line) =>
      fields.reduce(
        (text, { pattern, replacement }) => text.replaceAll(new RegExp(pattern, 'g'), replacement),
        line,
      ),
  }
}

interface Condition {
  readonly equals?: unknown
  readonly regexp?: { readonly message: string }
  readonly not?: Condition
}

function holds({ regexp, not }: Condition, line: string): boolean {
  if (not !== undefined) return !holds(not, line)
  return regexp === undefined || new RegExp(regexp.message).test(line)
}

function alloyRules(): Rules {
  const text = textOf('loki.alloy')
  const [, selector = ''] = /selector\s*=\s*("\{unit=\\"haproxy.*")/.exec(text) ?? []
  const filters = [...JSON.parse(selector).matchAll(/([|!])~ `([^`]*)`/g)]
  assert.equal(filters.length, 3)
  const replaces = [...text.matchAll(/expression = (".*")\n\s*replace\s*= "(\w+)"/g)]
  assert.equal(replaces.length, 2)
  return {
    drops: (line) =>
      filters.every(([, sign, pattern = '']) => new RegExp(pattern).test(line) === (sign === '|')),
    redacts: (line) =>
      replaces.reduce((rest, [, expression = '', word = '']) => {
        // What the group holds is replaced, and what stands before it stays.
        const pattern = new RegExp(JSON.parse(expression), 'g')
        return rest.replaceAll(pattern, (all: string, group: string) =>
          all.replace(group, () => word),
        )
      }, line),
  }
}

const line = (status: number, totalMs: number, id: string) =>
  `{"time":"2026-11-25T04:00:00Z","request_id":"${id}","status":${status},"method":"POST","path":"/v1/completions","total_ms":${totalMs},"queue_ms":0}`

for (const [name, rules] of [
  ['config/logs/filebeat.yml', filebeatRules],
  ['config/logs/loki.alloy', alloyRules],
] as const) {
  describe(name, () => {
    const rows: readonly (readonly [string, boolean])[] = [
      [line(200, 9_999, 'b0c4d1e2-1111-4222-8333-444455556666'), true],
      [line(200, 10_000, 'b0c4d1e2-1111-4222-8333-444455556666'), false],
      [line(200, 800, '00c4d1e2-1111-4222-8333-444455556666'), false],
      [line(200, 800, '55c4d1e2-1111-4222-8333-444455556666'), false],
      [line(200, 800, 'aac4d1e2-1111-4222-8333-444455556666'), false],
      [line(200, 800, 'b000d1e2-0011-4255-83aa-444455556666'), true],
      [line(429, 0, 'b0c4d1e2-1111-4222-8333-444455556666'), true],
      [line(429, 0, 'aac4d1e2-1111-4222-8333-444455556666'), false],
      [line(404, 1, 'b0c4d1e2-1111-4222-8333-444455556666'), false],
      [line(502, 1, 'b0c4d1e2-1111-4222-8333-444455556666'), false],
      [line(503, 4_000, 'b0c4d1e2-1111-4222-8333-444455556666'), false],
    ]
    for (const [text, dropped] of rows) {
      const { status, total_ms: totalMs, request_id: id } = JSON.parse(text)
      it(`${dropped ? 'drops' : 'keeps'} a ${status} of ${totalMs} ms with the id ${id}`, () => {
        assert.equal(rules().drops(text), dropped)
      })
    }

    it('takes prompts and their tokens out of a line of vLLM, however they are quoted', () => {
      const { redacts } = rules()
      for (const prompt of [`'it\\'s a secret, params: no'`, `"it's a secret"`, `''`, 'None']) {
        const text = `Received request cmpl-1: prompt: ${prompt}, params: SamplingParams(n=1), prompt_token_ids: [1, 22, 333], lora_request: None.`
        const left = prompt === 'None' ? 'None' : 'removed'
        assert.equal(
          redacts(text),
          `Received request cmpl-1: prompt: ${left}, params: SamplingParams(n=1), prompt_token_ids: removed, lora_request: None.`,
        )
      }
    })
  })
}

describe('what is shipped', () => {
  it('is of the same units by both', () => {
    const { 'filebeat.inputs': inputs } = parse(textOf('filebeat.yml')) as Filebeat
    const [, units = ''] = /regex\s*= "\(([^)]*)\)\\\\\.service"/.exec(textOf('loki.alloy')) ?? []
    assert.deepEqual(
      inputs[0]?.units,
      units.split('|').map((unit) => `${unit}.service`),
    )
  })

  it('has the fields of the daemon by their names, and its time in the layout that is read', () => {
    let written = ''
    const { log } = createLogger({ level: 'info', format: 'json' }, (bytes, done) => {
      written += new TextDecoder().decode(bytes)
      done(null, bytes.length)
    })
    log.child({ target: 'vllm' }).warn({ code: 'refused' }, 'target went down')
    const entry = JSON.parse(written)
    assert.deepEqual(Object.keys(entry).sort(), ['code', 'level', 'msg', 'target', 'time'])
    assert.match(entry.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    assert.match(textOf('loki.alloy'), /expressions = \{ level = "", time = "", target = "" \}/)
  })
})
