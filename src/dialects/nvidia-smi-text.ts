import { CollectError, type CollectErrorCode, shorten } from '../errors.ts'

/** How a run of nvidia-smi came to its end. */
export type SmiEnd =
  | { readonly kind: 'exited'; readonly exitCode: number }
  | { readonly kind: 'killed'; readonly signal: string }
  | { readonly kind: 'not_started'; readonly errno: string }
  | { readonly kind: 'timeout' | 'too_large' | 'aborted' | 'busy' }

export interface SmiOutput {
  readonly end: SmiEnd
  readonly stdout: string
  readonly stderr: string
}

/** The document in an output, or what there is instead of one. */
export type SmiDocument =
  | {
      readonly kind: 'whole'
      /** The root element alone, fit for a parser. */
      readonly xml: string
      /** Lines on either stream that are not part of it, and an end that was not a clean one. */
      readonly remarks: readonly string[]
    }
  | { readonly kind: 'none' | 'incomplete' | 'too_large' | 'too_deep' }

/** A GPU has 20 KiB without its supported clocks; a parser takes about 0.2 s for this much. */
const maxDocumentLength = 2_097_152
/** Drivers nest to 8. */
const maxDepth = 32
const maxRemarks = 16
const rootStart = '<nvidia_smi_log'
const rootEnd = '</nvidia_smi_log>'

/**
 * Cuts the first document out of what nvidia-smi wrote and makes it safe to parse.
 *
 * - the prolog is left out and with it any internal DTD; of entities only the five predefined ones are
 *   left, every other `&` becomes literal
 * - `supported_clocks`, most of the length and never used, is left out
 * - names of processes, which users choose and drivers do not always escape, are escaped, or emptied
 *   when `processes` is false
 *
 * Takes time linear in the length of the output, whatever it holds.
 */
export function cutDocument(
  output: SmiOutput,
  options: { readonly processes: boolean },
): SmiDocument {
  const { stdout } = output
  const start = stdout.indexOf(rootStart)
  if (start < 0) return { kind: /^<(?:\?xml|!DOCTYPE)/m.test(stdout) ? 'incomplete' : 'none' }
  const parts: string[] = []
  let length = 0
  let from = start
  for (let whole = false; !whole; ) {
    const token = nextToken(stdout, from)
    if (token === undefined) return { kind: 'incomplete' }
    const kept = stdout.slice(from, token.at) + token.keep(options.processes)
    parts.push(kept)
    length += kept.length
    if (length > maxDocumentLength) return { kind: 'too_large' }
    from = token.next
    whole = token.ends
  }
  const xml = parts.join('').replaceAll(/&(?!(?:amp|lt|gt|quot|apos);)/g, '&amp;')
  if (isTooDeep(xml)) return { kind: 'too_deep' }
  return { kind: 'whole', xml, remarks: remarksOf(output, { start, end: from }) }
}

/**
 * Tells why a run yielded no document that can be used, by what the program said and by its status.
 * The text goes before the status: one status, 255, has several reasons. At start-up nvidia-smi tells the
 * reason on standard output; standard error is asked only where that is empty.
 *
 * Statuses: nvidia-smi(1), RETURN VALUE, and `nvmlReturn_t` of nvml.h.
 */
export function failureOf(
  output: SmiOutput,
  document: Exclude<SmiDocument['kind'], 'whole'>,
  options: { readonly command: string; readonly timeoutMs: number },
): CollectError {
  const { end } = output
  const { command, timeoutMs } = options
  const said = reasonIn(output)
  const words = said === undefined ? '' : `: ${shorten(said, 200)}`
  switch (end.kind) {
    case 'not_started':
      return notStarted(end.errno, command)
    case 'timeout':
      return new CollectError(
        'timeout',
        `expected ${command} to end within ${timeoutMs} ms${words}`,
      )
    case 'busy':
      return new CollectError(
        'timeout',
        `the previous ${command} has not ended, although it was killed; no second one is started`,
      )
    case 'aborted':
      return new CollectError('timeout', `the collection was stopped before ${command} ended`)
    case 'too_large':
      return new CollectError('too_large', `${command} wrote more than the limit${words}`)
    case 'killed':
    case 'exited':
      break
  }
  const code =
    codeOfText(said ?? '') ?? (end.kind === 'exited' ? codeOfStatus(end.exitCode) : 'exit')
  const how =
    end.kind === 'killed' ? `was ended by ${end.signal}` : `ended with status ${end.exitCode}`
  if (code !== undefined) {
    const lack = document === 'incomplete' ? ' with an incomplete document' : ''
    return new CollectError(code, `${command} ${how}${lack}${words}`)
  }
  return withoutDocument(document, command, words)
}

