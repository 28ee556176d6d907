import { unreachable } from '../errors.ts'
import { readRegularFile } from './regular-file.ts'

const maxSecretBytes = 65_536

/**
 * Returns the secret that the file at `path` holds, without the newline that editors put at its end.
 *
 * Missing, unreadable, empty, longer than 64 KiB, or with control characters, which no header can carry:
 * throws an `Error` that says so (with a `code` where the file system refused) and never quotes the content.
 */
export async function readSecret(path: string): Promise<string> {
  const file = await readRegularFile(path, maxSecretBytes)
  switch (file.kind) {
    case 'read':
      return secretIn(file.bytes)
    case 'too_large':
      throw new Error('expected at most 64KiB, found more')
    case 'directory':
    case 'irregular':
      throw new Error('expected a regular file, found another kind of entry')
    default:
      return unreachable(file)
  }
}

function secretIn(bytes: Uint8Array): string {
  const text = new TextDecoder().decode(bytes).replace(/\r?\n$/, '')
  if (text === '') throw new Error('expected a secret, found an empty file')
  if (/\p{Cc}/u.test(text)) throw new Error('expected one line of text, found control characters')
  return text
}
