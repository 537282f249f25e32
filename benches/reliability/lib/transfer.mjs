// One end of a transfer both ways: sends pseudo-random bytes in pieces of every size, and hashes both directions.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { Random } from './random.mjs'

const LARGEST = 256 * 1024
/** No byte either way for so long: a deadlock. */
const WATCHDOG = 30_000

/**
 * Sends `bytes` on `stream` and reads to its end. `side` is 'client' or 'server'; `order` says who ends first: the other one still sends
 * when it has seen that end. Resolves to both digests, the bytes received and the seconds.
 */
export async function exchange(stream, side, { bytes, order, seed }) {
  const started = performance.now()
  const incoming = receive(stream)
  const guard = watch(incoming, stream)
  try {
    const sent = await Promise.race([
      send(
        stream,
        bytes,
        new Random(seed + (side === 'client' ? 0 : 1)),
        holdFor(order, side, incoming, bytes),
      ),
      guard.failed,
    ])
    const received = await Promise.race([incoming.done, guard.failed])
    const seconds = (performance.now() - started) / 1000
    return { sent, received, bytes: incoming.bytes, seconds }
  } finally {
    guard.stop()
  }
}

/** What this side waits for, and before which of its bytes. */
function holdFor(order, side, incoming, bytes) {
  const later = { 'client first': 'server', 'server first': 'client' }[order]
  if (later === side) return { at: bytes - bytes / 8, until: incoming.ended }
  if (order === 'each after the last byte of the other') {
    return { at: bytes, until: incoming.reached(bytes) }
  }
  return { at: Number.POSITIVE_INFINITY, until: undefined }
}

async function send(stream, bytes, random, hold) {
  const hash = createHash('sha256')
  const pool = random.bytes(4 * LARGEST)
  let left = bytes
  let held = false
  const holdAt = bytes - hold.at // what is left then
  while (left > 0) {
    const size = Math.min(left, Math.ceil(LARGEST ** (random.below(1_000_001) / 1e6)))
    const start = random.below(pool.length - size)
    const piece = pool.subarray(start, start + size)
    hash.update(piece)
    left -= size
    if (!stream.write(piece)) await once(stream, 'drain')
    if (!held && left <= holdAt && hold.at < bytes) {
      held = true
      await hold.until
    }
  }
  if (hold.at === bytes) await hold.until
  stream.end()
  return hash.digest('hex')
}

function receive(stream) {
  const hash = createHash('sha256')
  const incoming = { bytes: 0 }
  const marks = []
  incoming.reached = (bytes) => new Promise((resolve) => marks.push({ bytes, resolve }))
  incoming.ended = new Promise((resolve) => stream.once('end', resolve))
  incoming.done = new Promise((resolve, reject) => {
    stream.on('data', (chunk) => {
      hash.update(chunk)
      incoming.bytes += chunk.length
      if (marks[0]?.bytes <= incoming.bytes) marks.shift().resolve()
    })
    stream.on('end', () => resolve(hash.digest('hex')))
    stream.on('error', reject)
    stream.on('close', () => reject(new Error(`closed after ${incoming.bytes} bytes`)))
  })
  incoming.done.catch(() => {})
  return incoming
}

function watch(incoming, stream) {
  let timer
  const failed = new Promise((_, reject) => {
    let before = -1
    timer = setInterval(() => {
      const now = incoming.bytes + (stream.bytesWritten ?? 0)
      if (now === before)
        reject(new Error(`no progress for 30 s at ${incoming.bytes} bytes received`))
      before = now
    }, WATCHDOG)
    incoming.done.catch(reject)
  })
  failed.catch(() => {})
  return { failed, stop: () => clearInterval(timer) }
}
