import { closeStream, greet, greeted } from '../lib/io.mjs'
import { percentile } from '../lib/stats.mjs'

export const title = 'Connect to first byte'
export const about =
  'A new session each time, one stream on it, until the first byte of the server is there.'
export const units = { connect_first_byte_p50_ms: 'ms' }
export const settings = { full: { count: 60, warmUp: 5 }, quick: { count: 30, warmUp: 3 } }
export const kind = 'streams'

export const server = ({ peer, context }) => peer.listen(context, greet)

export async function client({ peer, context, address, settings }) {
  const samples = []
  for (let turn = -settings.warmUp; turn < settings.count; turn++) {
    const started = performance.now()
    const session = await peer.openSession(context, address)
    const stream = await greeted(await session.open())
    if (turn >= 0) samples.push(performance.now() - started)
    await closeStream(stream)
    await session.close()
  }
  return { connect_first_byte_p50_ms: percentile(samples, 0.5) }
}
