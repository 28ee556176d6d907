import type { IncomingMessage, ServerResponse } from 'node:http'
import { type SimulatedEngine, simulatedModel } from './engine.ts'
import type { Submission } from './submissions.ts'

const maxBodyBytes = 1_048_576
const bytesOfToken = 4

interface Open {
  readonly submission: Submission
  readonly response: ServerResponse
  readonly promptTokens: number
}

/** The requests to `/v1/completions` that have no answer yet. */
export class Completions {
  readonly #engine: SimulatedEngine
  readonly #open = new Set<Open>()

  constructor(engine: SimulatedEngine) {
    this.#engine = engine
  }

  get open(): number {
    return this.#open.size
  }

  /** Takes a request in. `follow` lets the engine catch up with the clock. */
  receive(request: IncomingMessage, response: ServerResponse, follow: () => void): void {
    const chunks: Buffer[] = []
    let bytes = 0
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes <= maxBodyBytes) chunks.push(chunk)
    })
    request.on('end', () => {
      follow()
      if (!this.#engine.portOpen) request.socket.destroy()
      else if (bytes > maxBodyBytes) sendError(response, 413, 'expected at most 1 MiB')
      else this.#submit(Buffer.concat(chunks).toString('utf8'), response)
    })
  }

  /** Answers those whose requests have ended. */
  answer(): void {
    for (const entry of this.#open) {
      const { submission, response, promptTokens } = entry
      if (submission.state === 'pending') continue
      this.#open.delete(entry)
      if (submission.state === 'done') sendCompletion(response, promptTokens, submission.tokens)
      else sendError(response, 500, 'EngineCore encountered an issue.')
    }
  }

  #submit(text: string, response: ServerResponse): void {
    const wanted = parse(text)
    if (typeof wanted === 'string') {
      sendError(response, 400, wanted)
      return
    }
    const { model, promptTokens, maxTokens } = wanted
    if (model !== simulatedModel) {
      sendError(response, 404, `The model \`${model}\` does not exist.`)
      return
    }
    const submission = this.#engine.submit({ promptTokens, maxTokens })
    const entry = { submission, response, promptTokens }
    this.#open.add(entry)
    response.on('close', () => {
      if (this.#open.delete(entry)) submission.withdraw()
    })
    this.answer()
  }
}

/** Returns what a body asks for, or what is wrong with it. */
function parse(
  text: string,
): { readonly model: string; readonly promptTokens: number; readonly maxTokens: number } | string {
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    return 'expected JSON'
  }
  if (!isObject(body)) return 'expected an object'
  const { model, prompt, max_tokens } = body
  if (typeof model !== 'string') return 'expected a text for "model"'
  if (typeof prompt !== 'string') return 'expected a text for "prompt"'
  const maxTokens = max_tokens ?? 16
  if (typeof maxTokens !== 'number' || !Number.isInteger(maxTokens) || maxTokens < 1) {
    return 'expected a whole number above 0 for "max_tokens"'
  }
  const promptTokens = Math.max(Math.ceil(prompt.length / bytesOfToken), 1)
  return { model, promptTokens, maxTokens }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}

function sendCompletion(response: ServerResponse, promptTokens: number, tokens: number): void {
  const choice = { index: 0, text: ' and'.repeat(tokens), logprobs: null, finish_reason: 'length' }
  sendJson(response, 200, {
    id: 'cmpl-de300000000000000000000000000000',
    object: 'text_completion',
    created: 1_700_000_000,
    model: simulatedModel,
    choices: [choice],
    usage: {
      prompt_tokens: promptTokens,
      total_tokens: promptTokens + tokens,
      completion_tokens: tokens,
    },
  })
}

const errorTypes: Readonly<Record<number, string>> = {
  400: 'BadRequestError',
  404: 'NotFoundError',
  413: 'BadRequestError',
  500: 'InternalServerError',
}

function sendError(response: ServerResponse, code: number, message: string): void {
  const type = errorTypes[code] ?? 'InternalServerError'
  sendJson(response, code, { error: { message, type, param: null, code } })
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value))
  response.statusCode = status
  response.setHeader('content-type', 'application/json')
  response.setHeader('content-length', body.length)
  response.end(body)
}
