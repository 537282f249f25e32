// A black hole: nothing gets through, and nobody is told.
import { ends, overLink } from '../lib/over-link.mjs'

export { ends }

export const title = 'black hole both ways'
export const runs = {
  full: 'a link that falls silent both ways under 3 idle streams until both ends have noticed, then returns: keepalive of 1 s and 3 questions, then of 15 s and 3',
  quick:
    'a link that falls silent both ways under 3 idle streams until both ends have noticed, then returns: keepalive of 1 s and 3 questions',
}
export const limit = { full: 180, quick: 30 }

export async function script(kit) {
  await hole(kit, { interval: 1_000, count: 3 }, 5)
  if (!kit.quick) await hole(kit, { interval: 15_000, count: 3 }, 60)
}

async function hole(kit, keepalive, most) {
  const { server, link, client, stop } = await overLink(kit, { keepalive })
  await client.call('open', 3)
  const from = Date.now()
  link.freeze()
  const lost = await Promise.all([client, server].map((end) => end.call('lostAt')))
  const title = `keepalive ${keepalive.interval / 1000} s × ${keepalive.count}`
  for (const [at, end] of ['client', 'server'].entries()) {
    const what = `${title}: the ${end} notices`
    kit.figure({ name: `${title} ${end}`, what, value: (lost[at] - from) / 1000, unit: 's', most })
  }
  const back = Date.now()
  link.thaw()
  kit.figure({
    name: `${title} back`,
    what: `${title}: a new stream after the link is back`,
    value: ((await client.call('works')) - back) / 1000,
    unit: 's',
    most: 10,
  })
  await stop()
}
