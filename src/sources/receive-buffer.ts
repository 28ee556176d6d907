const SMALLEST_BYTES = 64 * 1024
const SMALL_PAGES_BEFORE_SHRINKING = 20

/**
 * The place where one target's pages are received, one after the other. It is kept from page to page, so
 * that a large page each second leaves no garbage behind, and shrinks once pages have become small.
 */
export class ReceiveBuffer {
  #bytes = new Uint8Array(0)
  #length = 0
  #smallPages = 0

  get length(): number {
    return this.#length
  }

  /** How much memory is held. */
  get capacityBytes(): number {
    return this.#bytes.length
  }

  /** Begins a new page. What `view` returned before is overwritten from here on. */
  reset(): void {
    const roomy = this.#bytes.length > SMALLEST_BYTES && this.#length * 4 < this.#bytes.length
    this.#smallPages = roomy ? this.#smallPages + 1 : 0
    if (this.#smallPages >= SMALL_PAGES_BEFORE_SHRINKING) this.release()
    this.#length = 0
  }

  append(chunk: Uint8Array): void {
    const neededBytes = this.#length + chunk.length
    if (neededBytes > this.#bytes.length) this.#grow(neededBytes)
    this.#bytes.set(chunk, this.#length)
    this.#length = neededBytes
  }

  /** Returns what was received, without copying it: valid until the next `reset`. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  /** Gives the memory back. */
  release(): void {
    this.#bytes = new Uint8Array(0)
    this.#length = 0
    this.#smallPages = 0
  }

  #grow(neededBytes: number): void {
    let capacityBytes = Math.max(SMALLEST_BYTES, this.#bytes.length)
    while (capacityBytes < neededBytes) capacityBytes *= 2
    const grown = new Uint8Array(capacityBytes)
    grown.set(this.view())
    this.#bytes = grown
  }
}
