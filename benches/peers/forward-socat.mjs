// socat: a process for each connection, large buffers, nothing encrypted.
import { forwarder } from '../lib/forwards.mjs'
import { freePort } from '../lib/free-port.mjs'
import { startProcess } from '../lib/processes.mjs'

export async function start({ socat }, target) {
  const port = await freePort()
  const listen = `TCP-LISTEN:${port},bind=127.0.0.1,fork,reuseaddr,backlog=1024,nodelay`
  const args = ['-d', '-d', '-b', '131072', listen, `TCP:127.0.0.1:${target},nodelay`]
  const process = await startProcess(socat, args, { ready: (line) => / listening on /.test(line) })
  return forwarder(port, process)
}
