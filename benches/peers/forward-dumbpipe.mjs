// dumbpipe: TCP over iroh, a QUIC connection for each. It waits for a relay first, 5 s at each end, and goes on without one.
import { forwarder } from '../lib/forwards.mjs'
import { freePort } from '../lib/free-port.mjs'
import { listening } from '../lib/listening.mjs'
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
  await listening(port, LIMIT)
  return forwarder(port, server, client)
}
