import { percentile } from '../lib/stats.mjs'

export const title = 'Round trip of 64 bytes'
export const about = 'One stream, one message at a time, echoed by the server and checked.'
export const units = { rtt64_p50_us: 'µs', rtt64_p99_us: 'µs' }
export const settings = {
  full: { count: 8000, warmUp: 2000 },
  quick: { count: 5000, warmUp: 1000 },
}
export const kind = 'streams'

const SIZE = 64

export async function server({ peer, context }) {
  return peer.listen(context, (stream) => {
    stream.on('data', (chunk) => stream.write(chunk))
    stream.on('error', () => {}) // the client tells
  })
}

export async function client({ peer, context, address, settings }) {
  const session = await peer.openSession(context, address)
  const stream = await session.open()
  await roundTrips(stream, settings.warmUp)
  const samples = await roundTrips(stream, settings.count)
  return { rtt64_p50_us: percentile(samples, 0.5), rtt64_p99_us: percentile(samples, 0.99) }
}

/** Microseconds of each of `count` round trips. */
function roundTrips(stream, count) {
  return new Promise((resolve, reject) => {
    const samples = []
    const message = Buffer.alloc(SIZE, 0x55)
    let parts = []
    let sentAt
    const next = () => {
      message.writeUInt32BE(samples.length)
      parts = []
      sentAt = performance.now()
      stream.write(message)
    }
    const onData = (chunk) => {
      parts.push(chunk)
      if (parts.reduce((sum, part) => sum + part.length, 0) < SIZE) return
      samples.push((performance.now() - sentAt) * 1000)
      const echo = parts.length === 1 ? chunk : Buffer.concat(parts)
      if (!echo.equals(message)) return reject(new Error('the echo differs'))
      if (samples.length < count) return next()
      stream.off('data', onData)
      resolve(samples)
    }
    stream.on('data', onData)
    stream.once('error', reject)
    stream.once('close', () => reject(new Error('closed before the last round trip')))
    next()
  })
}
