import { type FileHandle, open } from 'node:fs/promises'
import { ConfigError, shorten } from '../errors.ts'

export const maxFileBytes = 1_048_576

/** Aliases may repeat at most this many nodes: a nest of them can stand for billions. */
const maxAliasCount = 100

/**
 * Returns the settings that the file at `path` holds, as `unknown` until the schema has seen them. An
 * empty file, or one of comments only, holds none.
 *
 * YAML 1.2 with the core schema, so that `no` and `on` are text, and JSON with it. A missing or unreadable
 * file, one above 1 MiB, bad syntax, a key given twice, a tag such as `!!js/function` and aliases that
 * multiply: throws `ConfigError`, with every mistake of syntax at its line and column.
 */
export async function readConfigFile(path: string): Promise<unknown> {
  const text = decode(path, await readBounded(path))
  // The parser is loaded only when there is a file, for its memory stays.
  const { parseDocument } = await import('yaml')
  const unusable = (found: string) =>
    new ConfigError([`${path}: expected a configuration in YAML, found ${found}`])
  let value: unknown
  try {
    const document = parseDocument(text, {
      version: '1.2',
      schema: 'core',
      merge: false,
      resolveKnownTags: false,
      uniqueKeys: true,
      stringKeys: true,
      logLevel: 'silent',
    })
    // A warning is a tag or a version that the parser does not know: its value would not be what was meant.
    const mistakes = [...document.errors, ...document.warnings]
    if (mistakes.length > 0) {
      throw new ConfigError(
        mistakes.slice(0, 20).map(({ message, linePos }) => {
          const place = linePos === undefined ? '' : `:${linePos[0].line}:${linePos[0].col}`
          // Behind the first line stands an excerpt of the file, which may hold a secret.
          const reason = (message.split('\n')[0] ?? '').replace(/ at line \d+, column \d+:?$/, '')
          return `${path}${place}: expected valid YAML, found a mistake: ${shorten(reason, 200)}`
        }),
      )
    }
    value = document.toJS({ maxAliasCount })
  } catch (error) {
    if (error instanceof ConfigError) throw error
    if (error instanceof RangeError) throw unusable('brackets or lists nested too deep')
    if (error instanceof ReferenceError) throw unusable('aliases that repeat too much')
    throw error
  }
  return value ?? {}
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

async function readBounded(path: string): Promise<Uint8Array> {
  const unusable = (found: string) =>
    new ConfigError([`${path}: expected a readable file, found ${found}`])
  let file: FileHandle | undefined
  try {
    file = await open(path, 'r')
    const stat = await file.stat()
    if (stat.isDirectory()) throw unusable('a directory')
    // A pipe is empty when it is read again at SIGHUP, and empty would mean the defaults.
    if (!stat.isFile()) throw unusable('something that is not a regular file')
    const buffer = new Uint8Array(maxFileBytes + 1)
    let length = 0
    while (length < buffer.length) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length)
      if (bytesRead === 0) break
      length += bytesRead
    }
    if (length > maxFileBytes) throw unusable('more than 1MiB')
    return buffer.slice(0, length)
  } catch (error) {
    throw error instanceof ConfigError ? error : unusable(fileProblem(error))
  } finally {
    await file?.close()
  }
}

function decode(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new ConfigError([`${path}: expected text in UTF-8, found other bytes`])
  }
}
