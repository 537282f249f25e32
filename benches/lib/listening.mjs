// Waiting for a program that does not say when it listens.
import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** Resolves once somebody takes connections at a port of this machine; rejects after `limit` ms. */
export async function listening(port, limit) {
  for (const late = performance.now() + limit; ; await sleep(20)) {
    const socket = net.connect(port, '127.0.0.1')
    try {
      return await once(socket, 'connect')
    } catch (error) {
      if (performance.now() > late) throw error
    } finally {
      socket.destroy()
    }
  }
}
