import { type IncomingHttpHeaders, request } from 'node:http'
import type { Wish } from './backends.ts'

/** An answer, with the time at which each part of it came. */
export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly parts: readonly { readonly text: string; readonly atMs: number }[]
  readonly body: string
}

export interface Asking {
  readonly answer: Promise<Answer>
  /** Resolves once the first part of the body is there. */
  readonly begun: Promise<void>
  /** Hangs up. */
  readonly abort: () => void
}

/** Sends a chat completion to a proxy on `port`, over a connection of its own. */
export function ask(
  port: number,
  wish: Wish = {},
  options: { readonly key?: string; readonly path?: string; readonly id?: string } = {},
): Asking {
  const path = options.path ?? '/v1/chat/completions'
  const headers: Record<string, string> = { 'content-type': 'application/json' }
  if (options.key !== undefined) headers['authorization'] = `Bearer ${options.key}`
  if (options.id !== undefined) headers['x-request-id'] = options.id
  const sent = request({ host: '127.0.0.1', port, path, method: 'POST', agent: false, headers })
  let tellBegun = () => {}
  const begun = new Promise<void>((resolve) => {
    tellBegun = resolve
  })
  const answer = new Promise<Answer>((resolve, reject) => {
    sent.on('error', reject)
    sent.on('response', (response) => {
      const parts: { text: string; atMs: number }[] = []
      response.setEncoding('utf8')
      response.on('data', (text: string) => {
        parts.push({ text, atMs: Date.now() })
        tellBegun()
      })
      response.on('error', reject)
      response.on('end', () => {
        const { statusCode: status = 0, headers: found } = response
        resolve({ status, headers: found, parts, body: parts.map((part) => part.text).join('') })
      })
    })
  })
  // A test that fails before it waits for an answer shall tell its own failure, not this one.
  answer.catch(() => {})
  sent.end(JSON.stringify(wish))
  return { answer, begun, abort: () => sent.destroy() }
}

/** Looks every 20 ms until `condition` holds; fails with `what` after `withinMs`. */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  what: string,
  withinMs = 5_000,
): Promise<void> {
  const endMs = Date.now() + withinMs
  while (!(await condition())) {
    if (Date.now() > endMs) throw new Error(`expected ${what} within ${withinMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
