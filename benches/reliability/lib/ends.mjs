// Servers and sessions as the scripts need them, through the public API alone.
import { openSession, serve } from '../../../index.js'

/** Limits that are no limits here. */
export const unlimited = {
  maxUnauthenticated: 100_000,
  earlyDrop: 100_000,
  maxUnauthenticatedPerSource: 100_000,
  maxHandshakesPerSource: 100_000,
  maxSessions: 100_000,
  maxSessionsPerKey: 100_000,
  maxChannels: 100_000,
  maxChannelsPerSession: 100_000,
  maxPending: 100_000,
  maxPendingPerSession: 100_000,
  penalties: false,
}

/** Starts a server; resolves to it and to what its clients need. */
export async function startServer({ hostKey, clientPublicKey }, onStream, options = {}) {
  const server = await serve({
    listen: '127.0.0.1:0',
    hostKey,
    authorizedKeys: clientPublicKey,
    limits: unlimited,
    ...options,
  })
  server.onConnection((stream) => {
    stream.on('error', () => {})
    onStream(stream)
  })
  const ready = { server: server.addresses[0], hostKeys: server.hostKeyFingerprint }
  return { server, ready }
}

/** How a client reaches the server that said `ready`. */
export const reach = ({ clientKey }, ready) => ({ ...ready, identity: clientKey })

export const session = (context, ready, options) =>
  openSession({ ...reach(context, ready), ...options })

/** Sends back what comes, and ends when the other side has. */
export const echo = (stream) => void stream.pipe(stream)

/** Sends `bytes` and resolves when as many have come back; rejects when they are others, or the stream is lost. */
export function echoed(stream, bytes) {
  return new Promise((resolve, reject) => {
    let come = 0
    const fail = (error) =>
      reject(error ?? new Error(`closed after ${come} of ${bytes.length} bytes`))
    const onData = (chunk) => {
      if (chunk.compare(bytes, come, come + chunk.length) !== 0)
        fail(new Error('other bytes came back'))
      come += chunk.length
      if (come < bytes.length) return
      stream.off('data', onData).off('error', fail).off('close', fail)
      resolve()
    }
    stream.on('data', onData).on('error', fail).on('close', fail)
    stream.write(bytes)
  })
}

/** Ends a stream and resolves when both sides have. */
export function ended(stream) {
  return new Promise((resolve, reject) => {
    stream.on('close', resolve).on('error', reject)
    stream.end()
  })
}
