// dumbpipe: TCP over iroh, a QUIC connection for each. It waits for a relay first, 5 s at each end, and goes on without one.
import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { forwarder } from '../lib/forwards.mjs'
import { freePort } from '../lib/free-port.mjs'
import { startProcess } from '../lib/processes.mjs'

const own = ['--ipv4-addr', '127.0.0.1:0']
/** How long its client gets to listen: twice what it waits for a relay, and then some. */
const LIMIT = 15_000

export async function start({ dumbpipe }, target) {
  const server = await startProcess(
    dumbpipe,
    ['listen-tcp', '--host', `127.0.0.1:${target}`, ...own],
    {
      ready: (line) => /connect-tcp (\S+)/.exec(line)?.[1],
    },
  )
  const port = await freePort()
  const args = ['connect-tcp', '--addr', `127.0.0.1:${port}`, ...own, server.ready]
  const client = await startProcess(dumbpipe, args, { atOnce: true })
  await listening(port)
  return forwarder(port, server, client)
}

// It does not say when it listens.
async function listening(port) {
  for (const late = performance.now() + LIMIT; ; await sleep(50)) {
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
