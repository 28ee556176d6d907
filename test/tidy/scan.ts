/**
 * Reads as much of TypeScript as the house rules need. The compiler has no JavaScript interface, so this is
 * a scanner: it blanks out comments and the insides of literals, and finds its way by the brackets that stay.
 */

/** One function, method or arrow function with a block; `lines` counts from its first word (of an arrow function, the arrow) to its last brace. */
export interface FunctionSpan {
  readonly name: string
  readonly line: number
  readonly lines: number
}

// After these words a slash begins a regular expression; after other words it divides.
const beforeRegExp = new Set(
  'return typeof case in of void delete instanceof new throw await yield do else'.split(' '),
)
const notMethods = new Set('if for while switch catch with function return await super'.split(' '))

/**
 * Returns `source` at the same length with the insides of comments, strings, templates and regular expressions
 * blanked out. Quotes, line ends and the code inside `${…}` stay.
 */
export function maskSource(source: string): string {
  const out = source.split('')
  const blank = (from: number, to: number) => {
    for (let n = from; n < to; n += 1) if (out[n] !== '\n') out[n] = ' '
  }
  // Each entry is the depth of braces at which a `}` returns to the template around it.
  const templates: number[] = []
  let depth = 0
  let at = 0
  while (at < source.length) {
    const char = source.charAt(at)
    const pair = source.slice(at, at + 2)
    let end = at + 1
    if (pair === '//') {
      end = endOrLength(source.indexOf('\n', at), source)
      blank(at, end)
    } else if (pair === '/*') {
      end = endOrLength(source.indexOf('*/', at + 2), source, 2)
      blank(at, end)
    } else if (char === "'" || char === '"') {
      end = literalEnd(source, at, char)
      blank(at + 1, end - 1)
    } else if (char === '`' || (char === '}' && templates.at(-1) === depth)) {
      if (char === '}') templates.pop()
      end = templateEnd(source, at + 1)
      blank(at + 1, end - 1)
      if (source.charAt(end - 1) === '{') {
        out[end - 2] = '$'
        templates.push(depth)
      }
    } else if (char === '/' && startsRegExp(out, at)) {
      end = regExpEnd(source, at)
      blank(at + 1, end - 1)
    } else if (char === '{') depth += 1
    else if (char === '}') depth -= 1
    at = end
  }
  return out.join('')
}

/** Whether every bracket of `masked` is closed by its own kind: the proof that the scanner kept its way. */
export function isBalanced(masked: string): boolean {
  const open: string[] = []
  const pairs: Readonly<Record<string, string>> = { ')': '(', ']': '[', '}': '{' }
  for (const char of masked) {
    if ('([{'.includes(char)) open.push(char)
    else if (char in pairs && open.pop() !== pairs[char]) return false
  }
  return open.length === 0
}

