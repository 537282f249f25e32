import { flood, publishing, subscribed } from '../lib/events.mjs'

export const title = 'Events'
export const about =
  'Messages of 100 bytes of JSON, from the publisher to a subscriber in another process, 64 per turn of the event loop and as fast as there is room; CPU of all processes, Redis included.'
export const units = { msgs_per_s: '1/s', cpu_us_per_msg: 'µs' }
export const settings = {
  full: { count: 200_000, warmUp: 50_000 },
  quick: { count: 50_000, warmUp: 20_000 },
}
export const kind = 'events'

export const server = (kit) => publishing(kit, { flood })

export async function client(kit) {
  const collector = await subscribed(kit)
  await exchange(kit, collector, kit.settings.warmUp)
  const before = await kit.bothEnds()
  const seconds = await exchange(kit, collector, kit.settings.count)
  const after = await kit.bothEnds()
  const cpu = after.server.cpu - before.server.cpu + after.client.cpu - before.client.cpu
  return {
    msgs_per_s: kit.settings.count / seconds,
    cpu_us_per_msg: (cpu * 1000) / kit.settings.count,
  }
}

async function exchange({ remote }, collector, count) {
  const collected = collector.expect(count)
  const [{ receivedAt }, { startedAt }] = await Promise.all([collected, remote('flood', count)])
  return (receivedAt - startedAt) / 1e9
}
