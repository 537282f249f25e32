// As alknet.mjs, in a WebSocket.
import { over } from '../lib/alknet-transport.mjs'

export const { listen, openSession } = over('ws')
