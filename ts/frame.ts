/**
 * `frameStream()`: messages on a stream, pulled by iteration.
 */
import type { Duplex } from 'node:stream'
import type { FrameStream, FrameStreamOptions } from '../index.js'
import { invalidType } from './errors.js'
import { checkLength, FrameDecoder, maxFrameOf } from './frame-codec.js'
import { DONE, FrameWriter, streamClosed } from './frame-writer.js'

/** Puts message boundaries on a stream, which it takes over. */
export function frameStream(duplex: Duplex, options?: FrameStreamOptions): FrameStream {
  checkDuplex('duplex', duplex)
  return new DuplexFrameStream(duplex, maxFrameOf(options))
}

/** Refuses what has not the members of a Duplex that are used here; structural, as streams of other packages are welcome. */
export function checkDuplex(name: string, value: unknown): void {
  const stream = value as Partial<Duplex> | null | undefined
  if (typeof stream?.write === 'function' && typeof stream.pause === 'function') return
  throw invalidType(name, 'a Duplex stream', value)
}

/** Resolves when a stream is closed, also when it has been for long. */
export function whenClosed(duplex: Duplex): Promise<void> {
  if (duplex.closed) return Promise.resolve()
  return new Promise((resolve) => duplex.once('close', () => resolve()))
}

interface Waiter {
  resolve(result: IteratorResult<Buffer, undefined>): void
  reject(reason: Error): void
}

class DuplexFrameStream implements FrameStream {
  readonly #duplex: Duplex
  readonly #maxFrame: number
  readonly #decoder: FrameDecoder
  readonly #writer: FrameWriter
  readonly #closed: Promise<void>
  readonly #waiting: Waiter[] = []
  #ended: boolean
  #broken = false
  #closing = false
  #failure: Error | undefined

  constructor(duplex: Duplex, maxFrame: number) {
    this.#duplex = duplex
    this.#maxFrame = maxFrame
    this.#decoder = new FrameDecoder(maxFrame)
    this.#writer = new FrameWriter(duplex)
    duplex.pause()
    duplex.on('data', this.#onData)
    duplex.on('end', this.#onEnd)
    duplex.on('error', (error: Error) => this.#fail(error))
    this.#ended = duplex.readableEnded
    this.#closed = whenClosed(duplex).then(() => this.#onClose())
  }

  get bufferedAmount(): number {
    return this.#writer.bufferedAmount
  }

  send(message: string | Uint8Array): Promise<void> {
    const size = typeof message === 'string' ? Buffer.byteLength(message) : message.byteLength
    try {
      checkLength(size, this.#maxFrame)
    } catch (error) {
      return Promise.reject(error)
    }
    if (this.#failure !== undefined) return lost(this.#failure)
    if (this.#closing || !this.#duplex.writable) return lost(streamClosed())
    this.#writer.push(message, size)
    return this.#writer.full ? this.#writer.drained() : DONE
  }

  close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = true
      this.#settle()
      this.#writer.end()
      this.#duplex.resume()
    }
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Buffer> {
    const iterator: AsyncIterableIterator<Buffer, undefined> = {
      next: () => this.#next(),
      return: async () => ({ done: true, value: undefined }),
      [Symbol.asyncIterator]: () => iterator,
    }
    return iterator
  }

  #next(): Promise<IteratorResult<Buffer, undefined>> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#settle()
    })
  }

  /** Answers those who wait with what there is, and asks the stream for more if that was not enough. */
  #settle(): void {
    while (this.#waiting.length > 0) {
      const message = this.#take()
      if (message !== undefined) this.#waiting.shift()?.resolve({ done: false, value: message })
      else if (this.#failure !== undefined && !this.#closing) {
        this.#waiting.shift()?.reject(this.#failure)
      } else if (this.#ended || this.#closing) {
        this.#waiting.shift()?.resolve({ done: true, value: undefined })
      } else {
        this.#duplex.resume()
        return
      }
    }
  }

  #take(): Buffer | undefined {
    if (this.#closing || this.#broken) return undefined
    try {
      const message = this.#decoder.next()
      if (message === undefined && this.#ended) this.#decoder.end()
      return message
    } catch (error) {
      this.#broken = true
      this.#fail(error as Error)
      return undefined
    }
  }

  #onData = (chunk: Buffer): void => {
    if (this.#closing) return
    this.#duplex.pause()
    this.#decoder.push(chunk)
    this.#settle()
  }

  #onEnd = (): void => {
    this.#ended = true
    this.#settle()
  }

  #onClose(): void {
    if (!this.#ended && !this.#closing) this.#fail(streamClosed())
    this.#writer.stop(this.#failure ?? streamClosed())
    this.#settle()
  }

  #fail(error: Error): void {
    this.#failure ??= error
    this.#duplex.destroy(error)
    this.#settle()
  }
}

/** Rejects for those who wait. A process must not end because of a message that nobody waited for. */
function lost(reason: Error): Promise<void> {
  const rejected = Promise.reject(reason)
  rejected.catch(() => {})
  return rejected
}
