import { load, target, withForwarder } from '../lib/forwards.mjs'

export const title = 'Forward: new connections'
export const about =
  'Connect through the forward, one byte there and back, close: one after another, and 8 at a time.'
export const units = { forward_conns1_per_s: '1/s', forward_conns8_per_s: '1/s' }
export const settings = { full: { ms: 1200, warmUp: 200 }, quick: { ms: 400, warmUp: 100 } }
export const kind = 'forwards'
export const server = target

export const client = (kit) =>
  withForwarder(kit, async ({ port }) => {
    const values = {}
    for (const parallel of [1, 8]) {
      await load(kit, 'conns', port, parallel, kit.settings.warmUp)
      const [count, seconds] = await load(kit, 'conns', port, parallel, kit.settings.ms)
      values[`forward_conns${parallel}_per_s`] = count / seconds
    }
    return values
  })
