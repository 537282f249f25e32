// What the metrics do to streams. All of it verifies: a byte that is lost or wrong fails the row.
import { once } from 'node:events'

export const BLOCK_SIZE = 64 * 1024
const block = pseudoRandom(BLOCK_SIZE)

/** Writes 64 KiB blocks under backpressure for `ms` milliseconds, then ends the stream. Resolves to the bytes written. */
export async function send(stream, ms) {
  const deadline = performance.now() + ms
  let bytes = 0
  stream.resume() // the other end's end, without which this stream does not close
  while (performance.now() < deadline) {
    bytes += BLOCK_SIZE
    if (!stream.write(block)) await once(stream, 'drain')
  }
  stream.end()
  return { bytes }
}

/** Reads what `send` writes, to the end. Resolves to the bytes and the seconds from the first of them to the end. */
export function receive(stream) {
  return new Promise((resolve, reject) => {
    let bytes = 0
    let started = 0
    stream.on('data', (chunk) => {
      if (bytes === 0) started = performance.now()
      if (!isExpected(chunk, bytes)) reject(new Error(`wrong bytes near offset ${bytes}`))
      bytes += chunk.length
    })
    stream.on('end', () => {
      resolve({ bytes, seconds: (performance.now() - started) / 1000 })
      stream.end()
    })
    stream.on('error', reject)
    stream.on('close', () => reject(new Error(`closed after ${bytes} bytes, without an end`)))
  })
}

/** Server side of the metrics that count streams: says one byte, then waits for the other end to go. */
export function greet(stream) {
  stream.on('error', () => {}) // the client leaves as it likes
  stream.on('end', () => stream.end())
  stream.resume()
  stream.write('!')
}

/** Client side of `greet`: resolves to the stream when its byte is there; from then on the stream is known to work. */
export function greeted(stream) {
  return new Promise((resolve, reject) => {
    stream.on('error', reject)
    stream.on('close', () => reject(new Error('closed before the first byte')))
    stream.once('data', () => resolve(stream))
    stream.resume()
  })
}

/** Destroys a stream and waits until it is closed. */
export async function closeStream(stream) {
  if (stream.closed) return
  const closed = new Promise((resolve) => stream.once('close', resolve))
  stream.destroy()
  await closed
}

// The first byte, the last and the middle one tell of every loss that is no multiple of the block; the count of the rest.
function isExpected(chunk, offset) {
  const last = chunk.length - 1
  return [0, last >> 1, last].every((at) => chunk[at] === block[(offset + at) % BLOCK_SIZE])
}

function pseudoRandom(size) {
  const bytes = Buffer.allocUnsafeSlow(size)
  let state = 2463534242
  for (let at = 0; at < size; at++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[at] = state
  }
  return bytes
}
