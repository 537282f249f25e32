import { closeStream, greet, greeted } from '../lib/io.mjs'

export const title = 'Stream opens'
export const about =
  'One after the other on one session, each until its first byte is there, then closed; peers without multiplexing make a connection each.'
export const units = { opens_per_s: '1/s' }
export const settings = { full: { ms: 1500, warmUp: 100 }, quick: { ms: 500, warmUp: 50 } }
export const kind = 'streams'

export const server = ({ peer, context }) => peer.listen(context, greet)

export async function client({ peer, context, address, settings }) {
  const session = await peer.openSession(context, address)
  const closing = new Set()
  const once = async () => {
    const closed = closeStream(await greeted(await session.open()))
    closing.add(closed)
    closed.then(() => closing.delete(closed))
  }
  for (let turn = 0; turn < settings.warmUp; turn++) await once()
  const started = performance.now()
  let count = 0
  while (performance.now() - started < settings.ms) {
    await once()
    count++
  }
  const seconds = (performance.now() - started) / 1000
  await Promise.all(closing) // every stream must get closed, too
  return { opens_per_s: count / seconds }
}
