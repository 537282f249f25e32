/**
 * The stream: Node's `Duplex` contract on the addon's calls, none of which waits. What `net.Socket` has besides is in
 * socket-shape.ts.
 *
 * The hazard here is order: bytes that arrived before a loss are read before the loss is told, and whatever Node waits for (a
 * write, an `end()`, a `destroy()`) is answered exactly once, also when the core ends first.
 */
import type { NativeStream } from '../native/binding.js'
import { CLOSED, FINISHED, READABLE, Slot, WRITABLE } from './doorbell.js'
import { AlknetError, fromNative } from './errors.js'
import { SocketShape } from './socket-shape.js'
import { WriteQueue } from './write-queue.js'

type Callback = (error?: Error | null) => void

const READ_SIZE = 65_536
// So that one busy stream leaves time for all others: 512 KiB, then the event loop turns.
const READS_PER_TURN = 8
// Not worth joining with others.
const LARGE = 16_384
const NOTHING = Buffer.alloc(0)

// Nobody wants bytes.
const IDLE = 0
// Reading, up to READS_PER_TURN.
const PUMPING = 1
// Reading goes on in the next turn.
const SCHEDULED = 2
// Bytes are wanted and there are none: the bell will ring.
const ARMED = 3
// The peer has ended.
const ENDED = 4

/** A stream that is open in the core. */
export class AlknetStream extends SocketShape {
  readonly #native: NativeStream
  readonly #slot: Slot
  // Held by this stream alone, so that the doorbell's weak reference lives as long as the stream.
  readonly #listener = (mask: number): void => this.#onBell(mask)
  #reading = IDLE
  #reads = 0
  #askedAgain = false
  readonly #queue = new WriteQueue()
  #onWritten: Callback | undefined
  #wroteThisTick = false
  #onFinished: Callback | undefined
  #onClosed: (() => void) | undefined
  #closed = false
  #failure: AlknetError | undefined

  constructor(native: NativeStream, allowHalfOpen = true) {
    super(native, allowHalfOpen)
    this.#native = native
    this.#slot = new Slot(native.id, this.#listener)
    this.#slot.removeAfter(this)
    this.#slot.loosen()
  }

  ref(): this {
    this.#slot.keepAlive.ref()
    return this
  }

  unref(): this {
    this.#slot.keepAlive.unref()
    return this
  }

