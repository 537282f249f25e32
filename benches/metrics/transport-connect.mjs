import { closeStream, greeted } from '../lib/io.mjs'
import { prefixed } from '../lib/prefixed.mjs'
import * as connect from './connect.mjs'

const again = prefixed(connect, { kind: 'transports', prefix: 'transport_' })

export const title = 'Transports: connect to first byte'
export const about =
  'The first session of a process, and then new ones, one stream on each, until the first byte of the server is there. No relay, no internet.'
export const units = { transport_connect_first_ms: 'ms', ...again.units }
export const { kind, settings, server } = again

export async function client(kit) {
  const { peer, context, address } = kit
  const started = performance.now()
  const session = await peer.openSession(context, address)
  const stream = await greeted(await session.open())
  const transport_connect_first_ms = performance.now() - started
  await closeStream(stream)
  await session.close()
  return { transport_connect_first_ms, ...(await again.client(kit)) }
}
