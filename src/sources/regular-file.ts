import { constants } from 'node:fs'
import { open } from 'node:fs/promises'

/** What stands at a path: the whole content of a regular file, or why there is none. */
export type RegularFile =
  | { readonly kind: 'read'; readonly bytes: Uint8Array }
  | { readonly kind: 'too_large' }
  | { readonly kind: 'directory' | 'irregular' }

/**
 * Reads the file at `path`, without ever waiting and without taking more than `maxBytes` of it into account.
 *
 * - a longer file, one that grows while it is read included: `too_large`
 * - a pipe, a socket or a device: `irregular`; it may have no end, and be empty when it is read again
 * - what the file system refuses: throws its error, with its `code`
 */
export async function readRegularFile(path: string, maxBytes: number): Promise<RegularFile> {
  const start = await readStart(path, maxBytes + 1)
  return start.kind === 'read' && start.bytes.length > maxBytes ? { kind: 'too_large' } : start
}

/** As `readRegularFile`, but of a longer file the first `maxBytes` are read. */
export async function readStart(
  path: string,
  maxBytes: number,
): Promise<Exclude<RegularFile, { kind: 'too_large' }>> {
  // Opening a pipe that nobody writes to would wait for ever.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const stat = await file.stat()
    if (stat.isDirectory()) return { kind: 'directory' }
    if (!stat.isFile()) return { kind: 'irregular' }
    const buffer = new Uint8Array(maxBytes)
    let length = 0
    while (length < buffer.length) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length)
      if (bytesRead === 0) break
      length += bytesRead
    }
    return { kind: 'read', bytes: buffer.subarray(0, length) }
  } finally {
    await file.close()
  }
}
