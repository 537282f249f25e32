import { once } from 'node:events'
import { createServer, connect as dial, type Socket } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import { discard } from './alknet.js'
import { afterwards } from './cleanup.js'

/** Two ends of one stream, without a network. */
export function memoryPair(): [Duplex, Duplex] {
  const [left, right] = duplexPair()
  return [discard(left), discard(right)]
}

/** Two ends of one TCP connection over loopback. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  afterwards(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const left = dial({ port, host: '127.0.0.1', allowHalfOpen: true })
  const [right] = await accepted
  return [discard(left), discard(right)]
}

/** Both kinds, for suites that must hold on either. */
export const pairs = [
  ['memory', async () => memoryPair()],
  ['sockets', socketPair],
] as const satisfies readonly (readonly [string, () => Promise<[Duplex, Duplex]>])[]
