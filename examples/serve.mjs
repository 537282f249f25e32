import { serve } from '@alkdev/alknet'

const server = await serve({
  listen: process.argv[2] ?? '0.0.0.0:2222',
  hostKey: 'host_key', // ssh-keygen -t ed25519 -N '' -f host_key
  authorizedKeys: 'authorized_keys', // the public keys that may log in, one per line
})

server.onConnection((stream, info) => {
  console.error(`${info.user} with ${info.keyFingerprint} from ${info.remoteAddress}`)
  stream.pipe(stream) // an echo
})

console.log(server.connectionString) // all that a client needs but its own key
