// Sends `size` bytes and ends; is gone at once in the callback of `end()`: nothing here has time to do more. As a client, or as a server that prints where.
//
//   node leave.mjs connect SERVER FINGERPRINT KEY SIZE
//   node leave.mjs serve HOST-KEY AUTHORIZED-KEYS SIZE
import { connect, serve } from '../../../index.js'

const [role, ...args] = process.argv.slice(2)
const leave = (stream) =>
  stream.end(Buffer.alloc(Number(args.at(-1)), 'alknet'), () =>
    process.kill(process.pid, 'SIGKILL'),
  )

if (role === 'connect') {
  const [server, hostKeys, identity] = args
  leave(await connect({ server, hostKeys, identity }))
} else {
  const [hostKey, authorizedKeys] = args
  const server = await serve({ listen: '127.0.0.1:0', hostKey, authorizedKeys })
  server.onConnection(leave)
  console.log(server.addresses[0])
}
