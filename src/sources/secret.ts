import { constants } from 'node:fs'
import { open } from 'node:fs/promises'

const maxSecretBytes = 65_536

/**
 * Returns the secret that the file at `path` holds, without the newline that editors put at its end.
 *
 * Missing, unreadable, empty, longer than 64 KiB, or with control characters, which no header can carry:
 * throws an `Error` that says so (with a `code` where the file system refused) and never quotes the content.
 */
export async function readSecret(path: string): Promise<string> {
  // Opening a pipe that nobody writes to would wait for ever.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    // A pipe would be empty when it is read again at the next request.
    if (!(await file.stat()).isFile()) {
      throw new Error('expected a regular file, found another kind of entry')
    }
    const buffer = new Uint8Array(maxSecretBytes + 1)
    let length = 0
    while (length < buffer.length) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length)
      if (bytesRead === 0) break
      length += bytesRead
    }
    if (length > maxSecretBytes) throw new Error('expected at most 64KiB, found more')
    const text = new TextDecoder().decode(buffer.subarray(0, length)).replace(/\r?\n$/, '')
    if (text === '') throw new Error('expected a secret, found an empty file')
    if (/\p{Cc}/u.test(text)) throw new Error('expected one line of text, found control characters')
    return text
  } finally {
    await file.close()
  }
}
