/**
 * What a stream has been given to write, in the pieces in which the addon takes it.
 */

/** Most bytes of one call into the addon that is put together from smaller chunks. */
const BATCH_SIZE = 65_536

interface Item {
  chunk: Uint8Array
}

/** Bytes under way from one `_write` or `_writev`. A call costs as much as copying some KiB: small chunks are joined. */
export class WriteQueue {
  #items: readonly Item[] = []
  #next = 0
  #current: Uint8Array | undefined

  /** Takes one chunk in. Only for an empty queue. */
  one(chunk: Uint8Array): void {
    this.#current = chunk
  }

  /** Takes the chunks of a `_writev` in. Only for an empty queue. */
  many(items: readonly Item[]): void {
    this.#items = items
    this.#next = 0
  }

  /** What to offer to the addon now, the same until `accept()`; undefined when all is written. */
  peek(): Uint8Array | undefined {
    this.#current ??= this.#gather()
    return this.#current
  }

  accept(bytes: number): void {
    const rest = this.#current?.subarray(bytes)
    this.#current = rest?.length ? rest : undefined
  }

  clear(): void {
    this.#items = []
    this.#next = 0
    this.#current = undefined
  }

  #gather(): Uint8Array | undefined {
    const first = this.#items[this.#next]?.chunk
    if (first === undefined) {
      // Written chunks must not live as long as the stream.
      if (this.#items.length > 0) this.clear()
      return undefined
    }
    let length = first.length
    let end = this.#next + 1
    for (; end < this.#items.length; end++) {
      const size = this.#items[end]?.chunk.length ?? 0
      if (length + size > BATCH_SIZE) break
      length += size
    }
    const from = this.#next
    this.#next = end
    if (end === from + 1) return first
    const chunks = this.#items.slice(from, end).map((item) => item.chunk)
    return Buffer.concat(chunks, length)
  }
}
