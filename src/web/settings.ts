import { isIPv6 } from 'node:net'
import { z } from 'zod'

/** An address to listen on. */
export interface ListenAddress {
  /** A host name or an IP address, IPv6 without brackets. */
  readonly host: string
  readonly port: number
  /** The address as it was written. */
  readonly text: string
}

/** What is served, and where. */
export interface WebConfig {
  readonly listen: readonly ListenAddress[]
  /** Whether `POST /-/reload` is answered. */
  readonly enableLifecycle: boolean
}

const maxListenAddresses = 16

/**
 * Returns the address that `HOST:PORT` names. `:PORT` means every IPv4 address, and IPv6 is written in
 * brackets: `[::1]:19400`.
 *
 * A missing or foreign host, or a port outside 1 to 65535: `undefined`.
 */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]*)):(\d{1,5})$/.exec(text)
  if (match === null) return undefined
  const [, ipv6, name = ''] = match
  const port = Number(match[3])
  if (port < 1 || port > 65_535) return undefined
  if (ipv6 !== undefined && !isIPv6(ipv6)) return undefined
  return { host: ipv6 ?? (name === '' ? '0.0.0.0' : name), port, text }
}

const listenMessage =
  'expected HOST:PORT such as 0.0.0.0:19400 or [::1]:19400, with a port from 1 to 65535'

const listenSchema = z.string({ error: listenMessage }).transform((text, context) => {
  const address = parseListenAddress(text)
  if (address !== undefined) return address
  context.addIssue(listenMessage)
  return z.NEVER
})

export const webSchema = z
  .strictObject({
    listen: z
      .array(listenSchema)
      .min(1, { error: 'expected at least one address' })
      .max(maxListenAddresses, { error: `expected at most ${maxListenAddresses} addresses` })
      // Runs beside other mistakes, so that all of them are told at once.
      .superRefine(distinct, { when: ({ value }) => Array.isArray(value) })
      .prefault(['0.0.0.0:19400'])
      .describe('Addresses that are served, each HOST:PORT; a change needs a restart.'),
    enable_lifecycle: z
      .boolean({ error: 'expected true or false' })
      .prefault(false)
      .describe('Whether POST /-/reload reads the configuration again, as SIGHUP does.'),
  })
  .transform((web): WebConfig => ({ listen: web.listen, enableLifecycle: web.enable_lifecycle }))

/** An address with a mistake of its own has not been transformed, and is passed over. */
function distinct(addresses: readonly Partial<ListenAddress>[], context: z.RefinementCtx): void {
  const seen = new Set<string>()
  for (const [index, { host, port }] of addresses.slice(0, maxListenAddresses).entries()) {
    if (host === undefined) continue
    const key = `${host.toLowerCase()} ${port}`
    if (seen.has(key)) {
      context.addIssue({ code: 'custom', message: 'expected each address once', path: [index] })
    }
    seen.add(key)
  }
}
