// Bare TCP: no encryption, no multiplexing. The floor.
import { once } from 'node:events'
import net from 'node:net'
import { directSession, listenLocally } from '../lib/direct.mjs'

export async function listen(_context, onStream) {
  const server = net.createServer({ noDelay: true }, onStream)
  return { address: await listenLocally(server) }
}

export async function openSession(_context, { port }) {
  return directSession(async () => {
    const socket = net.connect({ host: '127.0.0.1', port, noDelay: true })
    await once(socket, 'connect')
    return socket
  })
}
