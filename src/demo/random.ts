/**
 * Random numbers that depend on their seed alone, so that a simulation can be run again.
 * The generator is mulberry32: 32 bits of state, plenty for a demonstration, nothing for secrets.
 */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** A number in (0, 1): neither end, so that its logarithm is finite. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 0.5) / 4_294_967_296
  }

  /** A generator of its own stream: what is drawn from it leaves this one's sequence as it was. */
  fork(stream: number): Random {
    return new Random(Math.imul(this.#state ^ Math.imul(stream + 1, 0x9e3779b1), 0x85ebca6b))
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  between(low: number, high: number): number {
    return low + (high - low) * this.next()
  }

  /** One of `choices`, each as likely as the next. Throws `RangeError` when there is none. */
  pick<T>(choices: readonly T[]): T {
    const chosen = choices[Math.floor(this.next() * choices.length)]
    if (chosen === undefined)
      throw new RangeError('expected something to choose from, found nothing')
    return chosen
  }

  exponential(mean: number): number {
    return -mean * Math.log(this.next())
  }

  normal(): number {
    return Math.sqrt(-2 * Math.log(this.next())) * Math.cos(2 * Math.PI * this.next())
  }

  /** `sigma` is the standard deviation of the logarithm: the larger, the longer the tail. */
  lognormal(median: number, sigma: number): number {
    return median * Math.exp(sigma * this.normal())
  }
}
