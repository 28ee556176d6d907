/** One form in which an answer can be sent. */
export interface Offer {
  /** Type and subtype in lower case, without parameters. */
  readonly mediaType: string
  /** The whole `Content-Type` to send. */
  readonly contentType: string
  /** A range that asks for another `version` than this does not match. */
  readonly version?: string
}

// A header is limited by the server; this keeps the work for one of nothing but commas small.
const maxRanges = 64

interface Range {
  readonly mediaType: string
  readonly version: string | undefined
  readonly quality: number
}

/**
 * Returns the offer that an `Accept` header likes best.
 *
 * - equal quality: the offer that was named more exactly, then the earlier one
 * - no header, garbage, or nothing that matches: the first offer, since an answer in another form is
 *   of more use than a 406
 *
 * Follows RFC 9110, section 12.5.1.
 */
export function preferred<const T extends readonly [Offer, ...Offer[]]>(
  accept: string | undefined,
  offers: T,
): T[number] {
  const ranges = accept === undefined ? [] : parseRanges(accept)
  let best: T[number] = offers[0]
  let bestQuality = 0
  let bestExactness = -1
  for (const offer of offers) {
    const { quality, exactness } = rate(offer, ranges)
    if (quality > bestQuality || (quality === bestQuality && exactness > bestExactness)) {
      if (quality === 0) continue
      best = offer
      bestQuality = quality
      bestExactness = exactness
    }
  }
  return best
}

/** The quality that the most exact matching range gives an offer; 0 where none matches. */
function rate(offer: Offer, ranges: readonly Range[]): { quality: number; exactness: number } {
  let quality = 0
  let exactness = -1
  for (const range of ranges) {
    const found = exactnessOf(offer, range)
    if (found > exactness || (found === exactness && found >= 0 && range.quality > quality)) {
      exactness = found
      quality = range.quality
    }
  }
  return { quality, exactness }
}

function exactnessOf(offer: Offer, range: Range): number {
  if (range.mediaType === '*/*') return 0
  if (range.mediaType.endsWith('/*')) {
    return offer.mediaType.startsWith(range.mediaType.slice(0, -1)) ? 1 : -1
  }
  if (range.mediaType !== offer.mediaType) return -1
  if (range.version === undefined || offer.version === undefined) return 2
  return range.version === offer.version ? 3 : -1
}

function parseRanges(accept: string): Range[] {
  const ranges: Range[] = []
  for (const part of accept.split(',', maxRanges)) {
    const [mediaType = '', ...parameters] = part.split(';')
    let quality = 1
    let version: string | undefined
    for (const parameter of parameters) {
      const equals = parameter.indexOf('=')
      if (equals < 0) continue
      const name = parameter.slice(0, equals).trim().toLowerCase()
      const value = parameter.slice(equals + 1).trim()
      if (name === 'q') quality = Number(value)
      if (name === 'version') version = value.replace(/^"(.*)"$/, '$1')
    }
    if (!(quality >= 0 && quality <= 1)) continue
    ranges.push({ mediaType: mediaType.trim().toLowerCase(), version, quality })
  }
  return ranges
}
