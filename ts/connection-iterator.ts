/**
 * `for await` over a server's streams. It holds no stream: one is taken from the core for each `next()` that waits.
 */
import type { AlknetConnection } from '../index.js'

/** What an iterator asks of its server. */
interface Source {
  closed(): boolean
  /** A `next()` waits. */
  wanted(): void
}

type Answer = (result: IteratorResult<AlknetConnection>) => void

/** One loop over the streams of a server. `queue` is the server's: who waits, in order, once for each `next()`. */
export class ConnectionIterator implements AsyncIterableIterator<AlknetConnection> {
  readonly #queue: ConnectionIterator[]
  readonly #source: Source
  readonly #waiters: Answer[] = []
  #done = false

  constructor(queue: ConnectionIterator[], source: Source) {
    this.#queue = queue
    this.#source = source
  }

  next(): Promise<IteratorResult<AlknetConnection>> {
    return new Promise((resolve) => {
      this.#waiters.push(resolve)
      if (this.#done || this.#source.closed()) return this.end()
      this.#queue.push(this)
      this.#source.wanted()
    })
  }

  return(): Promise<IteratorResult<AlknetConnection>> {
    this.#done = true
    for (let at = this.#queue.length - 1; at >= 0; at--) {
      if (this.#queue[at] === this) this.#queue.splice(at, 1)
    }
    this.end()
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** Answers the oldest `next()`. */
  deliver(connection: AlknetConnection): void {
    this.#waiters.shift()?.({ done: false, value: connection })
  }

  /** Answers every `next()` with the end. */
  end(): void {
    this.#done = true
    for (const answer of this.#waiters.splice(0)) answer({ done: true, value: undefined })
  }
}
