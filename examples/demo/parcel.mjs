// What both processes of the demo share: bytes to send, and how what arrives is counted and timed.
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { performance } from 'node:perf_hooks'

export const bytesEachWay = 64 * 1024 * 1024
export const eventsEachWay = 20_000
export const roundTrips = 1_000

const chunk = 1024 * 1024

/** Random bytes, no two chunks alike, and the digest that the other process must find. */
export function makeParcel() {
  const random = randomBytes(chunk)
  const chunks = Array.from({ length: bytesEachWay / chunk }, (_, index) => {
    const copy = Buffer.from(random)
    copy.writeUInt32BE(index)
    return copy
  })
  return { chunks, sha256: sha256(chunks) }
}

/** Reads a stream to its end: how many bytes, which digest, how long from the first to the last. */
export async function readParcel(stream) {
  const chunks = []
  let started = 0
  // Not `for await`, which destroys the stream at its end: our side may still have something to say.
  stream.on('data', (bytes) => {
    started ||= performance.now()
    chunks.push(bytes)
  })
  await once(stream, 'end')
  const ms = performance.now() - started
  return { ms, size: chunks.reduce((sum, { length }) => sum + length, 0), sha256: sha256(chunks) }
}

function sha256(chunks) {
  const hash = createHash('sha256')
  for (const bytes of chunks) hash.update(bytes)
  return hash.digest('hex')
}

/** Counts numbered events, and whether they came in order. */
export class Tally {
  count = 0
  inOrder = true
  #started = performance.now()
  #ended = 0

  add(number) {
    if (this.count === 0) this.#started = performance.now()
    this.inOrder &&= number === this.count
    this.count += 1
    this.#ended = performance.now()
    return this.count === eventsEachWay
  }

  get result() {
    return { count: this.count, inOrder: this.inOrder, ms: this.#ended - this.#started }
  }
}

/** As many events as the other process expects, waiting whenever the stream has enough. */
export async function sendTicks(events) {
  for (let number = 0; number < eventsEachWay; number += 1) {
    events.dispatchEvent(new CustomEvent('tick', { detail: { number } }))
    if (events.bufferedAmount > 256 * 1024) await events.drained()
  }
}