/** The PCI bus ids that the program names as those of GPUs it cannot reach, as `busKey` spells them. */
export function lostBusIds(remarks: readonly string[]): readonly string[] {
  const found = new Set<string>()
  for (const remark of remarks) {
    if (!lostGpu.test(remark)) continue
    const id = /(?<![0-9a-f])(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]/i.exec(remark)?.[0]
    if (id !== undefined) found.add(busKey(id))
  }
  return [...found]
}

/**
 * Spells a PCI bus id in the one way in which two of them can be compared: lower case, no leading zeros
 * in the domain. Drivers write the domain with four or with eight digits.
 */
export function busKey(pciBusId: string): string {
  const [, domain = '0', rest] =
    /^(?:([0-9a-f]{1,8}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])$/.exec(pciBusId.toLowerCase()) ?? []
  return rest === undefined ? pciBusId.toLowerCase() : `${domain.replace(/^0+(?=.)/, '')}:${rest}`
}

/** In brackets it is the value of one field in a table, and no reason for a failure. */
const lostGpu =
  /unable to determine the device handle|(?<!\[)gpu (?:is lost|requires reset)|fallen off the bus/i

const codesOfTexts: readonly (readonly [RegExp, CollectErrorCode])[] = [
  [/driver\/library version mismatch/i, 'library_mismatch'],
  [/no devices were found|no supported gpus were found/i, 'no_gpu'],
  [/insufficient permissions|blocked by the operating system/i, 'permission'],
  [lostGpu, 'gpu_lost'],
  [/communicate with the nvidia driver|couldn't find libnvidia-ml/i, 'driver_unavailable'],
  [/driver not loaded|failed to initialize nvml/i, 'driver_unavailable'],
]

const codesOfStatuses: ReadonlyMap<number, CollectErrorCode> = new Map([
  [4, 'permission'],
  [6, 'no_gpu'],
  [9, 'driver_unavailable'],
  [12, 'driver_unavailable'],
  [13, 'driver_unavailable'],
  [15, 'gpu_lost'],
  [16, 'gpu_lost'],
  [17, 'permission'],
  [18, 'library_mismatch'],
  // A shell's ways to say that it could not run the program.
  [126, 'not_found'],
  [127, 'not_found'],
])

function codeOfText(text: string): CollectErrorCode | undefined {
  return codesOfTexts.find(([pattern]) => pattern.test(text))?.[1]
}

function codeOfStatus(exitCode: number): CollectErrorCode | undefined {
  return exitCode === 0 ? undefined : (codesOfStatuses.get(exitCode) ?? 'exit')
}

function notStarted(errno: string, command: string): CollectError {
  switch (errno) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new CollectError('not_found', `expected the program ${command}, found none (${errno})`)
    case 'EACCES':
    case 'ENOEXEC':
    case 'EISDIR':
      return new CollectError(
        'not_found',
        `expected ${command} to be a program, found a file that cannot be executed (${errno})`,
      )
    case 'EPERM':
      return new CollectError(
        'permission',
        `the system does not let us start ${command} (${errno})`,
      )
    default:
      return new CollectError('exit', `the system could not start ${command} (${errno})`)
  }
}

function withoutDocument(
  document: Exclude<SmiDocument['kind'], 'whole'>,
  command: string,
  words: string,
): CollectError {
  const expected = `expected a document from ${command}, found`
  switch (document) {
    case 'too_large':
      return new CollectError(
        'too_large',
        `${expected} one of more than ${maxDocumentLength} bytes`,
      )
    case 'too_deep':
      return new CollectError('malformed', `${expected} elements nested deeper than ${maxDepth}`)
    case 'incomplete':
      return new CollectError('malformed', `${expected} an incomplete document${words}`)
    case 'none':
      return new CollectError(
        'malformed',
        `${expected} ${words === '' ? 'nothing' : words.slice(2)}`,
      )
  }
}

/** The line that a person should read: the first with a known reason, else the first at all. */
function reasonIn(output: SmiOutput): string | undefined {
  const beforeXml = /^<(?:\?xml|!DOCTYPE|nvidia_smi_log)/m.exec(output.stdout)?.index
  const told = linesOf(output.stdout.slice(0, beforeXml), 8)
  // With nothing on standard output but a document begun, standard error may tell more.
  const lines = told.length > 0 ? told : linesOf(output.stderr, 8)
  return lines.find((line) => codeOfText(line) !== undefined) ?? lines[0]
}

function remarksOf(
  output: SmiOutput,
  document: { readonly start: number; readonly end: number },
): readonly string[] {
  const { end, stdout, stderr } = output
  const prolog = /^<(?:\?xml|!DOCTYPE)/m.exec(stdout.slice(0, document.start))?.index
  const rest = stdout.slice(document.end)
  const next = /^<(?:\?xml|!DOCTYPE|nvidia_smi_log)/m.exec(rest)?.index
  const remarks = [
    ...linesOf(stderr, maxRemarks),
    ...linesOf(stdout.slice(0, prolog ?? document.start), maxRemarks),
    ...linesOf(rest.slice(0, next), maxRemarks),
  ]
  if (next !== undefined) remarks.push('more than one document was written; the first is used')
  if (end.kind === 'exited' && end.exitCode !== 0) {
    remarks.push(`the program ended with status ${end.exitCode} after a complete document`)
  } else if (end.kind === 'killed') {
    remarks.push(`the program was ended by ${end.signal} after a complete document`)
  } else if (end.kind === 'timeout') {
    remarks.push('the program wrote a complete document, did not end in time and was killed')
  }
  return remarks.slice(0, maxRemarks).map((remark) => shorten(remark, 200))
}

function linesOf(text: string, atMost: number): string[] {
  const lines: string[] = []
  let from = 0
  while (from < text.length && lines.length < atMost) {
    const newline = text.indexOf('\n', from)
    const to = newline < 0 ? text.length : newline
    const line = text.slice(from, Math.min(to, from + 1_000)).trim()
    if (line !== '') lines.push(line)
    from = to + 1
  }
  return lines
}

interface Token {
  /** Whether the document is whole with it. */
  readonly ends: boolean
  readonly at: number
  readonly next: number
  /** What stands in the place of the text from `at` to `next`. */
  readonly keep: (processes: boolean) => string
}

function nextToken(text: string, from: number): Token | undefined {
  const pattern = /<supported_clocks>|<process_name>|<\/nvidia_smi_log>/g
  pattern.lastIndex = from
  const match = pattern.exec(text)
  if (match === null) return undefined
  const at = match.index
  if (match[0] === rootEnd) {
    return { ends: true, at, next: at + rootEnd.length, keep: () => rootEnd }
  }
  const name = match[0] === '<process_name>' ? 'process_name' : 'supported_clocks'
  const bodyEnd = text.indexOf(`</${name}>`, at)
  if (bodyEnd < 0) return undefined
  const next = bodyEnd + name.length + 3
  if (name === 'supported_clocks') return { ends: false, at, next, keep: () => '' }
  const keep = (processes: boolean) => {
    const body = processes ? text.slice(at + match[0].length, bodyEnd) : ''
    return `<process_name>${escaped(body)}</process_name>`
  }
  return { ends: false, at, next, keep }
}

/** Entities that the driver did write are kept; the caller makes every other `&` literal. */
function escaped(body: string): string {
  return body.replaceAll('<', '&lt;').replaceAll(/\p{Cc}/gu, '\uFFFD')
}

function isTooDeep(xml: string): boolean {
  let depth = 0
  for (let at = xml.indexOf('<'); at >= 0; at = xml.indexOf('<', at)) {
    const mark = xml[at + 1]
    const close = endOfMarkup(xml, at)
    // Whatever follows, a parser refuses a document with markup that does not end.
    if (close < 0) return false
    if (mark === '/') depth -= 1
    else if (mark !== '!' && mark !== '?' && xml[close - 1] !== '/') depth += 1
    if (depth > maxDepth) return true
    at = close
  }
  return false
}

/** The place of the `>` that ends the tag, comment, section or instruction which begins at `at`. */
function endOfMarkup(xml: string, at: number): number {
  for (const [begin, end] of bracketed) {
    if (!xml.startsWith(begin, at)) continue
    const last = xml.indexOf(end, at + begin.length)
    return last < 0 ? last : last + end.length - 1
  }
  let quote = ''
  for (let i = at + 1; i < xml.length; i += 1) {
    const mark = xml.charAt(i)
    if (mark === quote) quote = ''
    else if (quote !== '') continue
    else if (mark === '"' || mark === "'") quote = mark
    else if (mark === '>') return i
  }
  return -1
}

const bracketed = [
  ['<!--', '-->'],
  ['<![CDATA[', ']]>'],
  ['<?', '?>'],
] as const
