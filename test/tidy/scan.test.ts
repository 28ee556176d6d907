import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { functionsOf, importsOf, isBalanced, maskSource, usesProcess } from './scan.ts'

const dollar = '$'

describe('the masking of sources', () => {
  const rows: readonly (readonly [string, string, string])[] = [
    ['a line comment', 'a // {\nb', 'a     \nb'],
    ['a block comment over lines', 'a /* {\n} */ b', 'a     \n     b'],
    ['a string with an escaped quote', "x('a\\'{')", "x('    ')"],
    ['two slashes in a string', "x('//') + y", "x('  ') + y"],
    [
      'a template with code in it',
      `x'a{${dollar}{b({ c: '}' })}d}'`.replaceAll("'", '`'),
      `x'  ${dollar}{b({ c: ' ' })}  '`.replaceAll("'", '`'),
    ],
    ['a regular expression after a bracket', 'x(/[/"{]\\//g)', 'x(/       /g)'],
    ['a regular expression after return', "return /'/.test(a)", 'return / /.test(a)'],
    ['a division', "a / b / c + 'd'", "a / b / c + ' '"],
    ['a division after brackets', 'f(1) / a[0] / 2', 'f(1) / a[0] / 2'],
  ]
  for (const [name, source, masked] of rows) {
    it(`keeps the code and blanks the rest in ${name}`, () => {
      assert.equal(maskSource(source), masked)
    })
  }

  it('is known to have gone astray when brackets do not match', () => {
    assert.equal(isBalanced('a({ b: [1] })'), true)
    for (const bad of ['(', ')', '({)}', '}{']) assert.equal(isBalanced(bad), false, bad)
  })
})

describe('the finding of imports', () => {
  it('finds every form and nothing in comments or strings', () => {
    const source = [
      "import { a } from './a.ts'",
      "import type {\n  B,\n} from './b.ts'",
      "import c, * as d from 'c'",
      "export { e } from './e.ts'",
      "export * from './f.ts'",
      "import './g.ts'",
      "const h = await import('h')",
      "const i = createRequire(import.meta.url)('i')",
      "const j = load.require('j')",
      "// import k from 'k'",
      'const l = "import l from \'l\'"',
      "export const from = 'm'",
      "export interface N {\n  from: 'n'\n}",
    ].join('\n')
    assert.deepEqual(importsOf(source), [
      './a.ts',
      './b.ts',
      'c',
      './e.ts',
      './f.ts',
      './g.ts',
      'h',
      'j',
      'i',
    ])
  })
})

describe('the measuring of functions', () => {
  const rows: readonly (readonly [string, string, readonly string[]])[] = [
    ['a function', 'export function a(b: number): void {\n}\n', ['a 1 2']],
    [
      'a generator with type parameters',
      'function* a<T extends { b: 1 }>(\n  c: T,\n) {\n}',
      ['a 1 4'],
    ],
    ['a type literal as result', 'function a(): { b: number } {\n  return b\n}', ['a 1 3']],
    ['a union as result', "function a(): 'b' | -1 | (() => void) | c[] {\n}", ['a 1 2']],
    ['a type guard', 'function a(b: unknown): b is { c: 1 } {\n}', ['a 1 2']],
    ['a promise of a type literal', 'async function a(): Promise<{ b: 1 }> {\n}', ['a 1 2']],
    ['a declaration without a body', 'interface A {\n  b(c: D): void\n  e(): F\n}', []],
    ['an overload before its body', 'function a(): b\nfunction a(): c {\n}', ['a 2 2']],
    [
      'methods of every sort',
      'class A {\n  constructor() {\n  }\n  async #b(): Promise<C> {\n\n  }\n  get d() { return 1 }\n}',
      ['constructor 2 2', '#b 4 3', 'd 7 1'],
    ],
    ['an arrow function', 'const a = (b: C): D => {\n}\n', ['arrow function 1 2']],
    ['control words and calls', 'if (a) {\n}\nfor (const b of c) {\n}\nd(e)\nwhile (f) {\n}', []],
    ['brackets in strings', "function a() {\n  return '}'\n}", ['a 1 3']],
  ]
  for (const [name, source, expected] of rows) {
    it(`is right for ${name}`, () => {
      const found = functionsOf(source).map((one) => `${one.name} ${one.line} ${one.lines}`)
      assert.deepEqual(found, expected)
    })
  }
})

describe('the search for the global process', () => {
  const uses = [
    'process.exit(1)',
    "const a = process.env['B']",
    "import { env } from 'node:process'",
    'start(process)',
    'const a = { process }',
    'globalThis.process.pid',
  ]
  for (const source of uses) {
    it(`finds it in ${source}`, () => assert.equal(usesProcess(source), true))
  }

  const others = [
    'labels.process.length',
    "const a = { process: 'b' }",
    'interface A { readonly process: string }',
    'for (const process of processes) process.pid',
    'a.map((process) => process.pid)',
    'function a(process: B) { return process.pid }',
    '// process.exit(1)',
    "a('process.env')",
    'const { pid, process } = b\nprocess.name',
    'class A { process(b: C) { return b } }',
  ]
  for (const source of others) {
    it(`does not find it in ${source.split('\n')[0]}`, () =>
      assert.equal(usesProcess(source), false))
  }
})
