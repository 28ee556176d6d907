import type { LookupAddress } from 'node:dns'
import { lookup as systemLookup } from 'node:dns/promises'
import type { LookupFunction } from 'node:net'

/** Asks the system for all addresses of a name. */
export type AskAddresses = (hostname: string) => Promise<readonly LookupAddress[]>

// The system's look-ups share a pool of four threads with the file system and cannot be cancelled, so
// that four hung ones would stop every file operation: two are left to the rest.
const MOST_IN_FLIGHT = 2
const MOST_CALLERS_OF_A_NAME = 32
const MOST_REMEMBERED = 256

interface Pending {
  readonly addresses: Promise<readonly LookupAddress[]>
  callers: number
}

/**
 * Looks names up with at most two look-ups under way in the process and one for each name.
 *
 * - the name is being looked up already: its answer is waited for
 * - two others are under way: the name's last answer serves, and without one the name waits its turn
 * - 32 callers wait for the same name: an error with code `EAI_AGAIN`
 * - a name without an address, or a failing resolver: the system's error
 *
 * An answer is never reused while the system can be asked, so that a name which moves is followed.
 */
export class GuardedLookup {
  readonly #ask: AskAddresses
  readonly #pending = new Map<string, Pending>()
  readonly #last = new Map<string, readonly LookupAddress[]>()
  readonly #queue: Array<() => void> = []
  #inFlight = 0

  constructor(ask: AskAddresses = (hostname) => systemLookup(hostname, { all: true })) {
    this.#ask = ask
  }

  /** The function that `net.connect` takes as its option `lookup`. */
  readonly lookup: LookupFunction = (hostname, options, callback) => {
    this.#addresses(hostname).then(
      (addresses) => {
        const family = familyOf(options.family)
        const fitting = addresses.filter((address) => family === 0 || address.family === family)
        const first = fitting[0]
        if (first === undefined) callback(noAddress(hostname), '', 0)
        else if (options.all === true) callback(null, fitting)
        else callback(null, first.address, first.family)
      },
      (error: NodeJS.ErrnoException) => callback(error, '', 0),
    )
  }

  async #addresses(hostname: string): Promise<readonly LookupAddress[]> {
    const pending = this.#pending.get(hostname)
    if (pending !== undefined) {
      if (pending.callers >= MOST_CALLERS_OF_A_NAME) throw tryAgain(hostname)
      pending.callers += 1
      return pending.addresses
    }
    const last = this.#last.get(hostname)
    if (this.#inFlight >= MOST_IN_FLIGHT && last !== undefined) return last
    const addresses = this.#askInTurn(hostname).finally(() => this.#pending.delete(hostname))
    this.#pending.set(hostname, { addresses, callers: 1 })
    return addresses
  }

  async #askInTurn(hostname: string): Promise<readonly LookupAddress[]> {
    if (this.#inFlight >= MOST_IN_FLIGHT) {
      await new Promise<void>((resolve) => this.#queue.push(resolve))
    } else {
      this.#inFlight += 1
    }
    try {
      const addresses = await this.#ask(hostname)
      if (this.#last.size >= MOST_REMEMBERED) this.#last.clear()
      this.#last.set(hostname, addresses)
      return addresses
    } finally {
      // The turn is handed on rather than given back, so that no newcomer slips in between.
      const next = this.#queue.shift()
      if (next === undefined) this.#inFlight -= 1
      else next()
    }
  }
}

/** The one that all targets share, since they share the threads. */
export const sharedLookup = new GuardedLookup()

function familyOf(family: number | 'IPv4' | 'IPv6' | undefined): number {
  if (family === 'IPv4') return 4
  if (family === 'IPv6') return 6
  return family ?? 0
}

function noAddress(hostname: string): NodeJS.ErrnoException {
  const error = new Error(`expected an address of the wanted family for ${hostname}, found none`)
  return Object.assign(error, { code: 'ENOTFOUND' })
}

function tryAgain(hostname: string): NodeJS.ErrnoException {
  const error = new Error(
    `expected an answer for ${hostname}, found ${MOST_CALLERS_OF_A_NAME} callers waiting for it`,
  )
  return Object.assign(error, { code: 'EAI_AGAIN' })
}
