/** A stretch of a vector and what it is for. */
export interface Place<T> {
  readonly offset: number
  readonly width: number
  readonly what: T
  /** When it was last written to; what is not written to for long loses its place. */
  seenMs: number
}

/**
 * Hands out the places of a vector that grows at its end. A vector of an earlier time is shorter than
 * today's: what lies beyond its end had not begun.
 */
export class Places<T> {
  readonly #max: number
  readonly #empty: number
  #places = new Map<string, Place<T>>()
  #length = 0
  #used = 0
  #version = 0

  /** `empty` is the value of a place that nothing was written to. */
  constructor(options: { readonly max: number; readonly empty: number }) {
    this.#max = options.max
    this.#empty = options.empty
  }

  /** How long a vector is today. */
  get length(): number {
    return this.#length
  }

  /** How many places are given out. */
  get size(): number {
    return this.#places.size
  }

  /** Grows whenever places are given out, taken back or moved. */
  get version(): number {
    return this.#version
  }

  get all(): Iterable<Place<T>> {
    return this.#places.values()
  }

  find(key: string): Place<T> | undefined {
    return this.#places.get(key)
  }

  /** Gives `key` a new place at the end in place of the one it had; nothing when there is no room. */
  claim(
    key: string,
    what: T,
    room: { readonly width: number; readonly atMs: number },
  ): Place<T> | undefined {
    const replaced = this.#places.get(key)
    if (replaced === undefined && this.#places.size >= this.#max) return undefined
    const place = { offset: this.#length, width: room.width, what, seenMs: room.atMs }
    this.#places.set(key, place)
    this.#version += 1
    this.#length += room.width
    this.#used += room.width - (replaced?.width ?? 0)
    return place
  }

  /** Returns `vector` at today's length, as a copy. */
  extend(vector: Float64Array | undefined): Float64Array {
    const out = new Float64Array(this.#length).fill(this.#empty)
    if (vector !== undefined) out.set(vector)
    return out
  }

  /** Takes back the places last written to before `sinceMs` that may go, and tells whether there were any. */
  forget(sinceMs: number, mayGo: (what: T) => boolean): boolean {
    let forgot = false
    for (const [key, place] of this.#places) {
      if (place.seenMs >= sinceMs || !mayGo(place.what)) continue
      this.#places.delete(key)
      this.#used -= place.width
      forgot = true
    }
    if (forgot) this.#version += 1
    return forgot
  }

  /**
   * Closes the gaps that replaced and forgotten places left, once they outweigh what is in use. Returns
   * how vectors of today and before are to be rewritten, or nothing when they may stay.
   */
  compact(): ((vector: Float64Array) => Float64Array) | undefined {
    if (this.#length <= 2 * this.#used + 256) return undefined
    const moves: { readonly from: number; readonly to: number; readonly width: number }[] = []
    const moved = new Map<string, Place<T>>()
    let to = 0
    for (const [key, place] of this.#places) {
      moves.push({ from: place.offset, to, width: place.width })
      moved.set(key, { ...place, offset: to })
      to += place.width
    }
    this.#places = moved
    this.#version += 1
    this.#length = to
    return (vector) => {
      const out = new Float64Array(to).fill(this.#empty)
      for (const move of moves) out.set(vector.subarray(move.from, move.from + move.width), move.to)
      return out
    }
  }
}
