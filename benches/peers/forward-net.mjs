// The plainest forwarder in Node: two sockets piped into each other, nothing encrypted.
import net from 'node:net'
import { listenLocally } from '../lib/direct.mjs'
import { forwarder } from '../lib/forwards.mjs'
import { pipe } from '../lib/pipe.mjs'
import { startRole } from '../lib/processes.mjs'

export async function start(_context, target) {
  const pipes = await startRole('forward-net', 'pipes', { target })
  return forwarder(pipes.ready, pipes)
}

export const roles = {
  async pipes({ target }) {
    const options = { noDelay: true, allowHalfOpen: true }
    const server = net.createServer(options, (socket) =>
      pipe(socket, net.connect({ host: '127.0.0.1', port: target, ...options })),
    )
    return (await listenLocally(server)).port
  },
}
