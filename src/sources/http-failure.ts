import { CollectError, type CollectErrorCode, shorten } from '../errors.ts'

// Codes of Node, OpenSSL and undici. One that stands nowhere here counts as `reset`: the exchange broke.
const codesOfFailures: Readonly<Record<string, CollectErrorCode>> = {
  ECONNREFUSED: 'refused',
  EHOSTUNREACH: 'refused',
  EHOSTDOWN: 'refused',
  ENETUNREACH: 'refused',
  ENETDOWN: 'refused',
  // A firewall's rule on this host.
  EACCES: 'refused',
  EPERM: 'refused',
  ENOTFOUND: 'resolve',
  EAI_AGAIN: 'resolve',
  EAI_FAIL: 'resolve',
  EAI_NODATA: 'resolve',
  EAI_NONAME: 'resolve',
  EAI_MEMORY: 'resolve',
  EAI_SYSTEM: 'resolve',
  ETIMEDOUT: 'timeout',
  UND_ERR_CONNECT_TIMEOUT: 'timeout',
  UND_ERR_HEADERS_TIMEOUT: 'timeout',
  UND_ERR_BODY_TIMEOUT: 'timeout',
  UND_ERR_HEADERS_OVERFLOW: 'too_large',
  UND_ERR_RES_EXCEEDED_MAX_SIZE: 'too_large',
  // This process has run out of descriptors, ports or buffers: nothing is known of the other side.
  EMFILE: 'limit',
  ENFILE: 'limit',
  ENOBUFS: 'limit',
  ENOMEM: 'limit',
  EADDRNOTAVAIL: 'limit',
  EPROTO: 'tls',
  CERT_HAS_EXPIRED: 'tls',
  CERT_NOT_YET_VALID: 'tls',
  CERT_REVOKED: 'tls',
  CERT_REJECTED: 'tls',
  CERT_UNTRUSTED: 'tls',
  CERT_SIGNATURE_FAILURE: 'tls',
  CERT_CHAIN_TOO_LONG: 'tls',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'tls',
  SELF_SIGNED_CERT_IN_CHAIN: 'tls',
  UNABLE_TO_GET_ISSUER_CERT: 'tls',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'tls',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'tls',
  HOSTNAME_MISMATCH: 'tls',
  INVALID_CA: 'tls',
  INVALID_PURPOSE: 'tls',
  PATH_LENGTH_EXCEEDED: 'tls',
}

/**
 * Returns why an exchange with `url` failed, from the error that undici or a socket gave.
 *
 * - several attempts at once (one for each address): the first of them that is known
 * - an answer that is not HTTP: `not_exposition`
 * - a request that undici refuses to send, or a failed assertion: the error itself, as the program's mistake
 *
 * The message names the failure and never the request, so that no credential is in it.
 */
export function collectErrorOf(error: Error, url: string): Error {
  const found = firstKnown(error)
  const word = codeWord(found)
  if (word === 'UND_ERR_INVALID_ARG' || word === 'ERR_ASSERTION') return error
  const code = isNotHttp(found) ? 'not_exposition' : codeOf(word)
  const detail = [word, ...addressOf(found)].filter((part) => part !== '').join(' ')
  const told = detail === '' ? shorten(found.message) : detail
  return new CollectError(
    code,
    `expected an answer from ${url}, found ${phraseOf(code)} (${told})`,
    {
      cause: error,
    },
  )
}

function firstKnown(error: Error): Error {
  if (!(error instanceof AggregateError)) return error
  const errors = error.errors.filter((inner): inner is Error => inner instanceof Error)
  return (
    errors.find((inner) => codesOfFailures[codeWord(inner)] !== undefined) ?? errors[0] ?? error
  )
}

function codeWord(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : ''
}

function codeOf(word: string): CollectErrorCode {
  const known = codesOfFailures[word]
  if (known !== undefined) return known
  if (word.startsWith('ERR_TLS_') || word.startsWith('ERR_SSL_') || word.startsWith('CRL_'))
    return 'tls'
  return 'reset'
}

/** undici gives its parser's errors a name and no code, and one that ends too early is among them. */
function isNotHttp(error: Error): boolean {
  return error.name === 'HTTPParserError' && !error.message.includes('EOF')
}

/** The address that was tried, where the error knows one. */
function addressOf(error: Error): string[] {
  if (!('address' in error) || typeof error.address !== 'string') return []
  const port = 'port' in error && typeof error.port === 'number' ? `:${error.port}` : ''
  return [`${error.address.includes(':') ? `[${error.address}]` : error.address}${port}`]
}

function phraseOf(code: CollectErrorCode): string {
  switch (code) {
    case 'refused':
      return 'the connection refused'
    case 'resolve':
      return 'no address for the name'
    case 'timeout':
      return 'none in time'
    case 'tls':
      return 'a certificate or TLS handshake that cannot be trusted'
    case 'too_large':
      return 'too many bytes'
    case 'limit':
      return 'this process or host out of resources'
    case 'not_exposition':
      return 'something that is not HTTP'
    default:
      return 'the connection broken off'
  }
}
