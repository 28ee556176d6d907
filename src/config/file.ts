import type { Lexer, Parser } from 'yaml'
import { ConfigError, shorten, unreachable } from '../errors.ts'
import { type RegularFile, readRegularFile } from '../sources/regular-file.ts'

export const maxFileBytes = 262_144

/** Aliases may repeat at most this many nodes: a nest of them can stand for billions. */
const maxAliasCount = 100

/** Maps and lists in one another. The schema has four levels; composing goes down by recursion. */
const maxDepth = 32

/** Entries of one map or list. Keys are compared in pairs, so that the work grows with the square. */
const maxEntries = 1_000

const maxMistakes = 20

/**
 * Returns the settings that the file at `path` holds, as `unknown` until the schema has seen them. An
 * empty file, or one of comments only, holds none.
 *
 * YAML 1.2 with the core schema, so that `no` and `on` are text, and JSON with it. A missing or unreadable
 * file, one above 256 KiB, bad syntax, a second document, a key given twice, a tag such as `!!js/function`, deep
 * nests and aliases that multiply: throws `ConfigError`, with every mistake of syntax at its line and column.
 */
export async function readConfigFile(path: string): Promise<unknown> {
  const shown = path === '' ? '""' : shorten(path, 200)
  const text = decode(shown, await readBounded(path, shown))
  const unusable = (found: string) =>
    new ConfigError([`${shown}: expected a configuration in YAML, found ${found}`])
  // The parser is loaded only when there is a file, for its memory stays.
  const yaml = await import('yaml')
  const excess = findExcess(text, new yaml.Lexer(), new yaml.Parser())
  if (excess !== undefined) throw unusable(excess)
  const lineCounter = new yaml.LineCounter()
  const document = yaml.parseDocument(text, {
    lineCounter,
    // Pretty ones quote the file, which may hold a secret, and cost the length of the line each.
    prettyErrors: false,
    version: '1.2',
    schema: 'core',
    merge: false,
    resolveKnownTags: false,
    uniqueKeys: true,
    stringKeys: true,
    // Nothing is printed at this level; at a quieter one a second document is passed over.
    logLevel: 'error',
  })
  // A warning is a tag or a version that the parser does not know: its value would not be what was meant.
  const mistakes = [...document.errors, ...document.warnings]
  if (mistakes.length > 0) {
    throw new ConfigError(
      mistakes.slice(0, maxMistakes).map(({ message, pos }) => {
        const { line, col } = lineCounter.linePos(pos[0])
        const reason = shorten(message, 200)
        return `${shown}:${line}:${col}: expected valid YAML, found a mistake: ${reason}`
      }),
    )
  }
  try {
    return document.toJS({ maxAliasCount }) ?? {}
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error
    const dangling = error.message.startsWith('Unresolved alias')
    throw unusable(
      dangling ? 'an alias before its anchor or without one' : 'aliases that repeat too much',
    )
  }
}

/** Says in a few words why the file system refused. */
export function fileProblem(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return 'no such file'
    case 'EACCES':
    case 'EPERM':
      return 'permission denied'
    case 'EISDIR':
      return 'a directory'
    default:
      return typeof code === 'string' ? code : 'an unknown failure'
  }
}

/**
 * Returns what makes `text` too much to be composed, or `undefined`. The lexer and the parser keep their own
 * stack; composing recurses, and a full call stack ends the whole process inside of V8's regular expressions.
 */
function findExcess(text: string, lexer: Lexer, parser: Parser): string | undefined {
  for (const lexeme of lexer.lex(text)) {
    // The parser moves on only as its output is taken.
    for (const _document of parser.next(lexeme));
    if (parser.stack.length > maxDepth) return 'maps or lists nested too deep'
    const top = parser.stack.at(-1)
    if (top !== undefined && 'items' in top && top.items.length > maxEntries) {
      return `more than ${maxEntries} entries in one map or list`
    }
  }
  return undefined
}

async function readBounded(path: string, shown: string): Promise<Uint8Array> {
  const unusable = (found: string) =>
    new ConfigError([`${shown}: expected a readable file, found ${found}`])
  let file: RegularFile
  try {
    file = await readRegularFile(path, maxFileBytes)
  } catch (error) {
    throw unusable(fileProblem(error))
  }
  switch (file.kind) {
    case 'read':
      return file.bytes
    case 'directory':
      throw unusable('a directory')
    case 'irregular':
      throw unusable('something that is not a regular file')
    case 'too_large':
      throw unusable('more than 256KiB')
    default:
      return unreachable(file)
  }
}

function decode(shown: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new ConfigError([`${shown}: expected text in UTF-8, found other bytes`])
  }
}
