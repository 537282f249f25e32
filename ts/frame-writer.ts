/**
 * Sending frames: all of one turn of the event loop in one write, never more in the stream than it asked for.
 */
import type { Duplex } from 'node:stream'
import { AlknetError } from './errors.js'
import { HEADER } from './frame-codec.js'

/** What is written at once, and what may wait for the end of the turn, in bytes. */
const BATCH = 64 * 1024
/** From `end()` to the destruction of a stream whose peer does not end, ms. */
export const CLOSE_LIMIT = 10_000

type Body = string | Uint8Array

/** There is room. */
export const DONE: Promise<void> = Promise.resolve()

/** Frames in order, and how many bytes they will be. */
class Fifo {
  #bodies: Body[] = []
  #sizes: number[] = []
  #head = 0
  bytes = 0

  push(body: Body, size: number): void {
    this.#bodies.push(body)
    this.#sizes.push(size)
    this.bytes += HEADER + size
  }

  /** How many frames, and bytes, to take so that `room` is filled: at least one frame if there is any. */
  fill(room: number): { count: number; bytes: number } {
    let bytes = 0
    let at = this.#head
    while (at < this.#sizes.length && bytes < room) {
      bytes += HEADER + (this.#sizes[at] as number)
      at += 1
    }
    return { count: at - this.#head, bytes }
  }

  /** Writes the first `count` frames into `target` from `at` and forgets them; answers where they end. */
  move(count: number, target: Buffer, at: number): number {
    const last = this.#head + count
    let end = at
    for (let index = this.#head; index < last; index += 1) {
      const size = this.#sizes[index] as number
      target.writeUInt32BE(size, end)
      put(this.#bodies[index] as Body, size, target, end + HEADER)
      end += HEADER + size
    }
    this.#forget(count, end - at)
    return end
  }

  dropFirst(): boolean {
    const size = this.#sizes[this.#head]
    if (size === undefined) return false
    this.#forget(1, HEADER + size)
    return true
  }

  clear(): void {
    this.#forget(this.#sizes.length - this.#head, this.bytes)
  }

  #forget(count: number, bytes: number): void {
    this.bytes -= bytes
    this.#head += count
    if (this.#head === this.#sizes.length) {
      this.#bodies = []
      this.#sizes = []
      this.#head = 0
    } else if (this.#head > 1024 && this.#head > this.#sizes.length / 2) {
      this.#bodies = this.#bodies.slice(this.#head)
      this.#sizes = this.#sizes.slice(this.#head)
      this.#head = 0
    } else {
      // What is dropped or sent must not stay in memory until then.
      this.#bodies.fill('', this.#head - count, this.#head)
    }
  }
}

function put(body: Body, size: number, target: Buffer, at: number): void {
  if (typeof body !== 'string') target.set(body, at)
  // As many bytes as characters: all of them are ASCII, and copying is enough.
  else target.write(body, at, size, body.length === size ? 'latin1' : 'utf8')
}

/** The sending side of a framed stream. */
export class FrameWriter {
  #duplex: Duplex | undefined
  readonly #control = new Fifo()
  readonly #queue = new Fifo()
  #scheduled = false
  #ending = false
  #room: PromiseWithResolvers | undefined

  constructor(duplex?: Duplex) {
    if (duplex !== undefined) this.attach(duplex)
  }

  /** Sends what waits, and all that follows, on `duplex`. */
  attach(duplex: Duplex): void {
    this.#duplex = duplex
    duplex.on('drain', this.#flush)
    this.#schedule()
  }

  /** The stream is gone, and another may follow: what it has not taken waits, but for control frames, which were for it alone. */
  detach(): void {
    this.#duplex?.off('drain', this.#flush)
    this.#duplex = undefined
    this.#control.clear()
  }

  /** Bytes pushed that the stream has not sent yet. */
  get bufferedAmount(): number {
    return this.#waiting + (this.#duplex?.writableLength ?? 0)
  }

  /** Of these, bytes of control frames that the stream has not taken. */
  get controlAmount(): number {
    return this.#control.bytes
  }

  /** Whether whoever pushes should wait for `drained()`. */
  get full(): boolean {
    return this.#waiting >= BATCH || this.#needsDrain
  }

  get #needsDrain(): boolean {
    return this.#duplex?.writableNeedDrain ?? false
  }

  get #waiting(): number {
    return this.#control.bytes + this.#queue.bytes
  }

  /** Takes a body of `size` bytes, which leaves at the end of this turn if the stream has room. */
  push(body: Body, size: number): void {
    this.#queue.push(body, size)
    this.#schedule()
  }

  /** The same for a frame that goes before all others and is never dropped. */
  pushControl(body: string): void {
    this.#control.push(body, Buffer.byteLength(body))
    this.#schedule()
  }

  /** Gives up the oldest frame that waits; false when there is none. */
  dropOldest(): boolean {
    return this.#queue.dropFirst()
  }

  /** Resolves when all that was pushed is the stream's and it has room; rejects when that can no longer be. */
  drained(): Promise<void> {
    if (this.#waiting === 0 && !this.#needsDrain) return DONE
    this.#room ??= withResolvers()
    return this.#room.promise
  }

  /** Sends what waits, ends the stream, and sees to it that it closes. */
  end(): void {
    if (this.#ending) return
    this.#ending = true
    const duplex = this.#duplex
    if (duplex === undefined) return
    const limit = setTimeout(() => duplex.destroy(), CLOSE_LIMIT)
    duplex.once('close', () => clearTimeout(limit))
    this.#flush()
  }

  /** Forgets what waits, because the stream is gone. */
  stop(reason: Error): void {
    this.detach()
    this.#queue.clear()
    this.#room?.reject(reason)
    this.#room = undefined
  }

  #schedule(): void {
    if (this.#waiting >= BATCH) this.#flush()
    else if (!this.#scheduled) {
      this.#scheduled = true
      process.nextTick(this.#flushLater)
    }
  }

  #flushLater = (): void => {
    this.#scheduled = false
    this.#flush()
  }

  #flush = (): void => {
    const duplex = this.#duplex
    if (duplex === undefined || duplex.destroyed || duplex.writableEnded) return
    while (this.#waiting > 0 && !duplex.writableNeedDrain) duplex.write(this.#gather())
    if (this.#waiting > 0) return
    if (this.#ending) duplex.end()
    if (this.#room !== undefined && !duplex.writableNeedDrain) {
      this.#room.resolve()
      this.#room = undefined
    }
  }

  #gather(): Buffer {
    const control = this.#control.fill(BATCH)
    const events = this.#queue.fill(BATCH - control.bytes)
    const batch = Buffer.allocUnsafe(control.bytes + events.bytes)
    const end = this.#control.move(control.count, batch, 0)
    this.#queue.move(events.count, batch, end)
    return batch
  }
}

/** What ended a stream that its own side destroyed without an error. */
export function streamClosed(): AlknetError {
  return new AlknetError('ERR_ALKNET_SESSION_CLOSED', 'the stream is closed', { phase: 'stream' })
}

interface PromiseWithResolvers {
  promise: Promise<void>
  resolve(): void
  reject(reason: Error): void
}

function withResolvers(): PromiseWithResolvers {
  let resolve!: () => void
  let reject!: (reason: Error) => void
  const promise = new Promise<void>((yes, no) => {
    resolve = yes
    reject = no
  })
  // Whoever does not wait for room has other ways to learn of the end.
  promise.catch(() => {})
  return { promise, resolve, reject }
}
