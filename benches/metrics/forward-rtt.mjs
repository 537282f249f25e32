import { load, target, withForwarder } from '../lib/forwards.mjs'

export const title = 'Forward: round trip of 64 bytes'
export const about =
  'One connection through the forward, one message at a time, echoed and checked.'
export const units = { forward_rtt64_p50_us: 'µs', forward_rtt64_p99_us: 'µs' }
export const settings = { full: { count: 8000 }, quick: { count: 3000 } }
export const kind = 'forwards'
export const server = target

export const client = (kit) =>
  withForwarder(kit, async ({ port }) => {
    const [p50, p99] = await load(kit, 'rtt', port, kit.settings.count)
    return { forward_rtt64_p50_us: p50, forward_rtt64_p99_us: p99 }
  })
