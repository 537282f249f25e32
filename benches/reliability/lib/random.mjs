// Numbers that a seed repeats.
export class Random {
  #state

  constructor(seed) {
    this.seed = seed
    this.#state = seed
  }

  /** A whole number from 0 up to but not including `limit`. */
  below(limit) {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit)
  }

  pick(from) {
    return from[this.below(from.length)]
  }

  bytes(length) {
    const bytes = Buffer.allocUnsafe(length)
    for (let at = 0; at < length; at++) bytes[at] = this.below(256)
    return bytes
  }
}
