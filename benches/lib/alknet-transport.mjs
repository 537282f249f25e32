// This package, as its users import it, over one of its transports.
import { openSession as open, serve } from '../../index.js'

const nothing = () => ({})

/** `listen` and `openSession` of a peer; `more` are options of either end, made from the context. */
export function over(transport, more = {}) {
  const { serve: serving = nothing, connect = nothing } = more
  return {
    async listen(context, onStream) {
      const server = await serve({
        transport,
        listen: '127.0.0.1:0',
        hostKey: context.hostKey,
        authorizedKeys: context.clientPublicKey,
        ...serving(context),
      })
      server.onConnection(onStream)
      const { addresses, endpointId: peer, hostKeyFingerprint: hostKeys } = server
      return { address: { hostKeys, ...place(peer, addresses) } }
    },
    async openSession(context, address) {
      const own = { transport, identity: context.clientKey, ...connect(context) }
      const session = await open({ ...own, ...address })
      return { open: () => session.open(), close: () => session.close() }
    },
  }
}

const place = (peer, addresses) =>
  peer ? { peer, irohAddress: addresses } : { server: addresses[0] }
