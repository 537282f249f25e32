// A peer that stops (SIGSTOP) while much is on its way to it.
import { setTimeout as sleep } from 'node:timers/promises'
import { growth } from '../lib/look.mjs'
import { ends, overLink } from '../lib/over-link.mjs'

export { ends }

export const title = 'peer stopped in full transfer'
export const runs = {
  full: '10 streams at full rate to a peer that is stopped (SIGSTOP), the client and the server in turn; keepalive of 2 s and 3 questions',
  quick:
    '10 streams at full rate to a peer that is stopped (SIGSTOP), the client and the server in turn; keepalive of 1 s and 3 questions',
}
export const limit = { full: 90, quick: 45 }

const STREAMS = 10

export async function script(kit) {
  const interval = kit.pick(2_000, 1_000)
  for (const stopped of ['client', 'server']) await stop(kit, stopped, { interval, count: 3 })
}

async function stop(kit, stopped, keepalive) {
  const mode = { client: 'source', server: 'sink' }[stopped]
  const pair = await overLink(kit, { mode, keepalive })
  const sender = { client: pair.server, server: pair.client }[stopped]
  const idle = await sender.probe()
  await pair.client.call('flood', STREAMS)
  await sleep(1_000) // until it is full rate
  const base = await sender.probe()
  const from = Date.now()
  pair[stopped].child.kill('SIGSTOP')
  const lost = sender.call('lostAt')
  const most = await largest(sender, base, lost)
  // Of silence: so many questions without an answer after the first interval.
  const silence = ((keepalive.count + 1) * keepalive.interval) / 1000
  kit.figure({
    name: `${stopped} stopped`,
    what: `${stopped} stopped: until the other end gives up, ${silence} s of silence and 5 s`,
    value: ((await lost) - from) / 1000,
    unit: 's',
    most: silence + 5,
  })
  kit.figure({
    name: `${stopped} memory`,
    what: `${stopped} stopped: growth of the other end meanwhile`,
    value: most,
    unit: 'MB',
    most: 64,
  })
  kit.figure({
    name: `${stopped} transfer`,
    what: `${stopped} stopped: the same since before the transfer`,
    value: most + growth(idle, base),
    unit: 'MB',
  })
  pair[stopped].child.kill('SIGCONT')
  await pair.stop()
}

async function largest(end, base, until) {
  let over = false
  until.then(() => {
    over = true
  })
  let most = 0
  while (!over) {
    most = Math.max(most, growth(base, await end.probe()))
    await sleep(250)
  }
  return most
}