  override _read(): void {
    this.#askedAgain = true
    if (this.#reading === IDLE) this.#pump()
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, callback: Callback): void {
    // The first write of a tick goes out at once. A second small one waits for the tick's end, so that Node collects all
    // that follow it for one `_writev`: many small writes are then twice as fast.
    if (!this.#wroteThisTick || chunk.length >= LARGE) {
      if (!this.#wroteThisTick) process.nextTick(AlknetStream.#endTick, this)
      this.#wroteThisTick = true
      const accepted = this.#native.tryWrite(chunk)
      if (accepted === chunk.length) {
        this.countWritten(accepted)
        callback()
        return
      }
      if (accepted > 0) {
        this.countWritten(accepted)
        chunk = chunk.subarray(accepted)
      }
    }
    this.#queue.one(chunk)
    this.#onWritten = callback
    this.#slot.hold()
  }

  override _writev(items: { chunk: Uint8Array }[], callback: Callback): void {
    this.#queue.many(items)
    this.#onWritten = callback
    this.#flush()
  }

  override _final(callback: Callback): void {
    if (this.#closed) {
      callback(this.#failure)
      return
    }
    this.#onFinished = callback
    this.#slot.hold()
    this.#native.fin()
  }

  override _destroy(error: Error | null, callback: Callback): void {
    this.stopTimeout()
    if (this.#onWritten !== undefined || this.#onFinished !== undefined) {
      process.nextTick(() => this.#settleWrites(error ?? destroyed()))
    }
    // Ended by both in good order, it closes by itself: an OpenSSH server would drop what it has not yet passed on. Else also
    // when it is over, so that the core lets go of what nobody will read.
    if (this.#reading !== ENDED || !this.writableFinished || error !== null) this.#native.close()
    if (this.#closed) {
      callback(error)
      return
    }
    this.#onClosed = () => callback(error)
    this.#slot.hold()
    // Closing is work under way, which an `unref()` earlier was not about.
    this.#slot.keepAlive.ref()
  }

  static #endTick(stream: AlknetStream): void {
    stream.#wroteThisTick = false
    if (stream.#onWritten !== undefined) stream.#flush()
  }

  // Nested so that a throwing 'data' listener or write callback cannot keep the rest from the stream.
  #onBell(mask: number): void {
    try {
      if (mask & CLOSED) this.#noteClosed()
      if (mask & READABLE && this.#reading === ARMED) this.#pump()
    } finally {
      try {
        if (mask & WRITABLE) this.#flush()
        if (mask & FINISHED) this.#settleFinal()
      } finally {
        if (mask & CLOSED) this.#afterClosed()
      }
    }
  }

  #pump(): void {
    if (this.destroyed) return
    this.#reading = PUMPING
    try {
      this.#readOnce()
    } finally {
      // More may be there; also when a listener threw.
      if (this.#reading === PUMPING) this.#readOn()
      else this.#reads = 0
    }
  }

  #readOnce(): void {
    const chunk = this.#native.tryRead(READ_SIZE)
    if (chunk === null || chunk.length === 0) {
      if (chunk === null) this.#onNothing()
      else this.#onEnd()
      return
    }
    this.countRead(chunk.length)
    this.#askedAgain = false
    const more = this.push(chunk) || this.#askedAgain
    if (this.destroyed || !more) {
      this.#reading = IDLE
      this.#loosenIfIdle()
    }
  }

  // All promises settle between two reads, as they do between two reads of a socket, so that a consumer that is a chain of
  // promises keeps up; ticks alone would run before them. After some reads everybody else has a turn.
  #readOn(): void {
    this.#reading = SCHEDULED
    this.#reads += 1
    if (this.#reads < READS_PER_TURN) {
      queueMicrotask(() => process.nextTick(AlknetStream.#readTick, this))
    } else {
      this.#reads = 0
      setImmediate(AlknetStream.#readTick, this)
    }
  }

  static #readTick(stream: AlknetStream): void {
    if (stream.#reading === SCHEDULED) stream.#pump()
  }

  #onNothing(): void {
    if (!this.#closed) {
      this.#reading = ARMED
      this.#slot.hold()
    } else {
      // Lost, or ended from this side by its session or server: that is no end of the peer's.
      this.#reading = IDLE
      if (this.readableLength === 0) this.destroy(this.#failure)
      // Answers this `_read` with nothing: the next one comes when the consumer has taken what is buffered.
      else this.push(NOTHING)
    }
  }

  #onEnd(): void {
    this.#reading = ENDED
    this.push(null)
    this.#loosenIfIdle()
    if (this.#closed) this.#afterClosed()
  }

  #flush(): void {
    if (this.#onWritten === undefined) return
    for (let batch = this.#queue.peek(); batch !== undefined; batch = this.#queue.peek()) {
      const accepted = this.#native.tryWrite(batch)
      if (accepted < 0) process.nextTick(() => this.#failWrites())
      else this.countWritten(accepted)
      if (accepted < batch.length) {
        this.#queue.accept(Math.max(accepted, 0))
        this.#slot.hold()
        return
      }
      this.#queue.accept(accepted)
    }
    this.#settleWrites()
  }

  #failWrites(): void {
    if (this.destroyed) return
    // The error ends both directions, so a consumer gets what has arrived first.
    while (this.readableFlowing === true && this.#reading !== ENDED && !this.destroyed) {
      const chunk = this.#native.tryRead(READ_SIZE)
      if (chunk === null || chunk.length === 0) break
      this.countRead(chunk.length)
      this.push(chunk)
    }
    this.#settleWrites(this.#reasonOver())
  }

  #reasonOver(): AlknetError {
    const failure = this.#native.failure()
    if (failure !== null) return this.#failure ?? fromNative(failure)
    return new AlknetError('EPIPE', 'the other end has closed the stream', { phase: 'stream' })
  }

  #settleWrites(error?: Error): void {
    const callback = this.#onWritten
    this.#onWritten = undefined
    this.#queue.clear()
    this.#loosenIfIdle()
    callback?.(error)
    if (error !== undefined) this.#settleFinal(error)
  }

  #settleFinal(error?: Error): void {
    const callback = this.#onFinished
    this.#onFinished = undefined
    this.#loosenIfIdle()
    callback?.(error)
  }

  #noteClosed(): void {
    this.#closed = true
    const failure = this.#native.failure()
    if (failure !== null) this.#failure = fromNative(failure)
    this.#slot.remove()
  }

  #afterClosed(): void {
    if (this.#onClosed !== undefined) {
      const callback = this.#onClosed
      this.#onClosed = undefined
      callback()
      return
    }
    if (this.destroyed) return
    if (this.#reading === ARMED) this.#pump()
    if (this.destroyed) return
    if (this.#onWritten !== undefined) {
      process.nextTick(() => this.#failWrites())
      return
    }
    if (this.#onFinished !== undefined) this.#settleFinal(this.#failure)
    this.#windUp()
  }

  /** Tells of the end, and of the loss if it was one, once nothing is left to read; else the reading that comes to it does. */
  #windUp(): void {
    if (this.#reading === ENDED && this.readableEnded) {
      this.destroy(this.#failure)
      return
    }
    // A write that an 'end' listener makes fails for itself.
    const destroy = () => this.#onWritten === undefined && this.destroy(this.#failure)
    if (this.#reading === ENDED) this.once('end', destroy)
    // Comes to the end also when nobody reads towards it, as `net` does.
    if (this.readableLength === 0 && this.#native.readBuffered() === 0) this.read(0)
  }

  #loosenIfIdle(): void {
    if (this.#reading === ARMED || this.#onWritten !== undefined) return
    if (this.#onFinished === undefined && this.#onClosed === undefined) this.#slot.loosen()
  }
}

function destroyed(): AlknetError {
  return new AlknetError('ERR_STREAM_DESTROYED', 'the stream was destroyed', { phase: 'stream' })
}
