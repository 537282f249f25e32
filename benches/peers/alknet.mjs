// This package, as its users import it.
import { openSession as open, serve } from '../../index.js'

export async function listen({ hostKey, clientPublicKey }, onStream) {
  const server = await serve({
    listen: '127.0.0.1:0',
    hostKey,
    authorizedKeys: clientPublicKey,
  })
  server.onConnection(onStream)
  return { address: { server: server.addresses[0], hostKeys: server.hostKeyFingerprint } }
}

export async function openSession({ clientKey }, address) {
  const session = await open({ ...address, identity: clientKey })
  return { open: () => session.open(), close: () => session.close() }
}
