export const title = 'Idle subscribers'
export const about =
  '1000 idle subscribers of a bus on one session: growth of resident memory of the hub and of the client after gc, per subscriber. Both are new in each round, and V8 keeps to 1 MiB of room for young objects.'
export const units = {
  idlebus_KiB_per_subscriber: 'KiB',
  idlebus_hub_KiB: 'KiB',
  idlebus_client_KiB: 'KiB',
}
export const settings = { full: { subscribers: 1000 }, quick: { subscribers: 1000 } }
export const kind = 'bus'
// That room grows and shrinks, by up to 32 MiB, with what a program does, not with what it holds.
export const flags = ['--max-semi-space-size=1']

const WARM_UP = 20

/** The hub, new for each round: what an earlier round has left in memory would hide what this one takes. */
export const server = async ({ peer, context }) => ({ address: await peer.hub(context), calls: {} })

export async function client({ peer, context: keys, address, settings, bothEnds }) {
  const context = { ...keys, bus: address }
  const held = [await peer.subscribeIdle(context, WARM_UP)]
  const before = await bothEnds({ gc: true })
  held.push(await peer.subscribeIdle(context, settings.subscribers))
  const after = await bothEnds({ gc: true })
  if (held.flat().length !== WARM_UP + settings.subscribers) throw new Error('some are missing')
  const growth = (end, what) => (after[end][what] - before[end][what]) / 1024 / settings.subscribers
  const [hub, own] = [growth('server', 'rss'), growth('client', 'rss')]
  return {
    idlebus_KiB_per_subscriber: hub + own,
    idlebus_hub_KiB: hub,
    idlebus_client_KiB: own,
  }
}