/** Every module that `source` names in an import, an export, `import()`, `require()` or a made `require`. */
export function importsOf(source: string): readonly string[] {
  const masked = maskSource(source)
  const patterns = [
    /\b(?:import|export)\b[^'"();]*?\bfrom\s*(?=['"])/g,
    /\bimport\s*(?=['"])/g,
    /\bimport\s*\(\s*(?=['"])/g,
    /\brequire\w*\s*\(\s*(?=['"])/gi,
    /\bcreateRequire\s*\([^()]*\)\s*\(\s*(?=['"])/g,
  ]
  const found = new Set<string>()
  for (const pattern of patterns) {
    for (const match of masked.matchAll(pattern)) {
      const quoteAt = match.index + match[0].length
      const endAt = masked.indexOf(masked.charAt(quoteAt), quoteAt + 1)
      found.add(source.slice(quoteAt + 1, endAt))
    }
  }
  return [...found]
}

/** Every function with a block body in `source`, in the order of their first words. */
export function functionsOf(source: string): readonly FunctionSpan[] {
  const masked = maskSource(source)
  const spans: FunctionSpan[] = []
  const add = (name: string, start: number, bodyAt: number | undefined) => {
    if (bodyAt === undefined) return
    const line = lineOf(masked, start)
    spans.push({ name, line, lines: lineOf(masked, closing(masked, bodyAt)) - line + 1 })
  }
  for (const match of masked.matchAll(/\bfunction\b\s*\*?\s*([\w$]*)/g)) {
    add(
      match[1] === '' ? 'function' : String(match[1]),
      match.index,
      bodyAfterParameters(masked, match.index + match[0].length),
    )
  }
  for (const match of masked.matchAll(/=>\s*\{/g)) {
    add('arrow function', match.index, match.index + match[0].length - 1)
  }
  const method =
    /^[ \t]*(?:(?:static|override|async|get|set|public|private|protected)[ \t]+)*\*?[ \t]*(#?[\w$]+|\[[^\]\n]*\])[ \t]*(?=[<(])/gm
  for (const match of masked.matchAll(method)) {
    const name = String(match[1])
    if (notMethods.has(name)) continue
    const start = match.index + match[0].search(/\S/)
    add(name, start, bodyAfterParameters(masked, match.index + match[0].length))
  }
  return spans.sort((a, b) => a.line - b.line)
}

/** Whether the global `process` is used: not a property, a key or a name that the file declares itself. */
export function usesProcess(source: string): boolean {
  if (importsOf(source).some((name) => name === 'process' || name === 'node:process')) return true
  const masked = maskSource(source)
  if (/\bglobalThis\s*(?:\.\s*process\b|\[)/.test(masked)) return true
  const declared = [
    /\b(?:const|let|var|function|class)\s+process\b/,
    /\b(?:const|let|var|import)\s*(?:type\s*)?[{[][^=]*\bprocess\b/,
    /[(,]\s*process\s*\??:/,
    /\([^()]*\bprocess\b[^()]*\)\s*=>|\bprocess\s*=>/,
  ]
  if (declared.some((pattern) => pattern.test(masked))) return false
  return /(?<![\w$.#])process(?![\w$]|\s*\??[:(])/.test(masked)
}

function endOrLength(index: number, source: string, more = 0): number {
  return index < 0 ? source.length : index + more
}

function literalEnd(source: string, start: number, quote: string): number {
  let at = start + 1
  while (at < source.length && source.charAt(at) !== quote) at += source.charAt(at) === '\\' ? 2 : 1
  return at + 1
}

/** The index after the backtick that ends the template, or after the `{` of the next `${`. */
function templateEnd(source: string, start: number): number {
  let at = start
  while (at < source.length && source.charAt(at) !== '`') {
    if (source.startsWith('${', at)) return at + 2
    at += source.charAt(at) === '\\' ? 2 : 1
  }
  return at + 1
}

function startsRegExp(before: readonly string[], at: number): boolean {
  let last = at - 1
  while (last >= 0 && /\s/.test(before[last] ?? '')) last -= 1
  const char = before[last] ?? ''
  if (/[\w$]/.test(char)) {
    let first = last
    while (first > 0 && /[\w$]/.test(before[first - 1] ?? '')) first -= 1
    return beforeRegExp.has(before.slice(first, last + 1).join(''))
  }
  return !')]}\'"`'.includes(char) || char === ''
}

function regExpEnd(source: string, start: number): number {
  let inClass = false
  let at = start + 1
  for (; at < source.length && source.charAt(at) !== '\n'; at += 1) {
    const char = source.charAt(at)
    if (char === '\\') at += 1
    else if (char === '[') inClass = true
    else if (char === ']') inClass = false
    else if (char === '/' && !inClass) return at + 1
  }
  return at
}

/** From behind a function's name: the index of the `{` of its body, or `undefined` where there is none. */
function bodyAfterParameters(masked: string, from: number): number | undefined {
  let at = skipSpace(masked, from)
  if (masked.charAt(at) === '<') at = skipSpace(masked, typeParametersEnd(masked, at))
  if (masked.charAt(at) !== '(') return undefined
  at = skipSpace(masked, closing(masked, at) + 1)
  if (masked.charAt(at) === ':') at = skipReturnType(masked, at)
  return masked.charAt(at) === '{' ? at : undefined
}

function skipReturnType(masked: string, colon: number): number {
  let at = skipSpace(masked, colon + 1)
  let wantsType = true
  while (at < masked.length) {
    const char = masked.charAt(at)
    if (char === '{' && !wantsType) return at
    if ('([{'.includes(char)) {
      at = closing(masked, at) + 1
      wantsType = false
    } else if (/[|&<,?:]/.test(char) || masked.startsWith('=>', at)) {
      wantsType = true
      at += char === '=' ? 2 : 1
    } else if (/[\w$.>'"`-]/.test(char)) {
      wantsType = /^(?:keyof|readonly|is|extends|infer|asserts|typeof|unique)\b/.test(
        masked.slice(at),
      )
      at += /^[\w$]+|^./.exec(masked.slice(at))?.[0].length ?? 1
    } else return at
    const next = skipSpace(masked, at)
    // Without semicolons, a new line ends the type of a declaration that has no body.
    if (
      !wantsType &&
      masked.slice(at, next).includes('\n') &&
      !/[|&{>?:]/.test(masked.charAt(next))
    )
      return masked.length
    at = next
  }
  return at
}

function typeParametersEnd(masked: string, start: number): number {
  let depth = 0
  for (let at = start; at < masked.length; at += 1) {
    const char = masked.charAt(at)
    if (char === '<') depth += 1
    else if (char === '>' && masked.charAt(at - 1) !== '=') depth -= 1
    if (depth === 0) return at + 1
  }
  return masked.length
}

function closing(masked: string, open: number): number {
  let depth = 0
  for (let at = open; at < masked.length; at += 1) {
    const char = masked.charAt(at)
    if ('([{'.includes(char)) depth += 1
    else if (')]}'.includes(char)) depth -= 1
    if (depth === 0) return at
  }
  return masked.length
}

function skipSpace(masked: string, from: number): number {
  let at = from
  while (at < masked.length && /\s/.test(masked.charAt(at))) at += 1
  return at
}

function lineOf(masked: string, at: number): number {
  let line = 1
  for (let n = masked.indexOf('\n'); n >= 0 && n < at; n = masked.indexOf('\n', n + 1)) line += 1
  return line
}
