// Peers that do not multiplex: every stream is a connection of its own, and a session is whatever connections it has made.
import { closeStream } from './io.mjs'

/** A session whose `open()` is `connect()`. */
export function directSession(connect) {
  const streams = new Set()
  return {
    async open() {
      const stream = await connect()
      streams.add(stream)
      stream.once('close', () => streams.delete(stream))
      return stream
    },
    async close() {
      await Promise.all([...streams].map(closeStream))
    },
  }
}

/** Makes `server` listen on a free port of the loopback interface. */
export async function listenLocally(server) {
  await new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  return { port: server.address().port }
}
