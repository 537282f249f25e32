// The client killed: what the server held for it.
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { ends, overLink } from '../lib/over-link.mjs'

export { ends }

export const title = 'client killed'
export const runs = {
  full: 'a client with 100 streams and a remote forward killed with SIGKILL, first with its connection reset by the kernel, then behind a link that has fallen silent: keepalive of 15 s and 3 questions',
  quick:
    'a client with 100 streams and a remote forward killed with SIGKILL, first with its connection reset by the kernel, then behind a link that has fallen silent: keepalive of 1 s and 3 questions',
}
export const limit = { full: 120, quick: 30 }

export async function script(kit) {
  await killed(kit, 'reset', { interval: 15_000, count: 3 }, 1)
  const interval = kit.pick(15_000, 1_000)
  await killed(kit, 'silent', { interval, count: 3 }, kit.pick(60, 5))
}

async function killed(kit, how, keepalive, most) {
  const { server, link, client, stop } = await overLink(kit, { keepalive })
  const base = await server.probe()
  await client.call('open', 100)
  const port = await client.call('listen')
  if (how === 'silent') link.freeze()
  const from = Date.now()
  await client.stop()
  const what = `client killed, its connection ${words[how]}`
  const seconds = (at) => (at - from) / 1000
  kit.figure({
    name: `${how} streams`,
    what: `${what}: until the server has closed its streams`,
    value: seconds(await server.call('lostAt')),
    unit: 's',
    most,
  })
  while (await answers(port)) await sleep(10)
  kit.figure({
    name: `${how} listener`,
    what: `${what}: until its listener is gone`,
    value: seconds(Date.now()),
    unit: 's',
    most,
  })
  const after = await server.settled(base)
  kit.figure({
    name: `${how} fds`,
    what: `${what}: descriptors left at the server`,
    // That of the session itself was open before.
    value: Math.max(0, after.fds - base.fds),
    most: 0,
  })
  await stop()
}

const words = { reset: 'reset', silent: 'silent' }

function answers(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1')
    const tell = (yes) => () => {
      socket.destroy()
      resolve(yes)
    }
    socket.once('connect', tell(true)).once('error', tell(false))
  })
}
