// Outages in full transfer: short ones lose nothing, long ones cost the session and no more.
import { setTimeout as sleep } from 'node:timers/promises'
import { ends, overLink } from '../lib/over-link.mjs'

export { ends }

export const title = 'link down and back'
export const runs = {
  full: 'a transfer of 256 MiB there and back with the link down for 20 s, both ways, one way and the other, with the default keepalive; then 30 s with a keepalive of 1 s and 3 questions',
  quick:
    'a transfer of 32 MiB there and back with the link down for 3 s, both ways, one way and the other, with the default keepalive; then 8 s with a keepalive of 1 s and 3 questions',
}
export const limit = { full: 240, quick: 60 }

const MiB = 2 ** 20

export async function script(kit) {
  const seconds = kit.pick(20, 3)
  for (const ways of [['up', 'down'], ['up'], ['down']]) await short(kit, ways, seconds)
  await long(kit, kit.pick(30, 8))
}

async function short(kit, ways, seconds) {
  const { link, client, stop } = await overLink(kit)
  const bytes = kit.pick(256, 32) * MiB
  const transfer = client.call('transfer', bytes, kit.random.below(2 ** 31))
  while (link.moved < bytes / 8) await sleep(1)
  link.freeze(...ways)
  await sleep(seconds * 1000)
  link.thaw()
  const what = `down for ${seconds} s (${ways.join(' and ')})`
  const name = ways.join(' and ')
  kit.figure({ name, what: `${what}: SHA-256 equal`, value: Number(await transfer), least: 1 })
  const { down } = await client.call('events')
  kit.figure({ name: `${name} lost`, what: `${what}: sessions lost`, value: down, most: 0 })
  await stop()
}

async function long(kit, seconds) {
  const { link, client, stop } = await overLink(kit, { keepalive: { interval: 1_000, count: 3 } })
  await client.call('open', 3)
  link.freeze()
  await sleep(seconds * 1000)
  const back = Date.now()
  link.thaw()
  kit.figure({
    name: 'long',
    what: `down for ${seconds} s with a keepalive of 1 s: a new stream after the link is back`,
    value: ((await client.call('works')) - back) / 1000,
    unit: 's',
    most: 10,
  })
  await stop()
}
