import { Collector, flood, now, publishing } from '../lib/events.mjs'

export const title = 'Events that are kept'
export const about =
  'Messages of 100 bytes of JSON to a topic that NATS keeps (JetStream, one node, on disk): from the publisher to a subscriber in another process, each stored before it is delivered; then all of them once more, to a subscriber that asks for what it has missed.'
export const units = { durable_msgs_per_s: '1/s', replayed_msgs_per_s: '1/s' }
export const settings = {
  full: { count: 100_000, warmUp: 20_000 },
  quick: { count: 20_000, warmUp: 5000 },
}
export const kind = 'durable'

export const server = (kit) => publishing(kit, { flood })

export async function client(kit) {
  const { peer, context, settings } = kit
  const collector = new Collector()
  let position
  const take = (payload, at) => {
    position = at
    collector.take(payload)
  }
  await peer.subscribe(context, undefined, take)
  await exchange(kit, collector, settings.warmUp)
  const since = position
  const seconds = await exchange(kit, collector, settings.count)
  return {
    durable_msgs_per_s: settings.count / seconds,
    replayed_msgs_per_s: settings.count / (await replay(kit, since)),
  }
}

async function exchange({ remote }, collector, count) {
  const collected = collector.expect(count)
  const [{ receivedAt }, { startedAt }] = await Promise.all([collected, remote('flood', count)])
  return (receivedAt - startedAt) / 1e9
}

async function replay({ peer, context, settings }, since) {
  const collector = new Collector()
  const collected = collector.expect(settings.count)
  const startedAt = now()
  await peer.subscribe(context, undefined, (payload) => collector.take(payload), since)
  return ((await collected).receivedAt - startedAt) / 1e9
}
