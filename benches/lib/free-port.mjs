import { once } from 'node:events'
import net from 'node:net'

/** A port on which nobody listens: it was free a moment ago. */
export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}
