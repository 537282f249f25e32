/**
 * The framing of events and messages: a 4-byte big-endian length, then that many bytes. docs/wire.md, "Events".
 */
import { AlknetError, invalidValue } from './errors.js'

/** Bytes of the length in front of each frame. */
export const HEADER = 4
export const DEFAULT_MAX_FRAME = 1024 * 1024
const LARGEST_MAX_FRAME = 64 * 1024 * 1024

const EMPTY: Buffer = Buffer.alloc(0)
const FIRST_PARTIAL = 1024

/** The `maxFrame` of an options object, checked. */
export function maxFrameOf(options: { maxFrame?: number } | undefined): number {
  const limit = options?.maxFrame ?? DEFAULT_MAX_FRAME
  if (Number.isInteger(limit) && limit >= 1 && limit <= LARGEST_MAX_FRAME) return limit
  throw invalidValue('maxFrame', `a whole number of bytes from 1 to ${LARGEST_MAX_FRAME}`)
}

/** Refuses what may not be a frame: the same rule for both directions. */
export function checkLength(length: number, maxFrame: number): void {
  if (length > maxFrame) {
    const message = `a frame of ${length} bytes is longer than the limit of ${maxFrame}`
    throw new AlknetError('ERR_ALKNET_FRAME_TOO_LARGE', message, { phase: 'stream' })
  }
  if (length === 0) {
    throw new AlknetError('ERR_ALKNET_FRAME_INVALID', 'a frame is empty', { phase: 'stream' })
  }
}

/**
 * Cuts chunks of a stream into frames. `push()` a chunk, then take `next()` until it has none; it throws when the stream
 * can no longer be cut, and is not to be used after that.
 */
export class FrameDecoder {
  readonly #maxFrame: number
  #chunk = EMPTY
  #at = 0
  // A frame that began in an earlier chunk, header included. It grows with the bytes that come, never with the length that is announced.
  #partial = EMPTY
  #held = 0

  constructor(maxFrame: number) {
    this.#maxFrame = maxFrame
  }

  push(chunk: Buffer): void {
    const left = this.#chunk.length - this.#at
    this.#chunk = left > 0 ? Buffer.concat([this.#chunk.subarray(this.#at), chunk]) : chunk
    this.#at = 0
  }

  /** The next complete frame's body: a view, which shares memory with the chunk. */
  next(): Buffer | undefined {
    if (this.#held > 0) return this.#nextPartial()
    const chunk = this.#chunk
    const at = this.#at
    if (chunk.length - at < HEADER) return this.#hold()
    const length = chunk.readUInt32BE(at)
    checkLength(length, this.#maxFrame)
    const end = at + HEADER + length
    if (end > chunk.length) return this.#hold()
    this.#at = end
    return chunk.subarray(at + HEADER, end)
  }

  /** Tells that no chunk will come; throws when a frame is not complete. */
  end(): void {
    if (this.#held === 0) return
    const message = `the stream ended inside a frame, after ${this.#held} bytes of it`
    throw new AlknetError('ERR_ALKNET_FRAME_INVALID', message, { phase: 'stream' })
  }

  #hold(): undefined {
    this.#take(this.#chunk.length - this.#at, FIRST_PARTIAL)
    this.#chunk = EMPTY
    this.#at = 0
  }

  #nextPartial(): Buffer | undefined {
    if (this.#held < HEADER) this.#take(HEADER - this.#held, HEADER)
    if (this.#held < HEADER) return undefined
    const length = this.#partial.readUInt32BE(0)
    checkLength(length, this.#maxFrame)
    const whole = HEADER + length
    this.#take(whole - this.#held, whole)
    if (this.#held < whole) return undefined
    const body = this.#partial.subarray(HEADER, whole)
    this.#partial = EMPTY
    this.#held = 0
    return body
  }

  /** Moves up to `wanted` bytes of the chunk to the partial frame, which will not grow beyond `whole` bytes without need. */
  #take(wanted: number, whole: number): void {
    const count = Math.min(wanted, this.#chunk.length - this.#at)
    if (count === 0) return
    const need = this.#held + count
    if (need > this.#partial.length) {
      const size = Math.max(need, Math.min(whole, 2 * this.#partial.length))
      const grown = Buffer.allocUnsafeSlow(size)
      this.#partial.copy(grown, 0, 0, this.#held)
      this.#partial = grown
    }
    this.#chunk.copy(this.#partial, this.#held, this.#at, this.#at + count)
    this.#held = need
    this.#at += count
  }
}
