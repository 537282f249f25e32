// What is left of private keys in memory once they are not needed any more. Logs: tests/privacy.rs.
import { connect, serve } from '../../../index.js'
import { echo, echoed, ended, reach } from '../lib/ends.mjs'
import { findInMemory } from '../lib/memory.mjs'
import { formsOf } from '../lib/secrets.mjs'

export const title = 'private keys in memory'
const what = (times) =>
  `a server and a client that load their keys from files, ${times} sessions; then all is closed and the memory of both searched for the keys' seed, their scalar and the file's text`
export const runs = { full: what(20), quick: what(3) }
export const limit = { full: 120, quick: 60 }

export async function script(kit) {
  const { hostKey, clientKey } = kit.context
  const server = await kit.start('server')
  const client = await kit.start('client', server.ready)
  const sought = { server: formsOf(hostKey), client: formsOf(clientKey) }
  // Whether the search finds what is there: a server needs its key.
  const open = findInMemory(server.pid, { seed: sought.server.seed })
  kit.figure({
    name: 'control',
    what: 'host key found while the server is open',
    value: open.seed.length,
    least: 1,
  })
  await client.call('sessions', kit.pick(20, 3))
  await server.call('close')
  for (const [end, { pid }] of Object.entries({ server, client })) {
    const found = findInMemory(pid, sought[end])
    for (const [form, places] of Object.entries(found)) {
      kit.figure({
        name: `${end} ${form}`,
        what: `${end}: ${form} of its key found after close`,
        value: places.length,
        most: 0,
        ...(places.length > 0 && { seen: [...new Set(places)] }),
      })
    }
  }
}

export const ends = {
  async server(_, { hostKey, clientPublicKey }) {
    const server = await serve({ listen: '127.0.0.1:0', hostKey, authorizedKeys: clientPublicKey })
    server.onConnection((stream) => echo(stream.on('error', () => {})))
    return {
      ready: { server: server.addresses[0], hostKeys: server.hostKeyFingerprint },
      close: () => server.close(),
    }
  },

  async client(ready, context) {
    return {
      async sessions(count) {
        for (let turn = 0; turn < count; turn++) {
          const stream = await connect(reach(context, ready))
          await echoed(stream, Buffer.from('hello'))
          await ended(stream)
        }
      },
    }
  },
}
