// As alknet.mjs, by iroh: straight to the peer's address, no relay.
import { over } from '../lib/alknet-transport.mjs'

export const { listen, openSession } = over('iroh')
