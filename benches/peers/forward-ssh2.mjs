// A forwarder made of npm ssh2's server and client, each in a process of its own.
import net from 'node:net'
import { listenLocally } from '../lib/direct.mjs'
import { forwarder } from '../lib/forwards.mjs'
import { pipe } from '../lib/pipe.mjs'
import { startRole } from '../lib/processes.mjs'
import { listen, openSession } from './ssh2.mjs'

export async function start(context, target) {
  const server = await startRole('forward-ssh2', 'server', { context, target })
  const client = await startRole('forward-ssh2', 'client', { context, address: server.ready })
  return forwarder(client.ready, server, client)
}

export const roles = {
  async server({ context, target }) {
    const { address } = await listen(context, (stream) =>
      pipe(
        stream,
        net.connect({ host: '127.0.0.1', port: target, noDelay: true, allowHalfOpen: true }),
      ),
    )
    return address
  },
  async client({ context, address }) {
    const session = await openSession(context, address)
    const options = { noDelay: true, allowHalfOpen: true, pauseOnConnect: true }
    const server = net.createServer(options, async (socket) => pipe(socket, await session.open()))
    return (await listenLocally(server)).port
  },
}
