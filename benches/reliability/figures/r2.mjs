// Sessions that come and go, each end in a process of its own: what stays of them beside JavaScript's heap.
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../../index.js'
import { echo, echoed, ended, reach, startServer } from '../lib/ends.mjs'
import { nativeGrowth } from '../lib/look.mjs'

export const title = 'connect, echo, close'
export const runs = {
  full: '1,000 sessions one after the other, twice; server and client in a process each',
  quick: '300 sessions one after the other, twice; server and client in a process each',
}
export const limit = { full: 120, quick: 45 }

const FIRST = 100

export async function script(kit) {
  const count = kit.pick(1_000, 300)
  const server = await kit.start('server')
  const client = await kit.start('client', server.ready)
  await client.call('cycles', FIRST)
  await sleep(200)
  const base = await both(server, client)
  await client.call('cycles', count - FIRST)
  const after = await settled(server, client, base)
  await client.call('cycles', count)
  const again = await settled(server, client, base)
  for (const end of ['server', 'client']) report(kit, end, base[end], after[end], again[end])
}

function report(kit, end, base, after, again) {
  for (const [thing, words] of Object.entries({ fds: 'descriptors', threads: 'threads' })) {
    const value = Math.max(after[thing], again[thing]) - base[thing]
    kit.figure({ name: `${end} ${thing}`, what: `${end}, ${words} leaked`, value, most: 0 })
  }
  const memory = { unit: 'MB', most: 8 }
  kit.figure({
    name: `${end} growth`,
    what: `${end}, growth beside V8's heap after the first ${FIRST}`,
    value: nativeGrowth(base, after),
    ...memory,
  })
  kit.figure({
    name: `${end} again`,
    what: `${end}, growth beside V8's heap by as many sessions again`,
    value: nativeGrowth(after, again),
    ...memory,
  })
}

const both = async (server, client) => ({
  server: await server.probe(),
  client: await client.probe(),
})

const settled = async (server, client, base) => ({
  server: await server.settled(base.server),
  client: await client.settled(base.client),
})

/** One session after the other, each with an echo and an end from both sides. */
export async function cycles(context, ready, count) {
  for (let turn = 0; turn < count; turn++) {
    const stream = await connect(reach(context, ready))
    await echoed(stream, Buffer.from(`cycle ${turn}`))
    await ended(stream)
  }
}

export const ends = {
  async server(_, context) {
    return await startServer(context, echo)
  },
  async client(ready, context) {
    return { cycles: (count) => cycles(context, ready, count) }
  },
}
