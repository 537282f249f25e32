/**
 * The events of one topic as an async iterator: they wait, bounded, until they are asked for.
 */
import { AlknetError } from './errors.js'

export interface IteratorSource<T> {
  /** Calls `push` with each value from now on; answers how to stop. */
  listen(push: (value: T) => void): () => void
  /** Resolves at the end of all events. */
  readonly closed: Promise<unknown>
}

interface Waiter<T> {
  resolve(result: IteratorResult<T, undefined>): void
  reject(reason: Error): void
}

export class EventIterator<T> implements AsyncIterableIterator<T, undefined> {
  readonly #limit: number
  readonly #values: T[] = []
  readonly #waiting: Waiter<T>[] = []
  readonly #stop: () => void
  #done = false
  #failure: Error | undefined

  constructor(source: IteratorSource<T>, limit: number, signal: AbortSignal | undefined) {
    this.#limit = limit
    const end = () => this.#end()
    const stop = source.listen((value) => this.#push(value))
    this.#stop = () => {
      stop()
      signal?.removeEventListener('abort', end)
    }
    void source.closed.then(end)
    if (signal?.aborted) end()
    else signal?.addEventListener('abort', end, { once: true })
  }

  next(): Promise<IteratorResult<T, undefined>> {
    const value = this.#values.shift()
    if (value !== undefined) return Promise.resolve({ done: false, value })
    if (this.#failure !== undefined) {
      const failure = this.#failure
      this.#failure = undefined
      return Promise.reject(failure)
    }
    if (this.#done) return Promise.resolve({ done: true, value: undefined })
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.#values.length = 0
    this.#end()
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #push(value: T): void {
    const waiter = this.#waiting.shift()
    if (waiter !== undefined) waiter.resolve({ done: false, value })
    else if (this.#values.length < this.#limit) this.#values.push(value)
    else {
      // What came before it is still there to be taken.
      const message = `more than ${this.#limit} events wait to be taken`
      this.#failure = new AlknetError('ENOBUFS', message, { phase: 'stream' })
      this.#end()
    }
  }

  #end(): void {
    if (this.#done) return
    this.#done = true
    this.#stop()
    for (const waiter of this.#waiting.splice(0)) waiter.resolve({ done: true, value: undefined })
  }
}
