import { CollectError, shorten, unreachable } from '../errors.ts'
import { readSecret } from './secret.ts'
import type { TargetAuth } from './settings.ts'

// Visible ASCII and spaces: what a header can carry without being misread.
const headerText = /^[\x20-\x7e]+$/

/**
 * Returns the headers that authorise a request: none, a bearer token, or basic authentication.
 *
 * The files are read at each call, so that a rotated secret counts from the next request on.
 *
 * - a file that cannot be read, or holds nothing that a header can carry: throws `CollectError` with code
 *   `permission`; the request must not go out without what it was to carry
 *
 * The result is never to be logged; the errors name the file alone.
 */
export async function authorizationHeaders(
  auth: TargetAuth,
): Promise<Readonly<Record<string, string>>> {
  switch (auth.kind) {
    case 'none':
      return {}
    case 'bearer': {
      const token = await secretFrom(auth.tokenFile)
      if (!headerText.test(token)) {
        throw unusable(auth.tokenFile, 'characters that a header cannot carry')
      }
      return { authorization: `Bearer ${token}` }
    }
    case 'basic': {
      const password = await secretFrom(auth.passwordFile)
      const pair = Buffer.from(`${auth.username}:${password}`, 'utf8').toString('base64')
      return { authorization: `Basic ${pair}` }
    }
    default:
      return unreachable(auth)
  }
}

async function secretFrom(path: string): Promise<string> {
  try {
    return await readSecret(path)
  } catch (error) {
    if (!(error instanceof Error) || error instanceof TypeError) throw error
    throw unusable(path, shorten(error.message, 200), error)
  }
}

function unusable(path: string, found: string, cause?: unknown): CollectError {
  return new CollectError('permission', `expected a secret in ${path}, found: ${found}`, { cause })
}
