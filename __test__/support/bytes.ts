import type { Readable, Writable } from 'node:stream'

export const KiB = 1024
export const MiB = 1024 * KiB

// Prime, so that a lost, doubled or swapped packet of any usual size shifts the pattern and is noticed.
const PERIOD = 1_048_583
const MAX_CHUNK = 256 * KiB

const block = (() => {
  const bytes = Buffer.allocUnsafe(PERIOD + MAX_CHUNK)
  let state = 0x9e3779b9
  for (let i = 0; i < PERIOD; i += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    bytes[i] = state >>> 24
  }
  bytes.copy(bytes, PERIOD, 0, MAX_CHUNK)
  return bytes
})()

/** Bytes `offset … offset + length` of the endless test pattern; at most 256 KiB, not to be written to. */
export function pattern(offset: number, length: number): Buffer {
  const start = offset % PERIOD
  return block.subarray(start, start + Math.min(length, MAX_CHUNK))
}

/** Throws when `chunk` is not the pattern at `offset`. */
export function checkPattern(offset: number, chunk: Uint8Array): void {
  for (let at = 0; at < chunk.length; at += MAX_CHUNK) {
    const part = chunk.subarray(at, at + MAX_CHUNK)
    if (Buffer.compare(part, pattern(offset + at, part.length)) !== 0) {
      throw new Error(`wrong bytes within ${part.length} after ${offset + at}`)
    }
  }
}

/** The first `total` bytes of the pattern, as chunks. */
export function* chunks(total: number, size = 64 * KiB): Generator<Buffer> {
  for (let sent = 0; sent < total; ) {
    const piece = pattern(sent, Math.min(size, total - sent))
    sent += piece.length
    yield piece
  }
}

/** Resolves when `stream` takes more, rejects when it never will. */
export function drained(stream: Writable): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      stream.off('drain', onDrain).off('close', onClose).off('error', onError)
      act()
    }
    const onDrain = () => settle(resolve)
    const onError = (error: Error) => settle(() => reject(error))
    const onClose = () => settle(() => reject(new Error('closed before it drained')))
    stream.on('drain', onDrain).on('close', onClose).on('error', onError)
  })
}

/** Writes the first `total` bytes of the pattern and honours backpressure; does not end the stream. */
export async function send(stream: Writable, total: number, size = 64 * KiB): Promise<void> {
  for (const piece of chunks(total, size)) {
    if (!stream.write(piece)) await drained(stream)
  }
}

/** Reads exactly `total` bytes of the pattern and leaves the stream paused; rejects on any other ending. */
export function receive(stream: Readable, total: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let offset = 0
    const settle = (error?: unknown) => {
      stream.off('data', onData).off('end', onEnd).off('close', onEnd).off('error', settle)
      stream.pause()
      if (error === undefined) resolve()
      else reject(error)
    }
    const onEnd = () => settle(new Error(`ended after ${offset} of ${total} bytes`))
    const onData = (chunk: Buffer) => {
      try {
        checkPattern(offset, chunk)
      } catch (error) {
        settle(error)
        return
      }
      offset += chunk.length
      if (offset > total) settle(new Error(`${offset} bytes, expected ${total}`))
      else if (offset === total) settle()
    }
    stream.on('end', onEnd).on('close', onEnd).on('error', settle).on('data', onData).resume()
  })
}

/** Reads to the end, checks every byte against the pattern and answers how many there were. */
export async function receiveAll(stream: Readable): Promise<number> {
  let offset = 0
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    checkPattern(offset, chunk as Buffer)
    offset += (chunk as Buffer).length
  }
  return offset
}

/** Everything up to the end, as text. */
export async function text(stream: Readable): Promise<string> {
  const parts: Buffer[] = []
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) parts.push(chunk as Buffer)
  return Buffer.concat(parts).toString()
}

/** Sends `word` one way and waits until exactly it has come out of the other end. */
export async function say(from: Writable, to: Readable, word: string): Promise<void> {
  const heard = hear(to, word.length)
  from.write(word)
  const got = await heard
  if (got !== word) throw new Error(`heard '${got}' instead of '${word}'`)
}

/** The next `length` bytes as text; leaves the stream paused. */
export function hear(stream: Readable, length: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let got = Buffer.alloc(0)
    const settle = (act: () => void) => {
      stream.off('data', onData).off('end', onEnd).off('close', onEnd).off('error', onError)
      stream.pause()
      act()
    }
    const onError = (error: Error) => settle(() => reject(error))
    const onEnd = () => settle(() => reject(new Error(`ended after '${got}'`)))
    const onData = (chunk: Buffer) => {
      got = Buffer.concat([got, chunk])
      if (got.length >= length) settle(() => resolve(got.toString()))
    }
    stream.on('end', onEnd).on('close', onEnd).on('error', onError).on('data', onData).resume()
  })
}
