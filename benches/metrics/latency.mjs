import { setTimeout as sleep } from 'node:timers/promises'
import { now, payload, publishing, subscribed } from '../lib/events.mjs'
import { percentile } from '../lib/stats.mjs'

export const title = 'Events, one way'
export const about =
  'From publish to the subscriber in another process, at 1000 messages a second, paced by timers.'
export const units = { oneway_p50_us: 'µs', oneway_p99_us: 'µs' }
export const settings = { full: { count: 3000, warmUp: 1000 }, quick: { count: 1000, warmUp: 500 } }
export const kind = 'events'

const INTERVAL = 1e6 // ns

export const server = (kit) => publishing(kit, { pace })

export async function client(kit) {
  const collector = await subscribed(kit)
  await exchange(kit, collector, kit.settings.warmUp)
  const delays = await exchange(kit, collector, kit.settings.count)
  return { oneway_p50_us: percentile(delays, 0.5), oneway_p99_us: percentile(delays, 0.99) }
}

async function exchange({ remote }, collector, count) {
  const collected = collector.expect(count)
  await remote('pace', count)
  return (await collected).delays
}

async function pace(publisher, count) {
  const startedAt = now()
  for (let number = 0; number < count; ) {
    await sleep(1)
    const due = Math.min(count, Math.floor((now() - startedAt) / INTERVAL))
    while (number < due) publisher.publish(payload(number++, now()))
  }
  return {}
}
