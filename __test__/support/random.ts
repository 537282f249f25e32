import { randomInt } from 'node:crypto'

/** Numbers that a seed repeats. `ALKNET_TEST_SEED` sets it; failures name it. */
export class Random {
  readonly seed: number
  #state: number

  constructor(seed = Number(process.env.ALKNET_TEST_SEED ?? randomInt(2 ** 31))) {
    this.seed = seed
    this.#state = seed
  }

  /** A whole number from 0 up to but not including `limit`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit)
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)))
  }

  text(): string {
    const letters = ['a', ':', '"', '\\', '\n', '\0', 'é', '☃', '😀', '\ufffd', '{', '[', '__', '']
    return Array.from({ length: this.below(20) }, () => this.pick(letters)).join('')
  }

  /** Any JSON value of at most `levels` levels. */
  json(levels: number): unknown {
    const kind = this.below(levels > 0 ? 8 : 6)
    if (kind < 2) return this.text()
    if (kind === 2) return this.below(2 ** 31) - 2 ** 30
    if (kind === 3) return this.below(1e6) / 1024
    if (kind === 4) return this.below(2) === 0
    if (kind === 5) return null
    const values = Array.from({ length: this.below(6) }, () => this.json(levels - 1))
    if (kind === 6) return values
    return Object.fromEntries(values.map((value) => [this.text(), value]))
  }
}
