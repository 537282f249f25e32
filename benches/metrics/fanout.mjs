import { Collector, flood, publishing } from '../lib/events.mjs'

export const title = 'Events to fifty subscribers'
export const about =
  'Messages of 100 bytes of JSON, from the publisher through a hub to fifty subscribers in another process, each with a connection of its own; CPU of all processes, the hub included.'
export const units = { deliveries_per_s: '1/s', cpu_us_per_delivery: 'µs' }
export const settings = {
  full: { count: 10_000, warmUp: 2000, subscribers: 50 },
  quick: { count: 2000, warmUp: 500, subscribers: 50 },
}
export const kind = 'fanout'

export const server = (kit) => publishing(kit, { flood })

export async function client(kit) {
  const { peer, context, address, settings } = kit
  const collectors = Array.from({ length: settings.subscribers }, () => new Collector())
  for (const collector of collectors) {
    await peer.subscribe(context, address, (received) => collector.take(received))
  }
  await exchange(kit, collectors, settings.warmUp)
  const before = await kit.bothEnds()
  const seconds = await exchange(kit, collectors, settings.count)
  const after = await kit.bothEnds()
  const cpu = after.server.cpu - before.server.cpu + after.client.cpu - before.client.cpu
  const deliveries = settings.count * settings.subscribers
  return { deliveries_per_s: deliveries / seconds, cpu_us_per_delivery: (cpu * 1000) / deliveries }
}

async function exchange({ remote }, collectors, count) {
  const all = Promise.all(collectors.map((collector) => collector.expect(count)))
  const [collected, { startedAt }] = await Promise.all([all, remote('flood', count)])
  return (Math.max(...collected.map(({ receivedAt }) => receivedAt)) - startedAt) / 1e9
}
